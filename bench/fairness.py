# SPDX-License-Identifier: BSD-2-Clause
"""Flows of Bulkhead and of Linux at once over one bottleneck: does each have its share? Each mix of flows runs for some time; Jain's index is
taken over what each flow had in the last of it (R. Jain and others, "A quantitative measure of fairness", 1984): 1 is even, 1/n is one
flow having all. Run by bench/fairness. Mixes of Linux alone are there to compare with."""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

from hosts import FRAME, Ground, Path, checked, jain, load

MIXES = "2bulkhead", "2bulkhead+1linux", "2bulkhead+2linux", "2linux", "4linux"


def arguments():
    p = argparse.ArgumentParser(prog="bench/fairness", description="Flows of Bulkhead and Linux over one bottleneck.")
    p.add_argument("--mixes", default=",".join(MIXES), help="default %(default)s")
    p.add_argument("--congestion", default="cubic,reno", help="of all flows of a mix (default %(default)s)")
    p.add_argument("--seconds", type=int, default=30, help="of a run (default %(default)s)")
    p.add_argument("--last", type=int, default=20, help="of them, what counts (default %(default)s)")
    p.add_argument("--runs", type=int, default=3, help="of each mix (default %(default)s)")
    p.add_argument("--rate", type=int, default=40, help="of the bottleneck, Mbit/s (default %(default)s)")
    p.add_argument("--rtt", type=float, default=20, help="milliseconds (default %(default)s)")
    p.add_argument("--queue", type=int, help="of the bottleneck, octets (default: rate * RTT)")
    p.add_argument("--up", default="", help="options of `bulkhead up`")
    p.add_argument("--quick", action="store_true", help="one mix, once, shorter")
    p.add_argument("--least", type=float, help="fail if the median index of a mix with a flow of Bulkhead is below this")
    p.add_argument("--trace", help="folder for the senders' figures each 10 ms, a CSV a flow")
    p.add_argument("--json", help="file for all that was measured")
    return p.parse_args()


def parse_mix(mix):
    kinds = []
    for part in mix.split("+"):
        found = re.fullmatch(r"(\d)(linux|bulkhead)", part)
        if not found:
            sys.exit(f"bench/fairness: '{mix}': write NUMBERlinux, NUMBERbulkhead or both with a +, as 2bulkhead+1linux")
        kinds += [found[2]] * int(found[1])
    return kinds


def measure(a, ground, mix, congestion, number):
    rate = a.rate * 1000000
    path = Path(rate, a.rtt, queue=a.queue or max(int(rate * a.rtt / 8000), 4 * FRAME), seed=number)
    ground.relay.set(*path.impairments())
    flows = []
    for i, kind in enumerate(parse_mix(mix)):
        trace = f"{a.trace}/{mix}-{congestion}-{number}-{i}-{kind}.csv" if a.trace else None
        flows.append((kind, ground.flow(kind, kind, congestion, a.seconds, trace)))
    ended = [(kind, flow, flow.end()) for kind, flow in flows]
    failed = [figures["error"] for _, _, figures in ended if "error" in figures]
    if failed:
        return {"mix": mix, "congestion": congestion, "error": failed[0]}
    rates = [flow.goodput(a.seconds - a.last, a.seconds) for _, flow, _ in ended]
    return {"mix": mix, "congestion": congestion, "rates": rates, "jain": jain(rates), "flows": [figures | {"kind": kind} for kind, _, figures in ended],
            "relay": checked(ground.relay.set())}


def tell(r):
    if "error" in r:
        return f"{r['mix']:<18} {r['congestion']:<6} left out: {r['error']}"
    flows = ", ".join(f"{f['kind']} {rate / 1e6:.1f} (cwnd {f['cwnd_mean']:.0f}, {f['retransmits']} retransmitted)" for f, rate in zip(r["flows"], r["rates"]))
    return f"{r['mix']:<18} {r['congestion']:<6} {r['jain']:.3f}   {flows}; queue full {r['relay']['to_right']['full']}"


def run(a, ground):
    results = []
    for number in range(1, a.runs + 1):
        for congestion in a.congestion.split(","):
            for mix in a.mixes.split(","):
                results.append(measure(a, ground, mix, congestion, number))
                print(tell(results[-1]), flush=True)
    return results


def summary(a, results):
    """Prints it; the mixes with Bulkhead whose index is too small."""
    indices = {}
    for r in results:
        if "jain" in r:
            indices.setdefault((r["mix"], r["congestion"]), []).append(r["jain"])
    print(f"Jain's index, last {a.last} s of {a.seconds}, {a.rate} Mbit/s, {a.rtt:g} ms: median (least)")
    for (mix, congestion), values in indices.items():
        print(f"{mix:<18} {congestion:<6} {statistics.median(values):.3f} ({min(values):.3f})")
    if a.least is not None and not any("bulkhead" in mix for mix, _ in indices):
        sys.exit("bench/fairness: no mix with a flow of Bulkhead was measured")
    return [f"{mix} {congestion}: {statistics.median(values):.3f}" for (mix, congestion), values in indices.items()
            if a.least is not None and "bulkhead" in mix and statistics.median(values) < a.least]


def main():
    a = arguments()
    if a.quick:
        a.mixes, a.runs, a.seconds, a.last = "2bulkhead+1linux", 1, 12, 8
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bh-fairness-"))
    try:
        print(load())
        if a.trace:
            pathlib.Path(a.trace).mkdir(parents=True, exist_ok=True)
        ground = Ground(folder, 0, a.up.split())
        try:
            results = run(a, ground)
        finally:
            ground.stop()
        unfair = summary(a, results)
        print(load())
        if a.json:
            pathlib.Path(a.json).write_text(json.dumps({"runs": results}, indent=1))
    finally:
        subprocess.run(["rm", "-rf", folder])
    if unfair:
        sys.exit(f"bench/fairness: below {a.least:g}: " + "; ".join(unfair))


main()
