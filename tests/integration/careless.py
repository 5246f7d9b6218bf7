# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: careless applications, and what their peers see of it. Each scenario runs with its server on Linux and on the stack:
both columns have to say the same. FAMILY is 4 or 6."""
import errno
import hashlib
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import time

from inside import STACK, STACK6, counters, main, wait_for

FAMILY = sys.argv[1]
ADDRESS = {"linux": {"4": "10.77.0.1", "6": "fd77::1"}[FAMILY], "bulkhead": {"4": STACK, "6": STACK6}[FAMILY]}
ports = iter(range(7200, 7900))
PROGRAM = pathlib.Path(__file__).with_name("careless_server.py")


class Server:
    """careless_server.py; call it with a command."""

    def __init__(self, kind, backlog=8):
        self.process = subprocess.Popen([sys.executable, PROGRAM, kind, FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.address = (ADDRESS[kind], next(ports))
        assert self("listen", *self.address, backlog) == "ok"

    def begin(self, *command):
        self.process.stdin.write(" ".join(map(str, command)) + "\n")
        self.process.stdin.flush()

    def end(self):
        if not select.select([self.process.stdout], [], [], 60)[0]:  # one line at a time, so none is buffered
            return "no answer within 60 s"
        return self.process.stdout.readline().strip()

    def __call__(self, *command):
        self.begin(*command)
        return self.end()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()


def peer(server, timeout=10, receive=0):
    s = socket.socket(socket.AF_INET if FAMILY == "4" else socket.AF_INET6)
    s.settimeout(timeout)
    if receive:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    s.connect(server.address)
    return s


def pair(server, **options):
    s = peer(server, **options)
    assert server("accept", "a") == "ok"
    return s


def name(error):
    return "timeout" if isinstance(error, TimeoutError) else errno.errorcode[error.errno]


def read_all(s):
    """(octets, how they end)"""
    got = 0
    try:
        while part := s.recv(1 << 16):
            got += len(part)
    except OSError as error:
        return got, name(error)
    return got, "eof"


def quiet(s, seconds=0.7):
    """Nothing comes: no data, no end."""
    s.settimeout(seconds)
    try:
        return f"{s.recv(1)!r} came"
    except OSError as error:
        return name(error)
    finally:
        s.settimeout(10)


def fill(s):
    """Sends until for a second nothing more is taken; (digest, octets)."""
    digest, sent = hashlib.sha256(), 0
    block = os.urandom(1 << 16)
    s.settimeout(1)
    try:
        while True:
            n = s.send(block)
            digest.update(block[:n])
            sent += n
    except TimeoutError:
        return digest.hexdigest()[:16], sent
    finally:
        s.settimeout(10)


def connected(s):
    try:
        return bool(s.getpeername())
    except OSError:
        return False


def abort(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def never_reads(server, s):
    """The window closes, the connection stays, and nothing of what was sent is lost."""
    digest, sent = fill(s)
    told = [quiet(s)]
    s.shutdown(socket.SHUT_WR)
    got = server("read_all", "a").split()
    return told + [got[0] == str(sent), got[1] == digest, got[2]]


def never_reads_and_the_peer_aborts(server, s):
    fill(s)
    abort(s)
    try:  # the reset comes behind the data: poll() has no way to wait for it
        wait_for("the reset", lambda: "POLLHUP" in server("poll", "a", 0), 5)
    except AssertionError:
        pass
    return [server("poll", "a", 0), server("read_all", "a").split()[2]]


def idle_and_the_peer_aborts(server, s):
    abort(s)
    return [server("poll", "a", 5000), server("read_all", "a"), server("read_all", "a"), server("send", "a", 1)]


def never_closes(server, s):
    s.sendall(b"x" * 1000)
    s.shutdown(socket.SHUT_WR)
    told = [server("read_all", "a"), quiet(s), server("send", "a", 500), server("close", "a")]
    return told + [read_all(s)]


def closes_with_data_unread(server, s):
    s.sendall(b"x" * 1000)
    return [server("peek", "a", 1000), server("close", "a"), read_all(s)]


def closes_with_data_half_read(server, s):
    s.sendall(b"x" * 1000)
    return [server("peek", "a", 1000), server("read", "a", 999), server("close", "a"), read_all(s)]


def closes_with_data_read_and_more_comes(server, s):
    s.sendall(b"x" * 1000)
    told = [server("read", "a", 1000), server("close", "a"), read_all(s)]
    for _ in range(2):
        try:
            told.append(s.send(b"y"))
            time.sleep(0.2)
        except OSError as error:
            told.append(name(error))
    return told


def closes_with_data_unsent(server, s):
    sent = int(server("fill", "a"))
    assert sent > 100000, sent
    told = [server("close", "a"), quiet_but_for_data(s)]
    got, end = read_all(s)
    return told + [got == sent, end]


def quiet_but_for_data(s, seconds=0.5):
    """The socket has no error after a while."""
    time.sleep(seconds)
    return s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def closes_with_data_unsent_and_the_peer_aborts(server, s):
    server("fill", "a")
    server("close", "a")
    abort(s)
    return ["ok"]


def dies_idle(server, s):
    server.kill()
    return [read_all(s)]


def dies_with_data_unsent(server, s):
    sent = int(server("fill", "a"))
    server.kill()
    told = [quiet_but_for_data(s)]
    got, end = read_all(s)
    return told + [got == sent, end]


def dies_with_data_unread(server, s):
    s.sendall(b"x" * 1000)
    told = [server("peek", "a", 1000)]
    server.kill()
    return told + [read_all(s)]


def shuts_down_then_reads(server, s):
    told = [server("send", "a", 7), server("shutdown", "a"), read_all(s)]
    server.begin("read_all", "a")
    s.sendall(bytes(300000))
    s.shutdown(socket.SHUT_WR)
    return told + [server.end(), server("send", "a", 1), server("close", "a")]


def reads_after_the_peer_shut_down(server, s):
    s.sendall(bytes(300000))
    s.shutdown(socket.SHUT_WR)
    return [server("read_all", "a"), server("send", "a", 300), server("shutdown", "a"), read_all(s), server("close", "a")]


def both_shut_down(server, s):
    s.shutdown(socket.SHUT_WR)
    return [server("shutdown", "a"), read_all(s), server("read_all", "a"), server("poll", "a", 1000), server("close", "a")]


def shuts_down_twice(server, s):
    return [server("shutdown", "a"), server("shutdown", "a"), read_all(s)]


def sends_after_shutdown(server, s):
    return [server("shutdown", "a"), server("send", "a", 1), server("poll", "a", 0), read_all(s)]


def closes_with_linger_0(server, s):
    return [server("linger", "a", 0), server("close", "a"), read_all(s)]


def closes_with_linger_0_and_data_unsent(server, s):
    server("fill", "a")
    return [server("linger", "a", 0), server("close", "a"), read_all(s)[1]]


def dies_with_linger_0(server, s):
    told = [server("linger", "a", 0)]
    server.kill()
    return told + [read_all(s)]


def closes_with_linger_and_data_unsent(server, s):
    """The close waits, in vain; the data comes all the same."""
    sent = int(server("fill", "a"))
    told, start = [server("linger", "a", 2)], time.monotonic()
    told.append(server("close", "a"))
    seconds = time.monotonic() - start
    got, end = read_all(s)
    return told + [1.5 < seconds < 4, got == sent, end]


def closes_with_linger_and_the_peer_reads(server, s):
    """The close waits until all is acknowledged, and no longer."""
    server("fill", "a")
    told, start = [server("linger", "a", 9)], time.monotonic()
    server.begin("close", "a")
    end = read_all(s)[1]
    return told + [server.end(), time.monotonic() - start < 5, end]


def closes_its_listener_with_connections_waiting(server, s):
    waiting = [peer(server) for _ in range(3)]
    waiting[0].sendall(b"x")
    told = [server("close", "listener"), *map(read_all, waiting)]
    for w in waiting:
        w.close()
    try:
        peer(server)
    except OSError as error:
        told.append(name(error))
    s.sendall(b"x" * 10)  # what was accepted goes on
    return told + [server("read", "a", 10), server("close", "a"), read_all(s)]


def shuts_its_listener_down_with_connections_waiting(server, s):
    waiting = [peer(server) for _ in range(3)]
    told = [server("shutdown", "listener", socket.SHUT_RD), *map(read_all, waiting), server("accept", "b")]
    told += [server("listen_again", 8)]
    with peer(server) as next_one:
        next_one.sendall(b"y")
        told += [server("accept", "b"), server("read", "b", 1)]
    s.sendall(b"x" * 10)
    return told + [server("read", "a", 10)]


def dies_with_connections_waiting(server, s):
    waiting = [peer(server) for _ in range(3)]
    server.kill()
    return [*map(read_all, waiting), read_all(s)]


def accepts_one_that_was_reset(server, s):
    """Linux gives it to accept() all the same."""
    abort(peer(server))
    time.sleep(0.2)
    with peer(server) as next_one:
        next_one.sendall(b"y")
        return [server("accept", "b"), server("read_all", "b"), server("accept", "c"), server("read", "c", 1)]


def accepts_one_that_was_closed(server, s):
    with peer(server) as short:
        short.sendall(b"x" * 100)
    return [server("accept", "b"), server("read_all", "b"), server("close", "b")]


def has_its_queue_full(server, s):
    """backlog + 1 are made; the others' SYNs are dropped, and taken when there is room."""
    others = []
    for _ in range(5):
        other = socket.socket(s.family)
        other.setblocking(False)
        other.connect_ex(server.address)
        others.append(other)
        time.sleep(0.2)

    def made():
        return sum(o.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and connected(o) for o in others)

    told = [made()]
    for i in range(5):
        told.append(server("accept", f"o{i}"))
    try:
        wait_for("all of them", lambda: made() == 5, 10)
    except AssertionError:
        pass
    told.append(made())
    for other in others:
        other.close()
    return told


SCENARIOS = [never_reads, never_reads_and_the_peer_aborts, idle_and_the_peer_aborts, never_closes, closes_with_data_unread,
             closes_with_data_half_read, closes_with_data_read_and_more_comes, closes_with_data_unsent,
             closes_with_data_unsent_and_the_peer_aborts, dies_idle, dies_with_data_unsent, dies_with_data_unread,
             shuts_down_then_reads, reads_after_the_peer_shut_down, both_shut_down, shuts_down_twice, sends_after_shutdown,
             closes_with_linger_0, closes_with_linger_0_and_data_unsent, dies_with_linger_0, closes_with_linger_and_data_unsent,
             closes_with_linger_and_the_peer_reads, closes_its_listener_with_connections_waiting,
             shuts_its_listener_down_with_connections_waiting, dies_with_connections_waiting, accepts_one_that_was_reset,
             accepts_one_that_was_closed, has_its_queue_full]


def column(scenario, kind):
    receive = 1 << 15 if "unsent" in scenario.__name__ or "linger_and" in scenario.__name__ else 0
    with Server(kind, 1 if scenario is has_its_queue_full else 8) as server, pair(server, receive=receive) as s:
        return list(map(str, scenario(server, s)))


def test_careless():
    different = 0
    for scenario in SCENARIOS:
        if len(sys.argv) > 2 and sys.argv[2] != scenario.__name__:
            continue
        start = time.monotonic()
        columns = {kind: column(scenario, kind) for kind in ("linux", "bulkhead")}
        same = columns["linux"] == columns["bulkhead"]
        different += not same
        print(f"{'same     ' if same else 'DIFFERENT'} {scenario.__name__} {time.monotonic() - start:.1f} s: {columns['linux']}"
              + ("" if same else f"\n          the stack: {columns['bulkhead']}"), flush=True)
    assert different == 0, f"{different} of {len(SCENARIOS)} scenarios are not as on Linux"


def left():
    ip, tcp, owner = counters("ip"), counters("tcp"), counters("socket")
    return {"slots": tcp["slots_given"] - tcp["slots_back"], "tcp loans": tcp["loans_out"] - tcp["loans_home"],
            "ip loans": ip["sent"] - ip["loans_home"], "endpoints": tcp["endpoints"],
            "sockets": owner["sockets_made"] - owner["sockets_freed"]}


def test_nothing_left():
    try:
        wait_for("everything to be home", lambda: not any(left().values()), 20, 0.1)
    except AssertionError:
        raise AssertionError(f"left behind: {left()}")


if __name__ == "__main__":
    main([test_careless, test_nothing_left])
