# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: SERVER killed KILLS times at random moments under load, over FAMILY (4, 6), tcp always with data on its way: each time
one death, one new incarnation. The clients connect once and never again: no connection is lost or reset, no octet wrong, the listener
is there, nothing hangs on either side, and descriptors, maps and memory of the survivors are at the end what they were after the
tenth kill."""
import random
import statistics
import subprocess
import sys
import time

from inside import STACK, STACK6, Echo, application, bulkhead, connects, counters, domain_of, domains, events, main, resources, spares_are_there, wait_for

SERVER, KILLS = sys.argv[1], int(sys.argv[2])
HOST = STACK6 if len(sys.argv) > 3 and sys.argv[3] == "6" else STACK
PORT, CONNECTIONS = 7007, 8
rng = random.Random(f"{SERVER}{KILLS}")


def survivors():
    return {d["name"]: d["pid"] for d in domains() if SERVER not in d["servers"]} | {"supervisor": supervisor_pid()}


def supervisor_pid():
    import json
    return json.loads(bulkhead("ps", "--json"))["supervisor_pid"]


def in_flight():
    """Octets that the stack has not acknowledged to Linux."""
    shown = subprocess.run(["ss", "-tnH", "dst", f"[{HOST}]" if ":" in HOST else HOST], capture_output=True, text=True).stdout
    return sum(int(line.split()[2]) for line in shown.splitlines())


def settled(pids):
    """What they hold, when each domain has its spare again."""
    spares_are_there()
    return resources(pids)


def rounds_of(load):
    """How many there were; nobody has lost a connection until then."""
    assert load.resets == 0 and not load.errors, f"{load.resets} connections reset, {load.errors[:3]}"
    return load.rounds


def kill_once(load):
    before = domain_of(SERVER)
    rounds = load.rounds
    wait_for("load before the kill", lambda: rounds_of(load) > rounds + (8 if SERVER == "tcp" else 20), 15)
    time.sleep(rng.random() * 0.01)
    if SERVER == "tcp":
        wait_for("data in flight", lambda: in_flight() > 0, 15, 0)
    start = time.monotonic()
    bulkhead("kill", SERVER)
    wait_for("a new incarnation", lambda: (d := domain_of(SERVER))["incarnation"] > before["incarnation"]
             and d["state"] == "running", 10)
    rounds = load.rounds
    wait_for("service", lambda: rounds_of(load) > rounds + (8 if SERVER == "tcp" else 20), 15)
    seconds, after = time.monotonic() - start, domain_of(SERVER)["incarnation"]
    assert after == before["incarnation"] + 1, f"incarnation {before['incarnation']} -> {after}"
    return seconds


def test_kills():
    load = Echo(PORT, CONNECTIONS, 500000 if SERVER == "tcp" else 64, HOST, again=False)
    wait_for("load", lambda: load.rounds > 100)
    times, reference = [], None
    who, deaths = survivors(), counters("supervisor")["deaths"]
    for i in range(KILLS):
        times.append(kill_once(load))
        if i == min(9, KILLS // 2):
            reference = settled(who.values())
        assert survivors() == who, f"kill {i}: another domain was replaced: {who} -> {survivors()}"
    now = time.monotonic()
    wait_for("every connection to go on", lambda: all(last > now for last in load.last), 15)
    assert counters("supervisor")["deaths"] == deaths + KILLS, "there were other deaths"
    assert connects(PORT, 5), "the listener has gone"
    load.finish()
    assert load.connects == CONNECTIONS and load.resets == 0 and not load.errors, (load.connects, load.resets, load.errors[:3])
    after = settled(who.values())
    for name, pid in who.items():
        then, end = reference[pid], after[pid]
        assert abs(end["descriptors"] - then["descriptors"]) <= (8 if name == "supervisor" else 0), f"{name}: descriptors {then} -> {end}"
        # the supervisor has mapped what the next life will get, or not yet
        assert abs(end["maps"] - then["maps"]) <= 10 < KILLS, f"{name}: maps {then} -> {end}"
        assert end["anonymous_kib"] <= then["anonymous_kib"] + 64, f"{name}: memory {then} -> {end}"
    assert load.wrong == 0, f"{load.wrong} answers with wrong octets"
    restored = [e for e in events() if e["kind"] == "restored" and SERVER in e["subject"]]
    print(f"{SERVER}: {KILLS} kills, {load.rounds} round trips on the same {load.connects} connections, "
          f"answers again after {1e3 * statistics.median(times):.0f} ms as seen through ps (median)", flush=True)
    assert len(restored) > 0


if __name__ == "__main__":
    with application("bh-echo", f"[::]:{PORT}", ready=PORT):
        main([test_kills])
