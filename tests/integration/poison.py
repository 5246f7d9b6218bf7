# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab whose bulkhead-domain is tests/hostile/mortal: packets that kill a server each time that it looks at them. They
cost it two deaths, and then only themselves; everything else is served. The argument is what --hang says, in ms. `random N`: with the real one, N kills and planned
restarts are nobody's fault, so nobody is a suspect."""
import random
import re
import socket
import struct
import subprocess
import sys

from inside import HOST, SERVERS, STACK, Echo, application, bulkhead, connects, counters, domain_of, events, last_event, main, wait_for

PORT = 7007
DEADLY, ENDLESS, TIMED, PORTS = 666, 667, 668, 6000


def deaths(number, server, kind="died"):
    return [e for e in events(number) if e["kind"] == kind and server in e["subject"].replace("+", " ").split()]


def running(server):
    return domain_of(server)["state"] == "running"


def incarnation(server):
    """Of one that runs; 0: it does not, or the plane is too busy to say."""
    try:
        d = domain_of(server)
    except AssertionError:
        return 0
    return d["incarnation"] if d["state"] == "running" else 0


def resumes():
    """Whether an established connection survives its server's death."""
    with socket.create_connection((STACK, PORT), 5) as s:
        s.settimeout(5)
        number = last_event()
        bulkhead("kill", "tcp")
        wait_for("tcp", lambda: deaths(number, "tcp", "restored"))
        try:
            s.sendall(b"still?")
            return s.recv(6, socket.MSG_WAITALL) == b"still?"
        except OSError:
            return False


def twice_and_no_more(server, offer, how):
    """offer() is repeated until it is refused; the server died twice of it, and not again after that."""
    number, refused = last_event(), sum(v for k, v in counters(server).items() if k == "drop_poison")

    def dropped():
        offer()
        try:
            return running(server) and counters(server).get("drop_poison", 0) > refused
        except AssertionError:  # a loop on a busy machine: the supervisor looks whether its CPU is to be had
            return False
    wait_for("the poison to be refused", dropped, 60, 0.1)
    found = deaths(number, server)
    assert len(found) == 2 and all(how in e["text"] for e in found), found
    assert len(deaths(number, server, "suspect")) == 1 and len(deaths(number, server, "poison")) == 1, events(number)
    offer()
    offer()
    assert connects(PORT, 5) and len(deaths(number, server)) == 2, events(number)


def datagram(octets, port=9999):
    def offer():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((HOST, port))
            s.sendto(bytes(octets), (STACK, PORT))
    return offer


def test_datagram():
    twice_and_no_more("udp", datagram(DEADLY), "SEGV")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # of another source, to the same socket
        s.settimeout(1)

        def answered():
            s.sendto(b"here?", (STACK, PORT))
            try:
                return s.recv(100) == b"here?"
            except TimeoutError:
                return False
        wait_for("the socket to be served", answered)


def test_loop():
    twice_and_no_more("udp", datagram(ENDLESS, 9998), "it loops")


def test_stop():
    """Neither a loop nor anybody's fault; found as soon as --hang says."""
    number = last_event()
    bulkhead("kill", "udp", "--signal", "STOP")
    died = wait_for("its death", lambda: deaths(number, "udp"), 30)[0]
    silent = int(re.search(r"hangs: it stands still, silent for (\d+) ms", died["text"]).group(1))
    assert int(sys.argv[1]) * 0.95 <= silent < 30000, died
    wait_for("udp", lambda: running("udp"))
    assert not deaths(number, "udp", "suspect") and counters("supervisor")["hangs_stop"] == 1


def test_ping_of_death():
    twice_and_no_more("ip", lambda: subprocess.run(["ping", "-q", "-c", "1", "-W", "0.2", "-s", str(DEADLY - 8), STACK],
                                                   capture_output=True), "SEGV")


def syn_of_death(port):
    """The same one again and again: a new connect() would choose another sequence number."""
    mac = wait_for("the neighbour", lambda: (connects(PORT), subprocess.run(
        ["ip", "neigh", "show", STACK], capture_output=True, text=True).stdout.split("lladdr ")[1:])[1])
    own = subprocess.run(["ip", "-o", "link", "show", "bh0"], capture_output=True, text=True).stdout.split("link/ether ")[1]
    ether = bytes.fromhex(mac[0].split()[0].replace(":", "") + own.split()[0].replace(":", "")) + b"\x08\x00"
    addresses = socket.inet_aton(HOST) + socket.inet_aton(STACK)

    def summed(data):
        total = sum(struct.unpack(f">{len(data) // 2}H", data))
        total = (total & 0xFFFF) + (total >> 16)
        return 0xFFFF - ((total & 0xFFFF) + (total >> 16))
    tcp = struct.pack(">HHIIBBHHH", port, PORT, 12345, 0, 0x50, 0x02, 1000, 0, 0)
    tcp = tcp[:16] + struct.pack(">H", summed(addresses + struct.pack(">HH", 6, len(tcp)) + tcp)) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 7, 0, 64, 6, 0) + addresses
    ip = ip[:10] + struct.pack(">H", summed(ip)) + ip[12:]

    def offer():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("bh0", 0))
            raw.send(ether + ip + tcp)
    return offer


def test_segment():
    twice_and_no_more("tcp", syn_of_death(PORTS + DEADLY), "SEGV")


def test_endless_segment():
    twice_and_no_more("tcp", syn_of_death(PORTS + ENDLESS), "it loops")


def test_connection():
    """An established one that carries death: it is reset, and the others know nothing of it."""
    if not resumes():
        print("connections do not survive here: not tested", flush=True)
        return
    number, load = last_event(), Echo(PORT, 20)
    wait_for("load", lambda: load.rounds > 200)
    with socket.create_connection((STACK, PORT), 5) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(b"good")
        assert s.recv(4, socket.MSG_WAITALL) == b"good"
        s.settimeout(20)
        s.sendall(bytes(DEADLY))
        try:
            got = s.recv(1)
        except ConnectionResetError:
            got = None
        assert got is None, f"not reset: {got}"
    assert len(deaths(number, "tcp")) == 2, events(number)
    rounds = load.rounds
    wait_for("the others to be served", lambda: load.rounds > rounds + 200)
    load.finish()
    assert load.resets == 0 and load.wrong == 0 and not load.errors, (load.resets, load.wrong, load.errors[:3])
    assert counters("tcp")["reset_poison"] == 1


def test_timer():
    """A connection whose persist timer kills: it is reset, and the others know nothing of it."""
    if not resumes():
        print("connections do not survive here: not tested", flush=True)
        return
    number, load, before = last_event(), Echo(PORT, 20), counters("tcp")["lost_at_restart"]
    wait_for("load", lambda: load.rounds > 200)
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.bind((HOST, PORTS + TIMED))
        s.settimeout(30)
        s.connect((STACK, PORT))
        s.setblocking(False)

        def refused():  # it reads nothing of its echo: the window closes
            try:
                s.send(bytes(1000))
            except BlockingIOError:
                return False
            except (ConnectionResetError, BrokenPipeError):
                return True
        wait_for("the reset", refused, 60, 0.001)
    assert len(deaths(number, "tcp")) == 2 and len(deaths(number, "tcp", "poison")) == 1, events(number)
    rounds = load.rounds
    wait_for("the others to be served", lambda: load.rounds > rounds + 200)
    load.finish()
    assert load.resets == 0 and load.wrong == 0 and not load.errors, (load.resets, load.wrong, load.errors[:3])
    assert counters("tcp")["lost_at_restart"] - before == 1


def test_random_kills():
    rng, load = random.Random(5), Echo(PORT, 10)
    number, kills = last_event(), int(sys.argv[2])
    for _ in range(kills):
        server = rng.choice(SERVERS)
        before = wait_for(f"{server} to run", lambda: incarnation(server))
        bulkhead(*rng.choice([("kill", server), ("kill", server, "--signal", "SEGV"), ("restart", server)]))
        wait_for(f"{server} to run again", lambda: incarnation(server) > before, 30)
    load.finish()
    assert load.wrong == 0
    blamed = [e for e in events(number) if e["kind"] in ("suspect", "poison", "cold", "stack", "backoff")]
    assert not blamed, blamed
    table = counters()
    assert not any(table[server].get("drop_poison") for server in SERVERS)
    assert table["supervisor"]["suspects"] == table["supervisor"]["poisons"] == 0
    assert table["supervisor"]["deaths"] >= kills, table["supervisor"]


if __name__ == "__main__":
    with application("bh-echo", PORT, ready=PORT), application("bh-echo", "--udp", PORT):
        main([test_random_kills] if sys.argv[1:2] == ["random"] else
             [test_datagram, test_loop, test_stop, test_ping_of_death, test_segment, test_endless_segment, test_connection, test_timer])
