# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: SYNs from addresses that do not exist, SYNS of them, and ACKs of nothing as many, while a file is fetched and new
connections are made. FAMILY is 4 or 6. The file is whole, every new connection is served, and afterwards nothing is left."""
import os
import pathlib
import random
import socket
import struct
import sys
import tempfile
import threading
import time

from careless import FAMILY, left
from inside import application, counters, curl, domains, main, random_file, sha256, wait_for
from raw_tcp import ACK, SYN, Link

SYNS = int(sys.argv[2])
PORT, HTTP = 7007, 8080
link = Link(int(FAMILY))
HERE = link.stack if FAMILY == "4" else f"[{link.stack}]"
rng = random.Random(4)


def spoofed():
    """On the link, where nobody answers, and beyond it."""
    if FAMILY == "4":
        return rng.choice((f"10.77.0.{rng.randrange(3, 250)}", f"198.51.{rng.randrange(100)}.{rng.randrange(1, 250)}"))
    return rng.choice(("fd77::", "2001:db8::")) + f"{rng.randrange(3, 0xFFFF):x}"


class Flood:
    """A thread that sends them until told to stop, and all of them once at least."""

    def __init__(self, flags):
        self.sent, self.stop = 0, False
        options = b"\x02\x04\x05\xb4"
        self.frames = []
        for _ in range(5000):
            source = spoofed()
            tcp = link.segment(rng.randrange(1024, 65536), PORT, rng.randrange(1 << 32), rng.randrange(1 << 32), flags,
                               options=options if flags & SYN else b"", source=source)
            self.frames.append((tcp, source))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stop or self.sent < SYNS:
            tcp, source = self.frames[self.sent % len(self.frames)]
            # another port and sequence number each round: what the checksum loses here it gets there
            low = (self.sent // len(self.frames)) * 7919 & 0x3FFF
            seq, = struct.unpack(">H", tcp[4:6])
            sum_, = struct.unpack(">H", tcp[16:18])
            total = sum_ + seq + (~low & 0xFFFF)
            total = (total & 0xFFFF) + (total >> 16)
            try:
                link._send_ip(tcp[:4] + struct.pack(">H", low) + tcp[6:16] + struct.pack(">H", (total & 0xFFFF) + (total >> 16)) + tcp[18:],
                              source)
            except OSError:  # the queue is full
                time.sleep(0.0005)
                continue
            self.sent += 1

    def finish(self):
        self.stop = True
        self.thread.join(120)
        assert not self.thread.is_alive()


def fetch(folder):
    got = curl("-o", folder / "got", f"http://{HERE}:{HTTP}/file", seconds=100)
    assert got.returncode == 0 and sha256(folder / "got") == sha256(folder / "root" / "file"), got.stderr


def connect_and_talk(count):
    """New connections to the port that is flooded; the time of the slowest."""
    worst = 0
    for i in range(count):
        start = time.monotonic()
        with socket.create_connection((link.stack, PORT), 10) as s:
            s.settimeout(10)
            s.sendall(b"hello" * 100)
            got = b""
            while len(got) < 500:
                part = s.recv(500)
                assert part, f"connection {i} ended"
                got += part
            assert got == b"hello" * 100
        worst = max(worst, time.monotonic() - start)
    return worst


def flooded(flags):
    before, died = counters("tcp"), [(d["name"], d["incarnation"]) for d in domains()]
    flood = Flood(flags)
    try:
        wait_for("the flood", lambda: flood.sent > 5000, 20)
        start = time.monotonic()
        fetch(folder)
        fetched, worst = time.monotonic() - start, connect_and_talk(100)
    finally:
        flood.finish()
    after = counters("tcp")
    print(f"  {flood.sent} sent; 20 MB in {fetched:.1f} s, the slowest new connection {worst:.2f} s; "
          f"{ {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0) and ('drop' in k or 'cookie' in k or 'resets' in k)} }",
          flush=True)
    assert died == [(d["name"], d["incarnation"]) for d in domains()], "a domain died"
    return after, before


def test_syns():
    after, before = flooded(SYN)
    assert after["tcp_cookies_sent"] > before.get("tcp_cookies_sent", 0), "no cookie was sent"
    connect_and_talk(20)  # again without cookies


def test_acks():
    """Each would be the end of a handshake with a cookie."""
    after, before = flooded(ACK)
    assert sum(after[k] - before.get(k, 0) for k in ("tcp_drop_cookie", "tcp_drop_no_connection")) > 1000
    assert after["tcp_accepts"] - before["tcp_accepts"] <= 200, "a connection was made of nothing"


def test_nothing_left():
    """The half-open end with their SYN-ACKs' retransmissions, or when nobody has the address."""
    try:
        wait_for("the half-open to end", lambda: left()["endpoints"] <= 2 and left()["slots"] == 0, 150, 0.5)
    except AssertionError:
        raise AssertionError(f"left behind: {left()}")
    connect_and_talk(20)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="bh-flood-") as name:
        folder = pathlib.Path(name)
        (folder / "root").mkdir()
        random_file(folder / "root" / "file", 20 << 20, 3)
        with application("bh-httpd", "--listen", f"[::]:{HTTP}", folder / "root", ready=HTTP), \
                application("bh-echo", f"[::]:{PORT}", ready=PORT):
            main([test_syns, test_acks, test_nothing_left])
    link.close()
