# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: faults of every class put into the domain of tcp under load: each is answered and has its event, the stack is
reachable afterwards; the same seed chooses the same; a golden run finds what runs; a tracer that is killed leaves nothing behind;
`verify` finds every plant; wrong use is told in one line."""
import json
import os
import signal
import subprocess
import tempfile
import time

from inside import BUILD, Echo, application, bulkhead, domain_of, domains, echoes, events, last_event, main, wait_for

PORT = 7007
CODE = ("flip-text", "nop", "branch-inverted", "branch-dropped", "operand", "register-source", "register-destination", "pointer",
        "loop-bound", "init-missing")
MEMORY = ("wild-write", "flip-heap", "flip-stack", "flip-store", "flip-pool", "flip-ring", "flip-arena")
folder = tempfile.TemporaryDirectory()
COVERED = f"{folder.name}/covered"


def inject(*arguments):
    return bulkhead("inject", *arguments).strip()


def refused(*arguments, status=1):
    done = subprocess.run([BUILD / "bulkhead", "inject", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == status and done.stderr.count("\n") == 1 and not done.stdout, f"{arguments}: {done}"
    return done.stderr


def verified(server):
    """None, or what is wrong with it; once whatever is on its way there has ended."""
    def ask():
        return subprocess.run([BUILD / "bulkhead", "inject", server, "verify"], capture_output=True, text=True, timeout=30)
    done = wait_for("an answer of verify", lambda: (d := ask()) and "on its way" not in d.stderr and d, 10, 0.05)
    assert (done.returncode == 0) == done.stdout.startswith("ok: "), done
    return None if done.returncode == 0 else done.stderr


def event_of(number, fault):
    return wait_for(f"the event of {fault}", lambda: next(
        (e["text"] for e in events(number) if e["kind"] == "inject" and e["text"].startswith(f"{fault}: ")), None), 10, 0.02)


def running(server="tcp"):
    return wait_for(f"{server} to run", lambda: (d := domain_of(server))["state"] == "running" and d, 15, 0.02)


def reachable():
    def tried():
        try:
            return echoes(PORT)
        except OSError:
            return False
    wait_for("the stack to be reachable", tried, 20, 0.05)


def fresh():
    """tcp's domain without what was done to it before."""
    before = running()["incarnation"]
    bulkhead("restart", "tcp")
    wait_for("the next incarnation", lambda: (d := domain_of("tcp"))["incarnation"] > before and d["state"] == "running", 15, 0.02)
    reachable()


def put(fault, *arguments, timeout_ms=1000):
    """The fault's event, once it is over; the stack is reachable and clean then."""
    number = last_event()
    said = inject("tcp", fault, "--timeout", str(timeout_ms), *arguments)
    assert said.startswith(f"{fault}: in place at "), said
    text = event_of(number, fault)
    assert "activat" in text and said.split(" at ", 1)[1][:60] in text, f"{said}: {text}"
    time.sleep(0.1)
    running()
    fresh()
    return text


def test_golden_run():
    number, offsets = last_event(), []
    for _ in range(8):  # who has no time to run in one, on a busy machine, does in another
        since = last_event()
        said = inject("tcp", "coverage", "--timeout", "1500", "--place", f"to:{COVERED}")
        assert "which of" in said, said
        text = event_of(since, "coverage")
        assert "coverage: done" in text, (text, events(number))
        offsets = [int(line, 16) for line in open(COVERED)]
        if len(offsets) > 1000:
            break
        os.unlink(COVERED)  # nothing is written over
    assert len(offsets) > 1000 and offsets == sorted(set(offsets)), f"{text}: {len(offsets)}"
    assert not [e for e in events(number) if e["kind"] == "died"], "the golden run killed it"
    assert verified("tcp") is None, verified("tcp")
    os.symlink(COVERED, f"{COVERED}.link")
    for there in (COVERED, f"{COVERED}.link"):  # the injector has the supervisor's rights: it writes over nothing
        assert "is there already" in refused("tcp", "coverage", "--timeout", "1", "--place", f"to:{there}")
    assert len(open(COVERED).readlines()) == len(offsets)


def test_code():
    active = 0
    for i, fault in enumerate(CODE):
        text = put(fault, "--seed", str(i), "--place", f"from:{COVERED}")
        active += f"{fault}: activated" in text
        print(text, flush=True)
    assert active >= len(CODE) // 2, f"only {active} of {len(CODE)} were activated where the golden run was"


def test_memory():
    """What is in use is damaged, and its reader seen: the domain itself, or for what it shares another; a store's is its next life."""
    factored = len(domains()) > 1
    readers = {"flip-pool": "bulkhead-domain", "flip-ring": "bulkhead-domain", "flip-arena": "bh-echo"} if factored else {"flip-arena": "bh-echo"}
    for fault in MEMORY:
        if not factored and fault == "flip-ring":
            assert "no such memory" in refused("tcp", fault), "a ring between servers of one domain"
            continue
        texts = []
        for seed in range(12):
            reachable()
            texts.append(put(fault, "--seed", str(seed), timeout_ms=4000))
            if f"{fault}: activated" in texts[-1] and readers.get(fault, "") in texts[-1]:
                break
        else:
            raise AssertionError(f"no read of what was damaged was seen: {texts}")
        print(texts[-1], flush=True)
    assert "nobody touched it" in put("flip-heap", "--place", "heap:0x0", timeout_ms=200), "a word that nobody reads"


def test_stop_and_kill():
    for fault in ("kill", "segv", "abort", "stop"):
        before, number = running()["incarnation"], last_event()
        inject("tcp", fault)
        assert event_of(number, fault) == f"{fault}: activated"
        wait_for(f"a new incarnation after {fault}", lambda: domain_of("tcp")["incarnation"] > before, 15, 0.02)
        running()
        reachable()


def test_seed():
    fresh()

    def said(*arguments):
        fresh()  # what was activated stays in place
        number = last_event()
        text = inject("tcp", "operand", "--timeout", "1", *arguments)
        event_of(number, "operand")
        return text
    first = said("--seed", "77")
    assert first == said("--seed", "77") and first != said("--seed", "78"), first
    place = first.split()[5].rstrip(":")
    assert place.startswith("text:0x") and place in said("--place", place), first
    document = json.loads(inject("tcp", "nop", "--timeout", "1", "--seed", "5", "--json"))
    assert document["fault"] == "nop" and document["text"].startswith("nop: in place"), document


def injectors(supervisor):
    found = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(supervisor)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "bulkhead-inject"[:15] in line]


def tracer_killed(*arguments):
    """Puts a fault into tcp that would wait for long, and kills who traces it."""
    supervisor = json.loads(bulkhead("ps", "--json"))["supervisor_pid"]
    said = inject("tcp", *arguments, "--timeout", "20000")
    text = refused("tcp", "verify")
    assert "on its way" in text, text
    tracer = injectors(supervisor)
    assert len(tracer) == 1, tracer
    os.kill(tracer[0], signal.SIGKILL)
    wait_for("tcp to be free again", lambda: "on its way" not in (verified("tcp") or ""), 10, 0.05)
    running()
    assert verified("tcp") is None, verified("tcp")
    return said


def test_killed_tracer():
    """One that waits at a place where nobody comes by; and one of a golden run, whose victim dies if it comes by in between."""
    fresh()
    covered = {int(line, 16) for line in open(COVERED)}
    for seed in range(50):
        number, before = last_event(), running()["incarnation"]
        said = inject("tcp", "nop", "--seed", str(seed), "--timeout", "200")
        try:
            echoes(PORT)  # who makes connections comes by, if ever
        except OSError:
            pass  # so it did
        text = event_of(number, "nop")
        place = said.split()[5].rstrip(":")
        if "not activated" not in text:
            fresh()  # somebody came by, so soon
            before = running()["incarnation"]
        elif int(place[5:], 16) not in covered:
            break
    assert place in tracer_killed("nop", "--place", place)
    assert running()["incarnation"] == before, events(number)
    tracer_killed("coverage", "--place", f"to:{folder.name}/never")
    assert not os.path.exists(f"{folder.name}/never")
    reachable()


def test_plants():
    server = "socket"
    for plant, word in (("plant-text", "text"), ("plant-rodata", "read-only data"), ("plant-canary", "canary"),
                        ("plant-store", "store")):  # the last: what is in a store stays
        assert verified(server) is None, verified(server)
        if plant == "plant-canary" and "no canary page" in inject(server, "verify"):
            print("no canary page in this build: not planted", flush=True)
            continue
        number = last_event()
        inject(server, plant)
        assert f"damaged: {word}" in verified(server), verified(server)
        assert not [e for e in events(number) if e["kind"] == "inject"], "a plant is to be quiet"
        before = running(server)["incarnation"]
        bulkhead("kill", server)
        wait_for("a clean one", lambda: (d := domain_of(server))["incarnation"] > before and d["state"] == "running", 15, 0.02)
    for plant in ("plant-kill", "plant-stop"):
        before = running("udp")["incarnation"]
        inject("udp", plant)
        wait_for(f"{plant} to be seen", lambda: domain_of("udp")["incarnation"] > before, 15, 0.02)
        running("udp")


def test_wrong_use():
    refused("tcp", status=2)
    refused("tcp", "nop", "x", status=2)
    refused("frog", "nop", status=2)
    refused("tcp", "nop", "--seed", "x", status=2)
    for arguments in (["frog"], ["flip-frog"], ["plant-frog"], ["nop", "--place", "frog"], ["nop", "--place", "text:0x1"],
                      ["nop", "--place", "from:/nowhere"], ["flip-heap", "--place", "heap:frog"], ["coverage"],
                      ["kill", "--place", "text:0x1"], ["drop", "--peer", "frog"], ["flip-store", "--place", "store:0xffffffffff"]):
        refused("tcp", *arguments)
    reachable()


if __name__ == "__main__":
    with application("bh-echo", PORT, ready=PORT):
        load = Echo(PORT, 2, 2000)
        alive = {d["name"] for d in domains()}
        main([test_golden_run, test_code, test_memory, test_stop_and_kill, test_seed, test_killed_tracer, test_plants, test_wrong_use])
        assert {d["name"] for d in domains()} == alive
        load.finish()
