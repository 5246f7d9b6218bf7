# SPDX-License-Identifier: BSD-2-Clause
"""Segments made by hand, of both families, to and from the stack on the lab's bh0. Linux does not answer what comes to PORTS as long
as an `own_ports()` holds."""
import contextlib
import ctypes
import select
import socket
import struct
import subprocess
import time

from inside import HOST, STACK, STACK6, nft, ping

HOST6 = "fd77::1"
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
PORTS = range(20000, 30000)
ETHER = {4: 0x0800, 6: 0x86DD}
MASK = 0xFFFFFFFF


@contextlib.contextmanager
def own_ports():
    nft(f"""table inet raw {{
        chain in {{ type filter hook input priority 0; iifname "bh0" tcp dport {PORTS[0]}-{PORTS[-1]} counter drop; }}
    }}""")
    try:
        yield
    finally:
        nft("delete table inet raw")


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class Segment:
    """One that came."""

    def __init__(self, header, data_length):
        self.source, self.port, self.seq, self.ack, offset, self.flags, self.window = struct.unpack(">HHIIBBH", header[:16])
        self.options = header[20:(offset >> 4) * 4]
        self.length = data_length
        self.end = (self.seq + data_length + bool(self.flags & SYN) + bool(self.flags & FIN)) & MASK

    def __repr__(self):
        letters = "".join(n for b, n in ((FIN, "F"), (SYN, "S"), (RST, "R"), (PSH, "P"), (ACK, "A")) if self.flags & b)
        return f"{letters} seq={self.seq} ack={self.ack} length={self.length} window={self.window}"


class Link:
    """To the stack; what it sends to PORTS is kept by port."""

    def __init__(self, family):
        self.family, self.kept, self.sent = family, {}, 0
        self.af = socket.AF_INET if family == 4 else socket.AF_INET6
        self.here, self.stack = (HOST, STACK) if family == 4 else (HOST6, STACK6)
        ping()
        subprocess.run(["ping", "-q", "-c", "1", "-W", "2", self.stack], capture_output=True, check=True)
        shown = subprocess.run(["ip", "neigh", "show", self.stack], capture_output=True, text=True).stdout
        self.mac = bytes.fromhex(shown.split("lladdr ")[1].split()[0].replace(":", ""))
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self.socket.bind(("bh0", ETHER[family]))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.setblocking(False)
        self._filter(22 if family == 4 else 42)

    def _filter(self, at):
        """Only what has its destination port, `at` octets into the packet, in PORTS: others' traffic would fill the buffer."""
        program = b"".join(struct.pack("HBBI", *i) for i in (
            (0x28, 0, 0, at), (0x35, 0, 2, PORTS[0]), (0x25, 1, 0, PORTS[-1]), (0x06, 0, 0, 0xFFFF), (0x06, 0, 0, 0)))
        code = ctypes.create_string_buffer(program)
        self.socket.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", len(program) // 8, ctypes.addressof(code)))  # SO_ATTACH_FILTER

    def close(self):
        self.socket.close()

    def sync(self):
        """All that was sent before has been seen: the answer of a closed port comes behind it."""
        for _ in range(20):
            self.forget(PORTS[-1])
            self._send_ip(self.segment(PORTS[-1], 7998, 1, 0, SYN))
            if self.next(PORTS[-1], 0.5) is not None:
                return
        raise AssertionError("the stack does not answer")

    def send_ip(self, tcp, source=None, destination=None):
        """The queues on the way have room for some hundreds at most, and drop the rest."""
        self.sent += 1
        if self.sent % 40 == 0:
            self.sync()
        self._send_ip(tcp, source, destination)

    def _send_ip(self, tcp, source=None, destination=None):
        there, here = destination or self.stack, source or self.here
        pair = socket.inet_pton(self.af, here) + socket.inet_pton(self.af, there)
        if self.family == 4:
            header = struct.pack(">BBHHHBBH8s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, pair)
            header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
        else:
            header = struct.pack(">IHBB32s", 6 << 28, len(tcp), 6, 64, pair)
        self.socket.sendto(header + tcp, ("bh0", ETHER[self.family], 0, 0, self.mac))

    def segment(self, source_port, port, seq, ack, flags, data=b"", options=b"", window=0xFFFF, offset=None, spoil=0, urgent=0,
                source=None, destination=None):
        """Octets of a segment with its checksum (right, but for `spoil`)."""
        options += b"\0" * (-len(options) % 4)
        offset = 5 + len(options) // 4 if offset is None else offset
        tcp = struct.pack(">HHIIBBHHH", source_port, port, seq & MASK, ack & MASK, offset << 4, flags, window, 0, urgent) + options + data
        pair = socket.inet_pton(self.af, source or self.here) + socket.inet_pton(self.af, destination or self.stack)
        return tcp[:16] + struct.pack(">H", checksum(pair + struct.pack(">IHBB", len(tcp), 0, 0, 6) + tcp) ^ spoil) + tcp[18:]

    def send(self, *arguments, source=None, destination=None, **more):
        self.send_ip(self.segment(*arguments, source=source, destination=destination, **more), source, destination)

    def _take(self):
        """All that has come, to where it is kept."""
        while True:
            try:
                packet, address = self.socket.recvfrom(70000)
            except BlockingIOError:
                return
            if address[2] == 4:  # PACKET_OUTGOING
                continue
            at = (packet[0] & 15) * 4 if self.family == 4 else 40
            total = struct.unpack(">H", packet[2:4])[0] if self.family == 4 else 40 + struct.unpack(">H", packet[4:6])[0]
            if packet[9 if self.family == 4 else 6] != 6 or len(packet) < at + 20:
                continue
            offset = (packet[at + 12] >> 4) * 4
            s = Segment(packet[at:at + offset], total - at - offset)
            if s.port in PORTS:
                self.kept.setdefault(s.port, []).append(s)

    def next(self, port, seconds=2.0):
        """The next segment to our port, or None."""
        end = time.monotonic() + seconds
        while True:
            self._take()
            if self.kept.get(port):
                return self.kept[port].pop(0)
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return None

    def forget(self, port):
        self._take()
        self.kept.pop(port, None)


class Peer:
    """Our end of a connection to a port of the stack."""

    def __init__(self, link, source_port, port, iss=1000):
        self.link, self.source_port, self.port = link, source_port, port
        self.snd_nxt, self.rcv_nxt = iss, 0

    def send(self, flags=ACK, data=b"", seq=None, ack=None, **more):
        self.link.send(self.source_port, self.port, self.snd_nxt if seq is None else seq, self.rcv_nxt if ack is None else ack, flags,
                       data, **more)

    def next(self, seconds=2.0):
        return self.link.next(self.source_port, seconds)

    def syn(self, **more):
        """Answered: our side of SYN-RECEIVED."""
        for _ in range(5):  # as anybody would: under load it may be dropped
            self.send(SYN, ack=0, **more)
            answer = self.next(1)
            if answer is not None:
                break
        assert answer is not None and answer.flags & (SYN | ACK) == SYN | ACK, f"no SYN-ACK: {answer}"
        self.snd_nxt += 1
        self.rcv_nxt = answer.end
        return answer

    def connect(self, **more):
        answer = self.syn(**more)
        self.send(window=more.get("window", 0xFFFF))
        return answer

    def finish(self, patience=6):
        """Whatever became of it: asks where the other end stands with something old, and resets exactly there. True: it is gone."""
        for _ in range(patience):
            self.link.sync()
            self.link.forget(self.source_port)
            self.send(ACK, seq=self.snd_nxt - 100000)
            answer = self.next(0.15)
            while answer is not None and not answer.flags & RST and not answer.flags & ACK:
                answer = self.next(0.15)
            if answer is not None and answer.flags & RST:
                return True
            if answer is not None:
                self.send(RST | ACK, seq=answer.ack, ack=answer.end)
        return False
