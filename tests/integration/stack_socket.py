# SPDX-License-Identifier: BSD-2-Clause
"""Sockets of the stack for the scripts here: libbulkhead by ctypes, with the names of python's own socket objects."""
import ctypes
import os
import socket
import struct
import threading

from inside import BUILD

_LIBRARY = ctypes.CDLL(str(BUILD / "servers" / "client" / "libbulkhead.so"), use_errno=True)
_DATA = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
for _name, _arguments in (("send", _DATA), ("recv", _DATA), ("recvfrom", _DATA + [ctypes.c_void_p, ctypes.c_void_p]),
                          ("sendto", _DATA + [ctypes.c_void_p, ctypes.c_uint])):
    getattr(_LIBRARY, f"bh_{_name}").restype = ctypes.c_ssize_t
    getattr(_LIBRARY, f"bh_{_name}").argtypes = _arguments


def _pack(family, address):
    host, port = address
    if family == socket.AF_INET:
        return struct.pack("=H", family) + struct.pack("!H4s8x", port, socket.inet_pton(family, host))
    return struct.pack("=H", family) + struct.pack("!HI16sI", port, 0, socket.inet_pton(family, host), 0)


def _unpack(octets):
    family, port = struct.unpack_from("=H", octets)[0], struct.unpack_from("!H", octets, 2)[0]
    place = octets[4:8] if family == socket.AF_INET else octets[8:24]
    return socket.inet_ntop(family, bytes(place)), port


def _good(result):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


class StackSocket:
    def __init__(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM, fd=None):
        self.family = family
        self.fd = _good(_LIBRARY.bh_socket(family, kind, 0)) if fd is None else fd

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        _good(_LIBRARY.bh_close(self.fd))

    def _named(self, call, address):
        packed = _pack(self.family, address)
        _good(call(self.fd, packed, len(packed)))

    def bind(self, address):
        self._named(_LIBRARY.bh_bind, address)

    def connect(self, address):
        self._named(_LIBRARY.bh_connect, address)

    def dissolve(self):
        _good(_LIBRARY.bh_connect(self.fd, struct.pack("=H14x", socket.AF_UNSPEC), 16))

    def _name(self, call):
        name, length = ctypes.create_string_buffer(28), ctypes.c_uint(28)
        _good(call(self.fd, name, ctypes.byref(length)))
        return _unpack(name.raw)

    def getsockname(self):
        return self._name(_LIBRARY.bh_getsockname)

    def getpeername(self):
        return self._name(_LIBRARY.bh_getpeername)

    def listen(self, backlog):
        _good(_LIBRARY.bh_listen(self.fd, backlog))

    def accept(self):
        name, length = ctypes.create_string_buffer(28), ctypes.c_uint(28)
        accepted = StackSocket(self.family, fd=_good(_LIBRARY.bh_accept(self.fd, name, ctypes.byref(length))))
        return accepted, _unpack(name.raw)

    def shutdown(self, how):
        _good(_LIBRARY.bh_shutdown(self.fd, how))

    def setblocking(self, on):
        _good(_LIBRARY.bh_set_nonblocking(self.fd, not on))

    def recv(self, size, flags=0):
        data = ctypes.create_string_buffer(max(size, 1))
        got = _good(_LIBRARY.bh_recv(self.fd, data, size, flags))
        return data.raw[:got]

    def poll(self, events, timeout_ms):
        """What is there of the events of poll(2), or 0."""
        one = ctypes.create_string_buffer(struct.pack("=ihh", self.fd, events, 0), 8)
        _good(_LIBRARY.bh_poll(one, 1, timeout_ms))
        return struct.unpack("=ihh", one.raw)[2]

    def send(self, data, flags=0):
        return _good(_LIBRARY.bh_send(self.fd, data, len(data), flags))

    def sendto(self, data, address, flags=0):
        packed = _pack(self.family, address)
        return _good(_LIBRARY.bh_sendto(self.fd, data, len(data), flags, packed, len(packed)))

    def recvfrom(self, size, flags=0):
        data, name, length = ctypes.create_string_buffer(max(size, 1)), ctypes.create_string_buffer(28), ctypes.c_uint(28)
        got = _good(_LIBRARY.bh_recvfrom(self.fd, data, size, flags, name, ctypes.byref(length)))
        return data.raw[:got], _unpack(name.raw)

    def setsockopt(self, level, name, value):
        data = value if isinstance(value, bytes) else struct.pack("=i", value)
        _good(_LIBRARY.bh_setsockopt(self.fd, level, name, data, len(data)))

    def getsockopt(self, level, name):
        value, length = ctypes.c_int(), ctypes.c_uint(4)
        _good(_LIBRARY.bh_getsockopt(self.fd, level, name, ctypes.byref(value), ctypes.byref(length)))
        return value.value

    def settimeout(self, seconds):
        self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("=qq", int(seconds), int(seconds % 1 * 1e6)))


class Blocked:
    """A call in a thread of its own."""

    def __init__(self, call):
        self.result = self.error = None
        self.thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self.thread.start()

    def _run(self, call):
        try:
            self.result = call()
        except OSError as error:
            self.error = error

    def waits(self):
        return self.thread.is_alive()
