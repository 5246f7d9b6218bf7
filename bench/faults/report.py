# SPDX-License-Identifier: BSD-2-Clause
"""A campaign as one HTML file that needs nothing else. The figures are aggregate.py's; the style and the frame are report.html's."""
import html
import pathlib
import string

import aggregate
import classify
import literature
import plan
import stats
import strip

TEMPLATE = pathlib.Path(__file__).resolve().parent / "report.html"
COLOURS = {  # fill, ink; lighter from worst to best also without colour, and apart for every kind of colour blindness
    "escaped": ("#111", "#fff"), "wrong data": ("#4a0d67", "#fff"), "service lost": ("#84206b", "#fff"),
    "service lost until restart": ("#b02a55", "#fff"), "connections lost": ("#ca4535", "#fff"), "hang": ("#e8772e", "#111"),
    "degraded": ("#f4b13d", "#111"), "transparent": ("#b5dcf0", "#111"), "no effect": ("#e9f1f4", "#111"), "not activated": ("#fff", "#111")}
DARK = {  # the same the other way round: what is good is near the paper
    "escaped": ("#fff", "#111"), "wrong data": ("#dcbcff", "#111"), "service lost": ("#f59bd8", "#111"),
    "service lost until restart": ("#ff86a5", "#111"), "connections lost": ("#f06a55", "#111"), "hang": ("#d0641f", "#111"),
    "degraded": ("#946809", "#fff"), "transparent": ("#2f6484", "#fff"), "no effect": ("#262d34", "#e6e9ec"), "not activated": ("#14171b", "#e6e9ec")}
STRIPE = "#888"
COUNTED = 0.045  # of a bar: less has no room for its count
NARROW = 0.13    # the same on a small screen
WHY_SHOWN = 200
WRONG_SHOWN = 80
EARLIER_SHOWN = 8
HEADS = {"tcp connections": "TCP connections", "udp traffic": "UDP traffic"}


class Raw(str):
    """Markup; every other string is escaped."""


def raw(part):
    return part if isinstance(part, Raw) else html.escape(str(part))


def el(name, *inner, **attributes):
    """An element; of an attribute the trailing _ goes, and False or None leaves it out."""
    words = "".join(f' {k.rstrip("_").replace("_", "-")}="{html.escape(str(v))}"' for k, v in attributes.items() if v not in (None, False))
    return Raw(f"<{name}{words}>{''.join(raw(part) for part in inner)}</{name}>")


def join(parts, between=""):
    return Raw(between.join(raw(p) for p in parts))


def percent(share):
    return stats.percent_text(share) + "\u202f%"


def interval(got):
    low, high = stats.wilson(*got)
    return f"{stats.percent_text(low)}\u2060\u2013\u2060{percent(high)}"


def rate_said(got):
    """The share with its count and interval."""
    if not got.of:
        return Raw("\u2013")
    return join([el("b", percent(got.hits / got.of)), " ", el("small", f"{got.hits:,} of {got.of:,}; {interval(got)}")])


def table(caption, head, rows, class_="lined", left=1):
    """The first cell of a row is its head; the first `left` columns are aligned left."""
    heads = [el("th", h, scope="col", class_="l" if i < left else None) for i, h in enumerate(head)]
    body = [el("tr", el("th", row[0], scope="row"), *(el("td", cell, class_="l" if i < left else None) for i, cell in enumerate(row[1:], 1))) for row in rows]
    return el("div", el("table", el("caption", caption), el("thead", el("tr", *heads)), el("tbody", *body), class_=class_), class_="scroll")


def section(title, *parts):
    return join([el("h2", title), *parts], "\n")


# ---- what came of it ----
def sentence(partition, runs):
    """The verdict, with figures."""
    escaped, fine, clear, wrong, lost = (got for _, got, _, _ in aggregate.goals(runs))

    def said(got):
        if not got.of:
            return "none tried"
        return f"{percent(got.hits / got.of)} (95\u202f% interval {interval(got)})"
    return join([f"Of {escaped.of:,} activated faults in the {partition} stack, ", el("strong", f"{escaped.hits:,} escaped the server that they were put in"),
                 f": {said(escaped)}; the stack was reachable again without help after {said(fine)}; of the fail-stop and hang faults {said(clear)} were "
                 f"transparent to applications; wrong data came in {wrong.hits:,}, and connections were lost or stuck in {lost.hits:,}: {said(lost)}."])


def goals_table(runs, names):
    rows, columns = [], {p: aggregate.goals(aggregate.within(runs, p)) for p in names}
    for i, (name, _, bound, _) in enumerate(columns[names[0]]):
        row = [name, "" if bound is None else "none" if bound == 0 else f"at least {100 * bound:.0f}\u202f%"]
        for p in names:
            _, got, _, met = columns[p][i]
            mark = Raw("") if met is None or p != names[0] or p == aggregate.CONTROL else el("span", "met" if met else "not met", class_="met" if met else "unmet")
            row[1:2] = [join([row[1], ": " if mark else "", mark])]
            row.append(rate_said(got))
        rows.append(row)
    return table("Shares of activated faults, with counts and 95 % intervals (Wilson)", ["", f"wanted of {names[0]}", *names], rows, left=2 + len(names))


def verdict(lines, runs, names):
    parts = [el("p", sentence(names[0], aggregate.within(runs, names[0])), class_="verdict")]
    busy = aggregate.busiest(lines)
    if busy:
        pause, golden = busy
        parts.append(el("p", f"The machine was busy: without any fault there were pauses of up to {pause / 1000:.0f} ms ({golden['load']}, "
                             f"{golden['partition']}). Verdicts that rest on time, and the times below, say as much of the machine as of the stack.", class_="warn"))
    return section("Result", *parts, goals_table(runs, names))


def asked(lines, runs):
    header, load = lines[0], aggregate.machine_load(runs)
    machine = ", ".join(f"{k} {v}" for k, v in header["machine"].items())
    counts = "; ".join(f"{p}: {len(some):,} runs, {len(aggregate.activated(some)):,} activated, {len(aggregate.manifested(some)):,} manifested"
                       for p in aggregate.partitions(runs) for some in [aggregate.within(runs, p)])
    items = [("revision", header["revision"]), ("begun", header["started"][:16].replace("T", " ") + " UTC"), ("runs", counts), ("machine", machine),
             ("load", f"1-minute load average at the end of a run: median {load.p50}, at most {load.most}; {header['lanes']} runs beside each other" if load.values
              else "not told"), ("command", el("code", aggregate.command(header)))]
    if header.get("merged"):
        items.append(("merged", f"of {header['merged']} files"))
    return el("dl", *(join([el("dt", name), el("dd", what)]) for name, what in items), class_="run")


# ---- blast radius ----
def cell(faulted, c):
    if not c.hits:
        return el("td", "0" if c.own else "\u00b7", class_="zero own" if c.own else "zero")
    share = c.hits / c.of
    classes = [name for name, holds in (("own", c.own), ("esc", c.escape), ("d1", share >= 0.58), ("d2", share >= 0.68)) if holds]
    return el("td", f"{stats.percent_text(share)}", el("small", f"{c.hits}"), class_=" ".join(classes) or None, style=f"--s:{max(share, 0.04):.3f}",
              title=f"{faulted}: {c.hits} of {c.of} reached {c.column}")


def matrix(runs, partition):
    rows = aggregate.matrix(aggregate.within(runs, partition))
    groups = el("tr", el("td"), *(el("th", name, scope="colgroup", colspan=len(columns)) for name, columns in aggregate.COLUMNS), class_="group")
    heads = el("tr", el("th", "faulted", scope="col"), *(el("th", el("span", HEADS.get(c, c)), scope="col", class_=None if c in plan.SERVERS else "v") for _, columns in aggregate.COLUMNS for c in columns))
    body = [el("tr", el("th", server, Raw("<br>"), el("small", f"n = {n}"), scope="row"), *(cell(server, c) for c in cells)) for server, n, cells in rows]
    names = el("colgroup", Raw('<col class="name">'), *(Raw("<col>") for _, columns in aggregate.COLUMNS for _ in columns))
    return el("div", el("table", el("caption", partition), names, el("thead", groups, heads), el("tbody", *body), class_="matrix"), class_="scroll")


def blast(runs, names):
    scale = el("span", *(el("i", style=f"--s:{s / 10}") for s in range(0, 11, 2)), class_="scale", role="img", aria_label="scale from 0 to 100 per cent")
    caption = el("figcaption", "Figure 1. Whom a fault reached: of the activated faults in each server (row), the share in per cent that reached each column "
                 "(of the victim, a restart counts), the count beneath. Framed: the victim's own domain, which a fault may take with it. Framed with dashes: an escape, to "
                 "another domain, the trusted base, or a ", el("i", "channel"), " that does not lead to the victim. ", el("i", "TCP connections"),
                 " are established connections that broke or stuck, an escape where udp was the victim, and ", el("i", "UDP traffic"),
                 " likewise where tcp was. The same scale for all: ", el("span", "0", scale, "100\u202f%.", class_="nowrap"))
    return section("Blast radius", el("figure", el("div", *(matrix(runs, p) for p in names), class_="two"), caption))


# ---- outcomes ----
def outcome_class(outcome):
    return "o" + str(classify.OUTCOMES.index(outcome))


def colours(of):
    """The worst outcome is striped too."""
    found = [f".{outcome_class(o)}{{background:{fill};color:{ink}}}" for o, (fill, ink) in of.items()]
    stripes = f"repeating-linear-gradient(45deg,{of['escaped'][0]} 0 5px,{STRIPE} 5px 7px)"
    return "\n".join(found + [f".{outcome_class('escaped')}{{background:{stripes}}}"])


def bar(counts, short):
    """One bar: of the activated, outcomes from worst to best."""
    shown = [(o, counts[o]) for o in classify.OUTCOMES[:-1] if counts[o]]
    of = sum(n for _, n in shown)
    spans = [el("span", n if n / of >= COUNTED else "", class_=outcome_class(o) + (" w" if n / of < NARROW else ""), style=f"width:{100 * n / of:.2f}%",
                title=f"{o}: {n} of {of}") for o, n in shown]
    said = f"of {of}: " + ", ".join(f"{n} {o}" for o, n in shown) if of else "none activated"
    return el("td", el("div", el("span", short, class_="of", aria_hidden="true"), el("span", *spans, class_="bar" if of else "bar none", role="img", aria_label=said), el("small", f"{of}")))


def bars(caption, names, blocks):
    """blocks: [(title or None, [(name, {partition: counts})])]."""
    body = []
    for title, rows in blocks:
        if title:
            body.append(el("tr", el("th", title, scope="rowgroup", colspan=len(names) + 1)))
        body += [el("tr", el("th", name, scope="row"), *(bar(by[p], p[0].upper()) for p in names)) for name, by in rows]
    columns = el("colgroup", Raw('<col class="name">'), *(Raw("<col>") for _ in names))
    head = el("tr", el("th", "", scope="col"), *(el("th", p, scope="col") for p in names))
    return el("table", el("caption", caption), columns, el("thead", head), el("tbody", *body), class_="bars")


def counted(runs, key, order, names):
    """[(name, {partition: counts})]"""
    of = {p: dict(aggregate.outcomes(aggregate.within(runs, p), key, order)) for p in names}
    known = list(order) + sorted({n for by in of.values() for n in by} - set(order))
    empty = aggregate.total([])
    return [(n, {p: of[p].get(n, empty) for p in names}) for n in known if any(n in of[p] for p in names)]


def key(everything, names):
    by = everything[0][1]
    return el("ul", *(el("li", el("i", class_=outcome_class(o)), el("span", o, " ", el("small", " / ".join(f"{by[p][o]:,}" for p in names))))
                      for o in classify.OUTCOMES[:-1]), class_="key")


def figures_table(rows, names):
    flat = [[f"{name}, {p}"] + [by[p][o] or "\u00b7" for o in classify.OUTCOMES] for name, by in rows for p in names]
    return el("details", el("summary", "The same as figures, with those that were not activated"), table("Runs by outcome", ["", *classify.OUTCOMES], flat))


def outcomes(runs, names):
    classes = counted(runs, "class", list(plan.CLASSES), names)
    blocks = [(g, [row for row in classes if plan.CLASSES.get(row[0]) == g]) for g in plan.GROUPS]
    blocks.append(("other", [row for row in classes if row[0] not in plan.CLASSES]))
    servers = counted(runs, "server", plan.SERVERS, names)
    everything = counted(runs, "type", (), names)
    caption = ("Figure {}. Outcomes of the activated faults by {}, worst to the left; each run has one outcome, the worst that holds. At the right the number "
               "of activated faults.")
    return section("Outcomes", key(everything, names), el("p", "Counts: " + " / ".join(f"{p} ({p[0].upper()})" for p in names) + ".", class_="note"),
                   el("figure", bars("By server", names, [(None, servers + [("all", by) for _, by in everything])]),
                      el("figcaption", caption.format(2, "the server that they were put in"))), figures_table(servers, names),
                   el("figure", bars("By class", names, [b for b in blocks if b[1]]), el("figcaption", caption.format(3, "class"))),
                   figures_table(classes, names))


# ---- recovery ----
def ms(us):
    return f"{us / 1000:,.2f}" if us < 100_000 else f"{us / 1000:,.0f}"


def recovery(runs, names):
    spreads = {p: aggregate.recovery(aggregate.within(runs, p)) for p in names}
    if not any(spreads.values()):
        return section("Recovery", el("p", "No run restarted a server."))
    least, most = strip.decades([s for p in names for s in spreads[p]])
    parts = []
    for p in names:
        if spreads[p]:
            parts.append(el("div", el("h3", p), Raw(strip.plot(f"Recovery times, {p}", spreads[p], least, most)),
                            table("Milliseconds", ["", "n", "p50", "p99", "max"], [[s.name, f"{len(s.values):,}"] + [ms(v) for v in s[2:]] for s in spreads[p]])))
    caption = el("figcaption", "Figure 4. The first recovery of a run, on a logarithmic scale: how often each time was seen (height of the shape), median (bar), 99th "
                 "percentile (triangle), longest (ring). ", el("i", "Detect"), ": from the activation until the supervisor knows; for hangs that is the liveness "
                 "deadline, for memory and code faults also the time until the damage shows. ", el("i", "Restart"), ": until the next process runs. ", el("i", "Restore"),
                 ": until its state is back and everyone is let go. ", el("i", "First byte"), ": from there until traffic that had paused moves. ", el("i", "All four"),
                 ": their sum. ", el("i", "Pause seen"), ": the longest that any flow of the load stood still, where the outcome is transparent.")
    return section("Recovery", el("figure", el("div", *parts, class_="two"), caption))


def degraded(runs, names):
    rows = []
    for p in names:
        for s in aggregate.degraded(aggregate.within(runs, p)):
            said = [f"{v / 1000:.0f} ms" for v in s[2:]] if s.name == "pause" else [f"{v:.1f} \u00d7" for v in s[2:]]
            rows.append([p, s.name, len(s.values), *said])
    if not rows:
        return section("Degraded: by how much", el("p", "No run was degraded."))
    return section("Degraded: by how much", table("Runs that went on, but slower or after a longer pause than a restart explains", ["", "how", "n", "p50", "p99", "max"], rows, left=2))


# ---- cases ----
def case(r):
    where = f"{r['class']} in {r['server']}, load {r['load']}, seed {r['seed']}, at {1000 * r['moment_s']:.0f} ms"
    reached = ", ".join(f"{who}: {what[:80]}" for who, what in r["affected"].items() if who not in r.get("victim", "").split("+"))
    return el("li", el("p", el("span", r["outcome"], class_="chip " + outcome_class(r["outcome"])), el("b", where)),
              el("p", r["why"][:WHY_SHOWN]), el("p", r["activation"][:WHY_SHOWN], class_="note") if r.get("activation") else "",
              el("p", "Reached: " + reached, class_="note") if reached else "", el("code", aggregate.reproduce(r)))


def cases(runs, names):
    shown, more = aggregate.worst(runs)
    parts = [el("p", "Nothing worse than transparent was seen.")] if not shown else \
        [el("p", "Worst first, with what reproduces each: the plan follows from the seed; the interleaving is the machine's.", class_="soft")]
    for p in names:
        mine = aggregate.within(shown, p)
        if mine:
            listed = el("ol", *(case(r) for r in mine), class_="cases")
            parts += [el("h3", p), listed if p == names[0] else el("details", el("summary", f"{len(mine)} cases"), listed)]
    return section("Worst cases", *parts, el("p", f"{more} more are in the file.") if more else "")


def wrong_data(runs, names):
    """Every run with wrong data, the explanation of its class and place beside it."""
    parts = []
    for p in names:
        found = aggregate.wrong_data(aggregate.within(runs, p))
        listed = el("ol", *(el("li", el("p", el("b", f"{name} in {server}: {len(some)}")), el("p", sentence[:1].upper() + sentence[1:] + "."),
                               el("p", "; ".join(f"seed {r['seed']} ({r['load']}): {r['why'][:WRONG_SHOWN]}" for r in some), class_="note"))
                            for name, server, sentence, some in found), class_="cases")
        if found:
            parts += [el("h3", p), listed if p == names[0] else el("details", el("summary", f"{sum(len(some) for *_, some in found)} runs"), listed)]
    if not parts:
        return section("Wrong data", el("p", "No octet came that was not sent."))
    return section("Wrong data", el("p", "Every run in which an octet came that was not sent, or an acknowledged one did not come. The explanation follows from the "
                                    "fault's class and place; the runs were not traced one by one.", class_="soft"), *parts)


def planted(lines):
    found = aggregate.plants(lines)
    if not found:
        return section("Planted escapes", el("p", "None was planted in these files. ", el("code", "bulkhead campaign --plant -o FILE"), " tests the instrument itself."))
    rows = [[r["class"].removeprefix("plant-"), el("span", "found" if ok else "MISSED", class_="met" if ok else "unmet"), (r.get("why") or r.get("broken") or "")[:WHY_SHOWN]]
            for r, ok in found]
    return section("Planted escapes", el("p", f"{sum(ok for _, ok in found)} of {len(found)} escapes that were planted on purpose were found."),
                   table("The test of the instrument", ["kind", "verdict", "what was said"], rows, left=3))


# ---- reference ----
def rates(runs, names):
    parts = [table(p, ["", *(name.replace("/", " / ") for name, *_ in aggregate.RATES)],
                   [[name, *(rate_said(r) for r in row)] for name, row in aggregate.rates(aggregate.within(runs, p))]) for p in names]
    return section("Rates by group and server", el("details", el("summary", "All rates with their 95 % intervals"), *parts))


def meanings(runs):
    used = {r["class"] for r in runs}
    classes = [[name, *literature.CLASSES[name]] for name in plan.CLASSES if name in used]
    sources = [el("li", el("b", name), f": {what}.") for name, what in literature.SOURCES.items()]
    return section("What the words mean", table("Outcomes, worst first", ["outcome", "meaning"], list(literature.OUTCOMES.items()), left=2),
                   el("h3", "Classes of faults"), table("What each class does to the server, and its like in the literature", ["class", "what", "like"], classes, left=3),
                   el("ul", *sources, class_="note"))


def method(lines, runs):
    again, broken, untold = aggregate.revised(runs), aggregate.broken_of(lines), aggregate.untold(runs)
    notes = [
        "Each run has a stack of its own in namespaces of its own, a load whose every octet is checked at both ends, an unmodified Linux peer, and one fault.",
        "Activated: the changed instruction was executed, the changed word was used by the domain, the message was sent, the signal came; or the victim was replaced "
        f"after the fault. {len(untold)} runs of which no word of activation came are counted as not activated.",
        "Manifested: every outcome but no effect. Code faults are chosen only among instructions that the server ran in a golden run of the same load.",
        "Escaped: another domain died, hung, was replaced or fails verification of its text, read-only data, canary pages or store; a channel was stopped that does not "
        "lead to the victim; or a flow of the other transport broke or stood still. Damage in what the victim itself may write is wrong data or a lost connection.",
        "In the monolithic partition the one domain is the victim: only the supervisor and what observes it are left to escape to.",
        "Intervals: Wilson, 95 %. Percentiles: nearest rank. \u201cTransparent\u201d among the shares above includes faults without effect; \u201clost or stuck\u201d "
        "counts a run also where its outcome is a worse one.",
        f"A verdict that rests on time alone is taken again with the same seed, and stands only if it comes each time: {len(again)} did not come again and count as what "
        "came then" + (": " + ", ".join(f"{r['earlier'][0][0]} \u2192 {r['outcome']} (seed {r['seed']}, {r['partition']})" for r in again[:EARLIER_SHOWN])
                       + (", \u2026" if len(again) > EARLIER_SHOWN else "") if again else "") + ".",
        f"{broken} runs did not come about: they say nothing of the stack, and count nowhere."]
    return section("Method", el("ol", *(el("li", note) for note in notes), class_="note"))


def report(lines):
    """The whole document."""
    runs = aggregate.runs_of(lines)
    names = aggregate.partitions(runs)
    title = f"What a fault reaches: {len(runs):,} injected faults"
    parts = [el("h1", title), asked(lines, runs)]
    if names:
        parts += [verdict(lines, runs, names), blast(runs, names), outcomes(runs, names), recovery(runs, names), degraded(runs, names), cases(runs, names), wrong_data(runs, names)]
    parts += [planted(lines)] + ([rates(runs, names)] if names else []) + [meanings(runs), method(lines, runs)]
    frame = string.Template(TEMPLATE.read_text(encoding="utf-8"))
    return frame.substitute(title=html.escape(title), colours=colours(COLOURS), dark=colours(DARK), body="\n".join(parts))
