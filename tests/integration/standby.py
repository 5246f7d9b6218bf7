# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: each domain has a spare that waits; a killed domain goes on as its spare, and a new one comes; a spare that is killed
harms nobody and is replaced, again and again ever later; the audit knows what a spare has: nothing; at the end no process is left. With
`off` there is none, and a killed domain comes back all the same."""
import json
import os
import signal
import sys
import time

from inside import application, bulkhead, counters, domain_of, domains, echoes, events, last_event, main, restored_after, wait_for

PORT = 7007
ON = sys.argv[1] == "on"


def spares():
    return {d["name"]: d.get("spare_pid", 0) for d in domains()}


def all_spares():
    return wait_for("a spare of each domain", lambda: (found := spares()) and all(found.values()) and found, 30)


def test_taken_and_made_again():
    for d in domains():
        before, spare, number = d["pid"], all_spares()[d["name"]], last_event()
        taken = counters("supervisor")["spares_taken"]
        os.kill(before, signal.SIGKILL)
        text = restored_after(number, d["servers"][0])["text"]
        after = domain_of(d["servers"][0])
        assert after["pid"] == spare, f"{d['name']} went on as {after['pid']}, its spare was {spare}"
        assert counters("supervisor")["spares_taken"] == taken + 1
        new = all_spares()[d["name"]]
        assert new not in (before, spare), f"{d['name']}: spare {new}"
        print(f"  {d['name']}: {text}", flush=True)
    wait_for("service", lambda: serves(), 10)


def serves():
    try:
        return echoes(PORT)
    except OSError:
        return False


def cpus(pid):
    return sorted(os.sched_getaffinity(pid))


def namespaces_of(pid, kinds=("mnt", "net", "ipc")):
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}


def held_by_supervisor():
    """Numbers of namespaces; that of one that has ended is given to the next one."""
    pid = json.loads(bulkhead("ps", "--json"))["supervisor_pid"]
    files = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    return [link for file in files if os.path.lexists(file) for link in [os.readlink(file)] if link[:4] in ("mnt:", "net:", "ipc:")]


def test_placed():
    """All are on the last CPU (--placement packed), spares wherever there is room; who took over, too, when it has run for a moment."""
    last = max(os.sched_getaffinity(0))
    for _ in range(2):
        wait_for("each on its CPU", lambda: all(cpus(d["pid"]) == [last] for d in domains()))
        if ON:
            assert all(cpus(spare) == sorted(os.sched_getaffinity(0)) for spare in all_spares().values())
        number = last_event()
        os.kill(domain_of("tcp")["pid"], signal.SIGKILL)
        restored_after(number, "tcp")


def test_namespaces_held():
    """The supervisor holds the namespaces of who lives, so that their end waits; those of the dead until the next process is made."""
    if ON:
        all_spares()
    number, dead, before = last_event(), namespaces_of(domain_of("tcp")["pid"]), held_by_supervisor()
    assert len(dead) == 3 and dead <= set(before), f"{dead} of {before}"
    os.kill(domain_of("tcp")["pid"], signal.SIGKILL)
    restored_after(number, "tcp")
    if ON:
        all_spares()
    wait_for("the end of the dead one's", lambda: len(held_by_supervisor()) == len(before))
    assert all(namespaces_of(d["pid"]) <= set(held_by_supervisor()) for d in domains())


def test_two_in_a_row():
    """The second death comes before there is another spare."""
    all_spares()
    for _ in range(2):
        number, pid = last_event(), domain_of("ip")["pid"]
        os.kill(pid, signal.SIGKILL)
        restored_after(number, "ip")
    wait_for("service", serves, 10)


def test_killed_spare():
    """Nobody else notices; each next one comes later."""
    alive, number, deaths = {d["name"]: d["pid"] for d in domains()}, last_event(), counters("supervisor")["deaths"]
    for i in range(4):
        spare = all_spares()["tcp" if "tcp" in alive else next(iter(alive))]
        os.kill(spare, signal.SIGKILL)
        wait_for("its end to be told", lambda: sum(e["kind"] == "spare" for e in events(number)) == i + 1)
    all_spares()
    waits = [e["span_us"][0] for e in events(number) if e["kind"] == "spare"]
    assert waits == sorted(waits) and waits[-1] > 2 * waits[0], f"pauses between spares, in us: {waits}"
    assert {d["name"]: d["pid"] for d in domains()} == alive, "a domain was replaced"
    assert counters("supervisor")["deaths"] == deaths
    assert echoes(PORT)


def test_stopped_spare():
    """One that does not run is taken all the same, found out, and the next process does it."""
    name = domains()[0]
    spare, number = all_spares()[name["name"]], last_event()
    os.kill(spare, signal.SIGSTOP)
    os.kill(name["pid"], signal.SIGKILL)
    wait_for("it to be found out", lambda: sum(e["kind"] == "died" for e in events(number)) == 2, 15)
    restored_after(number, name["servers"][0])
    wait_for("service", serves, 10)


def test_audit():
    names = {f"spare-{name}" for name in all_spares()}
    report = wait_for("an audit", lambda: json.loads(bulkhead("audit", "--json", check=False) or "{}"), 10)
    verdicts = {d["name"]: d["verdict"] for d in report["domains"]}
    assert names <= verdicts.keys() and set(verdicts.values()) == {"held"}, verdicts
    assert not report.get("findings"), report["findings"]


def test_none():
    assert not any(spares().values()), spares()
    for d in domains():
        number = last_event()
        os.kill(d["pid"], signal.SIGKILL)
        restored_after(number, d["servers"][0])
    time.sleep(0.2)  # ten times as long as one takes to be made
    assert not any(spares().values()), spares()
    assert counters("supervisor")["spares_taken"] == 0
    wait_for("service", serves, 10)


def test_nothing_left():
    pids = [d["pid"] for d in domains()] + [pid for pid in spares().values() if pid]
    bulkhead("down")
    wait_for("all processes to be gone", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


if __name__ == "__main__":
    with application("bh-echo", f"[::]:{PORT}", ready=PORT):
        main([test_taken_and_made_again, test_two_in_a_row, test_killed_spare, test_audit, test_stopped_spare] if ON else [test_none])
        main([test_placed, test_namespaces_held])
    main([test_nothing_left])
