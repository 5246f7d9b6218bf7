# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab whose policy lets this user attach (or not: `policy.py denied`), with two sockets in each of three sessions, bind
7000 to 7010 and what the stack chooses, and reach 10.77.0.1 at 9000 to 9009: each refusal has its errno, what is permitted works,
and a socket server that was killed goes on refusing."""
import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys

from inside import BUILD, HOST, bulkhead, counters, domain_of, events, main, wait_for

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
bh = ctypes.CDLL(BUILD / "servers" / "client" / "libbulkhead.so.0", use_errno=True)


def address(host, port):
    return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)


def call(name, *arguments):
    """The result, or minus the errno."""
    ctypes.set_errno(0)
    result = getattr(bh, name)(*arguments)
    return result if result >= 0 else -ctypes.get_errno()


class Socket:
    def __init__(self, kind):
        self.fd = call("bh_socket", socket.AF_INET, kind, 0)
        assert self.fd >= 0, os.strerror(-self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert call("bh_close", self.fd) == 0

    def to(self, name, host, port):
        return call(name, self.fd, address(host, port), 16)

    def send(self, data, host, port):
        return call("bh_sendto", self.fd, data, len(data), 0, address(host, port), 16)


def test_denied():
    result = call("bh_attach", None)
    assert result == -errno.EACCES, result
    refused = [e for e in events() if e["kind"] == "refused"]
    assert refused and f"uid {os.getuid()}," in refused[0]["text"], refused
    assert counters("supervisor")["attaches_refused_by_policy"] >= 1


def test_bind():
    for kind in (STREAM, DATAGRAM):
        for port, expected in ((80, -errno.EACCES), (6999, -errno.EACCES), (7011, -errno.EACCES), (7000, 0), (0, 0)):
            with Socket(kind) as s:
                got = s.to("bh_bind", "0.0.0.0", port)
                assert got == expected, f"bind to {port}: {got}, not {expected}"


def test_connect():
    for kind in (STREAM, DATAGRAM):
        with socket.socket(socket.AF_INET, kind) as peer:
            peer.bind((HOST, 9000))
            if kind == STREAM:
                peer.listen()
            for host, port, expected in ((HOST, 9010, -errno.EACCES), (HOST, 8999, -errno.EACCES),
                                         ("10.77.0.9", 9000, -errno.EACCES), (HOST, 9000, 0)):
                with Socket(kind) as s:
                    got = s.to("bh_connect", host, port)
                    assert got == expected, f"connect to {host}:{port}: {got}, not {expected}"


def test_datagrams():
    """Also without a connect, nothing goes where the rule does not let it."""
    with socket.socket(socket.AF_INET, DATAGRAM) as allowed, socket.socket(socket.AF_INET, DATAGRAM) as other:
        allowed.bind((HOST, 9001))
        other.bind((HOST, 9100))
        before = counters("udp").get("drop_send_policy", 0)
        with Socket(DATAGRAM) as s:
            assert s.send(b"no", HOST, 9100) == 2
            wait_for("a counted drop", lambda: counters("udp")["drop_send_policy"] == before + 1)
            assert s.send(b"yes", HOST, 9001) == -errno.EACCES # of the first, once
            assert s.send(b"yes", HOST, 9001) == 3
            allowed.settimeout(10)
            assert allowed.recv(100) == b"yes"
        other.setblocking(False)
        try:
            raise AssertionError(f"came through: {other.recv(100)}")
        except BlockingIOError:
            pass


def test_sockets():
    with Socket(STREAM), Socket(DATAGRAM):
        got = call("bh_socket", socket.AF_INET, STREAM, 0)
        assert got == -errno.EMFILE, got
    with Socket(STREAM):
        pass


def test_sessions():
    """This one is the first of three."""
    holders = []
    try:
        for expected in ("0", "0", str(-errno.EDQUOT)):
            holder = subprocess.Popen([sys.executable, __file__, "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            holders.append(holder)
            got = holder.stdout.readline().strip()
            assert got == expected, f"session {len(holders) + 1}: {got}, not {expected}"
    finally:
        for holder in holders:
            holder.communicate("\n", timeout=10)


def test_memory():
    """Sixteen slots of 8 MiB are twice what the rule gives a session: it gets no socket."""
    code = ("import sys; sys.argv = ['', 'none']; exec(open(%r).read()); "
            "[call('bh_set_option', o, v) for o, v in ((1, 16), (2, 4 << 20), (3, 4 << 20))]; "
            "print(call('bh_attach', None), call('bh_socket', socket.AF_INET, STREAM, 0))") % __file__
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["0", str(-errno.ENOBUFS)], (done.stdout, done.stderr)


def test_after_a_kill():
    for server in ("socket", "udp"):
        life = domain_of(server)["incarnation"]
        bulkhead("kill", server)
        wait_for(f"{server} to run again",
                 lambda: domain_of(server)["incarnation"] > life and domain_of(server)["state"] == "running")
    for test in (test_bind, test_connect, test_datagrams, test_sockets, test_sessions):
        test()


mode = sys.argv[1] if len(sys.argv) > 1 else "limits"
if mode == "hold":
    print(call("bh_attach", None), flush=True)
    sys.stdin.readline()
elif mode == "denied":
    main([test_denied])
elif mode == "limits":
    assert call("bh_attach", None) == 0
    main([test_bind, test_connect, test_datagrams, test_sockets, test_sessions, test_memory, test_after_a_kill])
