# SPDX-License-Identifier: BSD-2-Clause
"""What the store costs (rule 4: commit before you externalise): the same work with `--commit on` and `--commit off`, round by round, one
right after the other in an order that alternates. Bulk each way and request/response on 1 and 100 connections, against Linux over a
TAP. The ratio is taken within each round; the table shows medians and a 95 % interval of the median ratio (order statistics). Beside
what was reached: the time that tcp's domain spent on a CPU for it, which other work on the machine disturbs less."""
import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys

from inside import APPS, BUILD, STACK, domain_of

PORT = 9100
WORK = (  # name, label, unit
    ("out", "bulk, stack to Linux", "Gb/s"),
    ("in", "bulk, Linux to stack", "Gb/s"),
    ("one", "request/response, 1 connection", "us"),
    ("hundred", "request/response, 100 connections", "a second"),
)
SWITCH = ("on", "off")


def arguments():
    p = argparse.ArgumentParser(prog="bench/store", description="What the store costs: --commit on against off, interleaved.")
    p.add_argument("--rounds", type=int, default=9, help="default %(default)s")
    p.add_argument("--octets", default="1g", help="of a bulk transfer (default %(default)s)")
    p.add_argument("--round-trips", type=int, default=20000, help="default %(default)s; on 100 connections five times as many")
    p.add_argument("--work", default=",".join(name for name, *_ in WORK), help="default %(default)s")
    p.add_argument("--partition", default="nic|ip|tcp|udp|socket", help="default %(default)s")
    p.add_argument("--json", help="file for all that was measured")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return p.parse_args()


# ---- inside a lab ----

def peer(program, *options):
    done = subprocess.run([APPS / program, "--stack", "linux", *map(str, options)], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"bench/store: {program}: {done.stderr.strip()}")
    return done.stdout


def work(server, server_options, client, client_options, pattern, units):
    """What was reached, and microseconds of tcp's domain for each of `units`."""
    with subprocess.Popen([APPS / server, *map(str, server_options)], stdout=subprocess.PIPE, text=True) as process:
        try:
            if not process.stdout.readline():
                sys.exit(f"bench/store: {server} did not start")
            before = domain_of("tcp")["cpu_us"]
            said = peer(client, *client_options, f"{STACK}:{PORT}")
            spent = domain_of("tcp")["cpu_us"] - before
        finally:
            process.terminate()
    return {"reached": float(re.search(pattern, said)[1]), "cpu_us": spent / units}


def inside(a):
    gigabits, octets = r"([\d.]+) Gb/s", int(float(a.octets.replace("g", "e9").replace("m", "e6")))
    megabytes = octets / 1e6
    what = {
        "out": (("bh-source", ("--listen", PORT, "--octets", octets), "bh-sink", ()), gigabits, megabytes),
        "in": (("bh-sink", ("--listen", PORT), "bh-source", ("--octets", octets)), gigabits, megabytes),
        "one": (("bh-echo", (PORT,), "bh-rr", ("--count", a.round_trips)), r"median ([\d.]+) us", a.round_trips),
        "hundred": (("bh-echo", (PORT,), "bh-rr", ("--connections", 100, "--count", 5 * a.round_trips)), r"([\d.]+) a second",
                    5 * a.round_trips),
    }
    print(json.dumps({name: work(*what[name][0], *what[name][1:]) for name in a.work.split(",")}))


# ---- outside ----

def measure(a, switch):
    done = subprocess.run([BUILD / "bulkhead", "lab", "--partition", a.partition, "--commit", switch, "--", "python3", "bench/store.py",
                           "--inside", "--octets", a.octets, "--round-trips", str(a.round_trips), "--work", a.work], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"bench/store: the measurement with --commit {switch} failed")
    return json.loads(done.stdout)


def interval(values):
    """Of the median: the narrowest pair of order statistics that holds it in 95 of 100 samples, all of them if there are too few."""
    values, n = sorted(values), len(values)
    for k in range(n // 2, 0, -1):
        outside = 2 * sum(math.comb(n, i) for i in range(k)) / 2**n
        if outside <= 0.05:
            return values[k - 1], values[n - k]
    return values[0], values[-1]


def table(a, rounds):
    print(f"What the store costs: {a.partition}, {len(rounds)} rounds of --commit on and off, {os.cpu_count()} CPUs; ratio on : off, 95 % interval")
    print(f"{'':<36} {'on':>9} {'off':>9}  {'':<9} {'ratio':<22} {'tcp CPU on':>11} {'off':>7}  {'ratio'}")
    for name, label, unit in WORK:
        if name not in a.work.split(","):
            continue
        row = []
        for figure in ("reached", "cpu_us"):
            on, off = ([r[s][name][figure] for r in rounds] for s in SWITCH)
            ratios = [x / y for x, y in zip(on, off) if y > 0]
            low, high = interval(ratios)
            row += [statistics.median(on), statistics.median(off), f"{statistics.median(ratios):.3f} ({low:.3f}-{high:.3f})"]
        each = "MB" if unit == "Gb/s" else "trip"
        print(f"{label:<36} {row[0]:>9.4g} {row[1]:>9.4g}  {unit:<9} {row[2]:<22} {row[3]:>8.2f} us {row[4]:>7.2f}  {row[5]} a {each}")


def main():
    a = arguments()
    if a.inside:
        return inside(a)
    rounds = []
    for number in range(a.rounds):
        order = SWITCH if number % 2 == 0 else SWITCH[::-1]
        rounds.append({switch: measure(a, switch) for switch in order})
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {a.rounds} rounds", end="" if number + 1 < a.rounds else "\n", file=sys.stderr)
    table(a, rounds)
    if a.json:
        with open(a.json, "w", encoding="ascii") as file:
            json.dump({"partition": a.partition, "rounds": rounds}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
