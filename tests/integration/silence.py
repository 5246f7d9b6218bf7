# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: nobody is blamed for a network that is silent, gone, or full of what is for others; and what was connected goes on."""
import socket
import struct
import subprocess
import time

from inside import STACK, Echo, application, bulkhead, counters, domains, events, last_event, main, nft, wait_for
from stack_socket import StackSocket

PORT = 7010
AWAY_S = 6 # longer than any law waits
NOBODY = "10.77.0.77"


def link(*words):
    subprocess.run(["ip", "link", "set", "dev", "bh0", *words], check=True)


def incarnations():
    return {d["name"]: d["incarnation"] for d in domains()}


def nobody_is_blamed(trouble):
    """While a peer's streams run; afterwards they go on."""
    streams = Echo(PORT, 3, again=False, patience=60)
    wait_for("the streams", lambda: streams.rounds > 20)
    number, before = last_event(), incarnations()
    trouble()
    rounds = streams.rounds
    wait_for("the streams to go on", lambda: streams.rounds > rounds + 20, 30)
    streams.finish()
    assert incarnations() == before and not [e for e in events(number) if e["kind"] in ("unserved", "died", "lie")], events(number)
    assert counters("supervisor")["unserved"] == 0
    assert not streams.wrong and not streams.resets and not streams.errors, vars(streams)


def test_link_down():
    def trouble():
        link("down")
        time.sleep(AWAY_S)
        link("up")
    nobody_is_blamed(trouble)


def test_deaf_peer():
    """What is sent arrives nowhere; then not even the question for a station does."""
    def trouble():
        nft('table inet deaf { chain in { type filter hook input priority 0; iifname "bh0" drop; }\n}')
        time.sleep(AWAY_S)
        link("arp", "off")
        time.sleep(AWAY_S)
        link("arp", "on")
        nft("delete table inet deaf")
    nobody_is_blamed(trouble)


def test_nobody_there():
    """Datagrams and connections to a neighbour that is not there, and nothing else."""
    number, before = last_event(), incarnations()
    end = time.monotonic() + 2 * AWAY_S
    with StackSocket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        while time.monotonic() < end:
            try:
                s.sendto(b"?", (NOBODY, PORT))
            except OSError:
                pass
            time.sleep(0.05)
    assert incarnations() == before and not [e for e in events(number) if e["kind"] == "unserved"], events(number)


def checksummed(header):
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack(">H", 0xFFFF - (total & 0xFFFF) - (total >> 16)) + header[12:]


def strangers():
    """Frames for others, for all, of bridges, and for us what a sound ip drops."""
    own = bytes.fromhex(next(line.split()[4] for line in subprocess.run(["ip", "neigh", "show", STACK], capture_output=True, text=True,
                                                                         check=True).stdout.splitlines()).replace(":", ""))
    peer = bytes.fromhex("02aabbccddee")
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 48, 1, 0, 64, 6, 0, socket.inet_aton("10.77.0.9"), socket.inet_aton(STACK))
    wrong_sum, ours_in_group, foreign = ip, checksummed(ip), checksummed(ip[:16] + socket.inet_aton("10.77.0.8"))
    martian = checksummed(ip[:12] + socket.inet_aton("127.0.0.1") + ip[16:])
    body = b"\0" * 40
    return [bytes.fromhex("0180c2000000") + peer + struct.pack(">H", 38) + body,
            b"\xff" * 6 + peer + b"\x88\xb5" + body,
            bytes.fromhex("02ffffffffff") + peer + b"\x08\x00" + ours_in_group + body,
            b"\xff" * 6 + peer + b"\x08\x00" + ours_in_group + body,
            *(own + peer + b"\x08\x00" + header + body for header in (wrong_sum, foreign, martian)),
            own + peer + b"\x08\x00" + body]


def test_strangers():
    Echo(PORT, 1, again=False).finish()  # so that the station is known
    number, before = last_event(), incarnations()
    read = counters("nic")["frames_in"]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("bh0", 0))
        for frame in strangers():  # nothing but this one, each for long enough
            for _ in range(20):
                raw.send(frame)
                time.sleep(0.1)
    assert counters("nic")["frames_in"] > read + 100
    assert incarnations() == before and not [e for e in events(number) if e["kind"] == "unserved"], events(number)


if __name__ == "__main__":
    with application("bh-echo", PORT, ready=PORT):
        main([test_link_down, test_deaf_peer, test_nobody_there, test_strangers])
