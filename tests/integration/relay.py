# SPDX-License-Identifier: BSD-2-Clause
"""The relay between two Linuxes: delay, loss by seed, a bottleneck with its buffer, one MTU; bad lines, and its end."""
import pathlib
import re
import subprocess
import tempfile

from hosts import FRAME, STREAM_SHARE, Ground, Path, checked
from inside import BUILD, main

PINGS = 400
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="bh-relay-"))


def ping(count, interval=0.005):
    """(sequence numbers that were answered, times in ms)"""
    left, right = ground.hosts["linux", "left"], ground.hosts["linux", "right"]
    done = subprocess.run([*left.enter(), "ping", "-n", "-c", str(count), "-i", str(interval), "-W", "1", right.address], capture_output=True, text=True, timeout=60)
    answers = re.findall(r"icmp_seq=(\d+) .*time=([\d.]+) ms", done.stdout)
    return {int(number) for number, _ in answers}, [float(time) for _, time in answers]


def test_delay():
    ground.relay.set("delay=7ms", "delay=13ms")
    answered, times = ping(50)
    report = checked(ground.relay.set())
    times.sort()
    assert len(answered) == 50 and times[0] >= 20 and times[25] < 22, times
    assert report["to_right"]["arp"] >= 1 and report["to_right"]["delivered"] == 50 + report["to_right"]["arp"], report
    print(f"  20 ms: least {times[0]}, median {times[25]}, most {times[-1]}; the relay late by {report['to_right']['late_mean_us']} us on average", flush=True)


def test_seed():
    """What is lost is what the seed says, each time; another seed loses others."""
    lost = []
    for seed in 1, 1, 2:
        ground.relay.set(f"loss=10%,seed={seed}")
        answered, _ = ping(PINGS)
        report = checked(ground.relay.set())
        lost.append(set(range(1, PINGS + 1)) - answered)
        assert report["to_right"]["lost"] == len(lost[-1]) and PINGS // 20 < len(lost[-1]) < PINGS // 5, report
    assert lost[0] == lost[1] != lost[2], lost


def test_bottleneck():
    rate, seconds = 20, 4
    path = Path(rate * 1000000, 20, queue=50 * FRAME)
    ground.relay.set(*path.impairments())
    flow = ground.flow("linux", "linux", "cubic", seconds).end()
    way = checked(ground.relay.set())["to_right"]
    assert 0.85 * rate * STREAM_SHARE < flow["goodput"] / 1e6 <= rate * STREAM_SHARE, flow
    assert 40 * FRAME < way["backlog_max"] <= 50 * FRAME and way["full"] > 0, way
    assert 20000 + 25000 < flow["srtt_max_us"] + 5000 and flow["srtt_max_us"] < 20000 + 50 * FRAME * 8 / rate + 10000, flow
    print(f"  {rate} Mbit/s: {flow['goodput'] / 1e6:.2f} of {rate * STREAM_SHARE:.2f}, {way['full']} frames found the buffer full", flush=True)


def test_no_super_segments():
    """Linux hands the bridge super-segments; at the relay there are none."""
    ground.relay.set()
    flow = ground.flow("linux", "linux", "cubic", 1).end()
    way = checked(ground.relay.set())["to_right"]
    assert flow["goodput"] > 200e6 and way["frames"] * FRAME >= way["octets"] > flow["goodput"] / 8, (flow, way)


def test_ends():
    ground.stop()
    for line, status in ("", 0), ("- -\n", 0), ("loss=200% -\n", 1), ("-\n", 1), ("- - -\n", 1):
        done = subprocess.run([BUILD / "bench" / "relay", "t0", "t1"], input=line, capture_output=True, text=True, timeout=10)
        assert done.returncode == status and done.stderr.count("\n") == status and done.stdout.count("\n") == 2 + (line == "- -\n"), (line, done)
    for arguments, status in ([], 2), (["t0"], 2), (["t0", "far-too-long-a-name"], 1), (["t0", "t0"], 1):
        done = subprocess.run([BUILD / "bench" / "relay", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
        assert done.returncode == status and done.stderr.count("\n") == 1, (arguments, done)


try:
    ground = Ground(FOLDER, kinds=("linux",))
    main([test_delay, test_seed, test_bottleneck, test_no_super_segments, test_ends])
finally:
    subprocess.run(["rm", "-rf", FOLDER])
