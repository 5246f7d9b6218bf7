#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The tables of tests/conformance/rfc: one file per RFC, one row per requirement, tab-separated:

    id  section  level  requirement  status  evidence

status          evidence
tested          the tests that fail when the requirement is not met, separated by ", "
explained       why it is not met, or cannot be tested; tests named in it must exist, too
not applicable  why it does not concern a host, or this one
pending         nothing yet: fails

A test is unit/FILE:test (START_TEST(test) in tests/unit/test_FILE.c, in its suite), integration/NAME[:function] (tests/integration/NAME.test
or .full; the function in one of its .py), script:NAME (tests/conformance/scripts/NAME.pkt), shared:PATH (of ../shared/packetdrill, when
that is there), sim[:FILE] (tests/sim), hostile/NAME (tests/hostile/NAME.c), fuzz/TARGET.

Ends with 1 if a cell is empty, a name does not exist, an id stands twice, or one of RFC 9293's own list (MUST-1 to MUST-69, SHLD-1 to SHLD-31,
MAY-1 to MAY-18, REC-1) has no row. Usage: check_tables.py [--self-test]"""
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLES = ROOT / "tests/conformance/rfc"
SHARED = ROOT.parent / "shared/packetdrill"
LEVELS = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY")
STATUSES = ("tested", "explained", "not applicable", "pending")
COLUMNS = ("id", "section", "level", "requirement", "status", "evidence")
LISTED = {"MUST": 69, "SHLD": 31, "MAY": 18, "REC": 1}  # RFC 9293 appendix B
LEAST_WORDS = 4  # of a reason
TEST = re.compile(r"\b(?:unit|integration|hostile|fuzz)/[\w-]+(?::\w+)?|\b(?:script|shared):[\w./-]*\w|\bsim:\w+|^sim$")


class Tests:
    """Which tests there are, read from their sources."""

    def __init__(self, root):
        self.root, self.units = root, {}

    def unit(self, name, function):
        if name not in self.units:
            path = self.root / f"tests/unit/test_{name}.c"
            text = re.sub(r"/\*.*?\*/", " ", path.read_text(), flags=re.S) if path.is_file() else ""
            defined = set(re.findall(r"START_TEST\((\w+)\)", text))
            text = re.sub(r"START_TEST\(\w+\)", " ", text)
            self.units[name] = {f for f in defined if re.search(rf"[,({{]\s*{f}\s*[,)}}]", text)}
        return function in self.units[name]

    def integration(self, name, function):
        folder = self.root / "tests/integration"
        files = [folder / f"{name}{suffix}" for suffix in (".test", ".full")]
        texts = [f.read_text() for f in files if f.is_file()]
        if not texts or function is None:
            return bool(texts)
        scripts = {s for text in texts for s in re.findall(r"\w+\.py", text)}
        return any(re.search(rf"^def {function}\(", (folder / s).read_text(), re.M) for s in scripts if (folder / s).is_file())

    def exists(self, name):
        kind, rest = re.match(r"(\w+)[:/]?(.*)", name).groups()
        rest, _, function = rest.partition(":") if "/" in name and kind != "shared" else (rest, "", "")
        tests = self.root / "tests"
        if kind == "unit":
            return self.unit(rest, function)
        if kind == "integration":
            return self.integration(rest, function or None)
        if kind == "script":
            return (tests / f"conformance/scripts/{rest}.pkt").is_file()
        if kind == "shared":
            return not SHARED.is_dir() or (SHARED / rest).is_file()
        if kind == "sim":
            return (tests / "sim" / f"{rest or 'main'}.c").is_file()
        path = {"hostile": f"hostile/{rest}.c", "fuzz": f"fuzz/fuzz_{rest}.c"}.get(kind)
        return path is not None and (tests / path).is_file()


def check_row(row, tests):
    """What is wrong with a row."""
    if any(cell.strip() == "" for cell in row.values()):
        return ["an empty cell"]
    wrong = [f"unknown level \"{row['level']}\""] if row["level"] not in LEVELS else []
    status, evidence = row["status"], row["evidence"]
    if status not in STATUSES:
        return wrong + [f"unknown status \"{status}\""]
    if status == "pending":
        return wrong + [f"pending: {evidence}"]
    if status == "tested":
        names = evidence.split(", ")
        wrong += [f"\"{n}\" is not the name of a test" for n in names if not TEST.fullmatch(n)]
    else:
        names = TEST.findall(evidence)
        if len(evidence.split()) < LEAST_WORDS:
            wrong.append("a reason in fewer than a few words")
    return wrong + [f"no test {n}" for n in names if TEST.fullmatch(n) and not tests.exists(n)]


def read_table(path):
    """(rows, complaints); a row is a dict by COLUMNS."""
    rows, wrong = [], []
    lines = path.read_text().splitlines()
    if not lines or tuple(lines[0].split("\t")) != COLUMNS:
        wrong.append(f"{path.name}:1: the first line names the columns: {' '.join(COLUMNS)}")
    for number, line in enumerate(lines[1:], 2):
        cells = line.split("\t")
        if len(cells) != len(COLUMNS):
            wrong.append(f"{path.name}:{number}: {len(cells)} cells, not {len(COLUMNS)}")
            continue
        rows.append((number, dict(zip(COLUMNS, cells))))
    return rows, wrong


def check_table(path, tests):
    """(rows, complaints)."""
    rows, wrong = read_table(path)
    seen = set()
    for number, row in rows:
        where = f"{path.name}:{number}: {row['id']}: "
        wrong += [where + w for w in check_row(row, tests)]
        if row["id"] in seen:
            wrong.append(where + "this id stands twice")
        seen.add(row["id"])
    if path.stem == "9293":
        ids = (f"{kind}-{n}" for kind, count in LISTED.items() for n in range(1, count + 1))
        wrong += [f"{path.name}: {i} has no row" for i in ids if i not in seen]
    return [row for _, row in rows], wrong


def summary(rfc, rows):
    parts = []
    for name, levels in (("MUST", ("MUST", "MUST NOT")), ("SHOULD", ("SHOULD", "SHOULD NOT")), ("MAY", ("MAY",))):
        of = [row["status"] for row in rows if row["level"] in levels]
        counts = ", ".join(f"{of.count(s)} {s}" for s in STATUSES if s in of)
        if of:
            parts.append(f"{len(of)} {name}: {counts}")
    return f"RFC {rfc}: " + "; ".join(parts)


def check(folder, tests):
    """(lines to print, complaints) of all tables."""
    lines, wrong = [], []
    paths = sorted(folder.glob("*.tsv"), key=lambda p: int(p.stem))
    if not any(p.stem == "9293" for p in paths):
        wrong.append("there is no 9293.tsv")
    for path in paths:
        rows, complaints = check_table(path, tests)
        wrong += complaints
        if path.stem == "9293":
            listed = [row for row in rows if row["id"].startswith("MUST-")]
            last = summary("9293's own list", [row | {"level": "MUST"} for row in listed])
        lines.append(summary(path.stem, rows))
    return lines + ([last] if not wrong else []), wrong


GOOD = ("X-1", "1", "MUST", "what is asked for", "tested", "unit/tcp:test_options")
BAD = [  # a column, what is in it, what is said of it
    ("section", " ", "empty cell"), ("level", "OUGHT", "unknown level"), ("status", "done", "unknown status"),
    ("status", "pending", "pending"), ("evidence", "unit/tcp:test_no_such", "no test"), ("evidence", "unit/no_such:test_options", "no test"),
    ("evidence", "integration/no-such", "no test"), ("evidence", "integration/segments:no_such", "no test"),
    ("evidence", "script:no-such", "no test"), ("evidence", "fuzz/no_such", "no test"), ("evidence", "sim:no_such", "no test"),
    ("evidence", "somewhere in the tests", "not the name of a test"), ("status", "explained", "few words"), ("id", "X-0", "stands twice"),
]


def self_test():
    """Each thing that the checker is to find is planted in a table, alone."""
    tests = Tests(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "1.tsv"
        for column, text, said in BAD:
            row = dict(zip(COLUMNS, GOOD)) | {column: text}
            first = dict(zip(COLUMNS, GOOD)) | {"id": "X-0"}
            path.write_text("\n".join("\t".join(r) for r in (COLUMNS, first.values(), row.values())) + "\n")
            wrong = check_table(path, tests)[1]
            assert len(wrong) == 1 and said in wrong[0], (column, text, wrong)
        unit = pathlib.Path(folder) / "tests/unit/test_x.c"
        unit.parent.mkdir(parents=True)
        unit.write_text("START_TEST(run) START_TEST(forgotten) /* SUITE_RUN(forgotten) */ SUITE_RUN(\"x\", NULL, NULL, run)")
        assert Tests(pathlib.Path(folder)).exists("unit/x:run") and not Tests(pathlib.Path(folder)).exists("unit/x:forgotten")
        path = path.with_name("9293.tsv")
        path.write_text("\t".join(COLUMNS) + "\n")
        assert len(check_table(path, tests)[1]) == sum(LISTED.values())


def main():
    self_test()
    if "--self-test" in sys.argv[1:]:
        return 0
    lines, wrong = check(TABLES, Tests(ROOT))
    print("\n".join(lines + wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
