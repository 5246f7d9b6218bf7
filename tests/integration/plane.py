# SPDX-License-Identifier: BSD-2-Clause
"""The management plane without a process for each request: nanomsg by ctypes and as much of Protocol Buffers as the replies
need, so that a test can look at counters and kill within milliseconds. Field numbers are those of ipc/manage.proto."""
import ctypes
import os
import random
import signal

AF_SP, NN_REQ, NN_SOL_SOCKET, NN_SNDTIMEO, NN_RCVTIMEO, NN_RCVMAXSIZE = 1, 48, 0, 4, 5, 16
TIMEOUT_MS = 10000


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    """One field: an int, or octets."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data):
    """(number, int or octets) of a message."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            octet = data[at]
            at += 1
            value |= (octet & 0x7F) << shift
            shift += 7
            if octet < 0x80:
                return value

    while at < len(data):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        else:
            length = number()
            yield key >> 3, data[at:at + length]
            at += length


class Plane:
    """A connection to the socket for changing (which answers everything)."""

    def __init__(self, run_dir=None):
        self.nn = ctypes.CDLL("libnanomsg.so.5", use_errno=True)
        self.nn.nn_recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        self.socket = self.nn.nn_socket(AF_SP, NN_REQ)
        for option, value in ((NN_SNDTIMEO, TIMEOUT_MS), (NN_RCVTIMEO, TIMEOUT_MS), (NN_RCVMAXSIZE, 1 << 24)):
            self.nn.nn_setsockopt(self.socket, NN_SOL_SOCKET, option, ctypes.byref(ctypes.c_int(value)), 4)
        path = f"ipc://{run_dir or os.environ['BULKHEAD_RUN_DIR']}/control"
        if self.socket < 0 or self.nn.nn_connect(self.socket, path.encode()) < 0:
            raise OSError(ctypes.get_errno(), f"no management plane at {path}")
        self.buffer = ctypes.create_string_buffer(1 << 20)
        self.id = random.getrandbits(62)

    def close(self):
        self.nn.nn_close(self.socket)

    def ask(self, number, body=b""):
        """The reply's fields, by number."""
        self.id += 1
        request = field(1, self.id) + field(number, body)
        if self.nn.nn_send(self.socket, request, len(request), 0) < 0:
            raise OSError(ctypes.get_errno(), "request not sent")
        length = self.nn.nn_recv(self.socket, self.buffer, len(self.buffer), 0)
        if length < 0:
            raise OSError(ctypes.get_errno(), "no reply")
        reply = dict(fields(self.buffer.raw[:length]))
        if 2 in reply:
            raise AssertionError(reply[2].decode())
        return reply

    def domains(self):
        """{server: (pid, incarnation, state)}"""
        table = {}
        for number, value in fields(self.ask(2)[3]):
            if number == 1:
                all_of = list(fields(value))
                d = dict(all_of)
                for n, name in all_of:
                    if n == 3:
                        table[name.decode()] = (d.get(4, 0), d.get(6, 0), d[7].decode())
        return table

    def counters(self):
        """{server: {name: value}}"""
        table = {}
        for number, value in fields(self.ask(3)[4]):
            if number == 1:
                c = dict(fields(value))
                table.setdefault(c[1].decode(), {})[c[2].decode()] = c.get(3, 0)
        return table

    def kill(self, server, signo=signal.SIGKILL):
        self.ask(5, field(1, server.encode()) + field(2, int(signo)))
