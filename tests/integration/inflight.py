# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: requests in flight survive. A connect whose SYNs are being dropped goes on over the deaths of tcp and of socket,
and is made once; an accept that waits while its servers die returns the connection that comes afterwards."""
import socket
import subprocess
import time

from inside import APPS, HOST, STACK, application, bulkhead, connects, domain_of, main, nft, wait_for

PORT = 9000


def kill_and_wait(server):
    before = domain_of(server)["incarnation"]
    bulkhead("kill", server)
    wait_for(f"{server} to be back", lambda: (d := domain_of(server))["incarnation"] > before and d["state"] == "running")


def listener():
    s = socket.create_server((HOST, PORT))
    s.settimeout(10)
    return s


def test_connect_in_flight():
    for victims in (["tcp"], ["socket"], ["tcp", "socket"], ["ip"], ["nic"]):
        with listener() as server:
            nft("""table inet syn {
                chain in { type filter hook input priority 0; iifname "bh0" tcp dport 9000 counter drop; }
            }""")
            process = subprocess.Popen([APPS / "bh-source", "--octets", "100000", f"{HOST}:{PORT}"], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
            wait_for("a SYN to be dropped", lambda: "packets 0" not in subprocess.run(
                ["nft", "list", "table", "inet", "syn"], capture_output=True, text=True).stdout)
            for victim in victims:
                kill_and_wait(victim)
            assert process.poll() is None, f"{victims}: connect returned: {process.stderr.read()}"
            nft("delete table inet syn")
            connection, _ = server.accept()
            got = 0
            while part := connection.recv(65536):
                got += len(part)
            connection.close()
            assert process.wait(10) == 0, f"{victims}: {process.stderr.read()}"
            assert got == 100000, f"{victims}: {got} octets"
            server.settimeout(0.2)
            try:
                server.accept()
                raise AssertionError(f"{victims}: connected twice")
            except TimeoutError:
                pass
        print(f"connect in flight over the death of {' and '.join(victims)}: once, whole", flush=True)


def test_accept_waiting():
    for victims in (["tcp"], ["socket"], ["tcp", "socket"], ["ip"], ["nic"]):
        process = subprocess.Popen([APPS / "bh-sink", "--listen", str(PORT)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdout.readline()
        for victim in victims:
            kill_and_wait(victim)
        with socket.create_connection((STACK, PORT), 5) as s:
            s.sendall(b"y" * 5000)
        out, error = process.communicate(timeout=10)
        assert process.returncode == 0 and out.startswith("5000 octets"), f"{victims}: {out} {error}"


main([test_connect_in_flight, test_accept_waiting])
