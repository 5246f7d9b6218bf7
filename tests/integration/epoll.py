# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: one thread serves a thousand connections from one bh_epoll_wait(). Each exchanges data; when the TCP server or
the socket server is killed, everyone who watches is told what became of it, and nobody sleeps for ever."""
import ctypes
import os
import resource
import select
import socket
import struct
import sys
import threading

from inside import STACK, bulkhead, domain_of, main, wait_for
from stack_socket import _LIBRARY, _good, _pack

CONNECTIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
PORT = 7007
EVENT = struct.Struct("=Iq")  # struct epoll_event, packed
AT_ONCE = 64
CTL_ADD = 1


class Server(threading.Thread):
    """Echoes what comes, on edge-triggered connections of a level-triggered listener."""

    def __init__(self):
        super().__init__(daemon=True)
        self.open, self.accepted, self.ended, self.waits, self.told = set(), 0, 0, 0, 0
        self.failure = None
        self.listener = _good(_LIBRARY.bh_socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 0))
        name = _pack(socket.AF_INET, ("0.0.0.0", PORT))
        _good(_LIBRARY.bh_bind(self.listener, name, len(name)))
        _good(_LIBRARY.bh_listen(self.listener, 1024))
        self.epoll = _good(_LIBRARY.bh_epoll_create1(0))
        self.stopped, self.stop_end = os.pipe()
        for fd, events in ((self.listener, select.EPOLLIN), (self.stopped, select.EPOLLIN)):
            self.add(fd, events)
        self.start()

    def add(self, fd, events):
        _good(_LIBRARY.bh_epoll_ctl(self.epoll, CTL_ADD, fd, EVENT.pack(events, fd)))

    def run(self):
        try:
            events = ctypes.create_string_buffer(EVENT.size * AT_ONCE)
            while True:
                n = _good(_LIBRARY.bh_epoll_wait(self.epoll, events, AT_ONCE, -1))
                self.waits += 1
                self.told += n
                for i in range(n):
                    what, fd = EVENT.unpack_from(events, i * EVENT.size)
                    if fd == self.stopped:
                        return
                    self.accept() if fd == self.listener else self.serve(fd)
        except Exception as failure:  # told by the tests
            self.failure = failure

    def accept(self):
        while (fd := _LIBRARY.bh_accept4(self.listener, None, None, socket.SOCK_NONBLOCK)) >= 0:
            self.open.add(fd)
            self.accepted += 1
            self.add(fd, select.EPOLLIN | select.EPOLLET)

    def serve(self, fd):
        data = ctypes.create_string_buffer(16384)
        while (n := _LIBRARY.bh_recv(fd, data, len(data), 0)) > 0:
            _good(_LIBRARY.bh_send(fd, data, n, 0))
        if n == 0 or ctypes.get_errno() != 11:
            _good(_LIBRARY.bh_close(fd))
            self.open.remove(fd)
            self.ended += 1

    def stop(self):
        os.write(self.stop_end, b"x")
        self.join(10)
        assert not self.is_alive() and self.failure is None, self.failure
        for fd in [self.listener, self.epoll, *self.open]:
            _good(_LIBRARY.bh_close(fd))


def connect_all(count):
    sockets = [socket.create_connection((STACK, PORT), 10) for _ in range(count)]
    wait_for("all to be accepted", lambda: len(server.open) == count)
    return sockets


def exchange(sockets, octets=1000):
    for i, s in enumerate(sockets):
        s.settimeout(10)
        s.sendall(i.to_bytes(4, "big") * (octets // 4))
    for i, s in enumerate(sockets):
        got = b""
        while len(got) < octets:
            piece = s.recv(octets)
            assert piece, f"connection {i} ended: {server.failure}"
            got += piece
        assert got == i.to_bytes(4, "big") * (octets // 4), f"connection {i} got another's octets"


def restarts_of(name):
    return domain_of(name)["incarnation"]


def test_a_thousand_at_once():
    sockets = connect_all(CONNECTIONS)
    for _ in range(3):
        exchange(sockets)
    for n in range(50):  # the others have nothing to say
        told = server.told
        exchange(sockets[n:n + 1])
        assert server.told - told < 10, "told of sockets where nothing is new"
    for s in sockets:
        s.close()
    wait_for("the end of each to be told", lambda: not server.open)


def test_socket_server_killed():
    sockets = connect_all(20)
    for _ in range(10):
        life = restarts_of("socket")
        bulkhead("kill", "socket")
        wait_for("the next life", lambda: restarts_of("socket") == life + 1)
        exchange(sockets)
        with socket.create_connection((STACK, PORT), 10) as one:
            exchange([one])
        wait_for("its end to be told", lambda: len(server.open) == 20)
    for s in sockets:
        s.close()
    wait_for("the end of each to be told", lambda: not server.open)


def test_tcp_server_killed():
    for _ in range(10):
        sockets = connect_all(20)
        exchange(sockets)
        life = restarts_of("tcp")
        bulkhead("kill", "tcp")
        wait_for("the next life", lambda: restarts_of("tcp") == life + 1)
        for s in sockets:  # each goes on, or both ends are told
            try:
                s.sendall(b"more")
                s.shutdown(socket.SHUT_WR)
                while s.recv(100):
                    pass
            except OSError:
                pass
            s.close()
        wait_for("the end of each to be told", lambda: not server.open)


def test_nothing_failed():
    server.stop()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    server = Server()
    main([test_a_thousand_at_once, test_socket_server_killed, test_tcp_server_killed, test_nothing_failed])
