# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: a server floods a neighbour with random messages. It is noticed at the first that makes no sense, nobody but it
dies, and the applications' datagram sockets and listeners serve afterwards: the same ones, without a call of theirs."""
import socket

from inside import STACK, application, bulkhead, domain_of, domains, echoes, events, last_event, main, wait_for

TCP, UDP = 7007, 7008
FLOODS = [("socket", "udp", 1663570955999764637), ("socket", "udp", 5678550042903784970), ("udp", "socket", 1), ("socket", "tcp", 2),
          ("tcp", "socket", 3), ("nic", "ip", 1557343541342664727), ("ip", "tcp", 1891863016377819283)]
NOTICED_MS = 1000  # a burst of the neighbour, and what a busy machine makes of it; the watch, which looks at ticks, took 1700


def answered(to, data):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        try:
            s.sendto(data, (STACK, to))
            return s.recv(64) == data
        except OSError:
            return False


def serves():
    try:
        return echoes(TCP) and answered(UDP, b"anyone")
    except OSError:
        return False


def flood(server, peer, seed):
    """How long it took to be noticed, in ms."""
    number, before = last_event(), {d["name"]: d["incarnation"] for d in domains()}
    bulkhead("inject", server, "flood", "--peer", peer, "--seed", str(seed))

    def event(kind):
        return next((e for e in events(number) if e["kind"] == kind), None)
    wait_for(f"{server} to speak to {peer}", lambda: serves() is not None and event("inject"), 10)
    wait_for(f"{server} to be accused", lambda: event("broken"), 10)
    wait_for("the next incarnation", lambda: (d := domain_of(server))["incarnation"] > before[server] and d["state"] == "running", 10)
    wait_for("service", serves, 5)
    after = {d["name"]: d["incarnation"] - before[d["name"]] for d in domains()}
    assert after == {name: name == server for name in before}, f"who died: {after}"
    assert event("broken")["subject"] == peer and "makes no sense" in event("broken")["text"], event("broken")
    return (event("broken")["time_us"] - event("inject")["time_us"]) / 1000


def test_floods():
    with application("bh-echo", TCP, ready=TCP), application("bh-echo", "-u", UDP):
        wait_for("service", serves, 5)
        for server, peer, seed in FLOODS:
            times = flood(server, peer, seed)
            print(f"  {server} to {peer}: noticed after {times:.1f} ms", flush=True)
            assert times < NOTICED_MS, f"{server} to {peer}: {times:.1f} ms"


main([test_floods])
