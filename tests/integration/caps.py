# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: what `bulkhead caps` tells of a running stack. One writer for each thing, no grant with more than it was derived
from, the rows of the topology and no others, the same again after every server was killed; and a right that was taken back
works no more, until its channel is another."""
import json
import shutil
import subprocess

from inside import answers_ping, application, bulkhead, connects, domain_of, echoes, domains, main, wait_for

PORT = 7007
SHARED = ("rx-arena", "answer")  # memory that an application pays for, and one server writes (rule 1's stated exception)
POOLS = {"nic": {"ip from nic", "tcp from ip", "udp from ip", "ip from udp", "nic from ip"},
         "ip": {"nic from ip", "tcp from ip", "udp from ip", "ip from udp"},
         "tcp": {"ip from tcp"}, "udp": {"ip from udp"}}
TRANSPORT = {("ip from tcp", "send", 6), ("tcp from ip", "receive", 6), ("ip from udp", "send", 17), ("udp from ip", "receive", 17)}


def document():
    found = json.loads(bulkhead("caps", "--json"))
    assert found["total"] == len(found["caps"]), found["total"]
    return found


def caps():
    return document()["caps"]


def settled():
    """The tree when everything runs and nobody has anything to give back."""
    def whole():
        before, running, after = document()["version"], all(d["state"] == "running" for d in domains()), document()
        held = all(c["state"] == "held" for c in after["caps"])
        return running and held and before == after["version"] and after["caps"]
    return wait_for("the tree to settle", whole)


def check(found):
    by_id, writers = {c["id"]: c for c in found}, {}
    for c in found:
        if c["parent"]:
            parent = by_id[c["parent"]]
            if parent["object"] == c["object"]:
                assert set(c["rights"].split()) <= set(parent["rights"].split()), (parent, c)
                assert c["octets"] <= parent["octets"] and parent["protocol"] in (0, c["protocol"]), (parent, c)
                assert c["depth"] == parent["depth"] + 1, (parent, c)
        if "write" in c["rights"].split() and c["holder"] != "supervisor":
            writers.setdefault(c["object"], set()).add(c["holder"])
    for thing, holders in writers.items():
        assert len(holders) == (2 if thing.startswith(SHARED) else 1), f"{thing} is written by {holders}"
    for server, tables in POOLS.items():
        name = f"pool {server}"
        assert writers[name] == {domain_of(server)["name"]}, writers[name]
        assert {c["table"] for c in found if c["object"] == name and c["form"] == "entry"} == tables, name
    assert {(c["table"], c["rights"], c["protocol"]) for c in found if c["object"] == "transport" and c["form"] == "entry"} == TRANSPORT
    entries = [(c["table"], c["index"]) for c in found if c["form"] == "entry"]
    assert len(entries) == len(set(entries)), "one place, two grants"


def shape(found):
    return sorted((c["holder"], c["object"], c["form"], c["rights"], c["table"], c["depth"]) for c in found)


def test_tree():
    alone = settled()
    check(alone)
    with application("bh-echo", PORT, ready=PORT):
        assert echoes(PORT)  # it has added the arenas that it wants
        used = settled()
        check(used)
        assert any(c["object"].startswith("tx-arena") and c["form"] == "entry" for c in used)
        for server in ("nic", "ip", "tcp", "udp", "socket"):
            life = domain_of(server)["incarnation"]
            bulkhead("kill", server)
            wait_for(f"{server}'s next life", lambda: domain_of(server)["incarnation"] > life)
            again = settled()
            check(again)
            assert shape(again) == shape(used), f"after a kill of {server}: {set(shape(again)) ^ set(shape(used))}"
        wait_for("service", lambda: connects(PORT))
    wait_for("the session's end", lambda: shape(settled()) == shape(alone))


def test_generations():
    def pool():
        return next((c["index"], c["generation"]) for c in settled() if c["object"] == "pool udp" and c["form"] == "entry")
    before = pool()
    life = domain_of("udp")["incarnation"]
    bulkhead("kill", "udp")
    wait_for("udp's next life", lambda: domain_of("udp")["incarnation"] > life)
    assert pool() != before, before


def test_revoke():
    with application("bh-echo", PORT, ready=PORT):
        entry = next(c for c in settled() if c["object"] == "transport" and c["table"] == "ip from tcp")
        bulkhead("caps", "--revoke", str(entry["id"]))
        wait_for("the right to be gone", lambda: entry["id"] not in {c["id"] for c in caps()})
        assert not connects(PORT), "tcp sends without the right to"
        assert answers_ping(2) and domain_of("ip")["state"] == "running", "others suffer"
        bulkhead("kill", "udp")  # somebody else's death gives nothing back
        wait_for("udp", lambda: domain_of("udp")["state"] == "running")
        assert not connects(PORT)
        bulkhead("restart", "tcp")
        wait_for("service", lambda: connects(PORT))
        check(settled())


def test_pictures():
    dot = bulkhead("caps", "--dot")
    assert dot.startswith("digraph") and '"nic" -> "ip"' in dot and "pool nic: read [ip from nic" in dot, dot
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tpng"], input=dot.encode(), check=True, stdout=subprocess.DEVNULL)
    table = bulkhead("caps").splitlines()
    assert len(table) == len(settled()) + 1 and table[0].startswith("HOLDER"), table[0]


main([test_tree, test_generations, test_revoke] + ([test_pictures] if len(domains()) == 5 else []))
