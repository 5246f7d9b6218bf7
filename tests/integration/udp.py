# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: datagrams both ways between Linux and the stack. COUNT of them come back right through an echo on the stack; those
of 0 to 65,507 octets over both families; a closed port is refused on either side; sockets outlive udp, socket and ip, with
the datagrams that were under way as the only loss."""
import json
import subprocess
import sys
import time

from inside import APPS, HOST, STACK, application, bulkhead, counters, domain_of, main, wait_for

COUNT = int(sys.argv[1])
PORT, CLOSED = 7008, 7999
STACK6, HOST6 = "[fd77::2]", "[fd77::1]"
# Borders: of what a checksum is left to the device for, of one frame, of what is one fragment more, of the field.
SIZES = (0, 1, 8, 547, 548, 549, 1232, 1233, 1452, 1453, 1472, 1473, 2945, 9000, 32768, 65506, 65507)


def source(where, port, stack="linux", **options):
    """Runs bh-source --udp; what it says."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return subprocess.Popen([APPS / "bh-source", "--stack", stack, "--udp", *arguments, f"{where}:{port}"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, seconds=60):
    output, complaint = process.communicate(timeout=seconds)
    assert output, f"bh-source: {process.returncode} {complaint}"
    return json.loads(output)


def echo(stack, port, address):
    """A bh-echo --udp; ready when a datagram comes back."""
    return application("bh-echo", "--stack", stack, "--udp", f"{address}:{port}")


def answers(where, port, stack):
    return finish(source(where, port, stack, count=1, wait=200))["answered"] == 1


def test_count():
    with echo("bulkhead", PORT, "[::]"):
        wait_for("the echo", lambda: answers(STACK, PORT, "linux"))
        start = time.monotonic()
        r = finish(source(STACK, PORT, count=COUNT, size=64))
        seconds = time.monotonic() - start
    print(f"{r['answered']} of {r['sent']} echoed, {r['lost']} lost, {r['wrong']} wrong, {r['rate']:.0f} a second, "
          f"{seconds:.1f} s", flush=True)
    assert r["wrong"] == 0 and r["duplicate"] == 0 and r["errors"] == 0, r
    assert r["lost"] <= COUNT // 1000, r
    assert seconds < 60, f"{seconds} s"


def sizes_over(where, port, stack):
    wait_for(f"an echo at {where}", lambda: answers(where, port, stack))
    for size in SIZES:
        window = 1 if size > 9000 else 4  # more of the largest than that do not fit Linux's receive buffer
        r = finish(source(where, port, stack, count=100, size=size, window=window, wait=2000))
        assert r["wrong"] == 0 and r["errors"] == 0 and r["lost"] == 0, f"{where} {stack} {size} octets: {r}"


def test_sizes_from_linux():
    with echo("bulkhead", PORT, "[::]"):  # both families on one socket
        for where in (STACK, STACK6):
            sizes_over(where, PORT, "linux")


def test_sizes_from_the_stack():
    with echo("linux", PORT, "[::]"):
        for where in (HOST, HOST6):
            sizes_over(where, PORT, "bulkhead")


def test_sizes_within_the_stack():
    with echo("bulkhead", PORT, "[::]"):
        for where in (STACK, STACK6, "127.0.0.1", "[::1]"):
            sizes_over(where, PORT, "bulkhead")


def test_closed_port():
    for where, stack in ((STACK, "linux"), (STACK6, "linux"), (HOST, "bulkhead"), (HOST6, "bulkhead"),
                         (STACK, "bulkhead"), (STACK6, "bulkhead"), ("[::1]", "bulkhead")):
        r = finish(source(where, CLOSED, stack, count=3, window=1, rate=10, wait=200))
        assert r["errors"] > 0 and r["last_error"] == "ECONNREFUSED", f"{where} from {stack}: {r}"
        assert r["answered"] == 0, r


def kill(server):
    before = domain_of(server)
    bulkhead("kill", server)
    wait_for(f"a new {server}", lambda: (d := domain_of(server))["incarnation"] > before["incarnation"]
             and d["state"] == "running")


def test_restarts():
    for where, back in ((STACK, HOST), (STACK6, HOST6)):
        with echo("bulkhead", PORT, "[::]"), echo("linux", PORT, "[::]"):
            wait_for("the echoes", lambda: answers(where, PORT, "linux") and answers(back, PORT, "bulkhead"))
            loads = [source(where, PORT, "linux", count=60000, rate=10000, wait=300),
                     source(back, PORT, "bulkhead", count=60000, rate=10000, wait=300)]
            for server in ("udp", "socket", "ip", "nic") * 2:
                kill(server)
                time.sleep(0.2)  # under load, not in each other's wake
            for r in map(finish, loads):
                print(f"{where} {r['stack']}: {r['lost']} of {r['sent']} lost in 8 kills, longest gap "
                      f"{r['longest_gap_ms']:.0f} ms", flush=True)
                assert r["wrong"] == 0 and r["errors"] == 0, r
                assert r["lost"] < r["sent"] // 10, r
            assert answers(where, PORT, "linux") and answers(back, PORT, "bulkhead")


def test_all_accounted():
    udp = counters("udp")
    strange = {name: n for name, n in udp.items() if name.startswith("drop_") and n > 0}
    print(f"udp drops: {strange}", flush=True)
    assert not set(strange) & {"drop_capability", "drop_range", "drop_send_record", "drop_return_unknown",
                               "udp_drop_checksum", "udp_drop_length"}, strange


if __name__ == "__main__":
    main([test_count, test_sizes_from_linux, test_sizes_from_the_stack, test_sizes_within_the_stack, test_closed_port,
          test_all_accounted, test_restarts])
