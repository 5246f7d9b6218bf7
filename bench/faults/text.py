# SPDX-License-Identifier: BSD-2-Clause
"""The tables of a campaign, as text, from its lines. The figures are aggregate.py's."""
import aggregate
import classify
import plan
import stats

LETTERS = {"escaped": "ESC", "wrong data": "wrong", "service lost": "lost!", "service lost until restart": "lost", "connections lost": "conn",
           "hang": "hang", "degraded": "slow", "transparent": "transp", "no effect": "none", "not activated": "not act"}
WRONG_SHOWN = 120
EARLIER_SHOWN = 12


def table(head, rows):
    """Columns as wide as they must be, the first to the left."""
    rows = [[str(cell) for cell in row] for row in [head, *rows]]
    width = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join([row[0].ljust(width[0])] + [cell.rjust(w) for cell, w in zip(row[1:], width[1:])]).rstrip() for row in rows)


def outcomes_table(runs, key, order):
    rows = aggregate.outcomes(runs, key, order)
    rows.append(("all", aggregate.total(rows)))
    return table([""] + [LETTERS[o] for o in classify.OUTCOMES], [[name] + [counts[o] or "." for o in classify.OUTCOMES] for name, counts in rows])


def rates(runs):
    return table([""] + [name for name, *_ in aggregate.RATES], [[name] + [stats.rate_text(*r) for r in row] for name, row in aggregate.rates(runs)])


def goals(runs, partition):
    lines = []
    for name, got, bound, met in aggregate.goals(runs):
        asked = "" if bound is None or partition == aggregate.CONTROL else " (wanted: none)" if bound == 0 else f" (wanted: {100 * bound:.0f} %)"
        lines.append(f"{name}: {stats.rate_text(*got)}{asked}{'' if not asked or met is None else ': met' if met else ': NOT MET'}")
    return "\n".join(lines)


def matrix(runs):
    """How many of a server's activated faults reached whom; ! marks what is none of the victim's."""
    rows = [[f"{server} ({n})"] + [f"{c.hits} {stats.percent_text(c.hits / c.of)}%{'!' * c.escape}" if c.hits else "." for c in cells]
            for server, n, cells in aggregate.matrix(runs)]
    return table(["faulted", *(c for _, columns in aggregate.COLUMNS for c in columns)], rows)


def recovery(runs):
    return table(["ms", "n", "p50", "p99", "max"],
                 [[s.name, len(s.values)] + [f"{v / 1000:.2f}" for v in s[2:]] for s in aggregate.recovery(runs)])


def degraded(runs):
    return table(["degraded", "n", "p50", "p99", "max"],
                 [[s.name + (", ms" if s.name == "pause" else ""), len(s.values)] + [f"{v / 1000:.0f}" if s.name == "pause" else f"{v:.1f}" for v in s[2:]]
                  for s in aggregate.degraded(runs)])


def worst(runs):
    """The worst cases with what reproduces each."""
    cases, more = aggregate.worst(runs)
    lines = []
    for r in cases:
        lines += [f"{r['outcome']}: {r['class']} in {r['server']}, {r['partition']}, seed {r['seed']}: {r['why'][:300]}", f"    {aggregate.reproduce(r)}"]
    if more:
        lines.append(f"... and {more} more")
    return "\n".join(lines)


def wrong_data(runs):
    """Every run with wrong data, beside what explains it."""
    lines = []
    for p in aggregate.partitions(runs):
        for name, server, sentence, some in aggregate.wrong_data(aggregate.within(runs, p)):
            lines.append(f"{name} in {server}, {p}: {len(some)}, {sentence}")
            lines += [f"    seed {r['seed']}, {r['load']}: {r['why'][:WRONG_SHOWN]}" for r in some]
    return "\n".join(lines)


def busy(lines):
    """A word on the machine, if without a fault there were pauses that no stack makes."""
    found = aggregate.busiest(lines)
    if found is None:
        return []
    pause, golden = found
    return [f"The machine was busy: golden runs had pauses of up to {pause / 1000:.0f} ms ({golden['load']}, {golden['partition']}); verdicts that rest on "
            "time say little."]


def of_partition(partition, some):
    live, shown = aggregate.activated(some), aggregate.manifested(some)
    parts = [f"== {partition}: {len(some)} runs, {len(live)} activated, {len(shown)} manifested ==", goals(some, partition),
             "by class", outcomes_table(some, "class", list(plan.CLASSES)), "by server", outcomes_table(some, "server", plan.SERVERS),
             "rates with 95 % confidence intervals", rates(some), "blast radius: activated faults that reached ...", matrix(some)]
    if aggregate.recovery(some):
        parts += ["recovery", recovery(some)]
    return parts + ([degraded(some)] if aggregate.degraded(some) else [])


def report(lines):
    runs, broken = aggregate.runs_of(lines), aggregate.broken_of(lines)
    parts = busy(lines)
    for partition in aggregate.partitions(runs):
        parts += of_partition(partition, aggregate.within(runs, partition))
    if worst(runs):
        parts += ["worst cases", worst(runs)]
    if wrong_data(runs):
        parts += ["wrong data, each run, with what such a fault can do (by class and place; not traced one by one)", wrong_data(runs)]
    again = aggregate.revised(runs)
    if again:
        parts.append(f"{len(again)} verdicts that rested on time alone did not come again, and count as what came then: "
                     + ", ".join(f"{r['earlier'][0][0]} -> {r['outcome']} (seed {r['seed']}, {r['partition']})" for r in again[:EARLIER_SHOWN]))
    if broken:
        parts.append(f"{broken} runs did not come about: they say nothing of the stack, and count nowhere")
    planted = aggregate.plants(lines)
    if planted:
        parts.append(f"{sum(found for _, found in planted)} of {len(planted)} planted escapes were found")
    return "\n\n".join(parts)
