# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: servers killed with SIGKILL at seeded random moments under bulk streams both ways, requests and answers on 100
connections and datagrams, all with an unmodified Linux peer. A kill counts only if Linux has bulk octets that are not
acknowledged at that moment; the next one comes when the stack says that it runs again (one in eight: before that, into the
recovery). Arguments: --kills tcp=60,nic=20 --pairs N (of each two) --seed S, and --expect:

  whole      (default) no connection lost, no octet wrong, none that was acknowledged missing, ports as they were
  lost       connections must be lost: the store is off, or recovery starts from nothing. Shows that the test can fail
  listeners  every connection is lost and both ends hear of it at once; the listener goes on"""
import argparse
import itertools
import json
import os
import random
import signal
import statistics
import sys
import time

from inside import SERVERS, connects, domains, events, events_on_failure, wait_for
from steady import PORT, Datagrams, Load, verdict

TOLD_SECONDS = 5  # both ends of a connection that does not go on have heard of it


unanswered = 0


def hosts(servers):
    """The domains of these servers by pid. On a crowded machine the management plane may let a question go by: nothing."""
    global unanswered
    try:
        return {d["pid"]: d for d in domains() if set(d["servers"]) & set(servers)}
    except AssertionError as error:
        unanswered += 1
        print(f"{error} (load {os.getloadavg()[0]:.0f})", flush=True)
        return {}


def running(servers):
    """The same, if all of them run."""
    found = hosts(servers)
    return found if all(d["state"] == "running" for d in found.values()) else {}


def send_kill(pid):
    """False: it is not there any more (a starved domain may have been replaced as hung, on a crowded machine)."""
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


class Killer:
    def __init__(self, load, rng, verbose):
        self.load, self.rng, self.verbose = load, rng, verbose
        self.counted = {}
        self.during = self.gone = 0
        self.gaps = []

    def _strike(self, servers):
        """SIGKILL to each of their domains at once, with octets in flight. Their pids."""
        while True:
            victims = wait_for(f"{servers} to run", lambda: running(servers), 20)
            time.sleep(self.rng.random() * 0.03)
            wait_for("octets in flight", lambda: self.load.unsent() > 0, 20, 0)
            if sum([send_kill(pid) for pid in victims]) == len(victims):
                return victims
            self.gone += 1

    def kill(self, servers):
        self.load.ask("mark", "lost")
        victims = self._strike(servers)
        name = "+".join(servers)
        self.counted[name] = self.counted.get(name, 0) + 1
        if self.rng.random() < 0.125:  # once more, as soon as there is something to kill
            again = wait_for("a next incarnation", lambda: [p for p in hosts(servers) if p and p not in victims], 20, 0)
            self.during += sum([send_kill(pid) for pid in again])
        wait_for(f"{name} to run again", lambda: (now := running(servers)) and not set(now) & set(victims), 20, 0.001)

    def settle(self):
        """The load goes on everywhere; how long the longest gap of each process was since the last kill."""
        start = time.monotonic()
        self.load.moves(told=self.verbose)
        self.gaps += self.load.ask("report", "gap_ms")
        if self.verbose:
            print(f"{self.counted}: all go on after {time.monotonic() - start:.3f} s, gaps {self.gaps[-4:]} ms", flush=True)


def plan(arguments, rng):
    """What to kill, in an order that mixes it all: so a death finds the others just risen."""
    victims = []
    for item in filter(None, arguments.kills.split(",")):
        server, count = item.split("=")
        victims += [(server,)] * int(count)
    for pair in itertools.combinations(SERVERS, 2):
        victims += [pair] * arguments.pairs
    rng.shuffle(victims)
    return victims


def report(load, killer, datagrams, started):
    print(f"{sum(killer.counted.values())} kills that count in {time.monotonic() - started:.0f} s, {killer.during} more during a recovery: "
          + ", ".join(f"{name} {n}" for name, n in sorted(killer.counted.items())), flush=True)
    if unanswered or killer.gone:
        print(f"{unanswered} questions to the management plane without an answer; {killer.gone} times the victim had gone", flush=True)
    gaps = sorted(killer.gaps)
    if gaps:
        print(f"longest gap of any stream of a process around a kill: median {statistics.median(gaps):.0f} ms, "
              f"p90 {gaps[int(0.9 * len(gaps))]:.0f} ms, max {gaps[-1]:.0f} ms", flush=True)
    print(f"datagrams: {datagrams.answered} answered of {datagrams.sent}, {datagrams.refused} refused, {datagrams.wrong} wrong", flush=True)


def whole(load, killer, datagrams, started, stop):
    ports = load.ports_now()
    ends = load.stop()
    report(load, killer, datagrams, started)
    wrong = verdict(ends)
    totals = [one for pair in ends for one in pair]
    print(f"{sum(connected['streams'] for connected, _ in ends)} connections, {sum(t['sent'] for t in totals)} octets, "
          f"{sum(t['lost'] for t in totals)} ends lost, {sum(t['wrong'] for t in totals)} octets wrong", flush=True)
    assert stop is None, stop
    assert not wrong, f"{len(wrong)} complaints: " + "; ".join(wrong[:8])
    assert ports == load.ports, "connections were made again"
    assert datagrams.wrong == 0, f"{datagrams.wrong} datagrams with wrong octets"
    cold = [e for e in events() if e["kind"] in ("cold", "failed")]
    assert not cold, f"escalation: {cold[:3]}"


def lost(load, killer, datagrams, started, stop):
    report(load, killer, datagrams, started)
    found = load.lost()
    print(f"{found} ends of connections lost, as they must be here", flush=True)
    assert found > 0, "every connection outlived its server without a store: this test cannot fail"
    assert sum(load.ask("report", "wrong")) == 0, "wrong octets"


def listeners(load, killer, datagrams, started, stop):
    count = sum(load.ask("report", "streams"))
    wait_for("both ends of every connection to hear of it", lambda: load.lost() == count, TOLD_SECONDS)
    assert sum(load.ask("report", "wrong")) == 0, "wrong octets"
    wait_for("the listener to accept", lambda: connects(PORT), 5)
    print(f"{count} ends heard of it, the listener goes on", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", default="")
    parser.add_argument("--pairs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=6)
    parser.add_argument("--bulk", type=int, default=4)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--wait", default="epoll,poll", help="of the stack's listener and client: epoll, poll or block")
    parser.add_argument("--expect", choices=("whole", "lost", "listeners"), default="whole")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    victims = plan(arguments, rng)
    load = Load(arguments.bulk, arguments.requests, arguments.wait.split(","))
    datagrams = Datagrams()
    started, stop = time.monotonic(), None
    try:
        load.moves()
        killer = Killer(load, rng, arguments.verbose)
        for i, servers in enumerate(victims):
            try:
                killer.kill(servers)
                datagrams.answers()
                if arguments.expect == "whole" and (i % 10 == 9 or i == len(victims) - 1):
                    killer.settle()
            except AssertionError as error:
                stop = f"kill {i} ({'+'.join(servers)}): {error}"
                break
            if load.lost() > 0:
                stop = f"kill {i} ({'+'.join(servers)}): connections lost"
                break
        {"whole": whole, "lost": lost, "listeners": listeners}[arguments.expect](load, killer, datagrams, started, stop)
    finally:
        load.kill()
        datagrams.stop()


if __name__ == "__main__":
    with events_on_failure("kills"):
        main()
