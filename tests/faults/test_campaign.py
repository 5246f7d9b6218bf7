# SPDX-License-Identifier: BSD-2-Clause
"""The campaign's file, its options, and which verdicts are taken again; no lab is needed."""
import contextlib
import io
import json
import pathlib
import sys
import tempfile
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench" / "faults"))
import campaign  # noqa: E402
import plan as planning  # noqa: E402
import text  # noqa: E402
from test_classify import GOLDEN, MS, restarted, seen  # noqa: E402

PLAN = planning.plan(3, ["kill"], ["tcp"], ["rr"])


def quiet(function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
        return function(*arguments), out.getvalue()


class Labs:
    def __init__(self, *seen):
        self.seen, self.stopped = list(seen), False

    def run(self, *_):
        return self.seen.pop(0)


def confirmed(*seen):
    labs = Labs(*seen)
    line = campaign.run_confirmed(labs, "factored", PLAN, {}, GOLDEN, types.SimpleNamespace(verbose=False))[1]
    return line, len(labs.seen)


def slow():
    s = restarted(seen())
    s["load"]["flows"][0]["gap_ns"] = 3000 * MS
    return s


class Confirmed(unittest.TestCase):
    def test_time_alone_is_taken_again(self):
        line, left = confirmed(slow(), restarted(seen()), slow())
        self.assertEqual((line["outcome"], left, len(line["earlier"])), ("transparent", 1, 1))
        line, left = confirmed(slow(), slow(), slow())
        self.assertEqual((line["outcome"], left, len(line["earlier"])), ("degraded", 0, 2))

    def test_the_mildest_stands(self):
        still = restarted(seen())
        still["load"]["flows"][3]["gap_ns"] = 3000 * MS
        for order in (slow(), still, still), (still, slow(), still), (still, still, slow()):
            line, left = confirmed(*order)
            self.assertEqual((line["outcome"], left, [o for o, _ in line["earlier"]]), ("degraded", 0, ["escaped", "escaped"]))
        line, _ = confirmed(still, still, still)
        self.assertEqual((line["outcome"], [o for o, _ in line["earlier"]]), ("escaped", ["escaped", "escaped"]))

    def test_others_are_not(self):
        escaped = restarted(restarted(seen()), "nic")
        escaped["load"]["flows"][3]["gap_ns"] = 3000 * MS  # a pause too, but not alone
        for s, want in ((restarted(seen()), "transparent"), (escaped, "escaped")):
            line, left = confirmed(s, seen())
            self.assertEqual((line["outcome"], left, line["earlier"]), (want, 1, []))

    def test_not_come_about(self):
        line, left = confirmed({"broken": "no lab"}, restarted(seen()))
        self.assertEqual((line["outcome"], left), ("transparent", 0))
        self.assertEqual(confirmed(None), (None, 0))


class File(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name) / "runs"

    def shard(self, index):
        path = self.path.with_suffix(f".{index}")
        options = campaign.options_parse(["--runs", "4", "--classes", "kill", "--loads", "rr", "--shard", f"{index}/2", "-o", str(path)])
        output = campaign.Output(path)
        output.add(campaign.header(options))
        for partition, plan in campaign.jobs_of(options):
            output.add({**campaign.run_line(partition, plan, restarted(seen(), plan["server"]), GOLDEN), "earlier": []})
        output.file.close()
        return path

    def test_torn_line(self):
        output = campaign.Output(self.path)
        output.add({"type": "header"})
        output.file.write('{"type": "ru')
        output.file.close()
        again = campaign.Output(self.path)
        again.add({"type": "run"})
        again.file.close()
        self.assertEqual([json.loads(line)["type"] for line in self.path.read_text().splitlines()], ["header", "run"])

    def test_shards_and_merge(self):
        parts = [self.shard(1), self.shard(2)]
        quiet(campaign.merge, [str(parts[0]), str(parts[1]), str(parts[0]), "-o", str(self.path)])
        lines = campaign.read_lines(self.path)
        runs = sorted((x["partition"], x["seed"]) for x in lines if x["type"] == "run")
        self.assertEqual(runs, [(p, s) for p in ("factored", "monolithic") for s in range(4)])
        self.assertEqual(sum(x["type"] == "header" for x in lines), 1)
        shown = text.report(lines)
        for word in ("factored: 4 runs, 4 activated", "monolithic: 4 runs", "blast radius"):
            self.assertIn(word, shown)

    def test_another_campaign(self):
        path = self.shard(1)
        other = campaign.header(campaign.options_parse(["--classes", "stop"]))
        self.assertRaises(SystemExit, quiet, campaign.check_header, campaign.read_lines(path)[0], other, path)
        path.write_text("nonsense\nmore\n")
        self.assertRaises(SystemExit, quiet, campaign.read_lines, path)


if __name__ == "__main__":
    unittest.main()
