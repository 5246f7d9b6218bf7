# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: a busy server under kills. An echo server on the stack keeps a thousand connections, half of them over IPv4 and half over
IPv6, each asking again 50 ms after its last answer (bh-rr --connections on the Linux side, which makes none again unless told)."""
import json
import re
import subprocess
import time

from inside import APPS, STACK, STACK6, application, bulkhead, last_event, restored_after, wait_for

CONNECTIONS, SIZE, PAUSE_MS, KILLS = 1000, 100, 50, 3
PORT = 7009


class Load:
    """bh-rr, asked through its stdin."""

    def __init__(self):
        self.process = subprocess.Popen([APPS / "bh-rr", "--stack", "linux", "--connections", str(CONNECTIONS), "--size", str(SIZE), "--pause", str(PAUSE_MS), "--reports",
                                         f"{STACK}:{PORT}", f"[{STACK6}]:{PORT}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what="report"):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("bh-rr ended")
        return json.loads(line)

    def all_move(self, span=0.0):
        """Waits until every connection has begun and completed a round trip from now on; the last report, or None."""
        self.ask("mark")
        time.sleep(span)
        try:
            return wait_for("every connection to move", lambda: (r := self.ask())["since_mark"]["moved"] == CONNECTIONS and r, 20, 0.05)
        except AssertionError:
            return None

    def end(self):
        self.process.stdin.close()
        try:
            return self.process.wait(15)
        finally:
            self.process.kill()
            self.process.stdout.close()


def unharmed(report):
    return report is not None and report["open"] == CONNECTIONS and not any(report[k] for k in ("lost", "refused", "renewed", "wrong"))


def opened(load, claim):
    wait_for("the connections", lambda: load.ask()["open"] == CONNECTIONS, 30, 0.05)
    load.all_move()
    report = load.all_move(span=1.0)
    since = (report or load.ask())["since_mark"]
    claim(f"{CONNECTIONS:,} connections at once, half over IPv4 and half over IPv6, each exchanging {SIZE} octets again and again, {PAUSE_MS} ms between",
          unharmed(report),
          f"{since['rate']:,.0f} round trips/s, median {since['median_us'] / 1e3:.1f} ms, 99 % within {since['p99_us'] / 1e3:.1f} ms")


def kill_under(load, server, claim):
    ready, longest, after = 0.0, 0.0, None
    before = load.ask()["open"]
    for _ in range(KILLS):
        load.ask("mark")
        number = last_event()
        bulkhead("kill", server)
        ready = max(ready, restored_after(number, server)["span_us"][-1] / 1e3)
        during = load.ask()["since_mark"]["longest_ms"]
        after = load.all_move()
        if not unharmed(after):
            break
        longest = max(longest, during, after["since_mark"]["longest_ms"])
    now = load.ask()
    claim(f"{server:<6} killed {KILLS} times: connections {before:,} before, {now['open']:,} after; none lost, none made again, every octet right, all go on",
          unharmed(after), f"new one ready within {ready:.1f} ms, longest answer {longest:.0f} ms")


def change_under(load, claim):
    """Other partitions, and back, under the same connections."""
    for partition in ("monolithic", "factored"):
        load.ask("mark")
        bulkhead("repartition", partition)
        during = load.ask()["since_mark"]["longest_ms"]
        after = load.all_move()
        claim(f"the running stack becomes {partition}: the same {CONNECTIONS:,} connections go on", unharmed(after),
              f"longest answer {max(during, after['since_mark']['longest_ms'] if after else 0):.0f} ms")


def busy(claim):
    with application("bh-echo", "--connections", CONNECTIONS + 50, "--send-buffer", "16k", "--receive-buffer", "16k", PORT, ready=PORT,
                     output=subprocess.PIPE) as echo:
        load = Load()
        try:
            opened(load, claim)
            for server in ("tcp", "nic", "ip", "udp", "socket"):
                kill_under(load, server, claim)
            change_under(load, claim)
        finally:
            status = load.end()
    told = re.search(r"(\d+) connections, (\d+) broken off", echo.stdout.read())
    claim("the server, never restarted, lost none", status == 0 and told is not None and int(told[1]) >= CONNECTIONS and int(told[2]) == 0,
          f"{int(told[1]):,} connections, {int(told[2]):,} broken off" if told else "")
