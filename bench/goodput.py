# SPDX-License-Identifier: BSD-2-Clause
"""Goodput over a bad path, Bulkhead to Bulkhead beside Linux to Linux: for each loss and round-trip time, each pair of hosts sends one bulk flow
over the same relay with the same seeds, one after the other, and the medians are compared. Run by bench/goodput.

A pair is SENDER[>RECEIVER]-CONGESTION: linux-cubic, bulkhead-reno, bulkhead>linux-cubic. The bottleneck is 100 Mbit/s: far below what either
side and the relay can do on two cores, so that the path decides; its buffer is one product of rate and round-trip time, at least 100 frames."""
import argparse
import json
import math
import pathlib
import queue
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading

from hosts import PAYLOAD, STREAM_SHARE, Ground, Path, checked, load

LATE_PERCENT, TRIES = 1.0, 3
HEAVY_LANES = 2
PAIRS = "linux-cubic", "bulkhead-cubic", "linux-reno", "bulkhead-reno", "linux-bbr"
COUNTED = ("tcp_retransmits", "tcp_fast_retransmits", "tcp_timeouts", "tcp_recoveries", "tcp_loss_probes", "tcp_rack_marked",
           "tcp_spurious_recoveries", "tcp_spurious_timeouts", "tcp_dsacks_in", "tcp_reneged", "tcp_flights_full", "tcp_rings_grown", "tcp_paced")


def arguments():
    p = argparse.ArgumentParser(prog="bench/goodput", description="Goodput over a bad path: Bulkhead beside Linux.")
    p.add_argument("--loss", default="0,0.1,1,5,10", help="per cent, to the receiver (default %(default)s)")
    p.add_argument("--rtt", default="1,20,100", help="milliseconds (default %(default)s)")
    p.add_argument("--cells", help="only these, as LOSS@RTT,...: 1@20,5@100")
    p.add_argument("--pairs", default=",".join(PAIRS), help="default %(default)s")
    p.add_argument("--seeds", type=int, default=3, help="runs of each pair in each cell; chance has more to say where more is lost: twice as many from 1 %% on, five times from 5 %% (default %(default)s)")
    p.add_argument("--seconds", type=int, help="of a run (default 10, at 100 ms and more 20)")
    p.add_argument("--rate", type=int, default=100, help="of the bottleneck, Mbit/s (default %(default)s)")
    p.add_argument("--queue", type=int, help="of the bottleneck, octets (default: rate * RTT, at least 100 frames)")
    p.add_argument("--both-ways", action="store_true", help="acknowledgements are lost, too")
    p.add_argument("--lanes", type=int, default=6, help="runs at once, each on hosts of its own; of those that fill the link two at most (default %(default)s)")
    p.add_argument("--up", default="", help="options of `bulkhead up`, as --up='--partition monolithic'")
    p.add_argument("--send-buffer", help="SO_SNDBUF, both ends (default: the stack's)")
    p.add_argument("--receive-buffer", help="SO_RCVBUF, both ends")
    p.add_argument("--quick", action="store_true", help="three cells, a seed or three, no BBR: about a minute")
    p.add_argument("--least", type=float, help="fail if any ratio of Bulkhead to Linux is below this")
    p.add_argument("--by-interval", action="store_true", help="... and so is the upper end of its 90 %% interval: chance does not explain it")
    p.add_argument("--trace", help="folder for the senders' figures each 10 ms, a CSV a run")
    p.add_argument("--json", help="file for all that was measured")
    p.add_argument("--verbose", action="store_true", help="a line for each run: why was it slow?")
    return p.parse_args()


def cells(a):
    if a.quick and not a.cells:
        a.cells = "0@20,1@20,5@20"
    if a.cells:
        return [tuple(map(float, c.split("@"))) for c in a.cells.split(",")]
    return [(float(loss), float(rtt)) for rtt in a.rtt.split(",") for loss in a.loss.split(",")]


def parse_pair(pair):
    found = re.fullmatch(r"(linux|bulkhead)(?:>(linux|bulkhead))?-(\w+)", pair)
    if not found:
        sys.exit(f"bench/goodput: '{pair}': write SENDER[>RECEIVER]-CONGESTION, as bulkhead-cubic")
    return found[1], found[2] or found[1], found[3]


def difference(after, before):
    return {name: after[name] - before.get(name, 0) for name in COUNTED if after.get(name, 0) != before.get(name, 0)}


def measure(a, ground, job):
    cell, seed, pair = job
    loss, rtt = cell
    sender, receiver, congestion = parse_pair(pair)
    path = Path(a.rate * 1000000, rtt, loss, a.queue, seed, a.both_ways)
    seconds = a.seconds or (20 if rtt >= 100 else 6 if a.quick else 10)
    trace = f"{a.trace}/{pair.replace('>', '-')}-{loss:g}-{rtt:g}-{seed}.csv" if a.trace else None
    buffers = [*(["--send-buffer", a.send_buffer] if a.send_buffer else []), *(["--receive-buffer", a.receive_buffer] if a.receive_buffer else [])]
    before = ground.hosts[sender, "left"].counters()
    ground.relay.set(*path.impairments())
    result = ground.flow(sender, receiver, congestion, seconds, trace, buffers).end()
    result["relay"] = checked(ground.relay.set())
    result["counters"] = difference(ground.hosts[sender, "left"].counters(), before)
    return result | {"loss": loss, "rtt": rtt, "seed": seed, "pair": pair, "seconds": seconds}


def lateness(result):
    """Of the frames to the receiver, how many of a hundred the relay let out more than a millisecond after their time."""
    way = result["relay"]["to_right"]
    return 100 * way["late_1ms"] / max(way["delivered"], 1)


def measure_well(a, ground, job):
    """The machine is shared: a run on a path that was not what it is said to be is made again."""
    tries = [measure(a, ground, job)]
    while lateness(tries[-1]) > LATE_PERCENT and len(tries) < TRIES:
        tries.append(measure(a, ground, job))
    return min(tries, key=lateness) | {"tries": len(tries)}


def tell(r):
    if "error" in r:
        return f"  {r['loss']:g} % {r['rtt']:g} ms {r['pair']} seed {r['seed']}: {r['error']}"
    way = r["relay"]["to_right"]
    counted = " ".join(f"{name.removeprefix('tcp_')} {value}" for name, value in r["counters"].items())
    return (f"  {r['loss']:g} % {r['rtt']:g} ms {r['pair']} seed {r['seed']}: {r['goodput'] / 1e6:.2f} Mbit/s, ended by {r['end']}; cwnd mean {r['cwnd_mean']:.0f} max {r['cwnd_max']}, "
            f"srtt mean {r['srtt_mean_us'] / 1e3:.1f} ms, rto {r['rto_us'] / 1e3:.0f} ms, {r['retransmits']} retransmitted; lost {way['lost']}, queue full {way['full']}, "
            f"queue mean {way['backlog_mean'] // 1000} kB; relay late mean {way['late_mean_us']} max {way['late_max_us']} us {counted}")


def seeds(a, loss, congestion):
    if a.quick:
        return range(1, 2 if loss < 1 else 4)
    return range(1, 1 + a.seeds * (1 if loss < 1 or congestion == "bbr" else 2 if loss < 5 else 5))


def is_heavy(a, cell):
    """A run that may fill a good part of the link takes as much of a core, and minds it if others do."""
    return mathis(*cell, a.rate) > a.rate / 5


def next_job(lane, heavy, light):
    """A few lanes have the heavy runs, first; the others never."""
    try:
        return (heavy if lane < HEAVY_LANES else light).get_nowait()
    except queue.Empty:
        return light.get_nowait()


def work(a, folder, lane, heavy, light, results, broken):
    try:
        ground = Ground(folder / str(lane), lane, a.up.split())
        try:
            while not broken:
                result = measure_well(a, ground, next_job(lane, heavy, light))
                results.append(result)
                if a.verbose or "error" in result:
                    sys.stdout.write(tell(result) + "\n")  # in one: others write, too
                    sys.stdout.flush()
        except queue.Empty:
            pass
        finally:
            ground.stop()
    except Exception as error:
        broken.append(error)
        raise


def mathis(loss, rtt_ms, rate):
    """What TCP with Reno's window can have: Mathis and others, "The macroscopic behavior of the TCP congestion avoidance algorithm", 1997."""
    full = rate * STREAM_SHARE
    return full if loss == 0 else min(full, PAYLOAD * 8e-6 / (rtt_ms / 1e3) * math.sqrt(1.5 / (loss / 100)))


def interval(ours, theirs, times=1000):
    """Where nine in ten ratios of medians would be, had chance dealt otherwise (bootstrap)."""
    chance = random.Random(1)
    ratios = sorted(statistics.median(chance.choices(ours, k=len(ours))) / max(statistics.median(chance.choices(theirs, k=len(theirs))), 1e-9) for _ in range(times))
    return ratios[times // 20], ratios[-times // 20]


def table(a, grid, results):
    """Prints it; returns {(cell, bulkhead pair): ratio}, with --by-interval the upper end of its interval."""
    pairs = a.pairs.split(",")
    rates, ratios = {}, {}
    for r in results:
        rates.setdefault(((r["loss"], r["rtt"]), r["pair"]), []).append(r["goodput"] / 1e6)
    print(f"goodput, Mbit/s: median (least-most), and for Bulkhead its ratio to Linux with the same congestion control [90 % interval]")
    print(f"{'loss':>6} {'RTT':>7} {'Mathis':>7} " + " ".join(f"{pair:>32}" for pair in pairs))
    for cell in grid:
        line = f"{cell[0]:>5g}% {cell[1]:>4g} ms {mathis(*cell, a.rate):>7.1f} "
        for pair in pairs:
            got = rates.get((cell, pair), [0.0])
            text = f"{statistics.median(got):.3g} ({min(got):.3g}-{max(got):.3g})"
            sender, receiver, congestion = parse_pair(pair)
            model = rates.get((cell, f"linux-{congestion}"))
            if "bulkhead" in (sender, receiver) and model and statistics.median(model) > 0:
                ratio, chance = statistics.median(got) / statistics.median(model), interval(got, model)
                text += " {:.2f} [{:.2f} {:.2f}]".format(ratio, *chance)
                ratios[cell, pair] = max(ratio, chance[1]) if a.by_interval else ratio
            line += f" {text:>32}"
        print(line)
    return ratios


def possible(a, folder):
    """Leaves out the pairs whose congestion control a stack does not have, and says so."""
    ground = Ground(folder / "probe", 99, a.up.split())
    try:
        keep = []
        for pair in a.pairs.split(","):
            sender, receiver, congestion = parse_pair(pair)
            figures = ground.flow(sender, receiver, congestion, 1).end()
            if "error" in figures:
                print(f"{pair} is left out: {figures['error']}")
            else:
                keep.append(pair)
        print(f"the relay {'has' if ground.relay.real_time else 'has NOT'} a real-time class", flush=True)
    finally:
        ground.stop()
    return ",".join(keep)


def run(a, grid, folder):
    heavy, light, results, broken = queue.Queue(), queue.Queue(), [], []
    for cell in grid:
        jobs = [(cell, seed, pair) for pair in a.pairs.split(",") for seed in seeds(a, cell[0], parse_pair(pair)[2])]
        for job in sorted(jobs, key=lambda job: job[1]):  # the pairs of a seed one after the other
            (heavy if is_heavy(a, cell) else light).put(job)
    lanes = [threading.Thread(target=work, args=(a, folder, lane, heavy, light, results, broken)) for lane in range(a.lanes)
             if lane < light.qsize() + min(HEAVY_LANES, heavy.qsize())]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    if broken:
        raise SystemExit(f"bench/goodput: {broken[0]}")
    return results


def main():
    a = arguments()
    if a.quick:
        a.seeds, a.lanes, a.pairs = 1, 3, ",".join(p for p in a.pairs.split(",") if "bbr" not in p)
    grid = cells(a)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bh-goodput-"))
    try:
        print(load())
        if a.trace:
            pathlib.Path(a.trace).mkdir(parents=True, exist_ok=True)
        a.pairs = possible(a, folder)
        results = run(a, grid, folder)
        ratios = table(a, grid, results)
        print(load())
        late = max(w["late_max_us"] for r in results for w in r["relay"].values())
        again, still = sum(r["tries"] - 1 for r in results), sum(lateness(r) > LATE_PERCENT for r in results)
        print(f"no frame above the MTU; the relay was late by {late} us at most, {max(w['late_mean_us'] for r in results for w in r['relay'].values())} us on average at worst; "
              f"{again} runs were made again, {still} of those kept had more than {LATE_PERCENT:g} % of their frames late by a millisecond")
        if a.json:
            pathlib.Path(a.json).write_text(json.dumps({"rate_mbit": a.rate, "seeds": a.seeds, "runs": results}, indent=1))
    finally:
        subprocess.run(["rm", "-rf", folder])
    slow = [f"{pair} at {cell[0]:g} % and {cell[1]:g} ms: {ratio:.2f}" for (cell, pair), ratio in ratios.items() if a.least is not None and ratio < a.least]
    if a.least is not None and not ratios:
        sys.exit("bench/goodput: no pair to compare")
    if slow:
        sys.exit(f"bench/goodput: below {a.least:g} of Linux: " + "; ".join(slow))


main()
