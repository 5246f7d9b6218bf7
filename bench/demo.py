#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The demo, seen from outside: runs its story and its measurements in private labs and prints what held. Exit status 0 if
all held, 1 if not."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("BULKHEAD_BUILD", ROOT / "build")).resolve()
FACTORED = "nic|ip|tcp|udp|socket"
MONOLITHIC = "nic+ip+tcp+udp+socket"

COLUMNS = (("factored", FACTORED), ("monolithic", MONOLITHIC), ("Linux", None))
ROWS = (  # key, label, format, whether more is better
    ("out", "bulk, stack to Linux", "{:.1f} Gb/s", True),
    ("out6", "... over IPv6", "{:.1f} Gb/s", True),
    ("in", "bulk, Linux to stack", "{:.1f} Gb/s", True),
    ("in6", "... over IPv6", "{:.1f} Gb/s", True),
    ("rr_us", "TCP request/response, 1 octet", "{:.1f} us", False),
    ("rr6_us", "... over IPv6", "{:.1f} us", False),
    ("udp_us", "UDP request/response, 1 octet", "{:.1f} us", False),
    ("udp6_us", "... over IPv6", "{:.1f} us", False),
    ("at_once", "1 octet, 100 TCP connections", "{:,.0f} /s", True),
    ("connects", "connect + 1 octet + close", "{:,.0f} /s", True),
    ("out_cpu", "CPU, all of it, stack to Linux", "{:.2f} s/GB", False),
    ("in_cpu", "CPU, all of it, Linux to stack", "{:.2f} s/GB", False),
)


def lab(script, *arguments, partition=FACTORED, capture=False, environment=()):
    env = dict(os.environ, PYTHONPATH=f"{ROOT}/tests/integration", PYTHONDONTWRITEBYTECODE="1", **dict(environment))
    return subprocess.run([BUILD / "bulkhead", "lab", "--partition", partition, "--", "python3", ROOT / "bench" / script,
                           *map(str, arguments)], env=env, stdout=subprocess.PIPE if capture else None, text=True)


def measure(rounds):
    """Rounds of factored, monolithic and Linux, one after another; medians."""
    found = {name: [] for name, _ in COLUMNS}
    for number in range(rounds):
        for name, partition in COLUMNS:
            if sys.stderr.isatty():
                print(f"\r   round {number + 1} of {rounds}: {name:<12}", end="", file=sys.stderr, flush=True)
            done = lab("measure.py", "linux" if partition is None else "bulkhead", partition=partition or FACTORED, capture=True)
            if done.returncode != 0:
                print(f"\n   {name}: the measurement failed", file=sys.stderr)
                return None
            found[name].append(json.loads(done.stdout))
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    return found


def start_to_ping(partition):
    """Milliseconds from the start of the supervisor to the first answered ping, and of that until all domains ran."""
    times = []
    for _ in range(5):
        done = subprocess.run([BUILD / "bulkhead", "lab", "--partition", partition, "--", "sh", "-c",
                               "ping -D -c 1 10.77.0.2 | sed -n 's/^.\\([0-9.]*\\). 64 bytes.*/\\1/p'; bulkhead events --json"], stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            return None
        stamp, document = done.stdout.split("\n", 1)
        started = next(e for e in json.loads(document)["events"] if e["kind"] == "started")
        times.append((float(stamp) * 1e3 - (started["time_us"] - started["span_us"][0]) / 1e3, started["span_us"][0] / 1e3))
    return [statistics.median(t) for t in zip(*times)]


def median(found, name, key):
    return statistics.median(r[key] for r in found[name])


def table(found, rounds):
    print(f"   {'':<32}{'factored':>13}{'monolithic':>13}{'Linux':>13}   {'factored/monolithic'}")
    for key, label, form, _ in ROWS:
        cells = [form.format(median(found, name, key)) for name, _ in COLUMNS]
        # the ratio within each round, so that a noisy minute does not favour one side
        ratio = statistics.median(f[key] / m[key] if m[key] else float("nan") for f, m in zip(found["factored"], found["monolithic"]))
        print(f"   {label:<32}" + "".join(f"{c:>13}" for c in cells) + f"   {ratio:.2f}")
    load = os.getloadavg()[0]
    print(f"   medians of {rounds} interleaved rounds; Linux: its own stack in a second namespace over veth, same programs;"
          f" load {load:.1f}")
    for name, partition in COLUMNS[:2]:
        if (start := start_to_ping(partition)) is not None:
            print(f"   start to first answered ping, {name}: {start[0]:.1f} ms (all domains running after {start[1]:.1f} ms)")
    private = found["factored"][-1]["private_kib"]
    print("   private memory after the run, KiB: " + "  ".join(f"{n} {k}" for n, k in private.items())
          + "   monolithic " + str(next(iter(found["monolithic"][-1]["private_kib"].values()))))


def main():
    parser = argparse.ArgumentParser(prog="bench/demo", description="Shows Bulkhead at work: transfers, kills under them, and the price of factoring.")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of the comparison, 0 to leave it out (default 3)")
    parser.add_argument("--megabytes", type=int, default=300, metavar="N", help="size of the files transferred (default 300)")
    arguments = parser.parse_args()
    if arguments.rounds < 0 or not 50 <= arguments.megabytes <= 4000:
        parser.error("--rounds wants 0 or more, --megabytes 50 to 4000")
    start = time.monotonic()
    story = lab("story.py", arguments.megabytes)
    held = story.returncode == 0
    if arguments.rounds:
        print("\n8. The price of factoring: the same code as five processes and as one, and Linux beside them\n")
        found = measure(arguments.rounds)
        held = held and found is not None
        if found is not None:
            table(found, arguments.rounds)
    print(f"\n{'All held' if held else 'NOT all held: see the lines marked FAIL above'} ({time.monotonic() - start:.0f} s).")
    return 0 if held else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
