# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: what the stack says of text that came out of order, or twice, to segments made by hand; and Linux, whose
packets are lost, recovers by it."""
import random
import socket
import struct
import threading

from inside import STACK, STACK6, application, counters, main, nft, super_segments_off
from raw_tcp import ACK, MASK, PORTS, PSH, RST, Link, Peer, own_ports

ECHO = 7007
SACK = 2  # TCPI_OPT_SACK
PERMITTED = b"\x02\x04\x05\xb4\x01\x01\x04\x02"
TIMESTAMP = b"\x01\x01\x08\x0a"
ports = iter(PORTS)


def blocks(segment, base):
    """Of its option, as offsets from `base`."""
    at, o = 0, segment.options
    while at < len(o) and o[at]:
        if o[at] == 1:
            at += 1
            continue
        if o[at] == 5:
            edges = struct.unpack(f">{(o[at + 1] - 2) // 4}I", o[at + 2:at + o[at + 1]])
            return [((a - base) & MASK, (b - base) & MASK) for a, b in zip(edges[::2], edges[1::2])]
        at += o[at + 1]
    return []


def test_blocks():
    """RFC 2018 5 case 3, then a duplicate of what is held and one of what is acknowledged (RFC 2883 4)."""
    for family in (4, 6):
        link = Link(family)
        for timestamps in (False, True):
            p = Peer(link, next(ports), ECHO, 0xFFFFFF00)
            clock = TIMESTAMP + struct.pack(">II", 1, 0) if timestamps else b""
            answer = p.connect(options=PERMITTED + clock)
            assert b"\x04\x02" in answer.options, answer.options
            if timestamps:
                clock = TIMESTAMP + struct.pack(">II", 2, struct.unpack(">I", answer.options[8:12])[0])
            base = p.snd_nxt
            p.send(options=clock)
            for start, ack, expected in ((100, 0, [(100, 200)]), (300, 0, [(300, 400), (100, 200)]),
                                         (500, 0, [(500, 600), (300, 400), (100, 200)]),
                                         (400, 0, [(300, 600), (100, 200)]), (300, 0, [(300, 400), (300, 600), (100, 200)]),
                                         (200, 0, [(100, 600)])):
                p.send(ACK | PSH, b"x" * 100, seq=base + start, options=clock)
                got = p.next()
                assert got is not None and (got.ack - base) & MASK == ack, (start, got)
                assert blocks(got, base) == expected, (family, timestamps, start, blocks(got, base))
            p.send(ACK | PSH, b"x" * 100, seq=base, options=clock)
            got = p.next()
            assert (got.ack - base) & MASK == 600 and not blocks(got, base), got
            p.snd_nxt = base + 600
            while got is not None and got.length < 600:  # the echo
                got = p.next()
            assert got is not None
            p.rcv_nxt = got.end
            p.send(options=clock)
            p.send(ACK | PSH, b"x" * 100, seq=base + 200, options=clock)
            got = p.next()
            assert (got.ack - base) & MASK == 600 and blocks(got, base) == [(200, 300)], (got, blocks(got, base))
            p.send(RST | ACK)
        link.close()


def of_linux(name):
    names, values = [line.split() for line in open("/proc/net/netstat") if line.startswith("TcpExt:")]
    return int(values[names.index(name)])


def through_echo(address, octets, algorithm=b"reno", before=None):
    """So many octets there and back, each looked at; what Linux says of the connection then (TCP_INFO)."""
    data = random.Random(octets).randbytes(octets)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm)
        s.settimeout(60)
        s.connect((address, ECHO))
        sender = threading.Thread(target=s.sendall, args=(data,))
        sender.start()
        received = bytearray()
        while len(received) < octets:
            part = s.recv(1 << 20)
            assert part, "ended early"
            received += part
        sender.join()
        assert received == data, "not what was sent"
        return s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 200)


def test_linux_recovers():
    """A packet of fifteen goes astray, to a port where nobody is: of what is dropped here Linux would know."""
    super_segments_off()
    nft(f"""table inet sack {{
        chain out {{ type filter hook output priority 0; oifname "bh0" tcp dport {ECHO} numgen inc mod 15 == 14 counter tcp dport set 9; }}
    }}""")
    by_sack, by_count = of_linux("TCPSackRecovery"), of_linux("TCPRenoRecovery")
    for address in (STACK, STACK6):
        before = counters("tcp")
        info = through_echo(address, 8 << 20)
        assert info[5] & SACK, f"{address}: not agreed on"
        print(address, {name: of_linux(name) for name in ("TCPSackRecovery", "TCPRenoRecovery", "TCPDSACKRecv", "TCPTimeouts")},
              {name: counters("tcp")[name] - before[name] for name in ("tcp_out_of_order", "tcp_dsacks_out", "tcp_retransmits")})
    nft("delete table inet sack")
    assert of_linux("TCPSackRecovery") > by_sack, "Linux did not recover by SACK"
    assert of_linux("TCPRenoRecovery") == by_count, "Linux recovered without SACK"
    assert counters("tcp")["tcp_out_of_order"] > 0 and counters("tcp")["tcp_drop_options"] == 0


if __name__ == "__main__":
    with application("bh-echo", f"[::]:{ECHO}", ready=ECHO), own_ports():
        main([test_blocks, test_linux_recovers])
