# SPDX-License-Identifier: BSD-2-Clause
"""The wire between the runner of packet scripts and a stack at 10.77.0.2 and fd77::2: frames in, frames out, by peer. Each script
has an address of its own on this side; the runner answers for it (ARP, neighbour discovery), and no kernel does.

LabLink: bh0 in `bulkhead lab`, beside the kernel of the lab. KernelLink: a TAP whose other side is the kernel of this network namespace."""
import fcntl
import os
import queue
import socket
import struct
import subprocess
import threading
import time

import frames

STACK = {4: "10.77.0.2", 6: "fd77::2"}
MAC = bytes.fromhex("024200000001")
BROADCAST = b"\xff" * 6


def peer_address(family, number):
    """Of script `number`: they come round after 140."""
    return f"10.77.0.{100 + number % 140}" if family == 4 else f"fd77::1:{number % 0xFFFF + 1:x}"


class Link:
    """Subclasses have receive() -> (frame, segment size or 0, whether checksums are whole) and send(frame)."""

    def __init__(self):
        self.stack_mac, self.queues, self.lock = None, {}, threading.Lock()
        self.resolved = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def register(self, address):
        with self.lock:
            self.queues[address] = queue.SimpleQueue()
            return self.queues[address]

    def forget(self, address):
        with self.lock:
            self.queues.pop(address, None)

    def send_ip(self, packet):
        kind = b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd"
        self.send(self.stack_mac + MAC + kind + packet)

    def introduce(self, address):
        """The stack knows where this peer is, and we where the stack is."""
        for _ in range(20):
            self.resolved.clear()
            if ":" in address:
                self.send(frames.solicitation(MAC, address, STACK[6]))
            else:
                self.send(frames.arp(1, MAC, address, b"\0" * 6, STACK[4], BROADCAST))
            if self.resolved.wait(0.5):
                return
        raise SystemExit(f"runner: {STACK[6 if ':' in address else 4]} is not on the link: is the stack up?")

    def _read(self):
        while True:
            frame, size, summed = self.receive()
            now = time.monotonic()
            if len(frame) >= 14 and frame[6:12] != MAC:
                self._frame(frame, size, summed, now)

    def _frame(self, frame, size, summed, now):
        if frame[12:14] == b"\x08\x06":
            self._arp(frame)
            return
        got = frames.read_ip(frame)
        if got is None:
            return
        source, destination, protocol, ecn, packet, body = got
        if protocol == 58:
            self._neighbour(frame, source, body)
        with self.lock:
            to = self.queues.get(destination)
        if to is None:
            return
        if protocol == 6 and (segment := frames.read_tcp(source, destination, ecn, packet, body, now, summed)) is not None:
            for piece in frames.cut(segment, size):
                to.put(piece)

    def _arp(self, frame):
        operation, = struct.unpack(">H", frame[20:22])
        sender, target = socket.inet_ntoa(frame[28:32]), socket.inet_ntoa(frame[38:42])
        if operation == 2 and sender == STACK[4]:
            self.stack_mac = frame[22:28]
            self.resolved.set()
        if operation == 1 and target in self.queues:
            self.send(frames.arp(2, MAC, target, frame[22:28], sender, frame[22:28]))

    def _neighbour(self, frame, source, body):
        if len(body) < 24:
            return
        target = str(frames.ipaddress.ip_address(body[8:24]))
        if body[0] == 136 and target == STACK[6]:
            self.stack_mac = frame[6:12]
            self.resolved.set()
        if body[0] == 135 and target in self.queues and source != "::":
            self.send(frames.advertisement(MAC, target, frame[6:12], source))


class LabLink(Link):
    def __init__(self, device="bh0"):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(263, 15, 1)  # PACKET_VNET_HDR: says how a super-segment is cut, and whether checksums are whole
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((device, 3))
        super().__init__()

    def receive(self):
        while True:
            frame, address = self.socket.recvfrom(1 << 17)
            if address[2] != 4:  # PACKET_OUTGOING
                flags, kind, _, size = struct.unpack("=BBHH", frame[:6])
                return frame[10:], size if kind else 0, not flags & 1

    def send(self, frame):
        self.socket.send(bytes(10) + frame)


class KernelLink(Link):
    """In a network namespace of our own, which this sets up."""

    SETTINGS = {"ipv4/tcp_congestion_control": "reno", "ipv4/tcp_no_metrics_save": "1", "ipv4/tcp_ecn": "2", "ipv4/tcp_mtu_probing": "1", "ipv4/tcp_syn_linear_timeouts": "0",
                "ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0"}

    def __init__(self, device="bh0"):
        for name, value in self.SETTINGS.items():
            with open(f"/proc/sys/net/{name}", "w") as file:
                file.write(value)
        self.tap = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.tap, 0x400454CA, struct.pack("16sH22x", device.encode(), 0x0002 | 0x1000))  # TUNSETIFF: IFF_TAP | IFF_NO_PI
        for command in (f"link set lo up", f"link set {device} up", f"addr add {STACK[4]}/24 dev {device}",
                        f"addr add {STACK[6]}/64 dev {device} nodad"):
            subprocess.run(["ip", *command.split()], check=True)
        super().__init__()

    def receive(self):
        return os.read(self.tap, 1 << 17), 0, True

    def send(self, frame):
        os.write(self.tap, frame)
