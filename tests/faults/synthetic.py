# SPDX-License-Identifier: BSD-2-Clause
"""A campaign that never was, in the schema of a real one, to develop and test against: the outcomes of each class have weights."""
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench" / "faults"))
import plan as planning  # noqa: E402

WEIGHTS = {  # of the factored partition; the monolithic one is worse
    "fail-stop": {"transparent": 97, "degraded": 2, "connections lost": 1},
    "hang": {"transparent": 90, "degraded": 4, "no effect": 6},
    "memory": {"no effect": 55, "transparent": 12, "not activated": 30, "connections lost": 2, "wrong data": 1},
    "code": {"transparent": 40, "no effect": 38, "not activated": 8, "connections lost": 6, "service lost until restart": 3, "degraded": 4, "hang": 1},
    "resource": {"transparent": 30, "degraded": 30, "no effect": 30, "service lost until restart": 8, "service lost": 1},
    "message": {"no effect": 70, "transparent": 20, "not activated": 5, "hang": 3, "degraded": 2}}
WORSE = {"transparent": "connections lost", "degraded": "service lost until restart", "hang": "service lost"}


def header(runs, partitions=("factored", "monolithic")):
    return {"type": "header", "schema": 1, "revision": "v0.6-12-gabc", "started": "2026-11-21T17:00:00+00:00",
            "machine": {"kernel": "6.18", "cpus": 2, "architecture": "x86_64", "python": "3.11"}, "partitions": list(partitions),
            "classes": list(planning.CLASSES), "servers": list(planning.SERVERS), "loads": list(planning.LOADS), "seed": 0, "runs": runs,
            "shard": [1, 1], "lanes": 4, "timeout_ms": 1000}


def golden(partition, load, pause_us=9000):
    return {"type": "golden", "partition": partition, "load": load, "runs": 3, "rate": {k: 1e6 for k in planning.LOADS},
            "gap_us": {k: pause_us for k in planning.LOADS}}


def timeline(rng, group):
    detect = rng.lognormvariate(4.5, 0.6) if group == "fail-stop" else rng.lognormvariate(11.5, 0.2)
    return {"detect": int(detect), "restart": int(rng.lognormvariate(6.2, 0.3)), "restore": int(rng.lognormvariate(5.5, 0.4)),
            "first_byte": int(rng.lognormvariate(5.9, 0.7)) if rng.random() < 0.9 else None}


def run(partition, plan, outcome, rng):
    factored, live = partition == "factored", outcome not in ("not activated", "no effect")
    domain = [plan["server"]] if factored else list(planning.SERVERS)
    affected = {s: outcome for s in domain} if live else {}
    lost = 5 if outcome in ("connections lost", "service lost") else 0
    stuck = 2 if outcome == "hang" else 0
    if outcome == "escaped":
        affected[next(s for s in planning.SERVERS if s != plan["server"])] = "replaced"
    if lost or stuck or outcome == "wrong data":
        affected["tcp connections"] = f"{lost} lost, {stuck} stuck of 5"
    restarted = outcome in ("transparent", "connections lost") and rng.random() < 0.9
    return {"type": "run", "partition": partition, **plan, "run_s": 3.1, "machine_load": round(rng.uniform(4, 9), 1), "victim": "+".join(domain),
            "timeline": timeline(rng, plan["group"]) if restarted else None, "streams": 5, "lost": lost, "stuck": stuck,
            "gap_us": int(rng.lognormvariate(8.5, 1)), "other_gap_us": 0, "restarted": restarted, "down_us": 2000 if restarted else 0,
            "unverified": [], "factor": round(rng.uniform(1.5, 6), 2) if outcome == "degraded" and rng.random() < 0.7 else 1.0, "outcome": outcome,
            "why": f"{outcome} as it was made" if live else "", "time_alone": outcome == "degraded", "affected": affected,
            "activated": outcome != "not activated" or None, "activation": "", "said": "", "events": [], "reached_us": 4000,
            "place": "text:0x4089aa" if plan["group"] == "code" else "", "verify": {}, "earlier": []}


def campaign(runs, seed=1, partitions=("factored", "monolithic")):
    rng = random.Random(seed)
    lines = [header(runs, partitions)] + [golden(p, load) for p in partitions for load in planning.LOADS]
    for s in range(runs):
        plan = planning.plan(s, list(planning.CLASSES), list(planning.SERVERS), list(planning.LOADS))
        weights = WEIGHTS[plan["group"]]
        outcome = rng.choices(list(weights), list(weights.values()))[0]
        for p in partitions:
            lines.append(run(p, plan, outcome if p == "factored" else WORSE.get(outcome, outcome), rng))
    return lines


def plants():
    rng, lines = random.Random(3), []
    for i, (kind, words) in enumerate(planning.PLANTS.items()):
        lines.append({**run("factored", planning.plant_plan(kind, i, "bulk"), "escaped", rng), "why": f"nic: {words}changed"})
    return lines
