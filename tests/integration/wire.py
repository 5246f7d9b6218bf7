# SPDX-License-Identifier: BSD-2-Clause
"""Two stacks on one wire (--driver wire:PATH): files from one to the other over a good and over a bad wire, with the nic of
either side killed meanwhile; whole stacks killed: who lives stays as it was and links again."""
import contextlib
import fcntl
import json
import mmap
import os
import pathlib
import socket
import struct
import subprocess
import tempfile
import time

from inside import APPS, BUILD, main, random_file, resources, sha256, wait_for

PORT = 8080
BAD = "loss=1%,delay=2ms,reorder=1%,duplicate=1%,corrupt=0.5%"
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="bh-wire-"))
ROOT = FOLDER / "root"


class Stack:
    def __init__(self, name, number, impairments="", partition="factored", mtu=1500):
        self.name, self.address, self.address6, self.run_dir = name, f"10.78.0.{number}", f"fd78::{number}", FOLDER / name
        driver = f"wire:{FOLDER}/wire" + (f",{impairments},seed={number}" if impairments else "")
        self.options = ["--driver", driver, "--address", f"{self.address}/24", "--address", f"fd78::{number}/64", "--run-dir", str(self.run_dir),
                        "--partition", partition, "--mtu", str(mtu)]
        self.environment = os.environ | {"BULKHEAD_RUN_DIR": str(self.run_dir)}
        self.process = None

    def start(self):
        ready, told = os.pipe()
        self.process = subprocess.Popen([BUILD / "bulkhead", "up", *self.options, "--ready-fd", str(told)], pass_fds=[told])
        os.close(told)
        with os.fdopen(ready, "rb") as end:
            assert end.read(1) == b"r", f"{self.name} did not start"
        return self

    def bulkhead(self, *arguments):
        done = subprocess.run([BUILD / "bulkhead", *arguments], capture_output=True, text=True, timeout=30, env=self.environment)
        assert done.returncode == 0, f"{self.name}: bulkhead {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def counters(self, server="nic"):
        return {c["name"]: c["value"] for c in json.loads(self.bulkhead("stat", "--json"))["counters"] if c["server"] == server}

    def domains(self):
        return {d["name"]: (d["pid"], d["incarnation"], d["state"]) for d in json.loads(self.bulkhead("ps", "--json"))["domains"]}

    def said(self, text, since=0):
        events = json.loads(self.bulkhead("events", "--json", "--since", str(since)))["events"]
        return sum(text in e["text"] for e in events)

    def kill_nic(self):
        before = self.domains()["nic"][1]
        self.bulkhead("kill", "nic")
        wait_for(f"{self.name}'s next nic", lambda: (d := self.domains()["nic"])[1] > before and d[2] == "running")

    def die(self):
        """As the machine's power would end it: supervisor and all, at once."""
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(10) == 0, f"{self.name} did not end in order"

    def run(self, program, *arguments, **options):
        return subprocess.Popen([APPS / program, *map(str, arguments)], env=self.environment, stderr=subprocess.DEVNULL, **options)


@contextlib.contextmanager
def stacks(impairments="", partition="factored", mtu=1500):
    a, b = Stack("a", 1, impairments, partition, mtu), Stack("b", 2, impairments, partition, mtu)
    try:
        a.start(), b.start()
        yield a, b
    finally:
        a.stop(), b.stop()
    assert not (FOLDER / "wire").exists(), "the wire's socket is left behind"


@contextlib.contextmanager
def server(stack):
    process = stack.run("bh-httpd", "--listen", f"[::]:{PORT}", ROOT, stdout=subprocess.PIPE, text=True)
    assert "listening" in process.stdout.readline()
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def transfer(source, target, file, meanwhile=None, seconds=240, address=None):
    got, start = FOLDER / "got", time.monotonic()
    process = target.run("bh-get", f"http://{address or source.address}:{PORT}/{file}", "-o", got)
    try:
        if meanwhile is not None:
            meanwhile(process)
        assert process.wait(seconds) == 0, f"bh-get: {process.returncode}"
    finally:
        process.kill()
        process.wait()
    assert sha256(got) == sha256(ROOT / file), "the file is another"
    return got.stat().st_size * 8e-6 / (time.monotonic() - start)


def kills_of(stacks_, least):
    """Kills both nics in turn, each while frames come in, until the transfer is done."""
    def during(process):
        killed = 0
        while process.poll() is None:
            for stack in stacks_:
                frames = stack.counters()["frames_in"]
                wait_for("frames", lambda: process.poll() is not None or stack.counters()["frames_in"] > frames + 5, 30, 0.001)
                if process.poll() is None and killed < 8:
                    stack.kill_nic()
                    killed += 1
            time.sleep(0.01)
        assert killed >= least, f"only {killed} kills met the transfer"
        print(f"  {killed} nics killed", flush=True)
    return during


def test_good_wire():
    for partition in "factored", "monolithic":
        with stacks(partition=partition) as (a, b), server(a):
            print(f"  {partition}: {transfer(a, b, 'file'):.0f} Mbit/s", flush=True)
            nic = a.counters()
            assert nic["segmented_out"] > 10000, nic
            assert nic["drop_offload"] == nic["drop_device_refused"] == nic["links_broken"] == 0, nic


def test_good_wire_kills():
    with stacks() as (a, b), server(a):
        transfer(a, b, "large", kills_of([a, b], 2))


def test_bad_wire():
    with stacks(BAD) as (a, b), server(a):
        print(f"  {transfer(a, b, 'file', kills_of([a, b], 4)):.0f} Mbit/s", flush=True)
        transfer(a, b, "small")
        for stack in a, b:
            nic = stack.counters()
            assert nic["impair_lost"] + nic["impair_duplicated"] + nic["impair_corrupted"] + nic["impair_reordered"] > 0, nic
        assert b.counters("tcp") and a.counters("tcp")["tcp_retransmits"] > 0


def healthy(stack, before):
    assert stack.domains() == before, f"{stack.name}: {before} -> {stack.domains()}"


def test_death_of_a_stack():
    """First the one that made the socket, then the one that connected; each comes back and the wire with it."""
    with stacks() as (a, b):
        for dies, lives in (a, b), (b, a), (a, b):
            before, ups, downs = lives.domains(), lives.said("the link is up"), lives.said("the link is down")
            dies.die()
            wait_for("link down", lambda: lives.said("the link is down") > downs)
            healthy(lives, before)
            get = lives.run("bh-get", f"http://{dies.address}:{PORT}/file", "-o", FOLDER / "none")
            drops = lives.counters()["drop_link_down"]
            wait_for("drops of frames for nobody", lambda: lives.counters()["drop_link_down"] > drops)
            get.terminate()
            get.wait(10)
            dies.start()
            wait_for("link up", lambda: lives.said("the link is up") > ups)
            healthy(lives, before)
            with server(dies):
                transfer(dies, lives, "file")
            with server(lives):
                transfer(lives, dies, "file")
            healthy(lives, before)


def test_nothing_is_kept():
    """One stack sees the other die many times: its descriptors and maps come back to what they were after the second. By then
    it has what comes with time: the prober's session, and the rings that the supervisor looks at."""
    with stacks() as (a, b):
        who = {"supervisor": json.loads(a.bulkhead("ps", "--json"))["supervisor_pid"], "nic": a.domains()["nic"][0]}

        def holds():
            return {name: (r["descriptors"], r["maps"]) for name, pid in who.items() for r in [resources([pid])[pid]]}

        for i in range(12):
            ups, downs = a.said("the link is up"), a.said("the link is down")
            b.die()
            wait_for("link down", lambda: a.said("the link is down") > downs)
            b.start()
            wait_for("link up", lambda: a.said("the link is up") > ups)
            if i == 1:
                wait_for("probes", lambda: a.counters("supervisor")["probes"] > 1, 15)
                reference = holds()
        wait_for(f"{reference}, not {holds()}", lambda: holds() == reference, 5)


def test_audit():
    """What crosses between two stacks is known to the audits of both, whatever the partition; after a death, too; and a third
    party that maps it is not."""
    for partition in "factored", "nic+ip|tcp+udp|socket", "monolithic":
        with stacks("delay=1ms", partition) as (a, b):
            if partition == "factored":
                a.kill_nic()
            for stack in a, b:
                report = json.loads(stack.bulkhead("audit", "--json"))
                assert not report["findings"], report["findings"]
                rows = {s["name"]: s for s in report["segments"]}
                nic = next(name for name in stack.domains() if name.startswith("nic"))
                assert rows["wire-out"]["writers"] == nic and rows["wire-in"]["readers"].startswith(nic), rows
            supervisor = json.loads(b.bulkhead("ps", "--json"))["supervisor_pid"]
            half = next(f for f in os.scandir(f"/proc/{supervisor}/fd") if "memfd:wire" in os.readlink(f.path))
            with open(half.path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ):
                found = subprocess.run([BUILD / "bulkhead", "audit"], capture_output=True, text=True, env=a.environment)
            assert found.returncode == 1 and f"(pid {os.getpid()}) maps wire-" in found.stdout, found.stdout


def test_orderly_end():
    with stacks() as (a, b):
        before = b.domains()
        a.stop()
        wait_for("link down", lambda: b.said("the link is down"))
        a.start()
        wait_for("link up", lambda: b.said("the link is up"))
        healthy(b, before)
        with server(b):
            transfer(b, a, "file")


HALF_OCTETS, SLOTS, FRAME_OCTETS = 192 + 512 * 2048, 512, 2044
HELLO = struct.pack("<4I", 0x42485731, HALF_OCTETS, SLOTS, FRAME_OCTETS)
F_ADD_SEALS, SEALED = 1033, 2 | 4


def half(seals=SEALED, octets=(HALF_OCTETS + 4095) & ~4095):
    """A segment such as a stack makes: (read-write, read-only)."""
    fd = os.memfd_create("liar", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, octets)
    fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd, os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)


def say(hello, descriptors):
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.settimeout(5)
    link.connect(str(FOLDER / "wire"))
    socket.send_fds(link, [hello], descriptors)
    return link


def refused(link):
    """The other end closes, whatever it had said before."""
    try:
        while link.recv(1000):
            pass
    except ConnectionResetError:
        pass
    link.close()


def test_liars():
    """Whoever speaks at the path says nonsense, or gives what it must not; then one lies in the memory that it gave. The
    stack is as before, and links with an honest one."""
    a, b = Stack("a", 1), Stack("b", 2)
    try:
        liars_speak(a.start())
        b.start()
        wait_for("link up", lambda: a.said("the link is up") == 2)
        with server(a):
            transfer(a, b, "file")
    finally:
        a.stop(), b.stop()


def liars_speak(a):
    writable, right = half()
    bell = os.pipe()
    for hello, descriptors in (
            (b"", []), (b"x", []), (HELLO, []), (HELLO, [right]), (HELLO, [right, bell[1], bell[1]]), (HELLO + b"x", [right, bell[1]]),
            (b"\0" + HELLO[1:], [right, bell[1]]), (HELLO[:12] + b"\0\0\0\0", [right, bell[1]]),
            (HELLO, [writable, bell[1]]), (HELLO, [half(seals=2)[1], bell[1]]), (HELLO, [half(seals=4)[1], bell[1]]),
            (HELLO, [half(octets=4096)[1], bell[1]]), (HELLO, [right, right]), (HELLO, [bell[1], right]), (HELLO, [bell[0], bell[1]])):
        refused(say(hello, descriptors))
    assert a.said("the link is up") == 0
    before = a.domains()
    link = say(HELLO, [right, bell[1]])
    wait_for("link up", lambda: a.said("the link is up") == 1)
    memory = mmap.mmap(writable, HALF_OCTETS)
    memory[0:4] = struct.pack("<I", SLOTS + 1)
    wait_for("the lie to be found out", lambda: a.counters()["links_broken"] == 1)
    assert a.said("the other stack lied") == 1
    healthy(a, before)
    memory.close()
    link.close()
    wait_for("link down", lambda: a.counters()["links_down"] >= 1)


def test_a_third_is_refused():
    with stacks() as (a, b):
        third = Stack("c", 3)
        done = subprocess.run([BUILD / "bulkhead", "up", *third.options], capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and "two stacks are on it already" in done.stderr and done.stderr.count("\n") == 1, done
        healthy(a, a.domains())
        with server(a):
            transfer(a, b, "small")


def run_all(tests, files):
    ROOT.mkdir()
    try:
        for file, octets in files:
            random_file(ROOT / file, octets, octets)
        main(tests)
    finally:
        subprocess.run(["rm", "-rf", FOLDER])


if __name__ == "__main__":
    run_all([test_good_wire, test_good_wire_kills, test_bad_wire, test_death_of_a_stack, test_nothing_is_kept, test_audit,
             test_orderly_end, test_liars, test_a_third_is_refused],
            (("small", 200000), ("file", 20 << 20), ("large", 300 << 20)))
