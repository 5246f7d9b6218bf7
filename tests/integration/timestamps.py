# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: Linux and the stack agree on timestamps (RFC 7323), their segments leave room for them, and neither takes
a segment of the other for an old duplicate."""
import pathlib
import socket
import struct
import tempfile

from inside import STACK, STACK6, application, counters, main, random_file

PORT, MEGABYTES = 8080, 32
TIMESTAMPS = 1  # TCPI_OPT_TIMESTAMPS
ROOM = {STACK: 1500 - 40 - 12, STACK6: 1500 - 60 - 12}


def refused_by_linux():
    """Segments that Linux dropped as old duplicates."""
    names, values = [line.split() for line in open("/proc/net/netstat") if line.startswith("TcpExt:")]
    return int(values[names.index("PAWSEstab")])


def fetch(s, path):
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: stack\r\n\r\n".encode())
    received, head = 0, b""
    while b"\r\n\r\n" not in head:
        head += s.recv(65536)
    received = len(head) - head.index(b"\r\n\r\n") - 4
    while received < MEGABYTES << 20:
        received += len(s.recv(1 << 20))


def test_agreed_on():
    before = counters("tcp")
    with tempfile.TemporaryDirectory(prefix="bh-timestamps-") as root:
        random_file(pathlib.Path(root, "file.bin"), MEGABYTES << 20, 1)
        with application("bh-httpd", "--listen", f"[::]:{PORT}", root, ready=PORT):
            for address, room in ROOM.items():
                with socket.create_connection((address, PORT), 10) as s:
                    fetch(s, "/file.bin")
                    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                options, (sent, received) = info[5], struct.unpack_from("II", info, 16)
                assert options & TIMESTAMPS, f"{address}: not agreed on"
                assert sent == room, f"{address}: Linux sends segments of {sent}, not {room}"
                assert received == room, f"{address}: Linux is sent segments of {received}, not {room}"
    for name in ("tcp_drop_paws", "tcp_drop_no_timestamp", "tcp_drop_options"):
        assert counters("tcp")[name] == before[name], name
    assert refused_by_linux() == 0


main([test_agreed_on])
