# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: a hundred connections at once, ten thousand one after another, then nothing is left: no connection, slot or
buffer in the stack, no socket in the application."""
import socket
import subprocess
import sys

from inside import HOST, STACK, application, counters, main, wait_for

ONE_AFTER_ANOTHER = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
PORT = 7007


def test_at_once():
    sockets = [socket.create_connection((STACK, PORT), 5) for _ in range(100)]
    for i, s in enumerate(sockets):
        s.settimeout(10)
        s.sendall(bytes([i]) * 1000)
    for i, s in enumerate(sockets):
        got = b""
        while len(got) < 1000:
            got += s.recv(4096)
        assert got == bytes([i]) * 1000, f"connection {i} got another's octets"
    for s in sockets:
        s.close()


def test_one_after_another():
    """Half of them end with the client's close and stay in its TIME-WAIT: it needs an address for each 20,000."""
    sources = [HOST] + [f"10.77.0.{100 + n}" for n in range(ONE_AFTER_ANOTHER // 20000)]
    for source in sources[1:]:
        subprocess.run(["ip", "addr", "add", f"{source}/24", "dev", "bh0"], check=True)
    for i in range(ONE_AFTER_ANOTHER):
        with socket.create_connection((STACK, PORT), 5, source_address=(sources[i % len(sources)], 0)) as s:
            s.settimeout(5)
            s.sendall(b"x")
            assert s.recv(1) == b"x", f"connection {i}"
            if i % 2:  # half of them end with the application's close first
                s.shutdown(socket.SHUT_WR)
                assert s.recv(1) == b"", f"connection {i}"


def test_nothing_left():
    def left():
        ip, tcp, owner = counters("ip"), counters("tcp"), counters("socket")
        return {"slots": tcp["slots_given"] - tcp["slots_back"],
                "tcp loans": tcp["loans_out"] - tcp["loans_home"],
                "ip loans": ip["sent"] - ip["loans_home"],
                "endpoints": tcp["endpoints"] - 1,  # the listener
                "sockets": owner["sockets_made"] - owner["sockets_freed"] - 1}

    try:
        wait_for("everything to be home", lambda: not any(left().values()), 15, 0.1)
    except AssertionError:
        raise AssertionError(f"left behind: {left()}")


if __name__ == "__main__":
    with application("bh-echo", PORT, ready=PORT):
        main([test_at_once, test_one_after_another, test_nothing_left])
