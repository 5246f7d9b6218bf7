# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: hostile segments into every state of TCP, made by hand. FAMILY is 4 or 6. Bystanders (connections of Linux's with every
octet checked, and a download) go on as if nothing were; each reason is counted; nothing dies and nothing is left behind."""
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time

from careless import FAMILY, Server, left
from inside import APPS, Echo, application, counters, curl, domains, main, random_file, sha256, wait_for
from raw_tcp import ACK, FIN, PORTS, PSH, RST, SYN, URG, Link, Peer, checksum, own_ports

SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
rng = random.Random(SEED)
ECHO, HTTP = 7007, 8080
ports = iter(PORTS)
link = Link(int(FAMILY))
HERE = link.stack if FAMILY == "4" else f"[{link.stack}]"


def drops():
    """{server_name: value} of all counters of drops and refusals."""
    return {f"{server}.{name}": value for server, table in counters().items() if server in ("nic", "ip", "tcp")
            for name, value in table.items() if "drop" in name or "challenge" in name or "resets" in name}


def moved(before):
    return {name: value - before.get(name, 0) for name, value in drops().items() if value != before.get(name, 0)}


def peer(port):
    return Peer(link, next(ports), port, rng.randrange(1 << 32))


def incarnations():
    return {d["name"]: (d["pid"], d["incarnation"]) for d in domains()}


# ---- one connection in each state: (peer, server, name of the socket) -> nothing

def in_syn_received(p, server, name):
    p.syn(window=2000)


def in_established(p, server, name):
    p.connect(window=2000)
    assert server("accept", name) == "ok"


def in_fin_wait_1(p, server, name):
    in_established(p, server, name)
    assert server("shutdown", name) == "ok"
    fin = p.next()
    assert fin is not None and fin.flags & FIN, fin
    return fin


def in_fin_wait_2(p, server, name):
    p.rcv_nxt = in_fin_wait_1(p, server, name).end
    p.send()


def in_closing(p, server, name):
    fin = in_fin_wait_1(p, server, name)
    p.send(FIN | ACK)
    p.snd_nxt += 1
    p.next()
    p.rcv_nxt = fin.end


def in_time_wait(p, server, name):
    in_fin_wait_2(p, server, name)
    p.send(FIN | ACK)
    p.snd_nxt += 1
    assert p.next() is not None


def in_close_wait(p, server, name):
    in_established(p, server, name)
    p.send(FIN | ACK)
    p.snd_nxt += 1
    assert p.next() is not None


def in_last_ack(p, server, name):
    in_close_wait(p, server, name)
    assert server("close", name) == "ok"
    fin = p.next()
    assert fin is not None and fin.flags & FIN, fin


def in_listen(p, server, name):
    pass


STATES = [in_listen, in_syn_received, in_established, in_fin_wait_1, in_fin_wait_2, in_closing, in_time_wait, in_close_wait,
          in_last_ack]


def volley(p, flags):
    """One set of flags, sequence and acknowledgement numbers at every edge, with and without data."""
    edges = [p.snd_nxt + d for d in (-2, -1, 0, 1, 1000, 65535, 65536, 1 << 30, 1 << 31, -(1 << 31) + 1)]
    acks = [p.rcv_nxt + d for d in (-65536, -1, 0, 1, 1 << 31)]
    shots = [(seq, ack, data) for seq in edges for ack in acks for data in (b"", b"q" * 3)]
    rng.shuffle(shots)
    for seq, ack, data in shots:
        p.send(flags, data, seq=seq, ack=ack, urgent=rng.choice((0, 1, 0xFFFF)), window=rng.choice((0, 1, 2000, 65535)))


class Bystanders:
    """Four connections of Linux's to an echo, and curl."""

    def __enter__(self):
        self.before = incarnations()
        self.folder = tempfile.TemporaryDirectory(prefix="bh-segments-")
        root = pathlib.Path(self.folder.name)
        random_file(root / "file", 8 << 20, 5)
        self.httpd = application("bh-httpd", "--listen", f"[::]:{HTTP}", root, ready=HTTP)
        self.echo = application("bh-echo", f"[::]:{ECHO}", ready=ECHO)
        self.httpd.__enter__(), self.echo.__enter__()
        self.load = Echo(ECHO, 4)
        wait_for("the bystanders", lambda: self.load.rounds > 50 and left()["slots"] == 4)
        self.rest = left()
        return self

    def check(self):
        rounds = self.load.rounds
        root = pathlib.Path(self.folder.name)
        got = curl("-o", root / "got", f"http://{HERE}:{HTTP}/file", seconds=20)
        assert got.returncode == 0 and sha256(root / "got") == sha256(root / "file"), got.stderr
        wait_for("the bystanders to be served", lambda: self.load.rounds > rounds + 50, 5)
        assert not self.load.wrong and not self.load.errors and not self.load.resets, vars(self.load)
        assert incarnations() == self.before, "a domain died"

    def nothing_left(self, seconds=10):
        """But for the bystanders' own."""
        def more():
            now = left()
            return {k: v for k, v in now.items() if v > self.rest[k] and "loans" not in k}
        try:
            wait_for("everything to be home", lambda: not more(), seconds, 0.1)
        except AssertionError:
            raise AssertionError(f"left behind: {more()}")

    def __exit__(self, *error):
        self.load.finish()
        self.echo.__exit__(*error), self.httpd.__exit__(*error)
        self.folder.cleanup()


def test_states():
    with own_ports():
        for state in STATES:
            before, start, peers = drops(), time.monotonic(), []
            with Server("bulkhead", 512) as server:
                for flags in range(64):
                    p = peer(server.address[1])
                    state(p, server, f"s{flags}")
                    volley(p, flags)
                    link.forget(p.source_port)
                    peers.append(p)
                by.check()
                gone = sum(p.finish() for p in peers)
            print(f"  {state.__name__[3:]}: {time.monotonic() - start:.1f} s, {gone} of 64 gone, "
                  f"{ {k: v for k, v in moved(before).items()} }", flush=True)
            assert gone == 64, f"seed {SEED}: {[p.source_port for p in peers]}"
            by.nothing_left()


def test_closed():
    """Nobody listens there: a RST to all but RSTs."""
    before = drops()
    with own_ports():
        for flags in range(64):
            volley(peer(7999), flags)
        by.check()
    wait_for("the answers to be counted", lambda: sum(v for k, v in moved(before).items() if "resets_out" in k or "drop" in k) > 1000, 2)


def header_cases(p):
    """(what, octets of a segment, counter)"""
    def one(**more):
        return link.segment(p.source_port, p.port, p.snd_nxt, p.rcv_nxt, ACK | PSH, **more)
    good = one(data=b"data")
    yield "checksum", one(data=b"data", spoil=1), "tcp.drop_checksum"
    yield "checksum 0", good[:16] + b"\0\0" + good[18:], "tcp.drop_checksum"
    for offset in range(5):
        yield f"offset {offset}", one(data=b"data" * 5, offset=offset), "tcp.tcp_drop_header"
    for offset in (7, 11, 15):
        yield f"offset {offset} of 24 octets", one(data=b"data", offset=offset), "tcp.tcp_drop_header"
    for length in (1, 3):
        yield f"{length} octets", good[:length], f"ip.ip{FAMILY}_drop_short"
    for length in (8, 13, 19):
        yield f"{length} octets", good[:length], "tcp.drop_checksum"


def option_cases():
    """Kinds that are known with every wrong length, others with lengths that cannot be."""
    for kind, right in ((2, 4), (3, 3), (8, 10)):
        for length in range(0, 41):
            if length != right:
                yield bytes([kind, length]) + b"\1" * min(max(length - 2, 0), 30)
    for kind in (4, 5, 19, 28, 29, 34, 253, 254, 255):
        for length in (0, 1, 39, 40, 41, 255):
            yield bytes([kind, length]) + b"\1" * 6
    yield b"\1\1\1\2"  # ends within an option
    yield b"\1\1\1\xfe"


def test_headers():
    with own_ports(), Server("bulkhead", 512) as server:
        p = peer(server.address[1])
        in_established(p, server, "a")
        for what, octets, counter in header_cases(p):
            before = drops()
            link.send_ip(octets)
            wait_for(f"{what} to be counted as {counter}", lambda: moved(before).get(counter, 0) > 0, 2)
        before = {**counters("tcp")}
        cases = list(option_cases())
        for options in cases:
            p.send(ACK | PSH, b"z", seq=p.snd_nxt + 100000, options=options)  # out of the window besides
            p2 = peer(server.address[1])  # and on a SYN
            p2.send(SYN, ack=0, options=options)
            answer = p2.next(0.02)
            assert answer is None or answer.flags & SYN, answer
            if answer is not None:
                p2.send(RST, seq=p2.snd_nxt + 1)
        bad = wait_for("bad options", lambda: counters("tcp").get("tcp_drop_options", 0) - before.get("tcp_drop_options", 0), 2)
        print(f"  {bad} of {2 * len(cases)} refused for their options", flush=True)
        assert bad > len(cases)
        unharmed(p, server, "a")
        assert p.finish()
        by.check()
    by.nothing_left()


def unharmed(p, server, name):
    """The connection is where it was: data both ways."""
    link.forget(p.source_port)
    p.send(ACK | PSH, b"hello")
    p.snd_nxt += 5
    assert server("read", name, 5) == "5"
    assert server("send", name, 7) == "ok"
    end = time.monotonic() + 3
    while time.monotonic() < end:
        s = p.next(1)
        if s is not None and s.length == 7 and s.seq == p.rcv_nxt:
            p.rcv_nxt = s.end
            p.send()
            return
    raise AssertionError("no data came back")


def test_blind():
    """RFC 5961: what does not know the very next sequence number resets, ends and changes nothing."""
    with own_ports(), Server("bulkhead", 512) as server:
        p = peer(server.address[1])
        in_established(p, server, "a")
        before = counters("tcp")
        for seq in [p.snd_nxt + d for d in (1, 2, 1000, 30000, -1)] + [rng.randrange(1 << 32) for _ in range(200)]:
            if seq & 0xFFFFFFFF != p.snd_nxt & 0xFFFFFFFF:
                p.send(RST, seq=seq)
                p.send(RST | ACK, seq=seq)
            for flags in (SYN, SYN | ACK):
                p.send(flags, seq=seq)
        p.send(SYN, seq=p.snd_nxt)
        for ack in [p.rcv_nxt + d for d in (1, 2, 100000, 1 << 30, -100000, -(1 << 30))]:  # 5.2: not within [una - max window, nxt]
            p.send(ACK | PSH, b"evil", ack=ack)
        for flags in (0, PSH, FIN, PSH | URG):  # no ACK
            p.send(flags, b"evil")
        unharmed(p, server, "a")
        for name in ("tcp_challenge_acks", "tcp_drop_bad_ack", "tcp_drop_no_ack", "tcp_drop_out_of_window"):
            wait_for(f"{name} to move", lambda: counters("tcp").get(name, 0) > before.get(name, 0), 2)
        p.send(RST, seq=p.snd_nxt)
        assert server("poll", "a", 2000) == "POLLIN+POLLERR+POLLHUP" and server("read_all", "a").endswith("ECONNRESET")
        by.check()
    by.nothing_left()


def test_tiny_windows():
    """One octet at a time; then a window that closes, and opens."""
    with own_ports(), Server("bulkhead", 512) as server:
        p = peer(server.address[1])
        p.connect(window=1)
        assert server("accept", "a") == "ok" and server("send", "a", 20000) == "ok"
        got = 0
        while got < 4:
            s = p.next(5)
            assert s is not None and s.length <= 1, f"more than the window: {s}"
            if s.seq == p.rcv_nxt & 0xFFFFFFFF and s.length == 1:
                p.rcv_nxt += 1
                got += 1
                p.send(window=1)
        p.send(window=0)
        probe = p.next(10)
        assert probe is not None and probe.length <= 1, f"no probe: {probe}"
        p.send(window=0)
        by.check()
        p.send(window=65535)
        while got < 20000:
            s = p.next(5)
            assert s is not None, f"{got} octets"
            if s.seq == p.rcv_nxt & 0xFFFFFFFF and s.length > 0:
                p.rcv_nxt += s.length
                got += s.length
                p.send()
        unharmed(p, server, "a")
        assert p.finish()
    by.nothing_left()


def test_holes():
    """Data with a hole after each octet: more ranges than are kept. Then the holes are filled."""
    with own_ports(), Server("bulkhead", 512) as server:
        p = peer(server.address[1])
        in_established(p, server, "a")
        before = counters("tcp")
        for at in range(1, 4000, 2):
            p.send(ACK, b"x", seq=p.snd_nxt + at)
        by.check()
        wait_for("ranges to be full", lambda: counters("tcp").get("tcp_drop_ranges_full", 0) > before.get("tcp_drop_ranges_full", 0), 2)
        link.sync()
        link.forget(p.source_port)
        end, rounds = p.snd_nxt + 4000 & 0xFFFFFFFF, 0
        while p.snd_nxt & 0xFFFFFFFF != end:  # a segment fills one hole
            p.send(ACK, b"x" * min(1000, end - p.snd_nxt & 0xFFFFFFFF))
            answer = p.next()
            assert answer is not None and rounds < 200, f"{rounds} rounds: {answer}"
            p.snd_nxt, rounds = answer.ack, rounds + 1
        assert server("read", "a", 4000) == "4000"
        unharmed(p, server, "a")
        assert p.finish()
    by.nothing_left()


def test_land():
    """From where it goes to, and from addresses that no host has."""
    before = drops()
    listener = ECHO
    sources = {"4": [link.stack, "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "10.77.0.255", "240.0.0.1"],
               "6": [link.stack, "::1", "::", "ff02::1", "::ffff:10.77.0.2"]}[FAMILY]
    for source in sources:
        for flags in (SYN, ACK, SYN | ACK, FIN | PSH | URG, RST):
            for source_port in (listener, 0, 1):
                link.send(source_port, listener, 1, 1, flags, source=source)
        for port in (0, HTTP):
            link.send(port, port, 1, 1, SYN, source=source)
    link.send(0, listener, 1, 1, SYN)
    by.check()
    wait_for("all to be counted", lambda: sum(moved(before).values()) >= len(sources) * 17 + 1, 2)
    print(f"  {moved(before)}", flush=True)
    by.nothing_left()


def test_random():
    """Any octets behind a right checksum, to a listener and a connection."""
    with own_ports(), Server("bulkhead", 512) as server:
        p = peer(server.address[1])
        in_established(p, server, "a")
        for i in range(10000):
            body = bytearray(link.segment(p.source_port if i % 2 else rng.choice(PORTS), p.port, p.snd_nxt + rng.randrange(-70000, 70000),
                                          p.rcv_nxt, rng.randrange(64), rng.randbytes(rng.randrange(30)), rng.randbytes(rng.randrange(40))))
            for _ in range(rng.randrange(4)):
                body[rng.randrange(4, len(body))] = rng.randrange(256)
            body[16:18] = b"\0\0"
            pair = socket.inet_pton(link.af, link.here) + socket.inet_pton(link.af, link.stack)
            body[16:18] = checksum(pair + len(body).to_bytes(4, "big") + bytes([0, 0, 0, 6]) + bytes(body)).to_bytes(2, "big")
            link.send_ip(bytes(body))
        by.check()
        assert p.finish()
    by.nothing_left(30)  # the half-open: Linux resets what is sent to it again


if __name__ == "__main__":
    with Bystanders() as by:
        main([test_states, test_closed, test_headers, test_blind, test_tiny_windows, test_holes, test_land, test_random])
    link.close()
