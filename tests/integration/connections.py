# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: AT_ONCE connections at once, ONE_AFTER_ANOTHER (arguments, with the family: 4 or 6) one after another, then nothing is
left: no connection, slot, port or buffer in the stack, no socket or session in the application."""
import json
import random
import resource
import select
import socket
import subprocess
import sys
import time

from inside import HOST, STACK, STACK6, application, bulkhead, counters, main, wait_for

ONE_AFTER_ANOTHER = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
AT_ONCE = int(sys.argv[2]) if len(sys.argv) > 2 else 100
FAMILY = sys.argv[3] if len(sys.argv) > 3 else "4"
STACK_HERE, PREFIX, LENGTH = (STACK, "10.77.0.", 24) if FAMILY == "4" else (STACK6, "fd77::", 64)
PORT = 7007
ROUNDS, OCTETS = 3, 5000


class Talk:
    """One connection: ROUNDS times OCTETS that are its own, there and back."""

    def __init__(self, number):
        self.number, self.round, self.got, self.sent = number, 0, b"", 0
        self.socket = socket.create_connection((STACK_HERE, PORT), 10)
        self.socket.setblocking(False)
        self._begin()

    def _begin(self):
        self.data, self.got, self.sent = random.Random(self.number * ROUNDS + self.round).randbytes(OCTETS), b"", 0

    def go(self, events):
        """What poll() said; what it waits for now, 0 when it is done."""
        if events & select.POLLOUT and self.sent < OCTETS:
            self.sent += self.socket.send(self.data[self.sent:])
        if events & select.POLLIN:
            part = self.socket.recv(OCTETS)
            assert part, f"connection {self.number} ended"
            self.got += part
        if len(self.got) == OCTETS:
            assert self.got == self.data, f"connection {self.number} got another's octets"
            self.round += 1
            if self.round == ROUNDS:
                return 0
            self._begin()
        return select.POLLIN | (select.POLLOUT if self.sent < OCTETS else 0)


def test_at_once():
    """All are open before the first octet goes, and until the last has come."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, AT_ONCE + 200), most))
    start = time.monotonic()
    talks = {t.socket.fileno(): t for t in map(Talk, range(AT_ONCE))}
    opened = time.monotonic() - start
    poll = select.poll()
    for fd in talks:
        poll.register(fd, select.POLLIN | select.POLLOUT)
    left, deadline = len(talks), time.monotonic() + 60
    while left > 0:
        assert time.monotonic() < deadline, f"{left} of {AT_ONCE} are not done"
        for fd, events in poll.poll(1000):
            wanted = talks[fd].go(events)
            poll.modify(fd, wanted)
            if wanted == 0:
                poll.unregister(fd)
                left -= 1
    tcp = counters("tcp")
    assert tcp["slots_given"] - tcp["slots_back"] == AT_ONCE, "they were not all open"
    print(f"  {AT_ONCE} made in {opened:.1f} s, {2 * AT_ONCE * ROUNDS * OCTETS >> 10} KiB in "
          f"{time.monotonic() - start - opened:.1f} s", flush=True)
    for t in talks.values():
        t.socket.close()


def test_one_after_another():
    """Half of them end with the client's close and stay in its TIME-WAIT: it needs an address for each 20,000."""
    sources = [PREFIX + "1"] + [f"{PREFIX}{100 + n}" for n in range(ONE_AFTER_ANOTHER // 20000)]
    for source in sources[1:]:
        subprocess.run(["ip", "addr", "add", f"{source}/{LENGTH}", "dev", "bh0", *(["nodad"] if FAMILY == "6" else [])], check=True)
    for i in range(ONE_AFTER_ANOTHER):
        with socket.create_connection((STACK_HERE, PORT), 5, source_address=(sources[i % len(sources)], 0)) as s:
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

    assert json.loads(bulkhead("ps", "--json"))["sessions"] == 1
    try:
        wait_for("everything to be home", lambda: not any(left().values()), 15, 0.1)
    except AssertionError:
        raise AssertionError(f"left behind: {left()}")


if __name__ == "__main__":
    with application("bh-echo", "--connections", AT_ONCE + 100, f"[::]:{PORT}", ready=PORT):
        main([test_at_once, test_one_after_another, test_nothing_left])
