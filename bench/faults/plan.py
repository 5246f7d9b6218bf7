# SPDX-License-Identifier: BSD-2-Clause
"""From a seed to a run: which server, which fault, under which load, when and where. Nothing else is left to chance."""
import random

SERVERS = ("nic", "ip", "tcp", "udp", "socket")
NEIGHBOURS = {"nic": ("ip",), "ip": ("nic", "tcp", "udp"), "tcp": ("ip", "socket"), "udp": ("ip", "socket"), "socket": ("tcp", "udp")}
GROUPS = {  # of classes that `bulkhead inject` knows
    "fail-stop": ("kill", "segv", "abort"),
    "hang": ("stop", "loop", "block", "slow"),
    "memory": ("wild-write", "flip-heap", "flip-stack", "flip-store", "flip-pool", "flip-ring", "flip-arena"),
    "code": ("flip-text", "nop", "branch-inverted", "branch-dropped", "operand", "register-source", "register-destination", "pointer", "loop-bound",
             "init-missing"),
    "resource": ("leak", "mute", "flood", "exhaust"),
    "message": ("field", "drop", "duplicate", "reorder", "replay", "forge", "lost-bell"),
}
CLASSES = {name: group for group, names in GROUPS.items() for name in names}
NOT_THERE = {("flip-store", "nic"), ("flip-store", "ip"),  # they keep none
             ("flip-arena", "nic"), ("flip-arena", "ip"), ("flip-arena", "socket"),  # they write none
             ("flip-pool", "socket"), ("leak", "socket")}  # nothing is lent to it
NOT_IN = {"monolithic": ("flip-ring", "lost-bell")}  # between servers of one domain are none
PLANTS = {  # kind: what finds it says this
    "text": "verify: ", "rodata": "verify: ", "canary": "verify: ", "store": "verify: ", "kill": "replaced", "stop": "replaced", "connection": ", port "}
LOADS = {  # options of bh-load: the main load, and a little of all else beside it
    "bulk": ("--bulk", "3", "--rate", "1500000", "--rr", "2", "--short", "1", "--udp", "1"),
    "rr": ("--bulk", "1", "--rate", "200000", "--rr", "20", "--short", "1", "--udp", "1"),
    "short": ("--bulk", "1", "--rate", "200000", "--rr", "2", "--short", "6", "--udp", "1"),
    "udp": ("--bulk", "1", "--rate", "200000", "--rr", "2", "--short", "1", "--udp", "6"),
}
BINDS = {"udp", "socket"}  # a channel that is used only when a datagram socket is named or closed: a run on it has somebody who does
MAIN_KIND = {load: load for load in LOADS}
PARTITIONS = {"factored": "nic|ip|tcp|udp|socket", "monolithic": "nic+ip+tcp+udp+socket"}
MOMENT_S = (0.10, 0.40)  # after every flow has moved


def pairs(classes, servers):
    return [(c, s) for c in classes for s in servers if (c, s) not in NOT_THERE]


def plan(seed, classes, servers, loads):
    """The run of this seed. Consecutive seeds take all pairs of class and server in turn, in an order that is another one each time."""
    cells = pairs(classes, servers)
    turn, at = divmod(seed, len(cells))
    order = random.Random(f"order {turn}")
    order.shuffle(cells)
    name, server = cells[at]
    rng = random.Random(f"{seed} {name} {server}")  # the same, however narrow the choice of classes was
    moment, fault_seed = rng.uniform(*MOMENT_S), rng.getrandbits(63)
    peer = rng.choice([p for p in NEIGHBOURS[server] if p != "socket" or name != "leak"])
    load = rng.randrange(1 << 30)
    count = rng.choice((1, 1, 10))
    group = CLASSES[name]
    return {"seed": seed, "server": server, "class": name, "group": group, "load": loads[load % len(loads)], "moment_s": round(moment, 4),
            "fault_seed": fault_seed, "peer": peer if group in ("resource", "message") else "", "count": count if group == "message" else 0}


def binds(plan):
    return {plan["server"], plan["peer"]} == BINDS


def plant_plan(kind, index, load):
    """A run with a harmless fault and one escape that is planted."""
    server = "udp" if kind == "connection" else "tcp"
    other = {"kill": "udp", "stop": "ip", "store": "socket"}.get(kind, "nic")
    return {"seed": index, "server": server, "class": f"plant-{kind}", "group": "plant", "load": load, "moment_s": 0.15, "fault_seed": index,
            "peer": "", "count": 0, "other": other}
