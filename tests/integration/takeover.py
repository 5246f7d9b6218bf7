# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab whose bulkhead-domain is tests/hostile's: the domain of SERVER has been taken over and makes one attack a life.
Each attack ends as it must, no other domain dies of it, and service is back after the last."""
import re
import socket
import sys
import threading
import time

from inside import STACK, Echo, answers_ping, application, bulkhead, counters, domain_of, domains, events, main, wait_for
from plane import Plane

SERVER = sys.argv[1]
PORT = 7007
NEIGHBOUR = {"nic": "ip", "ip": "nic", "tcp": "nic", "udp": "nic", "socket": "udp"}[SERVER]  # whose buffers it gets
WRITES = {"write_pool", "write_ring", "write_sleep_word"}
REFUSED = {"protect_pool", "protect_ring", "punch_pool", "map_descriptors", "flood_bells"}
MESSAGES = ("not_granted", "beyond_the_table", "stale_generation", "other_rights", "every_pool", "beyond_the_pool", "stale_pool",
            "loans_not_held", "garbage", "after_revocation", "impossible_index")
LAST = "impossible_index"


def others():
    return {d["name"]: (d["pid"], d["incarnation"]) for d in domains() if SERVER not in d["servers"] and NEIGHBOUR not in d["servers"]}


def story():
    """What became of each attack: {name: [text of its events]}."""
    found, current = {}, None
    for e in events():
        if SERVER not in e["subject"]:
            continue
        text = e["text"]
        if (m := re.search(r"attack (\w+)", text)) and e["kind"] == "log":
            current = m.group(1)
            found[current] = []
        elif current is not None and e["kind"] in ("log", "died", "broken"):
            found[current].append(f"{e['kind']}: {text}")
    return found


def refusals():
    """Everything that the neighbours counted as refused or dropped."""
    return sum(value for server, table in counters().items() if server != SERVER for name, value in table.items()
               if re.search("refused|drop|malformed|broken", name))


def verdict(name, told):
    """None, or what is wrong."""
    died = [t for t in told if t.startswith("died")]
    said = [t for t in told if t.startswith("log")]
    if any("came back" in t or "writable" in t or "written" in t for t in told):
        return f"{name} succeeded: {told}"
    if name == "after_revocation" and SERVER != "socket" and not any("told" in t for t in said):
        return f"{name}: {told}"
    if name in MESSAGES:
        noticed = died and "a neighbour calls a lie" in died[0]  # before it was through
        return None if died and (said or noticed) else f"{name}: not made: {told}"
    if any("nothing there" in t for t in said):
        return None if name in WRITES | REFUSED else f"{name}: {told}"
    if name in REFUSED:
        return None if any("refused" in t for t in said) else f"{name}: {told}"
    signo = "SEGV" if name in WRITES else "SYS"
    return None if died and f"signal {signo}" in died[0] else f"{name}: {told}"


def kill_neighbour_when_asked(plane):
    """after_revocation wants a pool that has gone. What was counted as refused until then: the neighbour begins anew at zero."""
    seen = 0

    def asked():
        nonlocal seen
        seen = max(seen, refusals())
        return "after_revocation" in story()
    wait_for("the attack that wants a death", asked, 60)
    plane.kill(NEIGHBOUR)
    return seen


class Packets:
    """Datagrams and SYNs to ports that nobody has: work for udp and tcp, also when every connection waits for its next timeout."""

    def __init__(self):
        self.stop = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            while not self.stop:
                s.sendto(bytes(200), (STACK, 9))
                with socket.socket() as syn:
                    syn.setblocking(False)
                    syn.connect_ex((STACK, 9))
                time.sleep(0.002)


def test_takeover():
    load, packets, plane = Echo(PORT, 4), Packets(), Plane()
    before, counted = others(), refusals()
    neighbour = domain_of(NEIGHBOUR)["incarnation"]
    refused = kill_neighbour_when_asked(plane)
    wait_for("the last attack", lambda: any(t.startswith("died") for t in story().get(LAST, [])), 60)
    told = story()
    for name, what in told.items():
        print(f"  {SERVER} {name}: {'; '.join(what)}")
    wrong = [v for name, what in told.items() if (v := verdict(name, what)) is not None]
    assert not wrong, wrong
    assert len(told) > 50, f"only {len(told)} attacks"
    died = [e for e in events() if e["kind"] in ("died", "broken", "revived", "cold", "stack") and SERVER not in e["subject"]]
    assert others() == before, f"others died: {before} -> {others()}: {died}"
    assert domain_of(NEIGHBOUR)["incarnation"] == neighbour + 1, "the neighbour died of an attack"
    refused = max(refused, refusals()) - counted
    assert refused > 20, f"the lies were not counted: {refused}"  # after nonsense nothing is heard
    print(f"{SERVER}: {len(told)} attacks, {refused} lies counted", flush=True)
    wait_for("ping to be answered", lambda: answers_ping(1), 15)
    load.finish()
    # A socket server may mislead applications about their sockets: theirs may be lost. A new one is served in any case.
    with application("bh-echo", PORT + 1, ready=PORT + 1):
        fresh = Echo(PORT + 1, 4)
        wait_for("service", lambda: fresh.rounds > 100, 15)
        fresh.finish()
    packets.stop = True
    packets.thread.join(5)
    if SERVER in ("udp", "socket"):
        assert load.wrong == 0, f"{load.wrong} wrong answers"
    plane.close()


if __name__ == "__main__":
    with application("bh-echo", PORT, ready=PORT):
        main([test_takeover])
