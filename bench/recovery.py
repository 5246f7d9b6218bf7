# SPDX-License-Identifier: BSD-2-Clause
"""How long a killed server is away, as its peer on Linux sees it: from the SIGKILL to the first segment of the new incarnation on the
wire, under a light load. A packet socket with the kernel's time stamps sees the wire (a TAP); the parts are from the supervisor's
event of the restart:

    detect      SIGKILL -> the supervisor knows
    restart     -> the next process has its grants (everyone has let go of the dead one)
    restore     -> it is ready: the state is back
    first byte  -> the first segment that is its own

A segment counts from the grants on: what comes before is what the dead one had sent. For tcp, ip and nic it is one of TCP, for udp a
datagram, for socket the answer to a new connection's SYN."""
import argparse
import contextlib
import json
import os
import resource
import signal
import socket
import statistics
import struct
import sys
import threading
import time

from inside import BUILD, STACK, application, domain_of, events, last_event, wait_for

PORT, UDP_PORT = 7007, 7008
PARTS = ("detect", "restart", "restore", "first byte", "total")
UDP_PAUSE = 0.0002
PER_SESSION = 3000  # descriptors of one application: SESSION_DESCRIPTORS is 4096
SO_TIMESTAMPNS = 35
SILENCE_NS = 1000000  # after a kill: packets up to then may be the dead one's
ETH_P_ALL = 3
FACTORED = "nic|ip|tcp|udp|socket"


class Wire(threading.Thread):
    """What the stack sends, as (time in ns, octets of IP) of each packet that `interesting` says yes to."""

    def __init__(self, device, interesting):
        super().__init__(daemon=True)
        self.interesting, self.seen, self.stop = interesting, [], False
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((device, ETH_P_ALL))
        self.socket.settimeout(0.1)
        self.start()

    def run(self):
        while not self.stop:
            with contextlib.suppress(TimeoutError):
                packet, ancillary, _, address = self.socket.recvmsg(256, 64)
                if address[2] == socket.PACKET_OUTGOING or packet[0] >> 4 != 4 or not self.interesting(packet):
                    continue
                seconds, ns = struct.unpack("@qq", ancillary[0][2])
                self.seen.append((seconds * 10**9 + ns, len(packet)))

    def first_since(self, ns):
        return next((at for at, _ in list(self.seen) if at >= ns), None)

    def forget(self):
        self.seen = []


def is_tcp(packet):
    return packet[9] == socket.IPPROTO_TCP


def is_udp(packet):
    return packet[9] == socket.IPPROTO_UDP


def is_answer(packet):
    """SYN and ACK."""
    return is_tcp(packet) and packet[4 * (packet[0] & 15) + 13] & 0x12 == 0x12


INTERESTING = {"nic": is_tcp, "ip": is_tcp, "tcp": is_tcp, "udp": is_udp, "socket": is_answer}


class Load:
    """Each client sends something each millisecond (datagrams: UDP_PAUSE); connections that end are made again and counted."""

    def __init__(self, kind, threads):
        self.kind, self.stop, self.rounds, self.lost = kind, False, 0, 0
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.stop:
            try:
                self._exchanges()
            except OSError:
                self.lost += 1
                time.sleep(0.001)

    def _exchanges(self):
        if self.kind == "udp":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.connect((STACK, UDP_PORT))
                s.setblocking(False)
                while not self.stop:  # what comes while udp is dead is lost: often, so that the pause is not what is measured
                    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                        s.send(b"?" * 64)
                        s.recv(4096)
                        self.rounds += 1
                    time.sleep(UDP_PAUSE)
        while self.kind == "socket" and not self.stop:  # a new connection each time
            with socket.create_connection((STACK, PORT), 5) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.rounds += 1
            time.sleep(0.001)
        with socket.create_connection((STACK, PORT), 5) as s:
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self.stop:  # it does not wait for answers: what was lost in the death is not to be what is measured
                with contextlib.suppress(BlockingIOError):
                    s.send(b"?" * 64)
                    if not s.recv(4096):
                        raise ConnectionResetError
                    self.rounds += 1
                time.sleep(0.001)

    def finish(self):
        self.stop = True
        for thread in self.threads:
            thread.join(15)


class Idle:
    """Many established connections that say nothing; those that were lost are made again."""

    def __init__(self, count):
        self.sockets, self.count, self.lost = [], count, 0

    def fill(self):
        kept = []
        for s in self.sockets:
            try:
                dead = s.recv(1, socket.MSG_PEEK) == b""
            except BlockingIOError:
                dead = False
            except OSError:
                dead = True
            if dead:
                s.close()
                self.lost += 1
            else:
                kept.append(s)
        self.sockets = kept
        while len(self.sockets) < self.count:
            s = socket.create_connection((STACK, PORT + 10 + len(self.sockets) // PER_SESSION), 10)
            s.sendall(b"x")  # it is accepted when the answer comes
            if not s.recv(1):
                raise SystemExit("an idle connection ended at once: raise --connections of bh-echo")
            s.setblocking(False)
            self.sockets.append(s)


def kill_once(server, wire, idle):
    """One kill: microseconds of each part."""
    idle.fill()
    if not idle.sockets:
        time.sleep(0.05)
    before = domain_of(server)
    number = last_event()
    wire.forget()
    killed = time.time_ns()
    os.kill(before["pid"], signal.SIGKILL)
    # to ask for events starts processes, which would have to share the CPU with what is measured: only when something has come
    wait_for("anything on the wire", lambda: wire.first_since(killed + SILENCE_NS), 30, 0.002)
    event = wait_for("the restart", lambda: next((e for e in events(number) if e["kind"] == "restored"), None), 30)
    ready = event["time_us"] * 1000
    _, _, granted_us, ready_us = event["span_us"]
    noticed, granted = ready - ready_us * 1000, ready - (ready_us - granted_us) * 1000
    first = wait_for("a segment", lambda: wire.first_since(granted), 10, 0.002)
    ready = min(ready, first)  # the supervisor may hear of it later than the wire
    parts = noticed - killed, granted - noticed, ready - granted, first - ready, first - killed
    return {name: max(ns, 0) / 1000 for name, ns in zip(PARTS, parts)}


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def table(runs):
    rows = {}
    for name in PARTS:
        values = [r[name] for r in runs]
        rows[name] = {"p50": statistics.median(values), "p90": quantile(values, .9), "p99": quantile(values, .99), "max": max(values)}
    return rows


def print_table(server, what, rows, runs):
    print(f"{server}, {what}: {len(runs)} kills, milliseconds", flush=True)
    print(f"{'':12}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}")
    for name, row in rows.items():
        print(f"{name:12}" + "".join(f"{row[q] / 1000:9.2f}" for q in ("p50", "p90", "p99", "max")), flush=True)


def echoes_of(connections):
    sessions = (connections + PER_SESSION - 1) // PER_SESSION
    stack = contextlib.ExitStack()
    stack.enter_context(application("bh-echo", f"[::]:{PORT}", ready=PORT))
    stack.enter_context(application("bh-echo", "--udp", f"[::]:{UDP_PORT}"))
    for i in range(sessions):
        stack.enter_context(application("bh-echo", "--connections", PER_SESSION + 10, f"[::]:{PORT + 10 + i}", ready=PORT + 10 + i))
    return stack


def inside(arguments):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    result = []
    with echoes_of(arguments.connections):
        for server in arguments.server.split(","):
            wire, load, idle = Wire("bh0", INTERESTING[server]), Load(server, arguments.load), Idle(arguments.connections)
            wait_for("load", lambda: load.rounds > 20, 20)
            runs = [kill_once(server, wire, idle) for _ in range(arguments.kills)]
            load.finish()
            wire.stop = True
            rows = table(runs)
            result.append({"server": server, "partition": arguments.partition, "connections": arguments.connections,
                           "standby": arguments.standby, "kills": len(runs), "idle_lost": idle.lost, "us": rows, "runs": runs})
            if not arguments.json:
                print_table(server, f"{arguments.connections} idle connections" if arguments.connections else "few connections", rows, runs)
                if idle.lost:
                    print(f"{idle.lost} idle connections were lost and made again")
            for s in idle.sockets:
                s.close()
    if arguments.json:
        print(json.dumps(result))
    late = [r for r in result if arguments.median and r["us"]["total"]["p50"] > 1000 * arguments.median
            or arguments.p99 and r["us"]["total"]["p99"] > 1000 * arguments.p99]
    for r in late:
        print(f"recovery: {r['server']} took longer than it may: {r['us']['total']['p50'] / 1000:.2f} ms median, "
              f"{r['us']['total']['p99'] / 1000:.2f} ms p99", file=sys.stderr)
    return 1 if late else 0


def parse():
    parser = argparse.ArgumentParser(prog="bench/recovery", description="Time from the kill of a server to its first new segment on the wire.")
    parser.add_argument("--server", default="tcp", help="which, or several: nic,ip,tcp,udp,socket (default tcp)")
    parser.add_argument("--kills", type=int, default=50, help="of each (default 50)")
    parser.add_argument("--connections", type=int, default=0, help="that are established and idle meanwhile (default 0)")
    parser.add_argument("--load", type=int, default=2, help="clients that send something each millisecond (default 2)")
    parser.add_argument("--partition", default=FACTORED)
    parser.add_argument("--standby", choices=("on", "off"), default="on")
    parser.add_argument("--median", type=float, help="exit status 1 if the median of the total is longer, in ms")
    parser.add_argument("--p99", type=float, help="likewise")
    parser.add_argument("--json", action="store_true", help="one JSON document, with each kill")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    if arguments.inside:
        sys.exit(inside(arguments))
    os.execv(BUILD / "bulkhead", ["bulkhead", "lab", "--partition", arguments.partition, "--standby", arguments.standby, "--",
                                  "python3", os.path.abspath(__file__), "--inside", *sys.argv[1:]])
