# SPDX-License-Identifier: BSD-2-Clause
"""What a campaign's lines say, as figures: each is counted here once, and shown by text.py and report.py."""
import collections
import shlex

import classify
import literature
import plan
import stats

LOST = ("service lost", "service lost until restart")
SCHEMA = 1
CONTROL = "monolithic"  # is shown beside, and held to nothing
PARTS = ("detect", "restart", "restore", "first_byte")
RATES = (  # name: of which runs, those with which outcomes; "not": those without
    ("escaped/activated", "activated", ("escaped",), True),
    ("escaped/manifested", "manifested", ("escaped",), True),
    ("reachable again/activated", "activated", LOST, False),
    ("transparent or none/activated", "activated", ("transparent", "no effect"), True),
    ("transparent/manifested", "manifested", ("transparent",), True))
GOALS = (  # name, of which groups (none: all), what is counted, the most (0) or least that is wanted
    ("escaped", (), lambda r: r["outcome"] == "escaped", 0.0),
    ("reachable again without help", (), lambda r: r["outcome"] not in LOST, 0.99),
    ("fail-stop and hang faults transparent", ("fail-stop", "hang"), lambda r: r["outcome"] in ("transparent", "no effect"), 0.95),
    ("wrong data delivered", (), lambda r: r["outcome"] == "wrong data", None),
    ("connections lost or stuck", (), lambda r: bool(r["lost"] or r["stuck"]), None))  # also of those with a worse outcome
TRAFFIC = ("tcp connections", "udp traffic")
COLUMNS = (("servers", plan.SERVERS), ("trusted base", ("supervisor", "manage")), ("beyond", ("channel", *TRAFFIC)))
WORST_EACH = 5
WORST_FACTORED = {"escaped": 20, "wrong data": 10, "service lost": 10}  # each of these is a case to explain; of wrong data wrong_data() has all
QUIET_US = 200_000

NEEDED = {  # of a line of each type, what is read of it here
    "header": ("schema", "revision", "started", "machine", "partitions", "classes", "servers", "loads", "seed", "runs", "shard", "lanes", "timeout_ms"),
    "golden": ("partition", "load", "gap_us"), "coverage": (), "run": ("partition", "seed", "server", "class", "group", "load", "moment_s"),
    "outcome": ("why", "affected", "timeline", "factor", "gap_us", "lost", "stuck")}

Rate = collections.namedtuple("Rate", "hits of")
Cell = collections.namedtuple("Cell", "column hits of own escape")
Spread = collections.namedtuple("Spread", "name values p50 p99 most")


def wrong(line):
    """What is wrong with a line of a file, or None."""
    kind = line.get("type") if isinstance(line, dict) else None
    if kind not in NEEDED or kind == "outcome":
        return "no line of a campaign"
    lacking = [key for key in NEEDED[kind] + (NEEDED["outcome"] if "outcome" in line else ()) if key not in line]
    if lacking:
        return f"a {kind} without {lacking[0]}"
    if line.get("outcome", classify.OUTCOMES[0]) not in classify.OUTCOMES:
        return f"no such outcome: {line['outcome']}"
    return f"schema {line['schema']} is not known here" if kind == "header" and line["schema"] != SCHEMA else None


# ---- which runs ----
def runs_of(lines):
    return [x for x in lines if x["type"] == "run" and "outcome" in x and x["group"] != "plant"]


def broken_of(lines):
    return sum(x["type"] == "run" and "outcome" not in x for x in lines)


def partitions(runs):
    """factored is before monolithic."""
    return sorted({r["partition"] for r in runs})


def within(runs, partition):
    return [r for r in runs if r["partition"] == partition]


def activated(runs):
    return [r for r in runs if r["outcome"] != "not activated"]


def manifested(runs):
    return [r for r in runs if r["outcome"] in classify.MANIFESTED]


def untold(runs):
    """Not activated as far as anybody can say: no word came in time, or what was changed cannot be watched."""
    return [r for r in runs if r["outcome"] == "not activated" and r.get("activated") is None]


# ---- figures of the runs of one partition ----
def rate(runs, outcomes, inside=True):
    return Rate(sum((r["outcome"] in outcomes) == inside for r in runs), len(runs))


def outcomes(runs, key, order):
    """[(name, {outcome: how many})], in that order, and whatever else there is."""
    found = collections.defaultdict(collections.Counter)
    for run in runs:
        found[run[key]][run["outcome"]] += 1
    names = [name for name in order if name in found] + sorted(str(n) for n in found if n not in order)
    return [(name, found[name]) for name in names]


def total(rows):
    return sum((counts for _, counts in rows), collections.Counter())


def rates(runs):
    """[(name, [Rate])]: of all, of each group of classes, of each server; as in RATES."""
    some = [("all", runs)] + [(g, [r for r in runs if r["group"] == g]) for g in plan.GROUPS] + \
           [(s, [r for r in runs if r["server"] == s]) for s in plan.SERVERS]
    base = {"activated": activated, "manifested": manifested}
    return [(name, [rate(base[of](mine), which, inside) for _, of, which, inside in RATES]) for name, mine in some if activated(mine)]


def goals(runs):
    """[(name, Rate, bound, met)], of activated faults; met is None where no bound is set."""
    found, live = [], activated(runs)
    for name, groups, counts, bound in GOALS:
        some = [r for r in live if not groups or r["group"] in groups]
        got = Rate(sum(counts(r) for r in some), len(some))
        met = None if bound is None or not got.of else (got.hits == 0 if bound == 0 else 100 * got.hits >= round(100 * bound) * got.of)
        found.append((name, got, bound, met))
    return found


def matrix(runs):
    """[(server, how many activated, [Cell])]: how many of a server's activated faults reached whom; own: in the victim's own domain."""
    def cell(column, mine, own):
        hits = sum(column in r["affected"] for r in mine)
        return Cell(column, hits, len(mine), column in own, bool(hits) and column not in own and column not in TRAFFIC)

    rows = []
    for server in plan.SERVERS:
        mine = activated([r for r in runs if r["server"] == server])
        own = {s for r in mine for s in r.get("victim", r["server"]).split("+")}
        if mine:
            rows.append((server, len(mine), [cell(c, mine, own) for _, columns in COLUMNS for c in columns]))
    return rows


def spread(name, values):
    return Spread(name, sorted(values), *(stats.percentile(values, p) for p in (50, 99, 100)))


def recovery(runs):
    """[Spread] in us: the parts of a recovery, their sum, and the longest pause that a load saw when nothing but time was lost. How long it
    takes to detect a fault is the fault's doing as well, so that and the sum are told by kind."""
    some = [r for r in runs if r["timeline"]]
    kinds = {"fail-stop": [r["timeline"] for r in some if r["group"] == "fail-stop"], "hang": [r["timeline"] for r in some if r["group"] == "hang"],
             "others": [r["timeline"] for r in some if r["group"] not in ("fail-stop", "hang")]}
    found = [spread(f"detect, {kind}", [t["detect"] for t in lines if t["detect"] is not None]) for kind, lines in kinds.items()]
    found += [spread(part.replace("_", " "), [r["timeline"][part] for r in some if r["timeline"][part] is not None]) for part in PARTS[1:]]
    found += [spread(f"all four, {kind}", [sum(t[p] for p in PARTS) for t in lines if None not in t.values()]) for kind, lines in kinds.items()]
    found.append(spread("pause seen", [r["gap_us"] for r in some if r["outcome"] == "transparent"]))
    return [s for s in found if s.values]


def degraded(runs):
    """[Spread]: by how much those were that were slower, and the pause in us of the others."""
    slow = [r for r in runs if r["outcome"] == "degraded"]
    found = [spread("slower by the factor", [r["factor"] for r in slow if r["factor"] > 1]),
             spread("pause", [r["gap_us"] for r in slow if r["factor"] <= 1])]
    return [s for s in found if s.values]


# ---- cases ----
def reproduce(run):
    words = ["bulkhead", "campaign", "--seed", str(run["seed"]), "--runs", "1", "--partition", run["partition"], "--classes", run["class"],
             "--servers", run["server"], "--loads", run["load"]] + (["--place", run["place"]] if run.get("place") else [])
    return shlex.join(words)


def worst(runs):
    """(the worst cases, worst first, how many more there are)."""
    bad = [r for r in runs if classify.OUTCOMES.index(r["outcome"]) < classify.OUTCOMES.index("transparent")]
    bad.sort(key=lambda r: (r["partition"] != "factored", classify.OUTCOMES.index(r["outcome"]), -r["factor"], -r["gap_us"], r["seed"]))
    shown, of = [], collections.Counter()
    for r in bad:
        of[r["partition"], r["outcome"]] += 1
        most = WORST_FACTORED.get(r["outcome"], WORST_EACH) if r["partition"] == "factored" else WORST_EACH
        if of[r["partition"], r["outcome"]] <= most:
            shown.append(r)
    return shown, len(bad) - len(shown)


def wrong_data(runs):
    """[(class, server, sentence, [run])]: every run that delivered wrong data, by what it is explained with."""
    by = collections.defaultdict(list)
    for r in sorted((r for r in runs if r["outcome"] == "wrong data"), key=lambda r: r["seed"]):
        by[r["class"], r["server"], literature.wrong_data(r)].append(r)
    order = list(plan.CLASSES)
    return [(*key, by[key]) for key in sorted(by, key=lambda k: (order.index(k[0]) if k[0] in order else len(order), k[1:]))]


def revised(runs):
    """Runs whose verdict rested on time alone and did not come again."""
    return [r for r in runs if r.get("earlier") and r["outcome"] != r["earlier"][0][0]]


def plant_found(run):
    """Was the planted escape found, and by what should find it?"""
    kind = run["class"].removeprefix("plant-")
    return run.get("outcome") == "escaped" and plan.PLANTS[kind] in run["why"]


def plants(lines):
    return [(r, plant_found(r)) for r in lines if r["type"] == "run" and r["group"] == "plant"]


# ---- the machine ----
def busiest(lines):
    """(us, golden line) of the longest pause without a fault, if it is one that no stack makes."""
    pauses = [(max(g["gap_us"].values()), g) for g in lines if g["type"] == "golden" and g["gap_us"]]
    pause, golden = max(pauses, key=lambda p: p[0], default=(0, None))
    return (pause, golden) if pause > QUIET_US else None


def machine_load(runs):
    return spread("load", [r["machine_load"] for r in runs if "machine_load" in r])


def command(header):
    """What was asked for, as a command; of a merged file, without the shards."""
    words = ["bulkhead campaign", f"--runs {header['runs']} --seed {header['seed']}", "--partition " + shlex.quote(",".join(header["partitions"]))]
    for name, known in (("classes", plan.CLASSES), ("servers", plan.SERVERS), ("loads", plan.LOADS)):
        if header[name] != list(known):
            words.append(f"--{name} {','.join(header[name])}")
    words += [f"--lanes {header['lanes']}", f"--timeout {header['timeout_ms']}"]
    if header["shard"] and header["shard"] != [1, 1]:
        words.append("--shard {}/{}".format(*header["shard"]))
    return " ".join(words)
