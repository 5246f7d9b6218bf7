# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: a host behind a router whose far link takes 1300 octets. TCP's first super-segments do not fit and are sent again
in smaller segments; datagrams that do not fit are taken apart from the second on; both families."""
import json
import subprocess

from inside import APPS, counters, host_behind, main, wait_for

PORT = 7013
FAR = (("192.0.2.2", "192.0.2.1", "24"), ("2001:db8::2", "2001:db8::1", "64"))


def run(*command):
    subprocess.run(command, check=True)


def far(pid, *command):
    return ["nsenter", "-t", str(pid), "-n", *map(str, command)]


def written(address):
    return f"[{address}]" if ":" in address else address


def network():
    """The host's namespace, held by a process of ours."""
    holder = host_behind("v0", "v1")
    run("ip", "link", "set", "v0", "mtu", "1300", "up")
    run(*far(holder.pid, "ip", "link", "set", "v1", "mtu", "1500", "up"))  # so that it announces an MSS of 1460
    for address, router, length in FAR:
        v6 = ("nodad",) if ":" in address else ()
        run("ip", "address", "add", f"{router}/{length}", "dev", "v0", *v6)
        run(*far(holder.pid, "ip", "address", "add", f"{address}/{length}", "dev", "v1", *v6))
        run(*far(holder.pid, "ip", "route", "add", "default", "via", router))
    run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    return holder


def test_tcp():
    for n, (address, _, _) in enumerate(FAR, 1):
        sink = subprocess.Popen(far(holder.pid, APPS / "bh-sink", "--stack", "linux", "--listen", f"[::]:{PORT}"),
                                stdout=subprocess.PIPE, text=True)
        assert "listening" in sink.stdout.readline()
        run(APPS / "bh-source", "--octets", "20m", f"{written(address)}:{PORT}")
        assert sink.stdout.read().startswith("20000000 octets") and sink.wait(10) == 0
        wait_for("a smaller MSS to be counted", lambda: counters("tcp")["tcp_mss_lowered"] == n)


def test_udp():
    echo = subprocess.Popen(far(holder.pid, APPS / "bh-echo", "--stack", "linux", "--udp", f"[::]:{PORT}"),
                            stdout=subprocess.PIPE, text=True)
    try:
        assert "listening" in echo.stdout.readline()
        for address, router, _ in FAR:
            run(*far(holder.pid, "ip", "route", "change", "default", "via", router, "mtu", "1300"))
            done = subprocess.run([APPS / "bh-source", "--udp", "--size=1400", "--count=20", "--window=1", "--wait=300",
                                   f"{written(address)}:{PORT}"], stdout=subprocess.PIPE, text=True)
            r = json.loads(done.stdout)
            assert r["answered"] >= 19 and r["wrong"] == 0 and r["errors"] == 0, r
    finally:
        echo.terminate()
        echo.wait()


if __name__ == "__main__":
    holder = network()
    try:
        main([test_tcp, test_udp])
    finally:
        holder.terminate()
        holder.wait()
