# SPDX-License-Identifier: BSD-2-Clause
"""The tables of a campaign, as text, from its lines."""
import collections
import shlex

import classify
import plan
import stats

LETTERS = {"escaped": "ESC", "wrong data": "wrong", "service lost": "lost!", "service lost until restart": "lost", "connections lost": "conn",
           "hang": "hang", "degraded": "slow", "transparent": "transp", "no effect": "none", "not activated": "not act"}
TRAFFIC = ("tcp connections", "udp traffic")
WORST_SHOWN, WORST_EACH = 12, 5
QUIET_US = 200_000


def table(head, rows):
    """Columns as wide as they must be, the first to the left."""
    rows = [[str(cell) for cell in row] for row in [head, *rows]]
    width = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join([row[0].ljust(width[0])] + [cell.rjust(w) for cell, w in zip(row[1:], width[1:])]).rstrip() for row in rows)


def counted(runs, key, partition):
    found = collections.defaultdict(collections.Counter)
    for run in runs:
        if run["partition"] == partition:
            found[key(run)][run["outcome"]] += 1
    return found


def outcomes_table(runs, key, order, partition):
    found, rows = counted(runs, key, partition), []
    names = [name for name in order if name in found] + sorted(str(n) for n in found if n not in order)
    for name in names:
        rows.append([name] + [found[name][o] or "." for o in classify.OUTCOMES])
    total = sum(found.values(), collections.Counter())
    rows.append(["all"] + [total[o] or "." for o in classify.OUTCOMES])
    return table([""] + [LETTERS[o] for o in classify.OUTCOMES], rows)


def activated(runs):
    return [r for r in runs if r["outcome"] != "not activated"]


def manifested(runs):
    return [r for r in runs if r["outcome"] in classify.MANIFESTED]


def share(runs, outcomes):
    return sum(r["outcome"] in outcomes for r in runs)


LOST = ("service lost", "service lost until restart")


def rates(runs, partition):
    """Rates with their 95 % intervals, of the activated faults and of those that showed."""
    runs = [r for r in runs if r["partition"] == partition]
    rows = []
    for name, some in [("all", runs)] + [(g, [r for r in runs if r["group"] == g]) for g in plan.GROUPS] + \
                      [(s, [r for r in runs if r["server"] == s]) for s in plan.SERVERS]:
        live, shown = activated(some), manifested(some)
        if live:
            fine = len(live) - share(live, LOST)
            rows.append([name, stats.rate_text(share(live, ("escaped",)), len(live)), stats.rate_text(share(shown, ("escaped",)), len(shown)),
                         stats.rate_text(fine, len(live)), stats.rate_text(share(live, ("transparent", "no effect")), len(live)),
                         stats.rate_text(share(shown, ("transparent",)), len(shown))])
    return table(["", "escaped/activated", "escaped/manifested", "reachable again/activated", "transparent or none/activated",
                  "transparent/manifested"], rows)


def matrix(runs, partition):
    """How many of a server's activated faults reached whom."""
    columns, rows = plan.SERVERS + ("supervisor", "manage", "channel") + TRAFFIC, []
    for server in plan.SERVERS:
        mine = activated([r for r in runs if r["partition"] == partition and r["server"] == server])
        if mine:
            rows.append([f"{server} ({len(mine)})"] + [sum(c in r["affected"] for r in mine) or "." for c in columns])
    return table(["faulted", *columns], rows)


def recovery(runs, partition):
    rows = []
    for name in ("detect", "restart", "restore", "first_byte"):
        values = [r["timeline"][name] for r in runs if r["partition"] == partition and r["timeline"] and r["timeline"][name] is not None]
        if values:
            rows.append([name.replace("_", " "), len(values)] + [f"{stats.percentile(values, p) / 1000:.2f}" for p in (50, 99, 100)])
    return table(["ms", "n", "p50", "p99", "max"], rows)


def reproduce(run):
    return (f"bulkhead campaign --seed {run['seed']} --runs 1 --partition {shlex.quote(run['partition'])} --classes {run['class']} "
            f"--servers {run['server']} --loads {run['load']}" + (f" --place {run['place']}" if run.get("place") else ""))


def worst(runs):
    """The worst cases with what reproduces each."""
    bad = [r for r in runs if classify.OUTCOMES.index(r["outcome"]) < classify.OUTCOMES.index("transparent")]
    bad.sort(key=lambda r: (r["partition"] != "factored", classify.OUTCOMES.index(r["outcome"]), -r["factor"], -r["gap_us"]))
    lines, of = [], collections.Counter()
    for r in bad:
        of[r["partition"], r["outcome"]] += 1
        if of[r["partition"], r["outcome"]] > WORST_EACH:
            continue
        lines += [f"{r['outcome']}: {r['class']} in {r['server']}, {r['partition']}, seed {r['seed']}: {r['why'][:300]}", f"    {reproduce(r)}"]
    more = sum(max(0, n - WORST_EACH) for n in of.values())
    if more:
        lines.append(f"... and {more} more")
    return "\n".join(lines)


def busy(lines):
    """A word on the machine, if without a fault there were pauses that no stack makes."""
    pauses = [(max(g["gap_us"].values()), g) for g in lines if g["type"] == "golden" and g["gap_us"]]
    pause, golden = max(pauses, key=lambda p: p[0], default=(0, None))
    if pause <= QUIET_US:
        return []
    return [f"The machine was busy: golden runs had pauses of up to {pause / 1000:.0f} ms ({golden['load']}, {golden['partition']}); verdicts that rest on "
            "time say little."]


def report(lines):
    runs = [x for x in lines if x["type"] == "run" and "outcome" in x and x["group"] != "plant"]
    parts, broken = busy(lines), sum(x["type"] == "run" and "outcome" not in x for x in lines)
    for partition in sorted({r["partition"] for r in runs}):  # factored is before monolithic
        some = [r for r in runs if r["partition"] == partition]
        parts.append(f"== {partition}: {len(some)} runs, {len(activated(some))} activated, {len(manifested(some))} manifested ==")
        parts += ["by class", outcomes_table(runs, lambda r: r["class"], list(plan.CLASSES), partition),
                  "by server", outcomes_table(runs, lambda r: r["server"], plan.SERVERS, partition),
                  "rates with 95 % confidence intervals", rates(runs, partition),
                  "blast radius: activated faults that reached ...", matrix(runs, partition)]
        if any(r["timeline"] for r in some):
            parts += ["recovery", recovery(runs, partition)]
    if worst(runs):
        parts += ["worst cases", worst(runs)]
    again = [r for r in runs if r.get("earlier") and r["outcome"] != r["earlier"][0][0]]
    if again:
        parts.append(f"{len(again)} verdicts that rested on time alone did not come again, and count as what came then: "
                     + ", ".join(f"{r['earlier'][0][0]} -> {r['outcome']} (seed {r['seed']}, {r['partition']})" for r in again[:WORST_SHOWN]))
    if broken:
        parts.append(f"{broken} runs did not come about: they say nothing of the stack, and count nowhere")
    return "\n\n".join(parts)
