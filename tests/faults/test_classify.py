# SPDX-License-Identifier: BSD-2-Clause
"""Each outcome from a run that shows it and nothing worse; each kind of escape."""
import copy
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench" / "faults"))
import classify  # noqa: E402
import plan as planning  # noqa: E402

MS = 1_000_000
PLAN = {"server": "tcp", "class": "kill"}
GOLDEN = {"rate": {"bulk": 1e6, "udp": 1e4}, "gap_us": {"bulk": 20_000, "rr": 20_000, "short": 20_000, "udp": 20_000}}


def flow(kind, port, **other):
    return {"flow": kind, "key": port, "port": port, "connects": 1, "failed": 0, "broken": 0, "rounds": 9, "sent": 100, "received": 200, "wrong": -1,
            "error": "", "error_ns": 0, "gap_ns": 10 * MS, "gap_at_ns": 1500 * MS, "lost": 0, "late": 0, "eof": kind in classify.STREAMS, "stuck": False, **other}


def kind(**other):
    return {"flows": 1, "start_ns": 0, "end_ns": 3000 * MS, "gap_ns": 10 * MS, "gap_at_ns": 1500 * MS, "bucket_ns": 10 * MS, "octets": [10_000] * 300, **other}


def event(number, what, subject, text="", at_us=2_000_000, span=()):
    return {"number": number, "kind": what, "subject": subject, "text": text, "time_us": at_us, "incarnation": 1, "span_us": list(span)}


def domains():
    return {name: {"servers": [] if name == "supervisor" else [name], "pid": i, "incarnation": 1, "state": "running"}
            for i, name in enumerate((*planning.SERVERS, "supervisor"))}


def seen():
    """A run in which nothing happened."""
    load = {"flows": [flow("bulk", 1), flow("rr", 2), flow("short", 3), flow("udp", 0)], "kinds": {"bulk": kind(), "udp": kind(octets=[100] * 300)},
            "served": [{"served": "bulk", "key": 1, "sent": 200, "received": 100, "wrong": -1, "eof": True, "error": "", "open": False}],
            "served_all": {"wrong_datagrams": 0}, "ended": {}}
    return {"before": domains(), "after": domains(), "events": [], "load": load, "activated": True, "activation_text": "", "said": "", "mark_ns": 1400 * MS,
            "end_ns": 3000 * MS, "strike_us": 1_500_000, "realtime_us": 0, "reached_us": 5000, "reached_after_restart": None, "unreached": "",
            "verify": {"nic": None, "ip": None, "udp": None, "socket": None}}


def restarted(s, name="tcp"):
    s["after"][name] = {**s["after"][name], "incarnation": 2, "pid": 77}
    s["events"] += [event(5, "died", name, at_us=1_501_000), event(6, "restored", name, at_us=1_520_000, span=(1000, 9000, 9500, 19000))]
    return s


class Outcomes(unittest.TestCase):
    def is_(self, want, s, plan=PLAN):
        found = classify.outcome(plan, s, GOLDEN)
        self.assertEqual(found["outcome"], want, found["why"])
        return found

    def test_nothing(self):
        s = seen()
        self.assertEqual(self.is_("no effect", s)["affected"], {})
        s["activated"] = None
        self.is_("not activated", s)
        self.is_("transparent", restarted(s))  # no word of it, and it died: it was

    def test_transparent(self):
        found = self.is_("transparent", restarted(seen()))
        self.assertEqual(found["affected"], {"tcp": "transparent"})
        self.assertEqual(found["timeline"]["detect"], 1000)
        self.assertEqual((found["timeline"]["restart"], found["timeline"]["restore"]), (9000, 10000))
        s = restarted(seen())
        s["strike_us"] += 2000  # the fault is told of after the death
        self.assertIsNone(self.is_("transparent", s)["timeline"]["detect"])
        s = seen()
        s["events"] = [event(4, "broken", "ip", "channel from tcp: indices")]
        self.is_("transparent", s)

    def test_first_byte(self):
        s = restarted(seen())
        s["load"]["kinds"]["bulk"].update(gap_at_ns=1_400 * MS, gap_ns=130 * MS)
        self.assertEqual(self.is_("transparent", s)["timeline"]["first_byte"], 10_000)

    def test_degraded(self):
        s = seen()
        s["load"]["kinds"]["bulk"]["octets"][-40:] = [2_000] * 40
        self.assertAlmostEqual(self.is_("degraded", s)["factor"], 5, 1)
        for gap_ms, want in ((240, "no effect"), (260, "degraded")):
            s = seen()
            s["load"]["flows"][0]["gap_ns"] = gap_ms * MS
            self.is_(want, s)
        for gap_ms, want in ((700, "transparent"), (900, "degraded")):
            s = restarted(seen())
            s["load"]["flows"][0]["gap_ns"] = gap_ms * MS
            self.is_(want, s)

    def test_hang(self):
        s = seen()
        s["load"]["flows"][1].update(stuck=True, eof=False)
        self.assertIn("tcp connections", self.is_("hang", s)["affected"])

    def test_lost(self):
        s = restarted(seen())
        s["load"]["flows"][1].update(error="Connection reset by peer", eof=False)
        found = self.is_("connections lost", s)
        self.assertEqual((found["lost"], found["streams"]), (1, 2))
        s = seen()
        s["load"]["flows"][2]["broken"] = 1
        self.is_("connections lost", s)

    def test_service(self):
        s = restarted(seen())
        s.update(reached_us=None, reached_after_restart=True)
        self.is_("service lost until restart", s)
        s.update(reached_after_restart=False)
        self.is_("service lost", s)

    def test_wrong(self):
        for change in (lambda l: l["flows"][0].update(wrong=17), lambda l: l["served"][0].update(wrong=0), lambda l: l["served"][0].update(received=99),
                       lambda l: l["served"][0].update(sent=201), lambda l: l["served_all"].update(wrong_datagrams=1), lambda l: l["flows"][3].update(wrong=0)):
            s = restarted(seen(), "ip")
            change(s["load"])
            self.is_("wrong data", s, {"server": "ip"})
        s = seen()
        s["load"]["served"][0].update(received=99, eof=False)  # not closed in order: nothing was promised
        self.is_("no effect", s)

    def test_worst_wins(self):
        s = restarted(seen())
        s["load"]["flows"][0].update(wrong=17, error="Connection reset by peer")
        s.update(reached_us=None)
        self.is_("wrong data", s)
        restarted(s, "nic")
        self.is_("escaped", s)


class Escapes(unittest.TestCase):
    def escaped(self, change, whom, server="tcp"):
        s = seen()
        change(s)
        found = classify.outcome({"server": server}, s, GOLDEN)
        self.assertEqual(found["outcome"], "escaped", found)
        self.assertIn(whom, found["affected"])

    def test_each(self):
        for whom, change in (
                ("nic", lambda s: restarted(s, "nic")), ("ip", lambda s: s["after"]["ip"].update(state="backoff")), ("udp", lambda s: s["after"].pop("udp")),
                ("manage", lambda s: s["events"].append(event(9, "died", "manage"))), ("supervisor", lambda s: s.update(after=None)),
                ("channel", lambda s: s["events"].append(event(9, "broken", "ip", "channel from nic: indices"))),
                ("nic", lambda s: s["verify"].update(nic="canary: octet 4")),
                ("udp traffic", lambda s: s["load"]["flows"][3].update(gap_ns=600 * MS)), ("udp traffic", lambda s: s["load"]["flows"][3].update(wrong=2))):
            self.escaped(change, whom)
        self.escaped(lambda s: s["load"]["flows"][0].update(error="Connection reset by peer"), "tcp connections", "udp")
        self.escaped(lambda s: s["load"]["flows"][1].update(stuck=True), "tcp connections", "udp")

    def test_none(self):
        for server, change in (("ip", lambda s: s["load"]["flows"][3].update(gap_ns=600 * MS)), ("udp", lambda s: s["load"]["flows"][3].update(gap_ns=600 * MS)),
                               ("tcp", lambda s: s["verify"].update(nic="? no answer")),
                               ("tcp", lambda s: s["events"].append(event(9, "broken", "socket", "channel from tcp: indices")))):
            s = seen()
            change(s)
            self.assertNotEqual(classify.outcome({"server": server}, s, GOLDEN)["outcome"], "escaped")


class Monolithic(unittest.TestCase):
    def test_all_die_together(self):
        s = seen()
        for key in ("before", "after"):
            s[key] = {"all": {"servers": list(planning.SERVERS), "pid": 1, "incarnation": 1, "state": "running"}, "supervisor": s[key]["supervisor"]}
        s["verify"] = {}
        found = classify.outcome(PLAN, restarted(s, "all"), GOLDEN)
        self.assertEqual(found["outcome"], "transparent")
        self.assertEqual(set(found["affected"]), set(planning.SERVERS))


class Plan(unittest.TestCase):
    ALL = (list(planning.CLASSES), list(planning.SERVERS), list(planning.LOADS))

    def test_equal_shares(self):
        cells = len(planning.pairs(*self.ALL[:2]))
        plans = [planning.plan(seed, *self.ALL) for seed in range(cells)]
        self.assertEqual(len({(p["class"], p["server"]) for p in plans}), cells)
        self.assertNotEqual([p["class"] for p in plans], [planning.plan(seed + cells, *self.ALL)["class"] for seed in range(cells)])

    def test_reproduced_when_narrowed(self):
        for seed in range(300):
            one = planning.plan(seed, *self.ALL)
            again = planning.plan(seed, [one["class"]], [one["server"]], [one["load"]])
            self.assertEqual(one, again)
            if one["peer"]:
                self.assertIn(one["peer"], planning.NEIGHBOURS[one["server"]])

    def test_is_not_touched(self):
        given = copy.deepcopy(self.ALL)
        planning.plan(5, *given)
        self.assertEqual(given, self.ALL)


if __name__ == "__main__":
    unittest.main()
