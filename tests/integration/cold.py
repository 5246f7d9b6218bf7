# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab, as its root: the store of a server is spoiled under it and the server killed. Starts from that store fail; the
stack gives it an empty one, and new connections are served again. What udp has lost so the socket server binds again."""
import glob
import os
import subprocess

from inside import answers_datagram, application, bulkhead, connects, domain_of, events, last_event, main, wait_for

PORT = 7007


def spoil(server):
    """Writes over the head of the store, through the supervisor's descriptor."""
    import json
    pid = json.loads(bulkhead("ps", "--json"))["supervisor_pid"]
    path = next(p for p in glob.glob(f"/proc/{pid}/fd/*") if f"memfd:store-{server} " in os.readlink(p) + " ")
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"\xee" * 64, 0)
    os.close(fd)


def test_datagram_sockets_are_bound_again():
    with application("bh-echo", "--udp", PORT):
        for _ in range(2):
            wait_for("an answer", lambda: answers_datagram(PORT), 10)
            number = last_event()
            spoil("udp")
            bulkhead("kill", "udp")
            wait_for("udp to start cold", lambda: any(e["kind"] == "cold" for e in events(number)), 10)
            wait_for("an answer of the same socket", lambda: answers_datagram(PORT), 10)


def test_spoiled_store():
    for server in ("tcp", "udp", "socket"):
        number = last_event()
        with application("bh-echo", PORT, ready=PORT):
            spoil(server)
            bulkhead("kill", server)
            wait_for(f"{server} to start cold", lambda: any(e["kind"] == "cold" for e in events(number)), 10)
            wait_for(f"{server} to run", lambda: domain_of(server)["state"] == "running", 10)
            if server != "socket":  # which alone knows the names: its applications have lost their sockets
                wait_for("service", lambda: connects(PORT), 10)
        with application("bh-echo", PORT + 1, ready=PORT + 1):
            pass


main([test_datagram_sockets_are_bound_again, test_spoiled_store])
