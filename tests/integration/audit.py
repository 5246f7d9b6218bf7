# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: `bulkhead audit` finds nothing wrong with a stack that runs, nor after the death of each server, nor with
an application on it; and finds what somebody plants: a foreign process that maps a pool."""
import json
import os
import subprocess
import sys

from inside import (BUILD, SERVERS, application, bulkhead, connects, domain_of, domains, main, wait_for)

PORT = 7007


def audit_once():
    done = subprocess.run([BUILD / "bulkhead", "audit", "--json"], capture_output=True, text=True, timeout=30)
    if "an audit is on its way" in done.stderr:  # the one before has said all, and not ended
        return None
    assert done.stdout, f"no report: {done.stderr}"
    report = json.loads(done.stdout)
    assert done.returncode == (1 if report["findings"] else 0), f"{done.returncode}: {done.stderr} {report['findings']}"
    return report


def audit():
    """Of a stack in which nobody is on the way: a spare is made again some time after it was used."""
    def settled():
        report = audit_once()
        return report is not None and all(d["verdict"] != "starting" for d in report["domains"]) and report
    return wait_for("all processes to be what they are to be", settled, 20, 0.05)


def rows(report):
    return {s["name"]: s for s in report["segments"]}


def clean(report):
    assert not report["findings"], report["findings"]
    held = {d["name"]: d["verdict"] for d in report["domains"]}
    names = {d["name"] for d in domains()}
    assert set(held.values()) == {"held"}, held
    assert names | {"manage"} <= held.keys() <= names | {"manage"} | {f"spare-{name}" for name in names}, held
    for d in report["domains"]:
        assert d["seccomp"] == "filter" and d["capabilities"] == "none", d
        assert d["root"] == "empty" or d["name"] == "manage", d
        assert "net+mnt+pid+ipc" in d["namespaces"], d
    return rows(report)


def supervisor():
    return json.loads(bulkhead("ps", "--json"))["supervisor_pid"]


def test_clean():
    segments = clean(audit())
    nic, ip = domain_of("nic")["name"], domain_of("ip")["name"]
    assert segments["pool-nic"]["writers"] == nic, segments["pool-nic"]
    assert nic == ip or ip in segments["pool-nic"]["readers"], segments["pool-nic"]
    assert segments[f"status-{nic}"]["writers"] == nic and "supervisor" in segments[f"status-{nic}"]["readers"]
    text = bulkhead("audit")
    assert "pool-nic" in text and "trust: " in text and text.endswith("0 findings\n"), text


def test_application():
    with application("bh-echo", PORT, ready=PORT) as echo:
        report = audit()
        segments = clean(report)
        own = [s for name, s in segments.items() if name.startswith("session0-")]
        assert own and all("application's own" in s["note"] for s in own), own
        assert report["unseen"] or all(f"bh-echo[{echo.pid}]" in s["writers"] for s in own), own
        for server in SERVERS:
            before = domain_of(server)
            bulkhead("kill", server)
            wait_for("a new incarnation", lambda: (d := domain_of(server))["incarnation"] > before["incarnation"]
                     and d["state"] == "running")
            wait_for("service", lambda: connects(PORT))
            clean(audit())
    wait_for("the session's memory to be let go",
             lambda: not any(name.startswith("session0-") for name in rows(audit())))
    clean(audit())


def descriptor_of(pid, name, user):
    """Of the segment of that name which process `user` maps: there may be another one, of an incarnation before or to come."""
    used = {line.split()[4] for line in open(f"/proc/{user}/maps") if f"/memfd:{name} " in line}
    for number in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{number}"
        if os.readlink(path).startswith(f"/memfd:{name} ") and str(os.stat(path).st_ino) in used:
            return path
    raise AssertionError(f"{pid} has no {name}")


PLANT = """
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR if sys.argv[2] == "rw" else os.O_RDONLY)
memory = mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if sys.argv[2] == "rw" else 0))
print("mapped", flush=True)
sys.stdin.read()
"""


def planted(segment, *how):
    """The findings while a foreign process maps a segment."""
    path = descriptor_of(supervisor(), segment, domain_of(segment.split("-")[1])["pid"])
    with subprocess.Popen([sys.executable, "-c", PLANT, path, *how], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as plant:
        assert plant.stdout.readline() == "mapped\n"
        report = audit()
        plant.stdin.close()
        assert plant.wait(10) == 0
    clean(audit())
    who = f"(pid {plant.pid})"
    return [f for f in report["findings"]], who


def test_planted():
    if audit()["unseen"]:  # as an ordinary user in a lab: COMMAND has capabilities that the supervisor has not
        assert os.geteuid() != 0 and "could not be looked into" in bulkhead("audit")
        print("nothing planted: the supervisor may not look into this process, and the audit says so")
        return
    owner = domain_of("nic")["name"]
    findings, who = planted("pool-nic", "rw")
    assert any(who in f and "maps, writable, pool-nic" in f for f in findings), findings
    assert any(who in f and "holds a descriptor, open for writing, of pool-nic" in f for f in findings), findings
    assert any("pool-nic has 2 writers" in f and owner in f for f in findings), findings
    findings, who = planted("store-tcp", "ro")  # a reader that was not granted
    assert any(who in f and "maps store-tcp: not granted" in f for f in findings), findings
    assert not any("writ" in f for f in findings), findings


def test_wrong_use():
    for arguments in (["audit", "x"], ["audit", "--all"]):
        done = subprocess.run([BUILD / "bulkhead", *arguments], capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done


if __name__ == "__main__":
    main([test_clean, test_application, test_planted, test_wrong_use])
