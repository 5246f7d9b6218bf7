#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""`bulkhead campaign`: runs with one fault each, every one in a lab of its own, some beside each other; what became of each is a line
of JSON, and tables at the end. Theory of operation: README.md beside this file."""
import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import aggregate  # noqa: E402
import classify  # noqa: E402
import plan as planning  # noqa: E402
import report  # noqa: E402
import text  # noqa: E402

ROOT = HERE.parents[1]
BUILD = pathlib.Path(os.environ.get("BULKHEAD_BUILD", ROOT / "build")).resolve()
GOLDEN_RUNS = 3
COVERAGE_MS = 4000
COVERAGE_TRIES = 6
TIMEOUT_MS = 1000
LAB_S = 120  # a run that takes longer is ended
TRIES = 3    # of a run that did not come about
CONFIRMATIONS = 3
TELL_S = 15
PLACE = re.compile(r"\btext:0x[0-9a-f]+")  # as `bulkhead inject --place` takes it


def fail(message, status=1):
    print(f"bulkhead campaign: {message}", file=sys.stderr)
    raise SystemExit(status)


# ---- labs ----
class Labs:
    """Runs things in labs; on an interruption ends those that run, and starts no more."""

    def __init__(self):
        self.lock, self.running, self.stopped = threading.Lock(), set(), False

    def run(self, partition, plan, verbose=False):
        """What the run said, or {"broken": why}; None: interrupted."""
        command = [BUILD / "bulkhead", "lab", "--partition", planning.PARTITIONS.get(partition, partition), "--", sys.executable, "-B",
                   HERE / "run.py", json.dumps(plan)]
        with self.lock:
            if self.stopped:
                return None
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                                       start_new_session=True, env={**os.environ, "BULKHEAD_BUILD": str(BUILD)})
            self.running.add(process)
        try:
            out, error = process.communicate(timeout=LAB_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            out, error = process.communicate()
            error = f"no end after {LAB_S} s"
        finally:
            with self.lock:
                self.running.discard(process)
        if self.stopped:
            return None
        lines = out.strip().splitlines()
        if process.returncode != 0 or not lines:
            return {"broken": f"status {process.returncode}: {(error.strip().splitlines() or ['nothing said'])[-1]}"}
        return json.loads(lines[-1])

    def stop(self):
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.terminate()  # the lab ends all that is in it


# ---- the file ----
class Output:
    """JSON lines, appended and synced as runs end."""

    def __init__(self, path):
        self.path, self.lines, self.lock, self.file = path, [], threading.Lock(), None
        if path is not None and path.exists():
            self.lines = read_lines(path)
        if path is not None:
            self.file = open(path, "a", encoding="utf-8")
            self._cut_torn_line()

    def _cut_torn_line(self):
        """What an end by force left of a line."""
        whole = self.path.read_bytes()
        end = whole.rfind(b"\n") + 1
        if end < len(whole):
            self.file.truncate(end)

    def add(self, line):
        with self.lock:
            self.lines.append(line)
            if self.file is not None:
                self.file.write(json.dumps(line, separators=(",", ":")) + "\n")
                self.file.flush()
                os.fsync(self.file.fileno())

    def of(self, kind):
        return [x for x in self.lines if x["type"] == kind]


def read_lines(path):
    """The lines of a campaign's file; a torn last one is passed over."""
    try:
        raw = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    found = []
    for number, line in enumerate(raw, 1):
        try:
            if line:
                found.append(json.loads(line))
        except ValueError:
            if number != len(raw):
                fail(f"{path}:{number}: no line of a campaign")
    if found and (not isinstance(found[0], dict) or found[0].get("type") != "header"):
        fail(f"{path}: not a campaign's file, it has no header")
    return found


def header(options):
    revision = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {"type": "header", "schema": aggregate.SCHEMA, "revision": revision or "unknown", "started": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "architecture": platform.machine(), "python": platform.python_version()},
            "partitions": options.partition, "classes": options.classes, "servers": options.servers, "loads": options.loads, "seed": options.seed,
            "runs": options.runs, "shard": options.shard, "lanes": options.lanes, "timeout_ms": options.timeout}


SAME = ("schema", "classes", "servers", "loads")  # what must agree for runs to be one campaign


def check_header(old, new, path):
    for key in SAME:
        if old[key] != new[key]:
            fail(f"{path} was begun with other {key}: {old[key]}; give the same, or another file")


# ---- golden runs ----
def golden_make(labs, output, options, pool):
    """What is normal, for each partition and load that has no golden line yet; several runs, as lanes disturb each other as they will."""
    have = {(g["partition"], g["load"]) for g in output.of("golden")}
    wanted = [(p, load) for p in options.partition for load in options.loads if (p, load) not in have]
    jobs = {key: [pool.submit(golden_run, labs, key, i) for i in range(GOLDEN_RUNS)] for key in wanted}
    for (partition, load), futures in jobs.items():
        seen = [s for s in (f.result() for f in futures) if s is not None]
        if labs.stopped:
            return
        good = [s for s in seen if "broken" not in s]
        if not good:
            fail(f"the golden run of {load}, {partition}, does not come about: {seen[0]['broken']}")
        wrong = [s["wrong"] or f"{s['lost']} connections lost, {s['stuck']} stuck" for s in good if s["wrong"] or s["lost"] or s["stuck"]]
        if wrong:
            fail(f"the golden run of {load}, {partition}, is not clean: {wrong[0]}: without a fault that must not be; mend it first")
        kinds = good[0]["rate"]
        output.add({"type": "golden", "partition": partition, "load": load, "runs": len(good),
                    "rate": {k: statistics.median(s["rate"][k] for s in good) for k in kinds}, "gap_us": {k: max(s["gap_us"][k] for s in good) for k in kinds}})


def tried(labs, partition, plan, verbose=False):
    """A run; once more if it did not come about. What is broken each time is told."""
    for _ in range(TRIES):
        seen = labs.run(partition, plan, verbose)
        if seen is None or "broken" not in seen:
            break
    return seen


def golden_run(labs, key, index):
    return tried(labs, key[0], {"kind": "golden", "seed": index, "options": planning.LOADS[key[1]]})


def coverage_make(labs, output, options, pool):
    """Which instructions each server runs under each load: code faults are chosen among these. Of the factored partition, for all."""
    if not any(planning.CLASSES[c] == "code" for c in options.classes) or options.place:
        return {}
    if options.out is None:
        fail("code faults are chosen where a server's golden run was: say --out FILE, beside which that is kept, or --place")
    folder = pathlib.Path(f"{options.out}.coverage").resolve()
    folder.mkdir(exist_ok=True)
    done = {(c["server"], c["load"]): c for c in output.of("coverage")}
    wanted = {(s, load): folder / f"{s}-{load}" for s in options.servers for load in options.loads}
    jobs = {key: pool.submit(covered, labs, key, path) for key, path in wanted.items() if not path.exists()}
    for (server, load), future in jobs.items():
        seen, path = future.result(), wanted[server, load]
        if labs.stopped:
            return {}
        if not path.exists():
            fail(f"the coverage run of {server}, {load}, does not come about: {seen.get('broken') or seen.get('text') or seen}: on a quieter machine it may")
        if (server, load) not in done:
            output.add({"type": "coverage", "server": server, "load": load, "places": sum(1 for _ in open(path)), "text": seen.get("text", "")})
    return wanted


def covered(labs, key, path):
    """A coverage run; again while it leaves no file: a server that is stopped so often may be taken for one that hangs."""
    plan = {"kind": "coverage", "seed": 0, "server": key[0], "options": planning.LOADS[key[1]], "coverage_ms": COVERAGE_MS, "places": str(path)}
    seen = {}
    for _ in range(COVERAGE_TRIES):
        seen = tried(labs, "factored", plan)
        if seen is None or path.exists():
            break
    return seen


# ---- runs ----
def kept(seen):
    """Of what was seen, what a line keeps: the events, and of the load what is not the same in each run."""
    load = seen["load"]
    streams = [f for f in load["flows"] if f["flow"] in classify.STREAMS]
    short = [f for f in load["flows"] if f["flow"] == "short"]
    udp = [f for f in load["flows"] if f["flow"] == "udp"]
    place = PLACE.search(seen["said"] or "")
    return {"place": place.group() if place else "", "activated": seen["activated"], "activation": seen["activation_text"], "said": seen["said"], "events": seen["events"],
            "strike_us": seen["strike_us"], "reached_us": seen["reached_us"], "ended": load["ended"],
            "traffic": {"connects": sum(f["connects"] for f in streams), "octets": sum(f["sent"] + f["received"] for f in streams),
                        "short": {k: sum(f[k] for f in short) for k in ("connects", "failed", "broken")},
                        "udp": {k: sum(f[k] for f in udp) for k in ("rounds", "lost", "late", "failed")},
                        "gap_us": {k: classify.gap_us(load, (k,)) for k in load["kinds"]}},
            "verify": seen["verify"]}


def run_line(partition, plan, seen, golden):
    line = {"type": "run", "partition": partition, **{k: plan[k] for k in ("seed", "server", "class", "group", "load", "moment_s", "fault_seed", "peer", "count")},
            "run_s": seen.get("run_s", 0), "machine_load": round(os.getloadavg()[0], 1)}
    if "broken" in seen:
        return {**line, "broken": seen["broken"]}
    return {**line, **classify.outcome(plan, seen, golden), **kept(seen)}


def golden_of(output, partition, load):
    return next(g for g in output.of("golden") if (g["partition"], g["load"]) == (partition, load))


def run_confirmed(labs, partition, plan, full, golden, options):
    """(what was seen, its line). A verdict that rests on time alone is taken again: the line tells the earlier ones, and it stands only if it
    comes each time; of several such verdicts the mildest does."""
    attempts = []
    for _ in range(CONFIRMATIONS):
        seen = tried(labs, partition, full, options.verbose)
        if seen is None:
            return None, None
        line = run_line(partition, plan, seen, golden)
        if attempts and line.get("outcome", "not activated") == "not activated":
            continue
        attempts.append((seen, {**line, "earlier": [[e["outcome"], e["why"]] for _, e in attempts]}))
        if not line.get("time_alone"):
            return attempts[-1]
    stands = min(attempts, key=lambda attempt: attempt[1]["outcome"] == "escaped")
    return stands[0], {**stands[1], "earlier": [[line["outcome"], line["why"]] for _, line in attempts if line is not stands[1]]}


def one(labs, output, partition, plan, places, options):
    file = places.get((plan["server"], plan["load"]))
    full = {**plan, "kind": "fault", "options": planning.LOADS[plan["load"]], "timeout_ms": options.timeout, "place": options.place,
            "binds": planning.binds(plan),
            **({"places": str(file)} if file else {})}
    seen, line = run_confirmed(labs, partition, plan, full, golden_of(output, partition, plan["load"]), options)
    if line is None:
        return None
    if options.verbose:
        print(json.dumps({**line, "flows": seen.get("load", {}).get("flows"), "before": seen.get("before"), "after": seen.get("after")}, indent=1))
    if "broken" in line and "no end after" in line["broken"]:
        line = {**line, "outcome": "service lost", "why": line.pop("broken"), "affected": {plan["server"]: "no end"}, "timeline": None, "factor": 1.0,
                "gap_us": 0, "lost": 0, "stuck": 0}
    output.add(line)
    return line


class Progress:
    """A bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total, done):
        self.total, self.done, self.began, self.start, self.told, self.worst = total, done, done, time.monotonic(), 0.0, {}
        self.bar = sys.stderr.isatty()

    def step(self, line):
        self.done += 1
        outcome = line.get("outcome", "did not come about")
        self.worst[outcome] = self.worst.get(outcome, 0) + 1
        now = time.monotonic()
        if not self.bar and now - self.told < TELL_S and self.done != self.total:
            return
        self.told = now
        rate = (self.done - self.began) / max(now - self.start, 0.001)
        left = (self.total - self.done) / rate
        counts = ", ".join(f"{n} {o}" for o, n in sorted(self.worst.items(), key=lambda x: -x[1])[:5])
        filled = 30 * self.done // self.total
        shown = f"[{'#' * filled}{'.' * (30 - filled)}] {self.done}/{self.total}, {left:.0f} s left: {counts}"
        print(f"\r\033[K{shown}" if self.bar else shown, end="" if self.bar else "\n", file=sys.stderr, flush=True)

    def end(self):
        if self.bar:
            print(file=sys.stderr)


def jobs_of(options):
    index, of = options.shard
    for i in range(options.runs):
        if i % of == index - 1:
            plan = planning.plan(options.seed + i, options.classes, options.servers, options.loads)
            for partition in options.partition:
                if plan["class"] not in planning.NOT_IN.get(partition, ()):
                    yield partition, plan


def campaign(labs, options):
    output = Output(options.out)
    if output.lines:
        check_header(output.lines[0], header(options), options.out)
    else:
        output.add(header(options))
    have = {(r["partition"], r["seed"]) for r in output.of("run")}
    jobs = list(jobs_of(options))
    rest = [(p, plan) for p, plan in jobs if (p, plan["seed"]) not in have]
    with concurrent.futures.ThreadPoolExecutor(options.lanes) as pool:
        try:
            golden_make(labs, output, options, pool)
            places = {} if labs.stopped else coverage_make(labs, output, options, pool)
            rest = [] if labs.stopped else rest
            progress = Progress(len(jobs), len(jobs) - len(rest))
            futures = [pool.submit(one, labs, output, p, plan, places, options) for p, plan in rest]
            for future in concurrent.futures.as_completed(futures):
                if (line := future.result()) is not None:
                    progress.step(line)
            progress.end()
        except BaseException:
            labs.stop()
            raise
    if labs.stopped:
        again = "the same command goes on from there" if options.out else "with --out FILE it could be gone on with"
        fail(f"interrupted after {len(output.of('run'))} of {len(jobs)} runs; {again}", 130)
    print(text.report(output.lines))
    return 0


def plants(labs, options):
    """One escape of each kind on purpose: each has to be found."""
    output, missed = Output(options.out), 0
    if not output.lines:
        output.add(header(options))
    options.partition, options.loads = ["factored"], options.loads[:1]
    with concurrent.futures.ThreadPoolExecutor(options.lanes) as pool:
        golden_make(labs, output, options, pool)
        todo = [] if labs.stopped else [planning.plant_plan(kind, i, options.loads[0]) for i, kind in enumerate(options.plants)]
        for plan, line in zip(todo, pool.map(lambda p: one(labs, output, "factored", p, {}, options), todo)):
            found = line is not None and aggregate.plant_found(line)
            missed += not found
            said = "interrupted" if line is None else line.get("why") or line.get("broken") or line.get("outcome")
            print(f"{'found ' if found else 'MISSED'} {plan['class']}: {said}", flush=True)
    if labs.stopped:
        fail("interrupted", 130)
    print(f"{len(options.plants) - missed} of {len(options.plants)} planted escapes were found")
    return 1 if missed else 0


# ---- several files ----
def merged(paths):
    """The lines of a campaign's files as those of one; each run once."""
    lines, have, revisions = [], set(), {}
    for path in paths:
        part = read_lines(path)
        if not part:
            fail(f"{path}: empty")
        for number, line in enumerate(part, 1):
            if (why := aggregate.wrong(line)) is not None:
                fail(f"{path}:{number}: {why}")
        if lines:
            check_header(lines[0], part[0], path)
        revisions[part[0]["revision"]] = None
        for line in part:
            key = tuple(str(line.get(k)) for k in ("type", "partition", "seed", "server", "class", "load"))
            key = ("header",) if line["type"] == "header" else key
            if key not in have:
                have.add(key)
                lines.append({**line, "shard": None, "merged": len(paths)} if line["type"] == "header" and len(paths) > 1 else line)
    lines[0] = {**lines[0], "revision": ", ".join(revisions)}
    return lines


def write(path, whole):
    """All of it or nothing."""
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_text(whole, encoding="utf-8")
        temporary.rename(path)
    except OSError as error:
        fail(f"{path}: {error.strerror}")


def merge(argv):
    parser = Parser(prog="bulkhead campaign merge", description="Makes one file of the shards of a campaign.")
    parser.add_argument("file", nargs="+", type=pathlib.Path)
    parser.add_argument("-o", "--out", required=True, type=pathlib.Path, help="the file to write")
    options = parser.parse_args(argv)
    lines = merged(options.file)
    write(options.out, "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    print(f"{sum(x['type'] == 'run' for x in lines)} runs in {options.out}")
    return 0


def html_report(argv):
    parser = Parser(prog="bulkhead campaign report", description="Makes one HTML file of a campaign's files (shards, plants): it needs no network.")
    parser.add_argument("file", nargs="+", type=pathlib.Path)
    parser.add_argument("-o", "--out", required=True, type=pathlib.Path, help="the file to write")
    options = parser.parse_args(argv)
    write(options.out, report.report(merged(options.file)))
    print(f"{options.out}, {options.out.stat().st_size // 1000} KB")
    return 0


def show(argv):
    parser = Parser(prog="bulkhead campaign show", description="Shows the tables of a campaign's files.")
    parser.add_argument("file", nargs="+", type=pathlib.Path)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # its reader has seen enough
    print(text.report(merged(parser.parse_args(argv).file)))
    return 0


# ---- the command line ----
def names(known, groups=None):
    def parse(value):
        found = []
        for name in value.split(","):
            more = (groups or {}).get(name, (name,) if name in known else ())
            if not more:
                raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join([*(groups or {}), *known])}")
            found += [m for m in more if m not in found]
        return found
    return parse


def shard(value):
    try:
        index, of = (int(n) for n in value.split("/"))
    except ValueError:
        index = of = 0
    if not 1 <= index <= of:
        raise argparse.ArgumentTypeError(f"'{value}': write i/n, the first is 1/n")
    return [index, of]


def count(least, most):
    def parse(value):
        if not value.isdecimal() or not least <= int(value) <= most:
            raise argparse.ArgumentTypeError(f"'{value}': write a number from {least} to {most}")
        return int(value)
    return parse


class Parser(argparse.ArgumentParser):
    def error(self, message):
        fail(f"{message}; see `bulkhead campaign --help`", 2)


def options_parse(argv):
    parser = Parser(prog="bulkhead campaign", formatter_class=argparse.RawDescriptionHelpFormatter, description=(
        "Injects faults, one a run, each in a lab of its own with load against Linux; tells what each one reached.\n"
        "Also: bulkhead campaign merge FILE... -o FILE; bulkhead campaign show FILE...; bulkhead campaign report FILE... -o FILE.html."))
    parser.add_argument("--runs", type=count(1, 1_000_000), default=200, metavar="N", help="faults, for each partition (default 200)")
    parser.add_argument("--seed", type=count(0, 1 << 62), default=None, metavar="S", help="of the first run, the next ones count on; with one run, verbose")
    parser.add_argument("--partition", type=lambda v: v.split(","), default=["factored", "monolithic"], metavar="P[,P]",
                        help="factored, monolithic, or as `bulkhead up` has it (default both)")
    parser.add_argument("--classes", type=names(planning.CLASSES, planning.GROUPS), default=list(planning.CLASSES), metavar="C[,C]",
                        help=f"of faults, or groups of them: {', '.join(planning.GROUPS)}")
    parser.add_argument("--servers", type=names(planning.SERVERS), default=list(planning.SERVERS), metavar="S[,S]", help="to inject into")
    parser.add_argument("--loads", type=names(planning.LOADS), default=list(planning.LOADS), metavar="L[,L]", help=", ".join(planning.LOADS))
    parser.add_argument("--out", "-o", type=pathlib.Path, metavar="FILE", help="JSON lines; a file that is there is gone on with")
    parser.add_argument("--shard", type=shard, default=[1, 1], metavar="I/N", help="only each Nth run, from the Ith on")
    parser.add_argument("--lanes", type=count(1, 64), default=4, metavar="N", help="labs beside each other (default 4)")
    parser.add_argument("--timeout", type=count(1, 60_000), default=TIMEOUT_MS, metavar="MS", help="patience with the activation")
    parser.add_argument("--place", metavar="WHERE", help="of a code fault, as `bulkhead inject` has it, to see a run again")
    parser.add_argument("--plant", dest="plants", nargs="?", type=names(planning.PLANTS), const=list(planning.PLANTS), default=None, metavar="KIND[,KIND]",
                        help="instead: plants an escape of each kind, which has to be found")
    parser.add_argument("--verbose", action="store_true", help="all that was seen")
    options = parser.parse_args(argv)
    options.verbose = options.verbose or (options.runs == 1 and options.seed is not None)
    options.seed = options.seed or 0
    if not planning.pairs(options.classes, options.servers):
        parser.error("no such server has what that class damages")
    return options


def main(argv):
    also = {"merge": merge, "show": show, "report": html_report}
    if argv[:1] and argv[0] in also:
        return also[argv[0]](argv[1:])
    options = options_parse(argv)
    if not (BUILD / "bulkhead").exists() or not (BUILD / "bench" / "apps" / "bh-load").exists():
        fail(f"no bulkhead and bench/apps/bh-load in {BUILD}: build them first")
    labs = Labs()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=labs.stop).start())
    return plants(labs, options) if options.plants else campaign(labs, options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
