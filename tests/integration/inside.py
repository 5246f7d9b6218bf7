# SPDX-License-Identifier: BSD-2-Clause
"""What runs inside `bulkhead lab`, on the Linux side at 10.77.0.1: starts applications on the stack, talks to them with
Linux's own programs, kills servers, and asserts. Used by the integration tests and the demo."""
import array
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BULKHEAD_BUILD", ROOT / "build")).resolve()
APPS = BUILD / "bench" / "apps"
STACK = "10.77.0.2"
STACK6 = "fd77::2"
HOST = "10.77.0.1"
HOST6 = "fd77::1"
SERVERS = ("nic", "ip", "tcp", "udp", "socket")


def wait_for(what, condition, seconds=10.0, step=0.005):
    """Waits for a condition with a deadline; returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(step)


def host_behind(near, far):
    """A network namespace, held by a process of ours that the caller ends, and a pair of veth devices: `far` is in it."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "120"])
    own = os.readlink("/proc/self/ns/net")
    wait_for("a namespace", lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != own)  # and not before: it would stay here
    subprocess.run(["ip", "link", "add", near, "type", "veth", "peer", "name", far, "netns", str(holder.pid)], check=True)
    return holder


def bulkhead(*arguments, check=True):
    done = subprocess.run([BUILD / "bulkhead", *arguments], capture_output=True, text=True, timeout=30)
    if check and done.returncode != 0:
        raise AssertionError(f"bulkhead {' '.join(arguments)}: {done.returncode} {done.stderr.strip()}")
    return done.stdout


def domains():
    return json.loads(bulkhead("ps", "--json"))["domains"]


def domain_of(server):
    return next(d for d in domains() if server in d["servers"])


def counters(server=None):
    """All counters: {server: {name: value}}."""
    table = {}
    for c in json.loads(bulkhead("stat", "--json"))["counters"]:
        table.setdefault(c["server"], {})[c["name"]] = c["value"]
    return table if server is None else table.get(server, {})


def events(since=0):
    return json.loads(bulkhead("events", "--json", "--since", str(since)))["events"]


def last_event():
    return max((e["number"] for e in events()), default=0)


def restored_after(number, server):
    """The event of the server's restart that came after event `number`."""
    return wait_for(f"{server} to be restored", lambda: next(
        (e for e in events(number) if e["kind"] == "restored" and server in e["subject"].replace("+", " ").split()), None), 10)


@contextlib.contextmanager
def application(name, *arguments, ready=None, output=subprocess.DEVNULL):
    """One of bench/apps on the stack; ended with SIGTERM."""
    process = subprocess.Popen([APPS / name, *map(str, arguments)], stdout=output, stderr=sys.stderr,
                               text=output == subprocess.PIPE)
    try:
        if ready is not None:
            wait_for(f"{name} to listen", lambda: connects(ready), 10)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{name} did not end on SIGTERM")


def connects(port, timeout=0.5):
    try:
        socket.create_connection((STACK, port), timeout).close()
        return True
    except OSError:
        return False


def ping(count=1, interval=0.002, deadline=2):
    return subprocess.run(["ping", "-q", "-c", str(count), "-i", str(interval), "-W", str(deadline), STACK],
                          capture_output=True, text=True, timeout=count * interval + 20)


def answers_ping(seconds=0.2):
    return subprocess.run(["ping", "-q", "-c", "1", "-W", str(seconds), STACK], capture_output=True).returncode == 0


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def random_file(path, octets, seed):
    """Pseudo-random, reproducible, quick: a random block with a running number in it."""
    block = bytearray(random.Random(seed).randbytes(1 << 20))
    with open(path, "wb") as file:
        for i in range(0, octets, len(block)):
            block[0:8] = i.to_bytes(8, "little")
            file.write(block[:min(len(block), octets - i)])


def curl(*arguments, seconds=120):
    return subprocess.run(["curl", "-sS", "--fail", "--max-time", str(seconds), *map(str, arguments)],
                          capture_output=True, text=True)


def nft(script):
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


def drop_percent(percent):
    """Drops that many of a hundred packets, both ways, on the Linux side. A super-segment is one packet: super_segments_off()
    leaves the stack's only."""
    nft(f"""table inet loss {{
        chain in {{ type filter hook input priority 0; iifname "bh0" meta random < {int(percent / 100 * 2**32)} counter drop; }}
        chain out {{ type filter hook output priority 0; oifname "bh0" meta random < {int(percent / 100 * 2**32)} counter drop; }}
    }}""")


def super_segments_off(device="bh0"):
    """As `ethtool -K bh0 tso off gso off`: Linux sends a frame for each segment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for command in (0x1F, 0x24):  # ETHTOOL_STSO, ETHTOOL_SGSO
            value = array.array("I", [command, 0])
            request = struct.pack("16sP16x", device.encode(), value.buffer_info()[0])
            fcntl.ioctl(s, 0x8946, request)  # SIOCETHTOOL


def resources(pids):
    """Descriptors, maps and kilobytes of memory of each pid: private pages (shared segments count while nobody else has touched
    them), and anonymous ones, which are nobody else's."""
    found = {}
    for pid in pids:
        private = anonymous = 0
        for line in open(f"/proc/{pid}/smaps_rollup"):
            if line.startswith("Anonymous:"):
                anonymous = int(line.split()[1])
            if line.startswith("Private_"):
                private += int(line.split()[1])
        found[pid] = {"descriptors": len(os.listdir(f"/proc/{pid}/fd")), "private_kib": private, "anonymous_kib": anonymous,
                      "maps": sum(1 for _ in open(f"/proc/{pid}/maps"))}
    return found


def spares_are_there():
    """Waits until each domain has its spare, and what its next life gets is made; meanwhile the supervisor holds more, then less."""
    wait_for("spares", lambda: all(d.get("spare_pid") for d in domains()), 20)
    time.sleep(0.5)


def echoes(port, data=b"?"):
    """One round trip through an echo application: what it does for a connection that it accepts is done."""
    with socket.create_connection((STACK, port), 5) as s:
        s.sendall(data)
        return s.recv(len(data), socket.MSG_WAITALL) == data


class Echo:
    """Connections to an echo application, each checking every octet; counts what it saw. One that ends is made again, unless
    `again` is false."""

    def __init__(self, port, connections, size=64, host=STACK, again=True, patience=5):
        self.host, self.port, self.size, self.stop, self.again, self.patience = host, port, size, False, again, patience
        self.rounds = self.resets = self.wrong = self.connects = 0
        self.errors = []
        self.last = [time.monotonic()] * connections
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(connections)]
        for thread in self.threads:
            thread.start()

    def _run(self, i):
        rng = random.Random(i)
        while not self.stop:
            try:
                with socket.create_connection((self.host, self.port), self.patience) as s:
                    self.connects += 1
                    while not self.stop:
                        data = rng.randbytes(rng.randrange(1, self.size))
                        s.sendall(data)
                        got = b""
                        while len(got) < len(data):
                            part = s.recv(len(data) - len(got))
                            if not part:
                                raise ConnectionResetError
                            got += part
                        if got != data:
                            self.wrong += 1
                        self.rounds += 1
                        self.last[i] = time.monotonic()
            except (ConnectionResetError, ConnectionRefusedError, BrokenPipeError):
                self.resets += 1
            except OSError as error:
                self.errors.append(f"{i}: {type(error).__name__} {error}")
            if not self.again:
                return
            if not self.stop:
                time.sleep(0.01)

    def finish(self):
        self.stop = True
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive(), "an echo connection hangs"


@contextlib.contextmanager
def events_on_failure(name):
    """What fails inside shows the last events of the stack."""
    try:
        yield
    except Exception:
        told = []
        with contextlib.suppress(OSError):
            told = subprocess.run([BUILD / "bulkhead", "events"], capture_output=True, text=True).stdout.splitlines()
        print(f"{name} failed, load {os.getloadavg()[0]:.0f}; the last events:", *told[-25:], sep="\n  ", flush=True)
        raise


def answers_datagram(port, seconds=0.3):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(seconds)
        try:
            s.sendto(b"anyone", (STACK, port))
            return s.recv(64) == b"anyone"
        except OSError:
            return False


def main(tests):
    """Runs the named test functions in order; exit status 1 at the first failure."""
    for test in tests:
        start = time.monotonic()
        with events_on_failure(test.__name__):
            test()
        print(f"{test.__name__}: ok, {time.monotonic() - start:.1f} s", flush=True)
