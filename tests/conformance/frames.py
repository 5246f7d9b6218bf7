# SPDX-License-Identifier: BSD-2-Clause
"""Octets of Ethernet, ARP, neighbour discovery, IP, ICMP and TCP, for the runner of packet scripts."""
import dataclasses
import ipaddress
import struct

FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128, "-": 0}
ECN = {"noecn": 0, "ect1": 1, "ect0": 2, "ce": 3}
MASK = 0xFFFFFFFF
ICMP4 = {"net_unreachable": (3, 0), "host_unreachable": (3, 1), "protocol_unreachable": (3, 2), "port_unreachable": (3, 3),
         "frag_needed": (3, 4), "packet_too_big": (3, 4), "net_prohibited": (3, 9), "host_prohibited": (3, 10),
         "admin_prohibited": (3, 13), "time_exceeded": (11, 0), "source_quench": (4, 0)}
ICMP6 = {"net_unreachable": (1, 0), "host_unreachable": (1, 3), "protocol_unreachable": (4, 1), "port_unreachable": (1, 4),
         "frag_needed": (2, 0), "packet_too_big": (2, 0), "net_prohibited": (1, 1), "host_prohibited": (1, 1),
         "admin_prohibited": (1, 1), "time_exceeded": (3, 0)}


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pattern(offset, length):
    """What lies at this place of a stream, whoever sends it (agent.c has the same)."""
    start = offset % 251
    return (PATTERN * (length // 251 + 2))[start:start + length]


PATTERN = bytes(range(251))


def flags_text(flags):
    return "".join(letter for letter, bit in FLAGS.items() if bit & flags) or "-"


@dataclasses.dataclass
class Segment:
    """A TCP segment on the wire: live numbers."""
    seq: int
    ack: int
    flags: int
    window: int
    options: tuple
    payload: bytes
    source_port: int
    port: int
    urgent: int = 0
    ecn: int = 0
    time: float = 0.0
    raw: bytes = b""  # the packet as IP saw it
    fault: str = ""

    @property
    def length(self):
        return len(self.payload)


def pack_options(options):
    out = b""
    for name, *values in options or ():
        if name == "nop":
            out += b"\1"
        elif name == "eol":
            out += b"\0"
        elif name == "mss":
            out += struct.pack(">BBH", 2, 4, values[0])
        elif name == "wscale":
            out += struct.pack(">BBB", 3, 3, values[0])
        elif name == "sackOK":
            out += b"\4\2"
        elif name == "sack":
            out += struct.pack(">BB", 5, 2 + 8 * len(values[0])) + b"".join(struct.pack(">II", a & MASK, b & MASK) for a, b in values[0])
        elif name == "TS":
            out += struct.pack(">BBII", 8, 10, values[0] & MASK, values[1] & MASK)
        else:
            out += values[0]
    return out + b"\0" * (-len(out) % 4)


def unpack_options(data):
    """What cannot be read is one ("raw", octets)."""
    options, at = [], 0
    while at < len(data):
        kind = data[at]
        if kind < 2:
            options.append(("eol",) if kind == 0 else ("nop",))
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        value = data[at + 2:at + size]
        if size < 2 or at + size > len(data):
            return tuple(options) + (("raw", data[at:]),)
        if kind == 2 and size == 4:
            options.append(("mss", struct.unpack(">H", value)[0]))
        elif kind == 3 and size == 3:
            options.append(("wscale", value[0]))
        elif kind == 4 and size == 2:
            options.append(("sackOK",))
        elif kind == 5 and size in (10, 18, 26, 34):
            words = struct.unpack(f">{len(value) // 4}I", value)
            options.append(("sack", tuple(zip(words[::2], words[1::2]))))
        elif kind == 8 and size == 10:
            options.append(("TS", *struct.unpack(">II", value)))
        else:
            options.append(("raw", data[at:at + size]))
        at += size
    return tuple(options)


def pair(here, there):
    return ipaddress.ip_address(here).packed + ipaddress.ip_address(there).packed


def ip_packet(here, there, protocol, body, ecn=0):
    if ":" not in here:
        head = struct.pack(">BBHHHBBH", 0x45, ecn, 20 + len(body), 0, 0x4000, 64, protocol, 0) + pair(here, there)
        return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body
    return struct.pack(">IHBB", 6 << 28 | ecn << 20, len(body), protocol, 64) + pair(here, there) + body


def pseudo(addresses, protocol, body):
    return addresses + struct.pack(">IHBB", len(body), 0, 0, protocol)


def tcp_packet(here, there, segment):
    options = pack_options(segment.options)
    head = struct.pack(">HHIIBBHHH", segment.source_port, segment.port, segment.seq & MASK, segment.ack & MASK,
                       (5 + len(options) // 4) << 4, segment.flags, segment.window, 0, segment.urgent)
    body = head + options + segment.payload
    total = checksum(pseudo(pair(here, there), 6, body) + body)
    return ip_packet(here, there, 6, body[:16] + struct.pack(">H", total) + body[18:], segment.ecn)


def icmp_packet(here, there, kind, mtu, about):
    """An error about a packet of the stack's (from `there`); as much of it as such messages carry."""
    v4 = ":" not in here
    if not v4 and kind not in ICMP6:
        kind = "host_unreachable"
    number, code = (ICMP4 if v4 else ICMP6)[kind]
    rest = struct.pack(">HH", 0, mtu or 0) if v4 else struct.pack(">I", mtu or 0)
    body = struct.pack(">BBH", number, code, 0) + rest + about[:548 if v4 else 1232]
    total = checksum(body if v4 else pseudo(pair(here, there), 58, body) + body)
    return ip_packet(here, there, 1 if v4 else 58, body[:2] + struct.pack(">H", total) + body[4:])


def read_ip(frame):
    """(source, destination, protocol, ecn, packet, body) of an Ethernet frame with IP, or None."""
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00" and len(packet) >= 20:
        at, total = (packet[0] & 15) * 4, struct.unpack(">H", packet[2:4])[0]
        source, destination = (str(ipaddress.ip_address(packet[i:i + 4])) for i in (12, 16))
        return source, destination, packet[9], packet[1] & 3, packet[:total], packet[at:total]
    if kind == b"\x86\xdd" and len(packet) >= 40:
        total = 40 + struct.unpack(">H", packet[4:6])[0]
        source, destination = (str(ipaddress.ip_address(packet[i:i + 16])) for i in (8, 24))
        return source, destination, packet[6], packet[1] >> 4 & 3, packet[:total], packet[40:total]
    return None


def read_tcp(source, destination, ecn, packet, body, time, summed):
    if len(body) < 20 or (body[12] >> 4) * 4 > len(body):
        return None
    source_port, port, seq, ack, offset, flags, window, _, urgent = struct.unpack(">HHIIBBHHH", body[:20])
    offset = (offset >> 4) * 4
    s = Segment(seq, ack, flags, window, unpack_options(body[20:offset]), body[offset:], source_port, port, urgent, ecn, time, packet)
    if summed and checksum(pseudo(pair(source, destination), 6, body) + body) != 0:
        s.fault = "its checksum is wrong"
    return s


def cut(segment, size):
    """A super-segment as the segments that leave a host: CWR on the first, FIN and PSH on the last."""
    if size == 0 or segment.length <= size:
        return [segment]
    pieces = []
    for at in range(0, segment.length, size):
        part = segment.payload[at:at + size]
        flags = segment.flags
        if at + len(part) < segment.length:
            flags &= ~(FLAGS["F"] | FLAGS["P"])
        if at > 0:
            flags &= ~FLAGS["W"]
        pieces.append(dataclasses.replace(segment, seq=(segment.seq + at) & MASK, payload=part, flags=flags))
    return pieces


def arp(operation, mac, address, target_mac, target, to):
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    body += mac + ipaddress.ip_address(address).packed + target_mac + ipaddress.ip_address(target).packed
    return to + mac + b"\x08\x06" + body


def neighbour(mac, source, to_mac, destination, body):
    total = checksum(pseudo(pair(source, destination), 58, body) + body)
    body = body[:2] + struct.pack(">H", total) + body[4:]
    head = struct.pack(">IHBB", 6 << 28, len(body), 58, 255) + pair(source, destination)
    return to_mac + mac + b"\x86\xdd" + head + body


def advertisement(mac, address, to_mac, to):
    return neighbour(mac, address, to_mac, to, struct.pack(">BBHI", 136, 0, 0, 0x60000000) + ipaddress.ip_address(address).packed + b"\2\1" + mac)


def solicitation(mac, address, target):
    packed = ipaddress.ip_address(target).packed
    group = ipaddress.ip_address(b"\xff\2" + bytes(9) + b"\1\xff" + packed[13:])
    return neighbour(mac, address, b"\x33\x33" + group.packed[12:], str(group), struct.pack(">BBHI", 135, 0, 0, 0) + packed + b"\1\1" + mac)
