# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: `bulkhead capture` on each kind of channel; what it writes decodes and is what crossed. Over a restart of
the domain; with a reader that is too slow; with a command that is killed."""
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile

from inside import (BUILD, HOST, STACK, answers_ping, application, bulkhead, connects, domain_of, main, ping, wait_for)

PORT = 7007
DIRECTORY = pathlib.Path(tempfile.mkdtemp(prefix="bh-capture-"))
INBOUND, OUTBOUND = 1, 2
ETHERNET, RAW, MESSAGES = 1, 101, 147


class Capture:
    """`bulkhead capture` in the background; ended by SIGINT, then `packets` and what the command said."""

    def __init__(self, channel, *options):
        self.path = DIRECTORY / f"{channel}.pcapng"
        self.process = subprocess.Popen([BUILD / "bulkhead", "capture", channel, "-w", self.path, *options],
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert line == f"capturing {channel}\n", line

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()

    def finish(self, interrupt=True):
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, said
        self.captured, self.lost = map(int, re.fullmatch(r"(\d+) captured, (\d+) lost\n", said).groups())
        self.link, self.name, self.packets, self.statistics = read(self.path)
        assert len(self.packets) == self.captured, (len(self.packets), said)
        assert self.statistics == {4: self.captured + self.lost, 5: self.lost}, (self.statistics, said)
        return self.packets


def options(block):
    found, at = {}, 0
    while at < len(block):
        code, length = struct.unpack_from("<HH", block, at)
        if code == 0:
            break
        found[code] = block[at + 4:at + 4 + length]
        at += 4 + (length + 3) // 4 * 4
    return found


def read(path):
    """(link type, interface, [(time in ns, direction, octets, original length)], statistics) of a pcapng file."""
    data, at, packets, link, name, statistics = path.read_bytes(), 0, [], None, None, None
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        assert total % 4 == 0 and struct.unpack_from("<I", data, at + total - 4)[0] == total, (at, kind, total)
        body = data[at + 8:at + total - 4]
        if kind == 1:
            link = struct.unpack_from("<H", body)[0]
            name = options(body[8:])[2].decode()
            assert options(body[8:])[9] == b"\x09"
        elif kind == 6:
            interface, high, low, captured, original = struct.unpack_from("<IIIII", body)
            flags = options(body[20 + (captured + 3) // 4 * 4:])[2]
            packets.append((high << 32 | low, struct.unpack("<I", flags)[0] & 3, body[20:20 + captured], original))
            assert interface == 0
        elif kind == 5:
            statistics = {code: struct.unpack("<Q", value)[0] for code, value in options(body[12:]).items()}
        else:
            assert kind == 0x0a0d0d0a and at == 0, kind
        at += total
    return link, name, packets, statistics


def whole(capture):
    """The packets so far of a file that is being written, up to the last whole block."""
    for _ in range(100):
        try:
            return read(capture.path)[2]
        except (AssertionError, struct.error):
            continue
    raise AssertionError("never a whole block")


def tcpdump(path, *what):
    done = subprocess.run(["tcpdump", "-n", "-v", "-r", path, *what], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def count(path, *what):
    return len(re.findall(r"^\d\d:\d\d:", tcpdump(path, *what), re.M))


def test_frames():
    with Capture("nic-ip") as capture:
        assert ", 0% packet loss" in ping(20, 0.01).stdout
        packets = capture.finish()
    assert (capture.link, capture.name, capture.lost) == (ETHERNET, "nic-ip", 0)
    assert count(capture.path, "icmp[icmptype] == icmp-echo") == 20
    assert count(capture.path, "icmp[icmptype] == icmp-echoreply") == 20
    icmp = [(d, o) for _, d, o, _ in packets if o[12:14] == b"\x08\x00" and o[23] == 1]
    assert all(d == (INBOUND if o[34] == 8 else OUTBOUND) for d, o in icmp), icmp
    times = [t for t, _, _, _ in packets]
    assert times == sorted(times) and 0.15e9 < times[-1] - times[0] < 20e9, times


def talk(octets):
    data = os.urandom(octets)
    with socket.create_connection((STACK, PORT), 10) as s:
        s.settimeout(20)
        got, sent = b"", 0
        while len(got) < octets:
            sent += s.send(data[sent:sent + 65536])
            got += s.recv(1 << 20)
    assert got == data


def test_tcp():
    with Capture("ip-tcp") as capture:
        talk(300000)
        wait_for("the end to be captured", lambda: count(capture.path, "tcp[tcpflags] & tcp-fin != 0") >= 2)
        packets = capture.finish()
    assert (capture.link, capture.lost) == (RAW, 0)
    assert count(capture.path, "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn") == 1
    assert count(capture.path, "tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)") == 1
    payload = {INBOUND: 0, OUTBOUND: 0}
    for _, direction, o, original in packets:
        assert o[0] == 0x45 and original == len(o) == int.from_bytes(o[2:4], "big"), o[:20]
        address = socket.inet_aton(HOST if direction == INBOUND else STACK)
        assert o[12:16] == address, (direction, o[:20])
        payload[direction] += len(o) - 20 - (o[32] >> 4) * 4
    assert payload[INBOUND] >= 300000 and payload[OUTBOUND] >= 300000, payload
    assert "bad cksum" not in re.sub(r"cksum 0x.*?incorrect.*?\)", "", tcpdump(capture.path)), "an IP header is wrong"


def echoes(octets, seconds=5):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(seconds)
        s.connect((STACK, PORT))
        try:
            s.send(b"x" * octets)
            return len(s.recv(65536)) == octets
        except OSError:
            return False


def test_udp():
    wait_for("the UDP echo", lambda: echoes(1, 0.1))
    with Capture("ip-udp") as capture:
        for i in range(10):
            assert echoes(i * 100)
        capture.finish()
    assert count(capture.path, f"udp dst port {PORT}") == count(capture.path, f"udp src port {PORT}") == 10


def test_messages():
    for channel, listen in (("tcp-socket", 17), ("udp-socket", 16)):
        with Capture(channel) as capture:
            kind = ["--udp"] if channel == "udp-socket" else []
            with application("bh-echo", *kind, PORT + 1, ready=None if kind else PORT + 1):
                wait_for(f"{listen}", lambda: any(o[0] == listen for _, _, o, _ in whole(capture)))
            packets = capture.finish()
        assert any(o[0] == 32 for _, _, o, _ in packets), "no answer"
        assert capture.link == MESSAGES and all(len(o) == 128 for _, _, o, _ in packets)
        assert all(d == OUTBOUND for _, d, o, _ in packets if o[0] == listen), channel
        assert all(d == INBOUND for _, d, o, _ in packets if o[0] == 32), channel


def test_snap_and_count():
    with Capture("nic-ip", "--snap", "60", "--count", "4") as capture:
        ping(4, 0.01)
        packets = capture.finish(interrupt=False)
    assert len(packets) == 4 and all(len(o) <= 60 for _, _, o, _ in packets)
    assert any(original == 98 for _, _, _, original in packets), packets
    with Capture("nic-ip", "--seconds", "1") as capture:
        capture.finish(interrupt=False)


def test_restart():
    with Capture("nic-ip") as capture:
        assert answers_ping(2)
        before = domain_of("nic")
        bulkhead("kill", "nic")
        wait_for("a new incarnation", lambda: (d := domain_of("nic"))["incarnation"] > before["incarnation"]
                 and d["state"] == "running")
        wait_for("answers", answers_ping)
        mark = count(capture.path, "icmp[icmptype] == icmp-echoreply")
        assert ", 0% packet loss" in ping(5, 0.01).stdout
        capture.finish()
    assert count(capture.path, "icmp[icmptype] == icmp-echoreply") >= max(mark, 1) + 5


def test_slow_reader():
    with Capture("ip-tcp") as capture:
        capture.process.send_signal(signal.SIGSTOP)
        talk(12 << 20)
        capture.process.send_signal(signal.SIGCONT)
        talk(1000)
        wait_for("what came after", lambda: count(capture.path) > 5)
        capture.finish()
    assert capture.lost > 10, capture.lost


def segments():
    done = subprocess.run([BUILD / "bulkhead", "audit", "--json"], capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert not report["findings"], report["findings"]
    return {s["name"]: s for s in report["segments"]}, report["unseen"]


def test_ends_with_its_command():
    with Capture("nic-ip") as capture:
        rows, unseen = segments()
        row = rows["capture-nic-ip"]
        assert row["writers"] == domain_of("nic")["name"], row
        assert unseen or f"[{capture.process.pid}]" in row["readers"], row
        second = subprocess.run([BUILD / "bulkhead", "capture", "nic-ip", "-w", "/dev/null"], capture_output=True,
                                text=True)
        assert second.returncode == 1 and "captured already" in second.stderr, second
        capture.process.kill()
        capture.process.wait()
    wait_for("the segment to be gone", lambda: "capture-nic-ip" not in segments()[0])
    maps = pathlib.Path(f"/proc/{domain_of('nic')['pid']}/maps")
    if os.access(maps, os.R_OK) and os.geteuid() == 0:
        wait_for("nic to let go", lambda: "memfd:capture" not in maps.read_text())
    with Capture("nic-ip") as capture:
        assert answers_ping(2)
        assert len(capture.finish()) >= 2


def test_wrong_use():
    for arguments, status in ((["ip-nic", "-w", "/dev/null"], 2), (["nic-ip"], 2), ([], 2), (["nic-ip", "-w"], 2),
                              (["nic-ip", "-w", "/dev/null", "--count", "0"], 2),
                              (["nic-ip", "-w", "/dev/null", "--snap", "999999"], 2),
                              (["nic-ip", "-w", "/nowhere/file"], 1),
                              (["nic-ip", "-w", "/dev/null", "--run-dir", "/nowhere"], 1)):
        done = subprocess.run([BUILD / "bulkhead", "capture", *arguments], capture_output=True, text=True, timeout=20)
        assert done.returncode == status and done.stderr.count("\n") == 1, (arguments, done)


def clean():
    for path in DIRECTORY.iterdir():
        path.unlink()
    DIRECTORY.rmdir()


if __name__ == "__main__":
    try:
        with application("bh-echo", PORT, ready=PORT), application("bh-echo", "--udp", PORT):
            main([test_frames, test_tcp, test_udp, test_messages, test_snap_and_count, test_restart, test_slow_reader,
                  test_ends_with_its_command, test_wrong_use])
    finally:
        clean()
