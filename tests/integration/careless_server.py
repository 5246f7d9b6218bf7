# SPDX-License-Identifier: BSD-2-Clause
"""A server that does what it is told and nothing else: KIND (linux, bulkhead) FAMILY (4, 6). A line on stdin is a command and its
arguments, the line on stdout what came of it; an error is its name. Sockets have names; the listener's is `listener`."""
import errno
import hashlib
import select
import socket
import struct
import sys
import time

KIND, FAMILY = sys.argv[1], {"4": socket.AF_INET, "6": socket.AF_INET6}[sys.argv[2]]
sockets = {}


def make():
    if KIND == "linux":
        return socket.socket(FAMILY, socket.SOCK_STREAM)
    from stack_socket import StackSocket
    return StackSocket(FAMILY, socket.SOCK_STREAM)


def listen(address, port, backlog):
    s = sockets["listener"] = make()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, int(port)))
    s.listen(int(backlog))


def accept(name):
    sockets[name] = sockets["listener"].accept()[0]


def connect(name, address, port):
    sockets[name] = make()
    sockets[name].connect((address, int(port)))


def peek(name, octets):
    """Waits until so many can be read."""
    end = time.monotonic() + 10
    while (there := len(sockets[name].recv(int(octets), socket.MSG_PEEK))) < int(octets) and time.monotonic() < end:
        time.sleep(0.01)
    return there


def read(name, octets):
    got = 0
    while got < int(octets) and (part := sockets[name].recv(int(octets) - got)):
        got += len(part)
    return got


def read_all(name):
    """Octets, what they are, and how they end."""
    got, digest, end = 0, hashlib.sha256(), "eof"
    try:
        while part := sockets[name].recv(1 << 16):
            got += len(part)
            digest.update(part)
    except OSError as error:
        end = errno.errorcode[error.errno]
    return f"{got} {digest.hexdigest()[:16]} {end}"


def send(name, octets):
    left = int(octets)
    while left > 0:
        left -= sockets[name].send(bytes(min(left, 1 << 16)))


def fill(name):
    """Sends until for half a second nothing more is taken; how much was."""
    s, sent, last = sockets[name], 0, time.monotonic()
    s.setblocking(False)
    while time.monotonic() < last + 0.5:
        try:
            sent += s.send(bytes(1 << 16))
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    s.setblocking(True)
    return sent


def linger(name, seconds):
    sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, int(seconds)))


def shutdown(name, how=socket.SHUT_WR):
    sockets[name].shutdown(int(how))


def listen_again(backlog):
    sockets["listener"].listen(int(backlog))


def close(name):
    sockets.pop(name).close()


def poll(name, timeout_ms):
    """Names of what is there, of POLLIN and what is always told."""
    s = sockets[name]
    if KIND == "linux":
        p = select.poll()
        p.register(s, select.POLLIN)
        found = dict(p.poll(int(timeout_ms))).get(s.fileno(), 0)
    else:
        found = s.poll(select.POLLIN, int(timeout_ms))
    return "+".join(n for n in ("POLLIN", "POLLERR", "POLLHUP") if found & getattr(select, n)) or "nothing"


COMMANDS = {f.__name__: f for f in (listen, listen_again, accept, connect, peek, read, read_all, send, fill, linger, shutdown, close, poll)}
for line in sys.stdin:
    command, *arguments = line.split()
    try:
        result = COMMANDS[command](*arguments)
        print("ok" if result is None else result, flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
