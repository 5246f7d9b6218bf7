# SPDX-License-Identifier: BSD-2-Clause
"""The figures of a campaign, and the report as HTML: whole, alone, and with nothing of what a run says taken for markup."""
import contextlib
import html.parser
import io
import pathlib
import re
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench" / "faults"))
import aggregate  # noqa: E402
import campaign  # noqa: E402
import classify  # noqa: E402
import literature  # noqa: E402
import plan as planning  # noqa: E402
import report  # noqa: E402
import stats  # noqa: E402
import strip  # noqa: E402
import synthetic  # noqa: E402
import text  # noqa: E402

VOID = {"meta", "br", "col"}
LINES = synthetic.campaign(400) + synthetic.plants()
RUNS = aggregate.runs_of(LINES)


class Page(html.parser.HTMLParser):
    """Well-formed: each element is closed, in order. Keeps what the tests ask for."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.attributes, self.text, self.headings = [], [], [], [], []
        self.feed(page)
        self.close()
        if self.open:
            raise AssertionError(f"not closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += [(tag, k, v) for k, v in attributes]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)
        self.attributes += [(tag, k, v) for k, v in attributes]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes something else")

    def handle_data(self, data):
        self.text.append(data)


def one(outcome="transparent", partition="factored", name="kill", server="tcp", seed=7, **more):
    plan = {**planning.plan(seed, [name], [server], ["rr"]), "seed": seed}
    return {**synthetic.run(partition, plan, outcome, synthetic.random.Random(seed)), **more}


class Figures(unittest.TestCase):
    def test_each_activated_fault_is_counted_once(self):
        for p in aggregate.partitions(RUNS):
            mine = aggregate.within(RUNS, p)
            for key, order in (("class", list(planning.CLASSES)), ("server", planning.SERVERS)):
                total = aggregate.total(aggregate.outcomes(mine, key, order))
                self.assertEqual(sum(total.values()), 400)
                self.assertEqual(sum(total.values()) - total["not activated"], len(aggregate.activated(mine)))
            self.assertEqual(sum(n for _, n, _ in aggregate.matrix(mine)), len(aggregate.activated(mine)))

    def test_goals(self):
        runs = [one("transparent"), one("no effect", name="stop"), one("service lost"), one("escaped", name="nop"), one("not activated"),
                one("wrong data", name="nop", lost=1), one("transparent", name="nop")]
        got = {name: (tuple(rate), met) for name, rate, _, met in aggregate.goals(runs)}
        self.assertEqual(got, {"escaped": ((1, 6), False), "reachable again without help": ((5, 6), False),
                               "fail-stop and hang faults transparent": ((2, 3), False), "wrong data delivered": ((1, 6), None),
                               "connections lost or stuck": ((2, 6), None)})
        self.assertEqual([met for *_, met in aggregate.goals([one()])], [True, True, True, None, None])
        for bad, met in ((1, True), (2, False)):
            self.assertEqual(aggregate.goals([one("service lost")] * bad + [one()] * (100 - bad))[1][3], met)
        self.assertEqual([met for *_, met in aggregate.goals([one("not activated")])], [None] * 5)

    def test_matrix(self):
        runs = [one("escaped", affected={"tcp": "escaped", "nic": "replaced"}), one("no effect"), one("not activated"), one("transparent")]
        (server, n, cells), = aggregate.matrix(runs)
        self.assertEqual((server, n), ("tcp", 3))
        self.assertEqual([(c.column, c.hits, c.of, c.own) for c in cells if c.hits], [("nic", 1, 3, False), ("tcp", 2, 3, True)])
        self.assertEqual([c.column for c in cells if c.escape], ["nic"])
        (_, _, cells), = aggregate.matrix([one("hang", "monolithic")])
        self.assertFalse(any(c.escape for c in cells))
        self.assertEqual([c.column for c in cells if c.own], list(planning.SERVERS))

    def test_recovery(self):
        line = {"detect": 100, "restart": 20, "restore": 3, "first_byte": 4000}
        runs = [one(timeline=line, gap_us=5000), one(name="loop", timeline={**line, "first_byte": None}, gap_us=9000), one(timeline=None)]
        got = {s.name: (len(s.values), s.p50, s.most) for s in aggregate.recovery(runs)}
        self.assertEqual(got, {"detect, fail-stop": (1, 100, 100), "detect, hang": (1, 100, 100), "restart": (2, 20, 20), "restore": (2, 3, 3),
                               "first byte": (1, 4000, 4000), "all four, fail-stop": (1, 4123, 4123), "pause seen": (2, 5000, 9000)})

    def test_degraded(self):
        got = aggregate.degraded([one("degraded", factor=2.5), one("degraded", factor=1.0, gap_us=700_000), one(factor=9)])
        self.assertEqual([(s.name, s.values) for s in got], [("slower by the factor", [2.5]), ("pause", [700_000])])

    def test_worst(self):
        runs = [one("degraded", seed=s) for s in range(8)] + [one("wrong data", seed=s) for s in range(20, 30)] + [one("hang", "monolithic"), one()]
        shown, more = aggregate.worst(runs)
        self.assertEqual((len(shown), more), (16, 3))
        self.assertEqual([shown[0]["outcome"], shown[10]["outcome"], shown[-1]["partition"]], ["wrong data", "degraded", "monolithic"])

    def test_wrong_data_is_explained(self):
        """Each run is listed once, with a sentence for its class and place; a class that should bring none is not explained away."""
        runs = [one("wrong data", seed=3, group="memory", name="flip-pool", server="nic", why="octet 77 is wrong"),
                one("wrong data", seed=4, group="memory", name="wild-write", activation="read by ip: pool: pool:0x10"),
                one("wrong data", seed=5, group="memory", name="wild-write", activation="read by f: heap:0x10"),
                one("wrong data", seed=6, group="resource", name="flood"), one("wrong data", seed=7, group="fail-stop", name="kill"), one(seed=8)]
        found = aggregate.wrong_data(runs)
        self.assertEqual(sorted(r["seed"] for *_, some in found for r in some), [3, 4, 5, 6, 7])
        told = {r["seed"]: sentence for _, _, sentence, some in found for r in some}
        self.assertEqual([told[s] for s in (4, 5, 6, 7)], [literature.WRONG_DATA[k] for k in ("shared", "private", "resource", "other")])
        page = report.wrong_data(runs, ["factored"])
        self.assertTrue(all(x in page for x in ("octet 77 is wrong", "flip-pool in nic", literature.WRONG_DATA["flip-pool"][1:60])), page)
        self.assertIn("octet 77 is wrong", text.wrong_data(runs))
        for name, group in planning.CLASSES.items():
            self.assertTrue(literature.wrong_data({"class": name, "group": group}))

    def test_others_do_not_count(self):
        broken = {k: v for k, v in one().items() if k != "outcome"}
        lines = [synthetic.header(1), broken, one(), one("escaped", **{"group": "plant", "class": "plant-kill", "why": "udp: replaced"}),
                 one("escaped", **{"group": "plant", "class": "plant-text", "why": "udp: replaced"})]
        self.assertEqual((len(aggregate.runs_of(lines)), aggregate.broken_of(lines)), (1, 1))
        self.assertEqual([found for _, found in aggregate.plants(lines)], [True, False])

    def test_wrong_lines(self):
        self.assertEqual([aggregate.wrong(x) for x in LINES if aggregate.wrong(x)], [])
        lacking = one()
        del lacking["affected"]
        for line, why in (([], "no line of a campaign"), ({"type": "outcome"}, "no line of a campaign"), ({}, "no line of a campaign"),
                          (lacking, "a run without affected"), (one(outcome="hang") | {"outcome": "odd"}, "no such outcome: odd"),
                          ({**LINES[0], "schema": 2}, "schema 2 is not known here"), ({"type": "golden", "partition": "p"}, "a golden without load")):
            self.assertEqual(aggregate.wrong(line), why)

    def test_percent(self):
        for share, want in ((0, "0"), (1, "100"), (0.5, "50.0"), (0.0012, "0.12"), (0.9996, "99.96"), (0.99, "99.0"), (0.00004, "0.004"), (0.99999, "99.999")):
            self.assertEqual(stats.percent_text(share), want)

    def test_command(self):
        header = {**synthetic.header(5), "servers": ["tcp"], "shard": [2, 3]}
        self.assertEqual(aggregate.command(header), "bulkhead campaign --runs 5 --seed 0 --partition factored,monolithic --servers tcp --lanes 4 "
                                                    "--timeout 1000 --shard 2/3")

    def test_strip(self):
        spreads = [aggregate.spread("a", [1, 999, 1000, 250_000])]
        self.assertEqual(strip.decades(spreads), (0, 6))
        self.assertEqual(strip.decades([aggregate.spread("a", [100])]), (2, 3))
        path = re.search('class="density" d="([^"]*)"', strip.plot("t", spreads, 0, 6)).group(1)
        self.assertEqual(path.count("M"), 4)  # 999 and 1000 are of neighbouring tenths of a decade
        self.assertEqual([strip.tick_text(10 ** d) for d in (0, 2, 3, 5, 6)], ["1 \u00b5s", "100 \u00b5s", "1 ms", "100 ms", "1 s"])


class Words(unittest.TestCase):
    def test_all_are_explained(self):
        self.assertEqual(list(literature.CLASSES), list(planning.CLASSES))
        self.assertEqual(list(literature.OUTCOMES), list(classify.OUTCOMES))
        for colours in (report.COLOURS, report.DARK):
            self.assertEqual(list(colours), list(classify.OUTCOMES))
        for _, source in literature.CLASSES.values():
            self.assertIn(source.split(":")[0], literature.SOURCES)


def luminance(colour):
    value = colour.lstrip("#")
    value = value if len(value) == 6 else "".join(c * 2 for c in value)
    parts = [int(value[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


class Colours(unittest.TestCase):
    def test_order_without_colour(self):
        for colours, sign in ((report.COLOURS, 1), (report.DARK, -1)):
            lights = [sign * luminance(fill) for fill, _ in colours.values()]
            self.assertEqual(lights, sorted(lights))

    def test_contrast(self):
        for colours in (report.COLOURS, report.DARK):
            for name, (fill, ink) in colours.items():
                dark, light = sorted((luminance(fill), luminance(ink)))
                self.assertGreaterEqual((light + 0.05) / (dark + 0.05), 4.5, name)


class Document(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.source = report.report(LINES)
        cls.page = Page(cls.source)
        cls.text = "".join(cls.page.text)

    def test_nothing_from_elsewhere(self):
        self.assertFalse({"script", "link", "img", "iframe", "object", "embed", "base"} & set(self.page.seen))
        self.assertFalse([a for a in self.page.attributes if a[1] in ("src", "href", "srcset", "action", "data") or a[1].startswith("on")])
        self.assertFalse(re.search(r"https?:|url\(|@import|//[a-z]", self.source))

    def test_worst_cases_are_there(self):
        shown, _ = aggregate.worst(RUNS)
        self.assertGreater(len(shown), 20)
        for r in shown:
            self.assertIn(aggregate.reproduce(r), self.text)

    def test_the_same_figures_as_the_text(self):
        shown = text.report(LINES)
        for p in aggregate.partitions(RUNS):
            for _, got, _, _ in aggregate.goals(aggregate.within(RUNS, p)):
                self.assertIn(stats.rate_text(*got), shown)
                self.assertIn(report.percent(got.hits / got.of), self.text)
                self.assertIn(f"{got.hits:,} of {got.of:,}", self.text)
        self.assertIn("7 of 7 planted escapes were found", shown)
        self.assertIn("7 of 7 escapes that were planted", self.text)

    def test_accessible(self):
        self.assertIn(("html", "lang", "en"), self.page.attributes)
        self.assertEqual(self.page.seen.count("table"), self.page.seen.count("caption"))
        scopes = sum(a[:2] == ("th", "scope") for a in self.page.attributes)
        self.assertEqual(self.page.seen.count("th"), scopes)
        self.assertEqual(self.page.seen.count("svg"), sum(a[:2] == ("svg", "aria-label") for a in self.page.attributes))
        self.assertEqual((self.page.headings[0], self.page.headings.count(1)), (1, 1))
        for before, after in zip(self.page.headings, self.page.headings[1:]):
            self.assertLessEqual(after, before + 1)

    def test_hostile_words(self):
        bad = "<script>alert(1)</script>\" onload='x' &amp; ]]> $body ${x} %s"
        lines = [synthetic.header(1), synthetic.golden("factored", "rr"), one("wrong data", why=bad, activation=bad, affected={"tcp": bad, bad: bad}),
                 one("escaped", **{"group": "plant", "class": "plant-kill", "why": bad}), one("hang", victim=bad, place=bad)]
        lines[0]["revision"] = lines[0]["machine"]["kernel"] = bad
        page = Page(report.report(lines))
        self.assertNotIn("script", page.seen)
        self.assertFalse([a for a in page.attributes if a[1].startswith("on")])
        self.assertGreaterEqual("".join(page.text).count(bad), 4)

    def test_small(self):
        self.assertLess(len(report.report(synthetic.campaign(2000)).encode()), 150_000)

    def test_few_lines(self):
        for lines in ([synthetic.header(1)], [synthetic.header(1), one("not activated")], [synthetic.header(1), one(partition="nic|ip+tcp")],
                      [synthetic.header(1), one("service lost", timeline=None)]):
            Page(report.report(lines))


class Command(unittest.TestCase):
    def test_report(self):
        with tempfile.TemporaryDirectory() as folder:
            parts = [pathlib.Path(folder) / f"{i}.jsonl" for i in (1, 2)]
            for i, path in enumerate(parts):
                path.write_text("".join(campaign.json.dumps(x) + "\n" for x in [{**LINES[0], "revision": f"r{i}"}, *LINES[1 + 300 * i:400 + 300 * i]]))
            out = pathlib.Path(folder) / "report.html"
            with contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(campaign.main(["report", *map(str, parts), "-o", str(out)]), 0)
            page = "".join(Page(out.read_text(encoding="utf-8")).text)
            self.assertIn("r0, r1", page)
            self.assertIn(f"{sum(x['type'] == 'run' for x in LINES[1:700]):,} injected faults", page)


if __name__ == "__main__":
    unittest.main()
