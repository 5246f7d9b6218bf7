# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: every fault that a domain can do to itself, on every server and channel, under load. Each time service has to come
back without help (a new TCP connection and a datagram are answered), and no domain dies but those that lie, or are accused by
one. What stands after PATIENCE_S is a failure; then the victim is restarted, and the next fault has its turn.

    misbehave.py [--seed N] [SERVER[-PEER] | FAULT]..."""
import argparse
import random
import socket
import subprocess
import time

from inside import SERVERS, STACK, Echo, answers_datagram, application, bulkhead, domain_of, domains, echoes, events, last_event, wait_for

TCP, UDP = 7007, 7008
PATIENCE_S = 15
GOOD_S = 0.5
NEIGHBOURS = {"nic": ["ip"], "ip": ["nic", "tcp", "udp"], "tcp": ["ip", "socket"], "udp": ["ip", "socket"], "socket": ["tcp", "udp"]}
OF_SERVER = ("loop", "block", "slow", "exhaust")
OF_CHANNEL = ("leak", "mute", "flood", "field", "drop", "duplicate", "reorder", "replay", "forge", "lost-bell")
FOR_GOOD = 2**32 - 1


def answers_connection():
    with socket.socket() as s:
        s.settimeout(1.5)
        try:
            s.connect((STACK, TCP))
            data, got = random.randbytes(20000), b""
            s.sendall(data)
            while len(got) < len(data) and (part := s.recv(len(data))):
                got += part
            return got == data
        except OSError:
            return False


class Datagrams(Echo):
    """The same load, of datagrams; nothing is owed to them."""

    def _run(self, i):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.1)
            while not self.stop:
                try:
                    data = random.randbytes(200)
                    s.sendto(data, (self.host, self.port))
                    self.rounds += len(s.recv(2048)) > 0
                except OSError:
                    pass
                time.sleep(0.002)


def missing():
    return [name for name, answers in (("tcp", answers_connection), ("udp", lambda: answers_datagram(UDP))) if not answers()]


def is_activated(since, fault):
    return any(e["kind"] == "inject" and e["text"].startswith(f"{fault}: activated") for e in events(since))


def one(server, fault, peer, seed, count, load):
    """A line of what happened; what is wrong with it, or None."""
    since, start = last_event(), time.monotonic()
    wrong, rounds = load.wrong, load.rounds
    bulkhead("inject", server, fault, "--seed", str(seed), *(["--count", str(count)] if count else []),
             *(["--peer", peer] if peer else []))
    deadline = start + PATIENCE_S
    while time.monotonic() < start + 1.0 and not is_activated(since, fault):
        missing()
    good, down = 0, 0.0
    first_good = lacks = None
    since_good = time.monotonic()
    while (good < 3 or time.monotonic() < since_good + GOOD_S) and time.monotonic() < deadline:
        lacks = missing()
        good = 0 if lacks else good + 1
        if lacks:
            since_good = time.monotonic()
            down = since_good - start
        time.sleep(0.02)
    told = [e for e in events(since) if e["kind"] in ("died", "broken", "inject", "cold", "backoff")]
    died = [e["subject"] for e in told if e["kind"] == "died"]
    activated = is_activated(since, fault)
    trouble = []
    if good < 3:
        trouble.append(f"no service: {'+'.join(lacks)}")
    others = [d for d in died if server not in d.split("+")]
    if others:
        trouble.append(f"died as well: {others}")
    if load.wrong != wrong:
        trouble.append(f"{load.wrong - wrong} wrong answers")
    line = f"{server:6} {fault:10} {peer or '':6} {'x' + str(count) if count != FOR_GOOD else 'good':5} " \
           f"{'activated' if activated else '-':9} service after {down:4.1f} s, died {died}"
    for e in told:
        if e["kind"] != "inject" or activated:
            line += f"\n           {e['kind']} {e['subject']}: {e['text'][:150]}"
    if any(e["kind"] == "broken" for e in told):
        time.sleep(3)  # who accuses often is taken for a liar: faults do not come in such a row
    if good < 3 or not died:
        end = last_event()
        bulkhead("restart", server)
        wait_for("a new incarnation", lambda: all(d["state"] == "running" for d in domains()), 20)
        try:
            wait_for(f"service after {server}'s restart", lambda: not missing(), 20)
        except AssertionError:
            trouble.append("NO SERVICE AFTER A RESTART")
            for d in SERVERS:
                bulkhead("restart", d, check=False)
            wait_for("all to run", lambda: all(d["state"] == "running" for d in domains()), 20)
            time.sleep(2)
    return line, trouble


def cases(chosen, counts):
    wanted = lambda *names: not chosen or any(n in chosen for n in names)
    for server in SERVERS:
        for fault in OF_SERVER:
            if wanted(server, fault, f"{server}:{fault}"):
                yield server, fault, None, FOR_GOOD if fault in ("slow", "exhaust") else 0
        for peer in NEIGHBOURS[server]:
            for fault in OF_CHANNEL:
                if wanted(server, fault, f"{server}-{peer}", f"{server}:{fault}", f"{server}-{peer}:{fault}"):
                    for count in counts if fault in OF_CHANNEL[3:] else (FOR_GOOD,):
                        yield server, fault, peer, count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--counts", default=f"4,{FOR_GOOD}")
    parser.add_argument("chosen", nargs="*")
    options = parser.parse_args()
    counts = [int(c) for c in options.counts.split(",")]
    failed, ran = [], 0
    load = Echo(TCP, 4, 20000, STACK)
    datagrams = Datagrams(UDP, 1, 64, STACK)
    wait_for("load", lambda: load.rounds > 20 and datagrams.rounds > 20)
    for server, fault, peer, count in cases(options.chosen, counts):
        line, trouble = one(server, fault, peer, options.seed, count, load)
        ran += 1
        print(line + "".join(f"\n   !!!! {t}" for t in trouble), flush=True)
        if trouble:
            failed.append(f"{server} {fault} {peer} x{count}: {'; '.join(trouble)}")
    load.finish()
    datagrams.finish()
    print(f"{ran} faults, {len(failed)} with trouble")
    for f in failed:
        print(f"  {f}")
    raise SystemExit(len(failed) > 0)


if __name__ == "__main__":
    with application("bh-echo", f"[::]:{TCP}", ready=TCP), application("bh-echo", "--udp", f"[::]:{UDP}"):
        main()
