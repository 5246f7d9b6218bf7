# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: every option of a stream set and read back through the real servers, also on what is accepted; what of them the
Linux peer can see (segment size, resets); options and a backlog over deaths of tcp and socket; rings of chosen sizes, and so
many connections with small ones as the first argument says. The second is the congestion control that the stack was started with."""
import contextlib
import ctypes
import errno
import resource
import select
import socket
import struct
import sys
import threading
import time

from inside import STACK, bulkhead, domain_of, main, wait_for
from stack_socket import _LIBRARY, StackSocket, _good

CONNECTIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
CONGESTION = sys.argv[2] if len(sys.argv) > 2 else "cubic"
PORT = 7100
TCP_MAXSEG, TCP_CORK, TCP_QUICKACK, TCP_CONGESTION, TCP_USER_TIMEOUT = 2, 3, 12, 13, 18
SMALL = 16384


class Stream(StackSocket):
    """A stream on the stack, with what the datagrams of stack_socket.py do without."""

    def __init__(self, fd=None):
        if fd is None:
            super().__init__(kind=socket.SOCK_STREAM)
        else:
            self.family, self.fd = socket.AF_INET, fd

    def listen(self, backlog):
        _good(_LIBRARY.bh_listen(self.fd, backlog))

    def accept(self):
        return Stream(_good(_LIBRARY.bh_accept(self.fd, None, None)))

    def recv(self, size):
        return self.recvfrom(size)[0]

    def octets(self, level, name, size):
        value, length = ctypes.create_string_buffer(size), ctypes.c_uint(size)
        _good(_LIBRARY.bh_getsockopt(self.fd, level, name, value, ctypes.byref(length)))
        return value.raw[:length.value]

    def queued(self, request):
        value = ctypes.c_int()
        _good(_LIBRARY.bh_ioctl(self.fd, ctypes.c_ulong(request), ctypes.byref(value)))
        return value.value


NUMBERS = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
           (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30), (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
           (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4), (socket.IPPROTO_TCP, TCP_USER_TIMEOUT, 60000),
           (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.IPPROTO_TCP, TCP_QUICKACK, 0),
           (socket.IPPROTO_TCP, TCP_CORK, 1), (socket.IPPROTO_IP, socket.IP_TTL, 33), (socket.IPPROTO_IP, socket.IP_TOS, 16)]


@contextlib.contextmanager
def listener(port, backlog=8, options=()):
    with Stream() as s:
        for level, name, value in options:
            s.setsockopt(level, name, value)
        s.bind((STACK, port))
        s.listen(backlog)
        yield s


def from_linux(port):
    s = socket.create_connection((STACK, port), 10)
    s.settimeout(10)
    return s


def segment_of(s):
    """What a Linux socket sends at most in a segment."""
    return struct.unpack_from("=I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 16)[0]


def read_back(s, what):
    for level, name, value in NUMBERS:
        got = s.getsockopt(level, name)
        assert got == value, f"{what}: level {level} option {name}: {got} instead of {value}"


def test_numbers():
    with listener(PORT, options=NUMBERS) as s, from_linux(PORT) as peer, s.accept() as got:
        read_back(s, "listener")
        read_back(got, "accepted")
        for level, name, value in NUMBERS[:-2]:
            got.setsockopt(level, name, value)
        got.setsockopt(socket.IPPROTO_TCP, TCP_CORK, 0)
        got.send(b"x")
        assert peer.recv(1) == b"x"
    with socket.create_server(("", PORT + 1)) as linux, Stream() as s:
        for level, name, value in NUMBERS:
            s.setsockopt(level, name, value)
        s.connect(("10.77.0.1", PORT + 1))
        peer = linux.accept()[0]
        read_back(s, "connected")
        s.setsockopt(socket.IPPROTO_TCP, TCP_CORK, 0)
        s.send(b"y")
        assert peer.recv(1) == b"y"
        peer.close()


def test_segment_size():
    with listener(PORT, options=[(socket.IPPROTO_TCP, TCP_MAXSEG, 600)]) as s, from_linux(PORT) as peer, s.accept() as got:
        assert segment_of(peer) <= 600, f"the peer sends {segment_of(peer)} octets"
        assert 500 < got.getsockopt(socket.IPPROTO_TCP, TCP_MAXSEG) <= 600, got.getsockopt(socket.IPPROTO_TCP, TCP_MAXSEG)
        peer.sendall(b"z" * 5000)
        left = 5000
        while left:
            left -= len(got.recv(left))


def test_figures():
    with listener(PORT) as s, from_linux(PORT) as peer:
        got = s.accept()
        peer.sendall(b"a")
        assert got.recv(1) == b"a"
        got.send(b"b")
        assert peer.recv(1) == b"b"

        def told():
            info = got.octets(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            rto, _, snd_mss, rcv_mss = struct.unpack_from("=IIII", info, 8)
            rtt, _, _, cwnd = struct.unpack_from("=IIII", info, 68)
            return info[0] == 1 and rto >= 200000 and 500 < snd_mss <= 1460 and rcv_mss > 0 and 0 < rtt < 10**6 and cwnd >= 2

        wait_for("figures of an established connection", told)
        assert s.octets(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[0] == 10, "a listener"
        peer.sendall(b"hello")
        wait_for("five octets to be read", lambda: got.queued(0x541b) == 5)
        got.close()


def congestion_of(s):
    return s.octets(socket.IPPROTO_TCP, TCP_CONGESTION, 16).rstrip(b"\0").decode()


def test_congestion():
    """The stack's default, and the other one when it is asked for; accepted connections have their listener's."""
    other = {"cubic": "reno", "reno": "cubic"}[CONGESTION]
    with listener(PORT) as s, from_linux(PORT) as peer, s.accept() as got:
        assert congestion_of(s) == congestion_of(got) == CONGESTION, (congestion_of(s), congestion_of(got))
        for name in (other, CONGESTION, other):
            got.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, name.encode())
            got.send(b"x")
            assert peer.recv(1) == b"x" and congestion_of(got) == name
        try:
            got.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, b"vegas")
            raise AssertionError("there is no vegas")
        except FileNotFoundError:
            pass
    with listener(PORT, options=[(socket.IPPROTO_TCP, TCP_CONGESTION, other.encode())]) as s:
        for server in ("tcp", "socket"):
            with from_linux(PORT), s.accept() as got:
                assert congestion_of(got) == other, congestion_of(got)
            kill(server)


def test_linger():
    with listener(PORT) as s:
        with from_linux(PORT) as peer:
            got = s.accept()
            got.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
            got.close()
            try:
                assert peer.recv(1) != b"", "no reset"
                raise AssertionError("no reset")
            except ConnectionResetError:
                pass
        with from_linux(PORT) as peer:
            got = s.accept()
            got.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 20))
            got.send(b"l" * 100000)
            begin = time.monotonic()
            got.close()
            assert time.monotonic() - begin < 10, "the peer acknowledged all of it at once"
            left = 100000
            while data := peer.recv(65536):
                left -= len(data)
            assert left == 0


def kill(server):
    before = domain_of(server)["incarnation"]
    bulkhead("kill", server)
    wait_for(f"the next {server}", lambda: domain_of(server)["incarnation"] > before and domain_of(server)["state"] == "running")


def test_options_outlive_servers():
    """A listener's options are those of what it accepts also after each of the two who keep them has died."""
    with listener(PORT, options=NUMBERS + [(socket.IPPROTO_TCP, TCP_MAXSEG, 700)]) as s:
        for server in ("tcp", "socket", "tcp"):
            kill(server)
            peer = wait_for("a connection", lambda: attempt(PORT))
            with peer, s.accept() as got:
                assert segment_of(peer) <= 700, f"after {server} died: the peer sends {segment_of(peer)} octets"
                read_back(got, f"after {server} died")
        s.listen(3)
        kill("socket")
        with from_linux(PORT), s.accept():
            pass


def attempt(port):
    try:
        return from_linux(port)
    except OSError:
        return None


def test_backlog_grows():
    """With a backlog of 1 some of six wait; a second listen() lets them in."""
    with listener(PORT, backlog=1) as s:
        peers = []
        for _ in range(6):
            p = socket.socket()
            p.setblocking(False)
            p.connect_ex((STACK, PORT))
            peers.append(p)
        time.sleep(0.3)
        s.listen(64)
        s.settimeout(20)
        waiting = select.poll()
        for p in peers:  # one that a SYN cookie promised a place gets it with its data: its ACK found the queue full
            waiting.register(p, select.POLLOUT)
            assert waiting.poll(20000), "not connected"
            waiting.unregister(p)
            p.send(b"x")
        for g in [s.accept() for _ in peers]:
            assert g.recv(1) == b"x"
            g.close()
        for p in peers:
            p.close()


def test_sizes():
    sizes = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 5000), (socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)]
    with listener(PORT, options=sizes) as s, from_linux(PORT) as peer, s.accept() as got:
        assert (got.getsockopt(*sizes[0][:2]), got.getsockopt(*sizes[1][:2])) == (8192, SMALL)
        data = bytes(range(256)) * 4096
        sender = threading.Thread(target=peer.sendall, args=(data,))
        sender.start()
        received = bytearray()
        while len(received) < len(data):
            received += got.recv(len(data) - len(received))
        sender.join()
        assert received == data
        with listener(PORT + 1) as other, from_linux(PORT + 1), other.accept() as large:
            assert large.getsockopt(*sizes[0][:2]) > 8192, "rings of the default size beside"


def test_many_connections():
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    sizes = [(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL), (socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)]
    with listener(PORT, backlog=4096, options=sizes) as s:
        got = []
        thread = threading.Thread(target=lambda: [got.append(s.accept()) for _ in range(CONNECTIONS)], daemon=True)
        thread.start()
        begin = time.monotonic()
        peers = [socket.socket() for _ in range(CONNECTIONS)]
        waiting = select.epoll()
        for p in peers:  # all at once
            p.setblocking(False)
            assert p.connect_ex((STACK, PORT)) in (0, errno.EINPROGRESS)
            waiting.register(p, select.EPOLLOUT | select.EPOLLONESHOT)
        ready = 0
        while ready < CONNECTIONS:
            events = waiting.poll(30)
            assert events, f"{CONNECTIONS - ready} are not connected after half a minute"
            ready += len(events)
        thread.join(60)
        assert len(got) == CONNECTIONS, f"{len(got)} accepted"
        print(f"{CONNECTIONS} connections in {time.monotonic() - begin:.2f} s", flush=True)
        assert all(g.getsockopt(*sizes[0][:2]) == SMALL for g in got[:10] + got[-10:])
        for g in got:
            g.send(b"hello")
        for p in peers:
            p.setblocking(True)
            p.settimeout(10)
            assert p.recv(5) == b"hello"
            p.sendall(b"x")
        for g in got:
            assert g.recv(1) == b"x"
            g.close()
        for p in peers:
            p.close()


main([test_numbers, test_segment_size, test_figures, test_congestion, test_linger, test_sizes, test_backlog_grows, test_options_outlive_servers,
      test_many_connections])
