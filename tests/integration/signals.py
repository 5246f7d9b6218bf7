# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: each deadly signal really kills a domain, which is pid 1 of its own namespace and ignores what comes from
outside; a stopped one is found out as hung. The death is an event, leaves a report, and the stack answers again."""
import os
import pathlib
import re
import stat
import subprocess

from inside import (SERVERS, answers_ping, application, bulkhead, connects, domain_of, events, last_event, main,
                    wait_for)

RUN = pathlib.Path(os.environ["BULKHEAD_RUN_DIR"])
PORT = 7007
KEPT = 32
# signal: what the death is told as; whether the domain could say something itself
SIGNALS = {
    "SEGV": ("signal SEGV", True),
    "BUS": ("signal BUS", True),
    "ILL": ("signal ILL", True),
    "FPE": ("signal FPE", True),
    "ABRT": ("signal ABRT", True),
    "TERM": ("signal TERM", True),
    "SYS": ("signal SYS", False),  # the filter kills without asking
    "KILL": ("signal KILL", False),
    "STOP": ("signal KILL: hangs: it stands still, silent for ", False),
}


def report_of(event):
    name = re.search(r"report: (crash-\S+\.txt)", event["text"])
    assert name, event
    path = RUN / name.group(1)
    wait_for("the report", lambda: path.exists() and path.read_text().endswith("\n") and "last log lines" in path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    return path.read_text()


def die_of(server, signal):
    """(the event, the report) of a death by this signal, once the stack answers again."""
    before, since = domain_of(server), last_event()
    bulkhead("kill", server, "--signal", signal)
    wait_for("a new incarnation", lambda: (d := domain_of(server))["incarnation"] > before["incarnation"]
             and d["state"] == "running", 15)
    wait_for("answers to ping", answers_ping)
    wait_for("connections", lambda: connects(PORT))
    died = [e for e in events(since) if e["kind"] == "died" and e["subject"] == before["name"]]
    assert len(died) == 1 and died[0]["incarnation"] == before["incarnation"], died
    return died[0], report_of(died[0]), before


def check(server, signal):
    text, told = SIGNALS[signal]
    event, report, before = die_of(server, signal)
    assert text in event["text"], event
    assert f"domain: {before['name']}, incarnation {before['incarnation']}, pid {before['pid']}\n" in report, report
    assert f"died: {text}" in report, report
    if told:
        assert f"({signal}), code" in report and "\nregisters:" in report, report
        frames = re.findall(r"#\d+ +0x[0-9a-f]+", report)
        assert len(frames) >= 3, report
        assert "last messages of each port" in report, report
    else:
        assert "\nregisters:" not in report and "no registers" in report, report
    return report


def test_each_signal():
    for signal in SIGNALS:
        check("tcp", signal)


def test_each_server():
    for server in SERVERS:
        check(server, "SEGV")


def test_names():
    report = check("ip", "SEGV")
    assert "address 0x0\n" in report, report
    command = re.search(r"addr2line .*", report).group(0).split()
    done = subprocess.run(command, capture_output=True, text=True)
    assert "domain_loop" in done.stdout and "die at" in done.stdout, done


def test_planned_end_is_no_crash():
    before, since = domain_of("udp"), last_event()
    bulkhead("restart", "udp")
    wait_for("a new incarnation", lambda: (d := domain_of("udp"))["incarnation"] > before["incarnation"]
             and d["state"] == "running")
    died = [e for e in events(since) if e["kind"] == "died"]
    assert len(died) == 1 and "report" not in died[0]["text"], died


def test_bounded():
    for _ in range(KEPT + 3):
        before = domain_of("udp")
        bulkhead("kill", "udp")
        wait_for("a new incarnation", lambda: (d := domain_of("udp"))["incarnation"] > before["incarnation"]
                 and d["state"] == "running")
    assert len(list(RUN.glob("crash-*.txt"))) == KEPT
    assert (RUN / f"crash-{before['name']}-{before['incarnation']}.txt").exists()


if __name__ == "__main__":
    with application("bh-echo", PORT, ready=PORT):
        main([test_each_signal, test_each_server, test_names, test_planned_end_is_no_crash, test_bounded])
