#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab of its own: one run. Load; at the plan's moment the fault; what happens is watched until the service is well again
or patience ends; then every domain but the victim is verified. The argument is the plan as JSON, the last line of stdout what was seen."""
import json
import sys
import time

import classify
import stack
from load import Broken, Load

OBSERVE_S = 0.6      # at least, after the activation
SETTLE_S = 0.5       # at least, after the service is back: how fast is it now?
FRESH_NS = 200_000_000
REACHABLE_S = 10.0   # without help
AWAY_S = 2.0         # so long without a fresh probe is no busy machine's pause
STUCK_S = 6.0        # patience with single connections once new ones are served
RESTART_S = 4.0
GOLDEN_S = 1.2
POLL_S = 0.05
EVENTS_S = 0.1


def fresh(status, since_ns, key):
    """The latest success of the probe was begun not long ago, and after that moment."""
    return status[key] > max(since_ns, status["at"] - FRESH_NS)


def reachable(status, since_ns):
    return fresh(status, since_ns, "probe") and fresh(status, since_ns, "udp")


def still(status):
    return status["stillest"] != 0 and status["at"] - status["stillest"] > FRESH_NS


class Watch:
    """From the fault on: is it activated, does the service come back, do all connections go on?"""

    def __init__(self, load, victim, since, known):
        self.load, self.victim, self.since, self.activated, self.event = load, victim, since, known, None
        self.strike_ns = time.monotonic_ns()
        self.events, self.events_at = [], 0.0
        self.reached_ns = None

    def look(self):
        if time.monotonic() - self.events_at > EVENTS_S:
            self.events = stack.events(self.since) or self.events
            self.events_at = time.monotonic()
        if self.activated is None or self.event is None:
            activated, event = stack.Injector.activation(self.events, self.victim)
            if activated is not None:
                self.activated, self.event = activated, event
                self.strike_ns = time.monotonic_ns() - (time.time_ns() - event["time_us"] * 1000)
        return self.load.status()

    def until_well(self, activation_s):
        """True: reachable again. Ends when all is well, nothing was activated, or patience is over."""
        waited_until = time.monotonic() + activation_s
        while self.activated is None and time.monotonic() < waited_until:
            self.look()
            time.sleep(POLL_S)
        well_ns = None
        while True:
            status, now_ns = self.look(), time.monotonic_ns()
            seconds = (now_ns - self.strike_ns) / 1e9
            well = reachable(status, self.strike_ns)
            if well and self.reached_ns is None:
                self.reached_ns = status["at"]
            well_ns = now_ns if well else well_ns
            away = now_ns - (well_ns or 0) > AWAY_S * 1e9
            if self.activated is False:
                return True
            if seconds > OBSERVE_S and well and now_ns - self.reached_ns > SETTLE_S * 1e9 and not still(status):
                return True
            if self.reached_ns is not None and not away and now_ns - self.reached_ns > STUCK_S * 1e9:
                return True
            if seconds > REACHABLE_S and away:
                return False
            time.sleep(POLL_S)


def helped(load, server):
    """Not reachable without help: does a restart by hand bring it back?"""
    stack.ask("restart", server)
    since_ns, end = time.monotonic_ns(), time.monotonic() + RESTART_S
    while time.monotonic() < end:
        if reachable(load.status(), since_ns):
            return True
        time.sleep(POLL_S)
    return False


def golden(load):
    """No fault: what is normal."""
    load.mark()
    start_ns = time.monotonic_ns()
    time.sleep(GOLDEN_S)
    end_ns, seen = time.monotonic_ns(), load.finish()
    return {"rate": {name: classify.slowest(kind, start_ns, end_ns) for name, kind in seen["kinds"].items()},
            "gap_us": {kind: classify.gap_us(seen, (kind,)) for kind in seen["kinds"]}, "wrong": classify.wrong_data(seen),
            "lost": classify.broken_count(seen), "stuck": len(classify.stuck(seen))}


def coverage(load, plan):
    """What a server executes under this load."""
    status, out, error = stack.ask("inject", plan["server"], "coverage", "--timeout", plan["coverage_ms"], "--place", f"to:{plan['places']}",
                                   "--json", seconds=plan["coverage_ms"] / 1000 + 20)
    if status == 0:  # it is told by an event, or has been
        end = time.monotonic() + plan["coverage_ms"] / 1000 + 3
        while time.monotonic() < end and not any("coverage" in e["text"] for e in stack.events() if e["kind"] == "inject"):
            time.sleep(EVENTS_S)
    load.finish()
    return {"status": status, "text": json.loads(out)["text"] if status == 0 else error}


def fault(load, plan):
    time.sleep(plan["moment_s"])
    before = stack.domains()
    if before is None:
        raise Broken("the stack does not answer before the fault")
    victim = classify.victim_of(before, plan["server"])
    since = max((e["number"] for e in stack.events()), default=0)
    load.mark()
    mark_ns = time.monotonic_ns()
    planted = plan["group"] == "plant"
    late = plan["class"] == "plant-store"  # the next commit of a block in use would mend it
    injector = stack.Injector(plan, plan.get("places"), plan["timeout_ms"])
    watch = Watch(load, victim, since, None)
    if planted:
        error = None if late else stack.plant(plan)
        said = error or "planted"
        watch.activated = error is None
    else:
        said, error = injector.put_in()
    if error is not None:
        watch.activated = False
    well = watch.until_well(0 if watch.activated is not None else plan["timeout_ms"] / 1000 + 0.5)
    end_ns, status = time.monotonic_ns(), load.status()
    after, found = stack.domains(), stack.events(since)
    again = None if well else helped(load, plan["server"])
    others = [d for name, d in before.items() if name not in (victim, "supervisor")]
    seen_load = load.finish()
    if late:
        said = stack.plant(plan) or said
    return {"before": before, "after": after, "events": found, "load": seen_load, "activated": watch.activated,
            "activation_text": error or (watch.event["text"] if watch.event else "no word of it in time"), "said": said,
            "mark_ns": mark_ns, "end_ns": end_ns, "strike_us": stack.realtime_us(watch.strike_ns),
            "realtime_us": stack.realtime_us(0), "reached_us": (watch.reached_ns - watch.strike_ns) // 1000 if watch.reached_ns and well else None,
            "reached_after_restart": again, "unreached": "" if well else unreached(status, watch.strike_ns, watch.events),
            "verify": {d["servers"][0]: stack.verify(d["servers"][0]) for d in others} if after is not None else {}}


def unreached(status, strike_ns, events):
    what = [name for name, key in (("new connections", "probe"), ("datagrams", "udp")) if not fresh(status, strike_ns, key)]
    last = events[-1]["kind"] + ": " + events[-1]["text"] if events else "no event"
    return f"no {' and no '.join(what) or 'steady service'} for {REACHABLE_S:.0f} s; last: {last}"


def main():
    plan = json.loads(sys.argv[1])
    start = time.monotonic()
    try:
        load = Load(plan["options"], plan["seed"], plan.get("binds", False))
        kind = plan["kind"]
        seen = golden(load) if kind == "golden" else coverage(load, plan) if kind == "coverage" else fault(load, plan)
    except Broken as error:
        seen = {"broken": str(error)}
    seen["run_s"] = round(time.monotonic() - start, 3)
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
