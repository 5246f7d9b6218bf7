# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: faults in the code of a server that beats on and serves nobody, or nobody in the network. `find FILE`, with --probe 0: a place is looked for where
such a fault ends the service, for good, and nobody notices; it is written down. `mend FILE`, as shipped: with the fault at that
place the service comes back without help, and what was connected goes on. `handed`: a socket server that hands out other slots than tcp's. `self`: the prober's own ends; `ip6`: it is served without IPv4."""
import json
import os
import re
import signal
import subprocess
import sys
import time

from inside import BUILD, Echo, application, bulkhead, counters, domain_of, domains, echoes, events, last_event, main, wait_for

PORT = 7009
AWAY_S = 3.0      # unserved for so long, with the domain still there
WITHOUT_HELP_S = 12
# Per server: a function, the class of the fault, what instruction it takes, whether connections outlive such a fault.
CASES = {"socket": ("lane_answer", "branch-inverted", r"\sj[a-ln-z]\w*\s", True),
         "tcp": ("siphash", "nop", r"\s(add|rol|xor)\s", False),  # segments of connections that are there find nothing, and are answered by a reset
         "nic": ("segment_offload_fits", "branch-inverted", r"\sj[a-ln-z]\w*\s", True),  # these two serve the network, where no probe goes
         "ip": ("ip4_build", "nop", r"\smov\w*\s+[%$]\w+,-?0x\w+\(", True)}
FORWARDS = ("nic", "ip")


def places(function, pattern):
    listing = subprocess.run(["objdump", "-d", f"--disassemble={function}", BUILD / "bulkhead-domain"], capture_output=True, text=True,
                             check=True).stdout
    found = [f"text:0x{m.group(1)}" for line in listing.splitlines()
             if re.search(pattern, line) and (m := re.match(r"\s*([0-9a-f]+):\t", line))]
    assert found, f"no such instruction in {function}"
    return found


def served():
    try:
        return echoes(PORT)
    except OSError:
        return False


def unserved_for(seconds):
    """False as soon as somebody is served."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        probe = subprocess.run([sys.executable, "-c", f"import socket; s = socket.create_connection(('10.77.0.2', {PORT}), 0.7); "
                                "s.settimeout(0.7); s.sendall(b'?'); raise SystemExit(s.recv(1) != b'?')"], capture_output=True)
        if probe.returncode == 0:
            return False
    return True


def put(server, fault, place):
    """True: it was activated."""
    number = last_event()
    done = subprocess.run([BUILD / "bulkhead", "inject", server, fault, "--place", place, "--timeout", "1500"], capture_output=True, text=True)
    if done.returncode != 0:
        return False  # not an instruction for this class
    for _ in range(10):
        served_soon(0.3)
        said = [e["text"] for e in events(number) if e["kind"] == "inject"]
        if said:
            return f"{fault}: activated" in said[0]
    return False


def served_soon(seconds):
    subprocess.run([sys.executable, "-c", f"import socket; socket.create_connection(('10.77.0.2', {PORT}), {seconds})"], capture_output=True)


def fresh(server):
    bulkhead("restart", server)
    wait_for("service after help", served, 15, 0.05)


def find(file):
    found = {}
    assert json.loads(bulkhead("ps", "--json")).get("prober_pid", 0) == 0
    with application("bh-echo", PORT, ready=PORT):
        for server, (function, fault, pattern, _) in CASES.items():
            for place in places(function, pattern):
                before = domain_of(server)["incarnation"]
                if put(server, fault, place) and unserved_for(AWAY_S) and domain_of(server)["incarnation"] == before:
                    found[server] = place
                fresh(server)
                if server in found:
                    break
    print(found, flush=True)
    assert found.keys() == CASES.keys(), "no such place"
    with open(file, "w") as out:
        json.dump(found, out)


def mend(file):
    with open(file) as lines:
        found = json.load(lines)
    wait_for("a probe", probes)  # who never was well blames nobody
    with application("bh-echo", PORT, ready=PORT):
        for server, (_, fault, _, outlived) in CASES.items():
            if server in FORWARDS and len(domains()) == 1:
                continue  # what they say to each other is not to be seen
            streams = Echo(PORT, 3, again=False, patience=30)  # bh-echo waits for the answer to its accept()
            wait_for("the streams", lambda: streams.rounds > 20)
            number, before, start = last_event(), domain_of(server)["incarnation"], time.monotonic()
            assert put(server, fault, found[server]), f"{server}: not activated: {events(number)}"
            wait_for("service without help", served, WITHOUT_HELP_S, 0.05)
            wait_for("a new incarnation", lambda: domain_of(server)["incarnation"] > before, WITHOUT_HELP_S)
            wait_for("service", served, 2, 0.05)
            said = [(e["subject"], e["text"]) for e in events(number) if e["kind"] == "unserved"]
            print(f"{server}: served again after {time.monotonic() - start:.1f} s: {said}", flush=True)
            assert said and server in said[0][0].replace("+", " ").split(), events(number)
            assert ("says the traffic" in said[0][1]) == (server in FORWARDS), said
            assert not [e for e in events(number) if e["kind"] in ("cold", "stack", "backoff")], events(number)
            rounds = streams.rounds
            if outlived:
                wait_for("the streams to go on", lambda: streams.rounds > rounds + 20)
            streams.finish()
            assert not streams.wrong and (not outlived or (not streams.resets and not streams.errors)), vars(streams)
            time.sleep(6)  # the pause after a series of lives


def blamed(number, seconds):
    end = time.monotonic() + seconds
    said = []
    while not said and time.monotonic() < end:
        time.sleep(0.05)
        said = [e["subject"] for e in events(number) if e["kind"] == "unserved"]
    return said


def handed():
    """Who passes on another arena, slot or use than it was told is to blame, and not who told it."""
    wait_for("a probe", probes)
    before, said = domain_of("tcp")["incarnation"], []
    with application("bh-echo", PORT, ready=PORT):
        for place in places("on_established", r"0x(1c|20|24)\(%\w+\),%"):
            number = last_event()
            said = blamed(number, WITHOUT_HELP_S / 2) if put("socket", "register-destination", place) else []
            if said:
                break
            fresh("socket")
        print(place, said, flush=True)
        assert said == ["socket"], events(number)
        wait_for("service without help", served, WITHOUT_HELP_S, 0.05)
    assert domain_of("tcp")["incarnation"] == before, events(number)


def prober_pid():
    return json.loads(bulkhead("ps", "--json")).get("prober_pid", 0)


def probes():
    return counters("supervisor")["probes"]


def test_probes_go_on():
    """Nobody is blamed when all is well; its session counts for nobody's."""
    before = wait_for("probes", probes)
    wait_for("more probes", lambda: probes() > before + 1)
    document = json.loads(bulkhead("ps", "--json"))
    assert document.get("sessions", 0) == 0 and f"prober {prober_pid()}" in bulkhead("ps")
    assert counters("supervisor")["unserved"] == counters("supervisor")["probes_failed"] == 0, counters("supervisor")


def test_it_dies():
    """It is started again, and nobody else is touched by that."""
    for how in (signal.SIGKILL, signal.SIGSTOP):  # the latter: it says nothing for 8 s
        pid, number = prober_pid(), last_event()
        os.kill(pid, how)
        wait_for("the next prober", lambda: prober_pid() not in (0, pid), 15, 0.05)
        before = probes()
        wait_for("probes", lambda: probes() > before, 10, 0.05)
        assert {e["subject"] for e in events(number) if e["kind"] == "died"} == {"prober"}, events(number)


def test_cold():
    """Who forgets its sockets is not blamed for that: it makes them again."""
    for server in ("socket", "tcp", "udp", "ip"):
        number, before = last_event(), probes()
        bulkhead("kill", server)
        wait_for("probes", lambda: probes() > before + 2, 10, 0.05)
        assert not [e for e in events(number) if e["kind"] == "unserved"], events(number)


if __name__ == "__main__":
    if sys.argv[1] == "ip6":
        main([test_probes_go_on])
    elif sys.argv[1] == "self":
        main([test_probes_go_on, test_it_dies, test_cold])
    elif sys.argv[1] == "handed":
        handed()
    else:
        {"find": find, "mend": mend}[sys.argv[1]](sys.argv[2])
