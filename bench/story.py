# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: the demo's story, for someone who never saw the project. Each claim is a line with ok or FAIL."""
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from busy import busy
from inside import (BUILD, HOST, HOST6, STACK, STACK6, application, bulkhead, curl, domain_of, domains, events, last_event, ping, random_file,
                    restored_after, sha256, wait_for)

MEGABYTES = int(sys.argv[1])
PORT, ECHO, DATAGRAMS = 8080, 7007, 7008
KILLS = 6  # of each server; IPv4 and IPv6 by turns
TRANSFER_KILLS = 12
failures = 0


def claim(text, held, detail=""):
    global failures
    failures += not held
    print(f"   {'ok  ' if held else 'FAIL'}  {text}" + (f"   {detail}" if detail else ""), flush=True)
    return held


def title(text):
    print(f"\n{text}\n", flush=True)


def box(name):
    d = domain_of(name)
    lines = [name, f"pid {d['pid']}", f"uid {d['uid']}"]
    width = max(map(len, lines)) + 2
    return ["+" + "-" * width + "+", *("|" + text.center(width) + "|" for text in lines), "+" + "-" * width + "+"]


def beside(*columns):
    """Blocks of lines side by side."""
    height = max(map(len, columns))
    padded = [c + [" " * len(c[0])] * (height - len(c)) for c in columns]
    return ["".join(line) for line in zip(*padded)]


def picture():
    """The channels of the factored stack as they are: nic = ip = tcp, udp = socket; the application at both."""
    wire = ["       ", "       ", "=======", "       ", "       "]
    gap = [" " * 7] * 5
    left = beside(["         ", "curl,    ", "ping =TAP", "(Linux)  ", "         "], wire[:5], box("nic"), wire, box("ip"), wire)
    middle, right = box("tcp"), box("socket")
    print("\n".join("   " + line.rstrip() for line in beside(left, middle, wire, right)))
    start, width = len(left[0]), len(middle[0])
    ip, own = start - 7 - len(box("ip")[0]) // 2, start + width + 7 + len(right[0]) // 2
    for n, line in enumerate(box("udp")):
        mark, fill = ("+", "=") if n == 2 else ("|", " ") if n < 2 else (" ", " ")
        print("   " + (" " * ip + mark + fill * (start - ip - 1) + line + fill * (own - start - width) + mark).rstrip())
    print("\n   Each box is a process with an empty root, no network and a short list of system calls; === are rings in shared")
    print("   memory, each page written by one side only. The applications (an HTTP server, an echo server) share memory of")
    print("   their own with tcp and udp: payload does not pass through socket.")


def transfer(folder, host, family):
    """A file down and up through curl, hashes compared."""
    original, fetched, stored = folder / "root" / "file.bin", folder / "down.bin", folder / "root" / "up.bin"
    expected = sha256(original)
    down = curl("-w", "%{speed_download}", "-o", fetched, f"http://{host}:{PORT}/file.bin")
    claim(f"curl downloads {MEGABYTES} MB from the stack over {family}, same SHA-256", down.returncode == 0 and sha256(fetched) == expected,
          f"{float(down.stdout or 0) * 8e-9:.1f} Gb/s" if down.returncode == 0 else down.stderr.strip())
    up = curl("-w", "%{speed_upload}", "-T", original, f"http://{host}:{PORT}/up.bin")
    claim(f"curl uploads {MEGABYTES} MB to the stack over {family}, same SHA-256", up.returncode == 0 and sha256(stored) == expected,
          f"{float(up.stdout.split()[-1]) * 8e-9:.1f} Gb/s" if up.returncode == 0 else up.stderr.strip())


def transfers(folder):
    transfer(folder, STACK, "IPv4")
    transfer(folder, f"[{STACK6}]", "IPv6")


def resume(folder):
    """The second half of a file, asked for as a range, after a first half that was fetched before."""
    target = folder / "resumed.bin"
    with open(folder / "root" / "file.bin", "rb") as original, open(target, "wb") as half:
        half.write(original.read(MEGABYTES << 19))
    done = curl("-C", "-", "-w", "%{http_code} %{size_download}", "-o", target, f"http://[{STACK6}]:{PORT}/file.bin")
    claim("... and resumes a half done download: 206, only the other half is sent, same SHA-256",
          done.stdout == f"206 {MEGABYTES << 19}" and sha256(target) == sha256(folder / "root" / "file.bin"), done.stderr.strip())


def ping_others():
    """IPv6, and packets of 60,000 octets in fragments both ways."""
    for text, arguments in (("ping answers over IPv6", ("-i", "0.01", STACK6)),
                            ("... and with 60,000 octets, in fragments", ("-i", "0.1", "-s", "60000", STACK)),
                            ("... over IPv6 too", ("-i", "0.1", "-s", "60000", STACK6))):
        done = subprocess.run(["ping", "-q", "-c", "10", "-W", "2", *arguments], capture_output=True, text=True)
        claim(text, " 0% packet loss" in done.stdout, (done.stdout.strip().splitlines() or [""])[-1])


def walls():
    """What the kernel says of every domain, against what was granted."""
    done = subprocess.run([BUILD / "bulkhead", "audit", "--json"], capture_output=True, text=True)
    report = json.loads(done.stdout or "{}")
    segments, found = report.get("segments", []), report.get("findings", [])
    claim(f"{len(segments)} shared segments, each with one writing domain (an application can write all of its own, too); nothing is mapped or open "
          "that was not granted", done.returncode == 0 and not found, "; ".join(found[:2]))
    for d in report.get("domains", []):
        claim(f"{d['name']:<7} seccomp {d['seccomp']}, capabilities {d['capabilities']}, own {d['namespaces']}, root {d['root']}",
              d["verdict"] == "held")


class Probe(threading.Thread):
    """Asks for service again and again and notes when it was not there: TCP connect and echo, one UDP echo."""

    def __init__(self, ask, host):
        super().__init__(daemon=True)
        self.ask, self.host, self.stop, self.good, self.longest = ask, host, False, 0, 0.0

    def run(self):
        last = time.monotonic()
        while not self.stop:
            if self.ask(self.host):
                now = time.monotonic()
                self.longest = max(self.longest, now - last)
                last, self.good = now, self.good + 1


def ask_tcp(host):
    try:
        with socket.create_connection((host, ECHO), 0.02) as s:
            s.settimeout(0.05)
            s.sendall(b"x")
            return s.recv(1) == b"x"
    except OSError:
        return False


def ask_udp(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.005)
        try:
            s.sendto(b"x", (host, DATAGRAMS))
            return s.recv(1) == b"x"
        except OSError:
            return False


def gap_around(action, ask, host):
    """The longest time without an answer around an action, in ms."""
    probe = Probe(ask, host)
    probe.start()
    wait_for("answers before", lambda: probe.good > 20)
    probe.longest = 0
    good = probe.good
    action()
    wait_for("answers after", lambda: probe.good > good + 50)
    probe.stop = True
    probe.join()
    return probe.longest * 1e3


def lives():
    return {d["name"]: (d["pid"], d["incarnation"]) for d in domains()}


def kill_tcp_under_transfers(folder):
    """A download and an upload, each one connection of a curl that does not retry, while the TCP server dies again and again."""
    target, stored, original = folder / "killed.bin", folder / "root" / "killed-up.bin", folder / "root" / "file.bin"
    expected, before = sha256(original), lives()
    transfers = {"download": ["-o", target, f"http://{STACK}:{PORT}/file.bin"], "upload": ["-T", original, f"http://[{STACK6}]:{PORT}/killed-up.bin"]}
    processes = {name: subprocess.Popen(["curl", "-sS", "--limit-rate", f"{MEGABYTES // 4 + 1}M", "--max-time", "60", *arguments], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True) for name, arguments in transfers.items()}
    wait_for("the transfers to be under way", lambda: target.exists() and target.stat().st_size > MEGABYTES << 16)
    spans, kills = [], 0
    while kills < TRANSFER_KILLS and all(p.poll() is None for p in processes.values()):
        number = last_event()
        bulkhead("kill", "tcp", *(("--signal", "SEGV") if kills % 3 == 2 else ()))
        spans.append(restored_after(number, "tcp")["span_us"][-1] / 1e3)
        kills += 1
        time.sleep(0.05)
    under_way = [name for name, p in processes.items() if p.poll() is None]
    errors = {name: p.communicate(timeout=60)[1].strip() for name, p in processes.items()}
    changed = {n: v[1] - before[n][1] for n, v in lives().items() if v != before[n]}
    claim(f"the TCP server died {kills} times in the middle of a download and an upload (every third time by its own SIGSEGV)",
          len(under_way) == 2 and kills == TRANSFER_KILLS, f"a new one ready {statistics.median(spans or [0]):.1f} ms after the notice (median)")
    claim("only it was replaced", list(changed.values()) == [kills], ", ".join(f"{n}: {v} new incarnations" for n, v in changed.items()))
    for name, file in (("download", target), ("upload", stored)):
        claim(f"the {name} went on, on its one connection, to the end: same SHA-256", processes[name].returncode == 0 and sha256(file) == expected,
              errors[name].removeprefix("curl: "))


def kill_each():
    for server, ask in (("tcp", ask_tcp), ("socket", ask_tcp), ("udp", ask_udp), ("ip", ask_udp), ("nic", ask_udp)):
        service = "new TCP connection" if ask is ask_tcp else "UDP echo"
        measured, spans = [], []
        for i in range(KILLS):
            number = last_event()
            measured.append(gap_around(lambda: bulkhead("kill", server), ask, (STACK, STACK6)[i % 2]))
            spans.append(restored_after(number, server)["span_us"])
        gap = statistics.median(measured)
        ready = statistics.median(s[-1] for s in spans) / 1e3
        claim(f"{server:<6} killed {KILLS} times: service back by itself", gap < 500,
              f"new incarnation ready after {ready:.1f} ms, no answer to a {service} for {gap:.0f} ms (medians)")


def main():
    print("Bulkhead: a TCP/IP stack in watertight compartments. Everything below happens now, in a private network namespace.")
    title(f"1. The domains of the stack at {STACK} and {STACK6}; this Linux host is {HOST} and {HOST6}")
    picture()
    title("2. It is a network stack")
    started = next(e for e in events() if e["kind"] == "started")
    claim("the stack started", True, started["text"])
    done = ping(20, 0.01)
    claim("ping answers", " 0% packet loss" in done.stdout, done.stdout.strip().splitlines()[-1])
    ping_others()
    with tempfile.TemporaryDirectory(prefix="bh-demo-") as name:
        folder = pathlib.Path(name)
        (folder / "root").mkdir()
        random_file(folder / "root" / "file.bin", MEGABYTES << 20, 1)
        with application("bh-httpd", "--listen", PORT, folder / "root", ready=PORT), application("bh-echo", ECHO, ready=ECHO), \
                application("bh-echo", "--udp", DATAGRAMS):
            transfers(folder)
            resume(folder)
            title("3. The TCP server is killed in the middle of transfers")
            kill_tcp_under_transfers(folder)
            title("4. A busy server of a thousand connections, and the servers of the stack killed under it")
            busy(claim)
            title("5. Each server is killed, while somebody asks for service all the time, over IPv4 and IPv6 by turns")
            kill_each()
            title("6. The walls, as the kernel sees them (`bulkhead audit`)")
            walls()
            title("7. And after all that")
            transfers(folder)
            claim("the applications were never restarted and no domain is missing",
                  all(d["state"] == "running" for d in domains()))
    sys.exit(failures > 0)


main()
