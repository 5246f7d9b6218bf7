# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab whose programs lie in PLACE: bulkhead-domain becomes one whose tcp cannot start, until it has gone through all the
steps of escalation, and then the right one again. Each step is an event; applications hear ECONNRESET, and go on with new sockets.
With an argument: --recovery of that kind, and what is left after a death."""
import errno
import os
import pathlib
import shutil
import socket
import sys

from stack_socket import StackSocket

from inside import BUILD, HOST, STACK, application, bulkhead, connects, counters, domain_of, domains, events, last_event, main, wait_for

PORT = 7007


def replace(program):
    place = pathlib.Path(os.environ["PLACE"])
    shutil.copy(BUILD / program, place / "next")
    os.rename(place / "next", place / "bulkhead-domain")


def kinds(number):
    return [e["kind"] for e in events(number)]


def error_of(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]


def connected(listener):
    """(socket of the stack in this very session, its peer)"""
    s = StackSocket(socket.AF_INET, socket.SOCK_STREAM)
    s.connect(listener.getsockname())
    return s, listener.accept()[0]


def test_all_steps():
    listener = socket.create_server((HOST, PORT + 2))
    own, peer = connected(listener)
    datagrams = StackSocket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((STACK, PORT + 3))
    number, before = last_event(), {d["name"]: d["incarnation"] for d in domains()}
    with application("bh-echo", PORT, ready=PORT), socket.create_connection((STACK, PORT), 5) as open_one:
        replace("tests/hostile/cannot-start")
        bulkhead("kill", "tcp")
        wait_for("back-off", lambda: kinds(number).count("backoff") >= 4, 30)
        waiting = wait_for("ps to say so", lambda: (d := domain_of("tcp"))["unhealthy"] > 6 and d["backoff_us"] > 0 and d, 10)
        assert waiting["state"] == "failed", waiting
        assert "failed starts" in bulkhead("ps"), bulkhead("ps")
        steps = [k for k in kinds(number) if k in ("cold", "stack", "backoff")]
        assert steps[:3] == ["cold", "stack", "backoff"] and steps.count("cold") == steps.count("stack") == 1, steps
        replace("bulkhead-domain")
        wait_for("tcp to run", lambda: domain_of("tcp")["state"] == "running", 15)
        wait_for("the others to run", lambda: all(d["state"] == "running" for d in domains()), 10)
        for d in domains():
            deaths = d["incarnation"] - before[d["name"]]
            assert deaths == 1 if d["name"] != "tcp" else deaths > 6, (d["name"], deaths)
        open_one.settimeout(5)
        try:
            open_one.sendall(b"still?")
            got = open_one.recv(6)
        except ConnectionResetError:
            got = None
        assert got is None, f"the peer was not reset: {got}"
    assert error_of(own.recv, 10) == "ECONNRESET"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:  # udp has kept what it had
        other.sendto(b"and you?", (STACK, PORT + 3))
        assert datagrams.recv(100) == b"and you?"
    own.close()
    own, peer = connected(listener)  # the session goes on
    peer.sendall(b"again")
    assert own.recv(10) == b"again"
    table = counters("supervisor")
    assert table["restarts_cold"] == table["restarts_stack"] == 1 and table["restarts_waited"] >= 4, table
    with application("bh-echo", PORT + 1, ready=PORT + 1):  # a new one is served
        number = last_event()
        bulkhead("kill", "tcp")
        wait_for("tcp", lambda: "restored" in kinds(number))
        assert domain_of("tcp")["unhealthy"] == 0
        wait_for("service", lambda: connects(PORT + 1))


def test_recovery():
    mode = sys.argv[1]
    with application("bh-echo", PORT, ready=PORT):
        number = last_event()
        bulkhead("kill", "tcp")
        restored = wait_for("tcp", lambda: next((e for e in events(number) if e["kind"] == "restored"), None))
        assert f"recovery {mode}" in restored["text"], restored
        wait_for("service", lambda: connects(PORT))  # listeners are the socket server's names: it asks for them again
    table = counters("supervisor")
    assert [table[f"restarts_{m}"] for m in ("resume", "listeners", "none")] == \
           [int(m == mode) for m in ("resume", "listeners", "none")], table
    assert (counters("tcp")["restored"] == 0) == (mode == "none"), counters("tcp")


main([test_recovery] if len(sys.argv) > 1 else [test_all_steps])
