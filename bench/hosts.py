# SPDX-License-Identifier: BSD-2-Clause
"""Hosts on both sides of one bad path, in network namespaces of their own:

    Linux    - veth -.                                        .- veth - Linux
                      bridge - TAP - relay (bench/relay.c) - TAP - bridge
    Bulkhead - TAP  -'                                        '- TAP  - Bulkhead

The relay imposes the path; its TAPs have no offload, so the kernel cuts everybody's super-segments before it. What runs this has a
network namespace for the bridges (paths.sh makes it), and all of it ends with its pid namespace."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

from inside import APPS, BUILD, wait_for

FRAME = 1514
PAYLOAD = 1448  # of a full segment with timestamps
STREAM_SHARE = PAYLOAD / FRAME  # goodput of a full link


def ip(*commands):
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


class Linux:
    """A network namespace with Linux's stack, its settings as they are, but that it learns nothing from one run for the next."""

    def __init__(self, bridge, device, address):
        self.address = address
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        wait_for("the namespace", lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own)
        ip(f"link add {device} type veth peer name eth0 netns {self.holder.pid}", f"link set {device} master {bridge}", f"link set {device} up")
        self.run("sh", "-c", "for i in all default eth0; do echo 1 >/proc/sys/net/ipv6/conf/$i/disable_ipv6; done; "
                 f"echo 1 >/proc/sys/net/ipv4/tcp_no_metrics_save; ip link set lo up; ip addr add {address}/16 dev eth0; ip link set eth0 up")

    def enter(self):
        return ["nsenter", "--target", str(self.holder.pid), "--net"]

    def run(self, *command):
        subprocess.run([*self.enter(), *command], check=True)

    def start(self, program, *arguments, **options):
        return subprocess.Popen([*self.enter(), APPS / program, "--stack", "linux", *map(str, arguments)], text=True, **options)

    def counters(self):
        return {}

    def stop(self):
        self.holder.kill()
        self.holder.wait()


def first_in_line():
    """As the kernel's own stack, which works in interrupts: no program of others makes it wait. After the relay (priority 2)."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class Bulkhead:
    def __init__(self, bridge, device, address, folder, options=()):
        self.address, self.run_dir = address, folder / device
        self.environment = os.environ | {"BULKHEAD_RUN_DIR": str(self.run_dir)}
        ready, told = os.pipe()
        self.process = subprocess.Popen([BUILD / "bulkhead", "up", "--driver", f"tap:{device}", "--address", f"{address}/16", "--run-dir", self.run_dir,
                                         "--dad", "off", "--mtu", "1500", "--ready-fd", str(told), *options], pass_fds=[told], preexec_fn=first_in_line)
        os.close(told)
        with os.fdopen(ready, "rb") as end:
            assert end.read(1) == b"r", f"the stack on {device} did not start"
        ip(f"link set {device} txqueuelen 10000", f"link set {device} master {bridge}", f"link set {device} up")

    def start(self, program, *arguments, **options):
        return subprocess.Popen([APPS / program, *map(str, arguments)], text=True, env=self.environment, **options)

    def counters(self):
        done = subprocess.run([BUILD / "bulkhead", "stat", "--json"], capture_output=True, text=True, timeout=30, env=self.environment, check=True)
        return {c["name"]: c["value"] for c in json.loads(done.stdout)["counters"] if c["server"] in ("tcp", "nic", "ip")}

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(15)


class Relay:
    def __init__(self, left, right):
        self.process = subprocess.Popen([BUILD / "bench" / "relay", left, right], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.real_time = self._line()["real_time"]

    def _line(self):
        line = self.process.stdout.readline()
        assert line, "the relay ended"
        return json.loads(line)

    def set(self, to_right="", to_left=""):
        """Other impairments from now on; returns what happened under those before."""
        self.process.stdin.write(f"{to_right or '-'} {to_left or '-'}\n")
        self.process.stdin.flush()
        return self._line()

    def stop(self):
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait(10)
        self.process.stdout.close()


class Path:
    """What lies between the two sides: a buffer of `queue` octets and a bottleneck of `rate` bits a second to the right, half the round trip
    each way, loss to the right (or, with both_ways, to the left, too)."""

    def __init__(self, rate, rtt_ms, loss=0.0, queue=None, seed=1, both_ways=False):
        bdp = int(rate * rtt_ms / 8000)
        self.rate, self.rtt_ms, self.loss, self.seed, self.both_ways = rate, rtt_ms, loss, seed, both_ways
        self.queue = queue or max(bdp, 100 * FRAME)

    def impairments(self):
        delay = f"delay={int(self.rtt_ms * 500)}us"
        loss = f",loss={self.loss:g}%" if self.loss else ""
        back = loss if self.both_ways else ""
        return (f"{delay}{loss},rate={self.rate // 1000}kbit,backlog={self.queue},burst={FRAME},seed={self.seed}",
                f"{delay}{back},rate={self.rate // 1000}kbit,backlog={self.queue},burst={FRAME},seed={self.seed + 1000000}")


class Ground:
    """The bridges, the relay and hosts of both kinds on both sides. `number` keeps several grounds apart."""

    def __init__(self, folder, number=0, options=(), kinds=("linux", "bulkhead")):
        self.hosts, self.port = {}, 20000
        left, right = f"left{number}", f"right{number}"
        folder.mkdir(parents=True, exist_ok=True)
        self.stack = contextlib.ExitStack()
        for scope in "all", "default":  # the bridges have nothing to say on the path
            pathlib.Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")
        for bridge in left, right:
            ip(f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0", f"link set {bridge} up")
        self.relay = Relay(f"rl{number}", f"rr{number}")
        self.stack.callback(self.relay.stop)
        for bridge, device in (left, f"rl{number}"), (right, f"rr{number}"):
            ip(f"link set {device} txqueuelen 10000", f"link set {device} master {bridge}", f"link set {device} up")
        for side, (name, bridge) in enumerate((("left", left), ("right", right)), 1):
            for kind in kinds:
                self.hosts[kind, name] = (Linux(bridge, f"v{name}{number}", f"10.79.{side}.1") if kind == "linux" else
                                          Bulkhead(bridge, f"b{name}{number}", f"10.79.{side}.2", folder, options))
                self.stack.callback(self.hosts[kind, name].stop)

    def stop(self):
        self.stack.close()

    def flow(self, sender, receiver, congestion, seconds, trace=None, buffers=()):
        self.port += 1
        return Flow(self.hosts[sender, "left"], self.hosts[receiver, "right"], self.port, congestion, seconds, trace, buffers)


class Flow:
    """One bulk flow from the left to the right, under way from its making on."""

    def __init__(self, sender, receiver, port, congestion, seconds, trace, buffers):
        self.sender, self.seconds, self.samples = sender, seconds, []
        extra = [*buffers, *(["--trace", trace] if trace else [])]
        self.sink = receiver.start("bh-flow", *buffers, "--listen", f"0.0.0.0:{port}", stdout=subprocess.PIPE)
        assert "listening" in self.sink.stdout.readline(), "bh-flow does not listen"
        self.source = sender.start("bh-flow", "--seconds", seconds, *(["--congestion", congestion] if congestion else []), *extra,
                                   f"{receiver.address}:{port}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self):
        """Waits until the sender is done; its figures. "error": it could not do it."""
        try:
            out, complaint = self.source.communicate(timeout=self.seconds + 60)
        except subprocess.TimeoutExpired:
            self.source.kill()
            out, complaint = "", "bh-flow hangs"
            self.source.communicate()
        self.sink.terminate()
        told, _ = self.sink.communicate(timeout=20)
        self.samples = [tuple(map(int, line.split())) for line in told.splitlines() if len(line.split()) == 2]
        if self.source.returncode != 0 or not out:
            return {"error": complaint.strip() or "no figures", "goodput": 0.0}
        figures = json.loads(out)
        self.start_ns = figures["start_ns"]
        figures["goodput"] = self.goodput(0, self.seconds)
        figures["series"] = [round(self.goodput(t, t + 1) / 1e6, 2) for t in range(self.seconds)]
        return figures

    def received(self, seconds):
        """Octets that the receiving application had so long after the connection was made."""
        at, before = self.start_ns + seconds * 1e9, (self.start_ns, 0)
        for sample in self.samples:
            if sample[0] >= at:
                return before[1] + (sample[1] - before[1]) * (at - before[0]) / max(sample[0] - before[0], 1)
            before = sample
        return before[1]

    def goodput(self, since, until):
        """Bits a second."""
        return (self.received(until) - self.received(since)) * 8 / (until - since)


def checked(report):
    """What the relay did; asserts that it was the path that it is said to be."""
    for way in report.values():
        assert way["oversize"] == way["refused"] == 0, f"the path is not exact: {report}"
    return report


def load():
    return f"{time.strftime('%H:%M:%S')}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs"


def jain(rates):
    return sum(rates) ** 2 / (len(rates) * sum(r * r for r in rates)) if any(rates) else 0.0
