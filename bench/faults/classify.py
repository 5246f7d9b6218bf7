# SPDX-License-Identifier: BSD-2-Clause
"""What became of a run: exactly one outcome, the worst that holds, why, and whom the fault reached. A pure function of what was seen."""

OUTCOMES = ("escaped", "wrong data", "service lost", "service lost until restart", "connections lost", "hang", "degraded", "transparent",
            "no effect", "not activated")
MANIFESTED = OUTCOMES[:-2]
GAP_LEAST_US = 250_000   # the stack's own timers (RTO 200 ms) and a busy machine: shorter pauses are nobody's
GAP_AFTER_US = 500_000   # after a restart: the peer's retransmission timer has backed off meanwhile
DISTURBED_US = 500_000   # a pause of the other transport that is no noise
SLOWER = 0.7             # of the golden rate in its slowest window (and of the same run's before the fault)
WINDOW_NS = 400_000_000
STREAMS = ("bulk", "rr")
STILL = "stood still for"


def victim_of(domains, server):
    return next(name for name, d in domains.items() if server in d["servers"])


def replaced(seen, victim):
    """{domain: what} of those that are not what they were: the victim too."""
    before, after, found = seen["before"], seen["after"], {}
    if after is None:
        return {"supervisor": "does not answer"}
    for name, was in before.items():
        now = after.get(name)
        if now is None:
            found[name] = "is gone"
        elif now["incarnation"] != was["incarnation"] or now["pid"] != was["pid"]:
            found[name] = "replaced"
        elif now["state"] != "running":
            found[name] = now["state"]
    for event in seen["events"]:
        if event["kind"] in ("died", "hung", "cold", "failed"):
            names = [name for name in before if name in event["subject"].split("|")] or [event["subject"]]
            for name in names:
                found.setdefault(name, f"{event['kind']}: {event['text']}")
    return found


def broken_channels(seen, victim):
    """Events of channels that were stopped: (text, leads to the victim)."""
    mine = set(seen["before"][victim]["servers"])
    found = []
    for event in seen["events"]:
        if event["kind"] == "broken":
            peer = event["text"].partition("channel from ")[2].partition(":")[0]
            found.append((f"{event['subject']}: {event['text']}", bool(mine & {event["subject"], peer})))
    return found


def wrong_data(load):
    """What was delivered and had not been sent, or was acknowledged and is not there; None if nothing."""
    for flow in load["flows"]:
        if flow["wrong"] >= 0:
            return f"{flow['flow']} client, port {flow['port']}: octet {flow['wrong']} is wrong"
    served = {s["key"]: s for s in load["served"]}
    for s in load["served"]:
        if s["wrong"] >= 0:
            return f"{s['served']} server: octet {s['wrong']} is wrong"
    for flow in load["flows"]:
        other = served.get(flow["key"])
        if flow["flow"] not in STREAMS or other is None or flow["error"] or other["error"] or not (flow["eof"] and other["eof"]):
            continue
        if flow["sent"] != other["received"] or flow["received"] != other["sent"]:
            return (f"{flow['flow']}, port {flow['port']}: closed in order, but {flow['sent']} sent and {other['received']} there, "
                    f"{other['sent']} answered and {flow['received']} here")
    if load["served_all"] is not None and load["served_all"]["wrong_datagrams"]:
        return f"{load['served_all']['wrong_datagrams']} datagrams with wrong octets came to the server"
    return None


def lost(load, kinds=STREAMS):
    """Established connections that broke."""
    return [f for f in load["flows"] if f["flow"] in kinds and f["error"]]


def broken_count(load):
    return len(lost(load)) + sum(f["broken"] for f in load["flows"] if f["flow"] == "short")


def stuck(load, kinds=STREAMS):
    return [f for f in load["flows"] if f["flow"] in kinds and f["stuck"]]


def gap_us(load, kinds):
    """The longest pause of any flow of these kinds since the fault."""
    return max((f["gap_ns"] // 1000 for f in load["flows"] if f["flow"] in kinds and not f["error"]), default=0)


def rate(kind, start_ns, end_ns):
    """Octets a second between two moments."""
    bucket = kind["bucket_ns"]
    first, last = max(0, (start_ns - kind["start_ns"]) // bucket), (end_ns - kind["start_ns"]) // bucket
    octets = kind["octets"][first:last]
    return sum(octets) / (len(octets) * bucket / 1e9) if octets else None


def slowest(kind, start_ns, end_ns):
    """The rate in the window in which it was least: what is still noise."""
    step = WINDOW_NS // 4
    return min(rate(kind, begin, begin + WINDOW_NS) or 0 for begin in range(start_ns, max(start_ns, end_ns - WINDOW_NS) + 1, step))


def other_transport(seen, victim):
    """The kinds of load that must not notice: the victim has nothing to do with them."""
    servers = seen["before"][victim]["servers"]
    if servers == ["tcp"]:
        return ("udp",)
    return ("bulk", "rr") if servers == ["udp"] else ()


def disturbed(seen, victim, golden):
    kinds, load = other_transport(seen, victim), seen["load"]
    if not kinds:
        return None
    broken = [f for f in load["flows"] if f["flow"] in kinds and (f["error"] or f["stuck"] or f["wrong"] >= 0)]
    if broken:
        f = broken[0]
        return f"{len(broken)} flows of {'/'.join(kinds)}, port {f['port']}: {f['error'] or ('stuck' if f['stuck'] else 'wrong octets')}"
    pause = gap_us(load, kinds)
    limit = max(DISTURBED_US, 3 * max(golden["gap_us"].get(k, 0) for k in kinds))
    return f"{'/'.join(kinds)} {STILL} {pause / 1000:.0f} ms" if pause > limit else None


def escapes(seen, victim, golden, changed):
    """[(whom, what)]: whatever the fault did to somebody who is not the victim."""
    found = [(name, what) for name, what in changed.items() if name != victim]
    found += [("channel", text) for text, leads in broken_channels(seen, victim) if not leads]
    found += [(name, f"verify: {text}") for name, text in seen["verify"].items() if text and not text.startswith("?")]
    text = disturbed(seen, victim, golden)
    return found + ([("udp traffic" if "udp" in other_transport(seen, victim) else "tcp connections", text)] if text else [])


def slower(seen, golden):
    """(factor, kind) of the kind that is slowest against golden after the fault, or (1, None)."""
    worst = (1.0, None)
    for name, kind in seen["load"]["kinds"].items():
        before, after = rate(kind, seen["mark_ns"] - WINDOW_NS, seen["mark_ns"]), rate(kind, seen["end_ns"] - WINDOW_NS, seen["end_ns"])
        normal = min(x for x in (before, golden["rate"].get(name)) if x is not None) if before is not None else None
        if normal and after is not None and after < SLOWER * normal:
            factor = round(normal / max(after, normal / 1000), 2)
            worst = max(worst, (factor, name))
    return worst


def down_us(seen, victim):
    """From the fault to the victim's restoration, all of its deaths together; 0: it was not restarted."""
    died = [e["time_us"] for e in seen["events"] if e["kind"] == "restored" and e["subject"] == victim]
    return max(0, max(died) - seen["strike_us"]) if died else 0


def timeline(seen, victim):
    """Spans in us of the first recovery: detect, restart, restore, first byte; None where there was none or cannot be told."""
    own = [e for e in seen["events"] if e["subject"] == victim]
    died = next((e for e in own if e["kind"] == "died"), None)
    restored = next((e for e in own if e["kind"] == "restored" and died and e["number"] > died["number"]), None)
    if died is None or restored is None or len(restored["span_us"]) < 4:
        return None
    span = restored["span_us"]
    detect = died["time_us"] - seen["strike_us"] if died["time_us"] >= seen["strike_us"] else None  # its end was known before it was told of the fault
    pauses = [(seen["realtime_us"] + k["gap_at_ns"] // 1000, seen["realtime_us"] + (k["gap_at_ns"] + k["gap_ns"]) // 1000)
              for k in seen["load"]["kinds"].values()]
    ends = [end for begin, end in pauses if begin <= died["time_us"] and end >= restored["time_us"]]
    return {"detect": detect, "restart": span[1], "restore": max(0, span[3] - span[1]), "first_byte": min(ends) - restored["time_us"] if ends else None}


def outcome(plan, seen, golden):
    """{"outcome", "why", "affected", "factor", "timeline", ...} of one run."""
    victim = victim_of(seen["before"], plan["server"])
    changed, load = replaced(seen, victim), seen["load"]
    found = {"victim": victim, "timeline": timeline(seen, victim), "streams": sum(f["flow"] in STREAMS for f in load["flows"]),
             "lost": broken_count(load), "stuck": len(stuck(load)), "gap_us": gap_us(load, ("bulk", "rr", "short", "udp")),
             "other_gap_us": gap_us(load, other_transport(seen, victim)), "restarted": victim in changed, "down_us": down_us(seen, victim),
             "unverified": sorted(n for n, t in seen["verify"].items() if t and t.startswith("?"))}
    away, pause = escapes(seen, victim, golden, changed), disturbed(seen, victim, golden)
    found["factor"], slow = slower(seen, golden)
    found["outcome"], found["why"] = worst(seen, golden, found, away, slow)
    # Resting on time alone, of which a busy machine takes some as well: to be seen again before it is believed.
    found["time_alone"] = found["outcome"] == "degraded" or (found["outcome"] == "escaped" and len(away) == 1 and STILL in (pause or ""))
    found["affected"] = affected(seen, victim, found, changed, away)
    return found


def worst(seen, golden, found, away, slow):
    if not seen["activated"] and not found["restarted"]:
        return "not activated", seen["activation_text"]
    if away:
        return "escaped", "; ".join(f"{name}: {what}" for name, what in away)
    wrong = wrong_data(seen["load"])
    if wrong:
        return "wrong data", wrong
    if seen["reached_us"] is None:
        return ("service lost until restart" if seen["reached_after_restart"] else "service lost"), seen["unreached"]
    if found["lost"]:
        first = (lost(seen["load"]) or [{"error": "short connections reset", "port": 0}])[0]
        return "connections lost", f"{found['lost']} of {found['streams']} and the short ones: {first['error']}, port {first['port']}"
    if found["stuck"]:
        return "hang", f"{found['stuck']} of {found['streams']} connections do not move, or do not end, any more"
    normal = 3 * max(golden["gap_us"].values(), default=0)
    limit = max(GAP_LEAST_US, normal) + (2 * found["down_us"] + GAP_AFTER_US if found["restarted"] else 0)
    if slow:
        return "degraded", f"{slow} at 1/{found['factor']:.1f} of its rate"
    if found["gap_us"] > limit:
        return "degraded", f"a pause of {found['gap_us'] / 1000:.0f} ms, at most {limit / 1000:.0f} ms are those of a restart or noise"
    if found["restarted"]:
        return "transparent", f"restarted, the longest pause was {found['gap_us'] / 1000:.0f} ms"
    if any(leads for _, leads in broken_channels(seen, found["victim"])):
        return "transparent", "a channel of the victim's was stopped"
    return "no effect", ""


def affected(seen, victim, found, changed, away):
    """{server or kind of traffic: what}: the row of the blast-radius matrix."""
    reached = {}
    if found["outcome"] in ("no effect", "not activated"):
        return reached
    for server in seen["before"][victim]["servers"]:
        reached[server] = found["outcome"]
    for name, what in list(changed.items()) + away:
        for server in seen["before"].get(name, {}).get("servers") or [name]:
            reached.setdefault(server, what)
    tcp = found["lost"] + found["stuck"] + any(f["wrong"] >= 0 for f in seen["load"]["flows"] if f["flow"] != "udp")
    if tcp:
        reached["tcp connections"] = f"{found['lost']} lost, {found['stuck']} stuck of {found['streams']}"
    if any(f["failed"] or f["wrong"] >= 0 for f in seen["load"]["flows"] if f["flow"] == "udp"):
        reached.setdefault("udp traffic", "errors or wrong octets")
    return reached
