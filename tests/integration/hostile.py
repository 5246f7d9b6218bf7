# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: bad input from each side that an enemy has without a domain of its own: whatever is sent to the attach socket,
an application that writes anything anywhere in its memory or dies, and malformed frames. A well-behaved application is
served all the time, nothing dies, nothing is left behind, and drops are counted."""
import ctypes
import fcntl
import json
import mmap
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import time

from inside import (APPS, HOST, STACK, Echo, answers_ping, application, bulkhead, connects, counters, domains, events, last_event,
                    main, ping, wait_for)

RUN = pathlib.Path(os.environ["BULKHEAD_RUN_DIR"])
PORT = 7007
MAGIC, HELLO, ARENA = 0x42484B31, 1, 2
F_ADD_SEALS, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE = 1033, 2, 4, 16
F_SETLEASE = 1024
rng = random.Random(7)


def supervisor():
    return json.loads(bulkhead("ps", "--json"))["supervisor_pid"]


def session_count():
    return json.loads(bulkhead("ps", "--json"))["sessions"]


def incarnations():
    return {d["name"]: (d["pid"], d["incarnation"]) for d in domains()}


def attach():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(2)
    s.connect(str(RUN / "attach"))
    return s


def memfd(size, seal=True):
    fd = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seal:
        fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)
    return fd


def request(operation, transport=0, slots=0, send=0, receive=0, magic=MAGIC):
    return struct.pack("<8I", magic, operation, transport, slots, send, receive, 0, 0)


def sizes():
    """Of the control and answer segments: what the library maps, read off a running application."""
    pid = subprocess.run(["pgrep", "-n", "bh-echo"], capture_output=True, text=True).stdout.strip()
    found = {}
    for line in open(f"/proc/{pid}/maps"):
        if "memfd:" in line:
            span, name = line.split()[0], line.split("memfd:")[1].split()[0]
            start, end = (int(x, 16) for x in span.split("-"))
            found[name] = found.get(name, 0) + end - start
    return found


def held():
    """Descriptors of the supervisor, but for the arenas of applications: bh-echo may add one at any time."""
    def is_arena(fd):
        try:
            return "memfd:bh-" in os.readlink(fd)
        except FileNotFoundError: # closed meanwhile
            return True
    return sum(not is_arena(fd) for fd in pathlib.Path(f"/proc/{supervisor()}/fd").iterdir())


def test_attach_garbage():
    before = held()
    for attempt in range(300):
        try:
            with attach() as s:
                kind = rng.randrange(6)
                fds = [memfd(rng.choice([0, 4096, 65536]), rng.random() < 0.5) for _ in range(rng.randrange(0, 6))]
                body = {0: rng.randbytes(rng.randrange(0, 200)), 1: request(HELLO), 2: request(ARENA, 0, 4, 4096, 4096),
                        3: request(rng.randrange(10), rng.randrange(5), rng.randrange(1 << 32), rng.randrange(1 << 32), 3),
                        4: request(HELLO, magic=1), 5: request(HELLO)[:-4]}[kind]
                if body:
                    socket.send_fds(s, [body], fds)
                if rng.random() < 0.7:
                    s.recv(200)
        except (OSError, TimeoutError):
            pass
        finally:
            for fd in fds:
                os.close(fd)
    wait_for("the supervisor to let go", lambda: held() <= before + 1, 5)


def segment_sizes():
    table = sizes()
    return next(v for k, v in table.items() if "control" in k), next(v for k, v in table.items() if "answer" in k)


def hostile_session(control_size, answer_size, seal_late=None):
    """A session that is set up rightly, with arenas of both transports, all of its memory mapped writable here. `seal_late`:
    called with each descriptor that servers write to, once it is granted."""
    s = attach()
    maps = []

    def pass_memory(body, *octets):
        fds = [memfd(o) for o in octets]
        maps.extend(mmap.mmap(fd, o) for fd, o in zip(fds, octets))
        socket.send_fds(s, [body], fds)
        _, received, _, _ = socket.recv_fds(s, 256, 16)
        if seal_late is not None:
            seal_late(fds[1])
        for fd in fds:
            os.close(fd)
        return received
    bells = pass_memory(request(HELLO), control_size, answer_size)
    page = lambda n: (n + 4095) & ~4095
    for transport in (0, 1):
        slots, size = 4, 4096
        send = page(64 + 4096 + slots * 64) + slots * size
        receive = page(128 + slots * 64) + slots * size
        pass_memory(request(ARENA, transport, slots, size, size), send, receive)
    return s, maps, bells


def scribble(maps, bells, seconds):
    """Any words anywhere: small numbers, edges, random; then all doorbells."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for m in maps:
            for _ in range(50):
                at = rng.randrange(0, min(len(m), 16384) // 4) * 4
                value = rng.choice([0, 1, 2, 3, 7, 64, 4096, 0xFFFFFFFF, 0x80000000, rng.randrange(1 << 32)])
                m[at:at + 4] = struct.pack("<I", value)
        for fd in bells[1::2]:
            try:
                os.write(fd, b"x" * rng.randrange(1, 5000))
            except OSError:
                pass


def test_application_that_writes_anything():
    control, answer = segment_sizes()
    before = incarnations()
    load = Echo(PORT, 4)
    for _ in range(4):
        s, maps, bells = hostile_session(control, answer)
        assert len(bells) == 7, f"attached with {len(bells)} descriptors"
        scribble(maps, bells, 1.0)
        rounds = load.rounds
        wait_for("the others to be served meanwhile", lambda: load.rounds > rounds + 50, 5)
        s.close()
        for m in maps:
            m.close()
        for fd in bells:
            os.close(fd)
    load.finish()
    assert not load.errors and not load.wrong and not load.resets, (load.errors[:3], load.wrong, load.resets)
    assert incarnations() == before, "a domain died of an application's memory"


def test_application_that_seals_its_memory():
    """What servers write to must be writable for their next incarnations too."""
    refused = []

    def seal(fd):
        try:
            fcntl.fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE)
        except PermissionError:
            refused.append(fd)
    s, maps, bells = hostile_session(*segment_sizes(), seal_late=seal)
    for server in ("socket", "tcp", "udp"):
        before = last_event()
        deaths = counters("supervisor")["deaths"]
        bulkhead("kill", server)
        wait_for(f"{server} to be back", lambda: any(e["kind"] == "restored" for e in events(before)), 10)
        wait_for("service", lambda: connects(PORT), 10)
        time.sleep(0.1)
        assert counters("supervisor")["deaths"] == deaths + 1, f"{server} died again: {events(before)}"
    assert len(refused) == 3, f"{len(refused)} of 3 seals were refused"
    s.close()
    for m in maps:
        m.close()
    for fd in bells:
        os.close(fd)


def test_application_that_holds_a_lease():
    """The supervisor opens an application's segment anew: it must not wait for the lease of whoever made it."""
    control, answer = segment_sizes()
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fds = [memfd(control), memfd(answer)]
    holder = os.open(f"/proc/self/fd/{fds[0]}", os.O_RDWR)
    fcntl.fcntl(holder, F_SETLEASE, fcntl.F_WRLCK)
    with attach() as s:
        start = time.monotonic()
        socket.send_fds(s, [request(HELLO)], fds)
        error = struct.unpack_from("<3I", s.recv(256))[2]
        assert error != 0 and time.monotonic() - start < 1, f"error {error} after {time.monotonic() - start:.1f} s"
    for fd in (*fds, holder):
        os.close(fd)


def test_application_dies():
    before = last_event()
    out = lambda: (tcp := counters("tcp"))["slots_given"] - tcp["slots_back"]  # over kills of tcp not zero at rest
    rest = out()
    with application("bh-echo", PORT + 1, ready=PORT + 1) as victim:
        load = Echo(PORT + 1, 20, size=20000)
        wait_for("load", lambda: load.rounds > 200)
        session, number = [e["subject"] for e in events(before) if e["kind"] == "session"][-1], last_event()
        victim.send_signal(signal.SIGKILL)
        wait_for("its end to be seen", lambda: any(e["kind"] == "session-end" and e["subject"] == session for e in events(number)), 10)
        assert not connects(PORT + 1), "its listener outlived it"
        load.finish()
    wait_for("its slots to come home", lambda: out() == rest, 10)


def hostile_files(control, answer):
    """As hostile_session(), with the descriptors of its memory kept."""
    kept = []
    s, maps, bells = hostile_session(control, answer, seal_late=lambda fd: kept.append(os.dup(fd)))
    return s, maps, bells, kept


def end(s, maps, fds):
    s.close()
    for m in maps:
        m.close()
    for fd in fds:
        os.close(fd)


def served(load, rounds=100):
    at = load.rounds
    wait_for("the others to be served", lambda: load.rounds > at + rounds, 5)


def test_application_that_abuses_doorbells():
    """Full, drained, made blocking: nobody waits for it, and nobody misses a wake-up."""
    before, load = incarnations(), Echo(PORT, 4)
    s, maps, bells, kept = hostile_files(*segment_sizes())
    for fd in bells[1::2]:
        filled = 0
        try:
            while filled < 1 << 22:
                filled += os.write(fd, bytes(65536))
        except BlockingIOError:
            pass
        try:
            os.read(fd, 4096)
            raise AssertionError("a doorbell was drained")
        except OSError:
            pass
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    os.set_blocking(bells[0], True)
    scribble(maps, [], 0.2)
    served(load)
    for server in ("socket", "tcp", "udp"):
        bulkhead("kill", server)
        wait_for(f"service after {server}", lambda: connects(PORT), 10)
    load.finish()
    assert not load.wrong and not load.errors, (load.wrong, load.errors[:3])
    expected = {n: i + (n in ("socket", "tcp", "udp")) for n, (_, i) in before.items()}
    wait_for("one death of each", lambda: {n: i for n, (_, i) in incarnations().items()} == expected, 5)
    end(s, maps, bells + kept)


def test_application_that_punches_holes():
    """Its memory cannot be cut; holes in it read as zeros."""
    libc = ctypes.CDLL(None, use_errno=True)
    before, load = incarnations(), Echo(PORT, 4)
    s, maps, bells, kept = hostile_files(*segment_sizes())
    for _ in range(20):
        scribble(maps, bells, 0.05)
        for fd in kept:
            try:
                os.ftruncate(fd, 4096)
                raise AssertionError("a segment was cut")
            except PermissionError:
                pass
            size = os.fstat(fd).st_size
            assert libc.fallocate(fd, 3, ctypes.c_long(0), ctypes.c_long(size)) == 0, os.strerror(ctypes.get_errno())
    served(load)
    load.finish()
    assert not load.wrong and not load.errors and not load.resets and incarnations() == before
    end(s, maps, bells + kept)


def test_application_that_opens_sessions_until_refused():
    sizes_of, load, held = segment_sizes(), Echo(PORT, 4), []
    control, answer = sizes_of
    error = 0
    while error == 0 and len(held) < 100:
        fds = [memfd(control), memfd(answer)]
        s = attach()
        socket.send_fds(s, [request(HELLO)], fds)
        body, received, _, _ = socket.recv_fds(s, 256, 16)
        error = struct.unpack_from("<3I", body)[2]
        for fd in (*fds, *received):
            os.close(fd)
        held.append(s)
    assert error != 0 and 10 < len(held) < 65, f"error {error} after {len(held)} sessions"
    served(load)
    for s in held:
        s.close()
    load.finish()

    def attaches():
        with attach() as one:
            fds = [memfd(control), memfd(answer)]
            socket.send_fds(one, [request(HELLO)], fds)
            body, received, _, _ = socket.recv_fds(one, 256, 16)
            for fd in (*fds, *received):
                os.close(fd)
            return struct.unpack_from("<3I", body)[2] == 0
    wait_for("room for a session again", attaches, 10)
    print(f"refused after {len(held) - 1} sessions: {os.strerror(error)}", flush=True)


def test_application_that_forks():
    """The session lives as long as anybody of the family holds it."""
    s, maps, bells, kept = hostile_files(*segment_sizes())
    sessions = session_count()
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    end(s, maps, bells + kept)
    time.sleep(0.1)
    assert session_count() == sessions, "the session ended under the child"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_for("its end", lambda: session_count() == sessions - 1, 5)


def test_application_that_never_reads():
    """Full receive buffers drop and count; others are served; it goes on where it was."""
    with application("bh-echo", "--udp", PORT + 2) as sleeper, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.5)

        def answers():
            s.sendto(b"there?", (STACK, PORT + 2))
            try:
                return s.recv(2000) == b"there?"
            except (TimeoutError, ConnectionRefusedError):
                return False
        wait_for("the application", answers, 10)
        sleeper.send_signal(signal.SIGSTOP)
        dropped = sum(v for k, v in counters("udp").items() if "drop" in k)
        load = Echo(PORT, 4)
        for _ in range(20000):
            try:
                s.sendto(bytes(1000), (STACK, PORT + 2))
            except BlockingIOError:
                pass
        served(load)
        load.finish()
        assert not load.wrong and not load.errors
        assert sum(v for k, v in counters("udp").items() if "drop" in k) > dropped + 1000, "drops were not counted"
        sleeper.send_signal(signal.SIGCONT)
        s.settimeout(0.05)
        wait_for("its answers to be read", lambda: not drain(s), 10)
        s.settimeout(0.5)
        wait_for("the application again", answers, 10)


def drain(s):
    try:
        return s.recv(2000)
    except (TimeoutError, ConnectionRefusedError):
        return b""


def frames():
    """Malformed frames from the link: truncated, random, and well-formed ones with octets changed."""
    mac = [line.split()[4] for line in subprocess.run(["ip", "neigh", "show", STACK], capture_output=True, text=True).stdout.splitlines()]
    stack = bytes.fromhex(mac[0].replace(":", ""))
    own = bytes.fromhex(subprocess.run(["ip", "-o", "link", "show", "bh0"], capture_output=True, text=True)
                        .stdout.split("link/ether ")[1].split()[0].replace(":", ""))
    ether = stack + own
    ip = lambda protocol, body: struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0,
                                            socket.inet_aton(HOST), socket.inet_aton(STACK)) + body
    tcp = struct.pack(">HHIIBBHHH", 40000, PORT, 1, 1, 0x50, 0x10, 1000, 0, 0)
    good = [ether + b"\x08\x00" + ip(6, tcp + b"data"), ether + b"\x08\x00" + ip(17, struct.pack(">HHHH", 1, 2, 12, 0) + b"data"),
            ether + b"\x08\x00" + ip(1, b"\x08\x00\x00\x00\x00\x01\x00\x01" + b"ping"),
            ether + b"\x08\x06" + struct.pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, own, socket.inet_aton(HOST), bytes(6), socket.inet_aton(STACK))]
    for i in range(20000):
        frame = bytearray(rng.choice(good))
        for _ in range(rng.randrange(0, 6)):
            at = rng.randrange(12 if rng.random() < 0.9 else 0, len(frame))
            if frame[12:14] != b"\x08\x06" or not 22 <= at < 32:  # who speaks: a forged neighbour is believed, as everywhere
                frame[at] = rng.randrange(256)
        yield bytes(frame[:rng.randrange(14, len(frame) + 1)] if rng.random() < 0.3 else frame) or b"x" * 14


def checksummed(frame):
    """The IP header checksum made right, so that what lies behind it is reached."""
    if frame[12:14] != b"\x08\x00" or len(frame) < 34:
        return frame
    header = frame[14:24] + b"\0\0" + frame[26:34]
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return frame[:24] + struct.pack(">H", 0xFFFF - total) + frame[26:]


def test_malformed_frames():
    ping()
    before, dropped = incarnations(), counters("ip")
    load = Echo(PORT, 4)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("bh0", 0))
        for frame in frames():
            try:
                raw.send(checksummed(frame) if rng.random() < 0.8 else frame)
            except OSError:  # longer than the link, or the queue is full
                pass
    rounds = load.rounds
    wait_for("the others to be served", lambda: load.rounds > rounds + 100, 5)
    load.finish()
    assert incarnations() == before, "a domain died of a frame"
    moved = {k: v - dropped.get(k, 0) for k, v in counters("ip").items() if "drop" in k and v > dropped.get(k, 0)}
    assert len(moved) > 8, f"hardly anything was dropped: {moved}"
    assert load.wrong == 0 and not load.errors, (load.wrong, load.errors[:3])
    print(f"dropped for {len(moved)} reasons in ip alone", flush=True)


if __name__ == "__main__":
    with application("bh-echo", PORT, ready=PORT):
        main([test_attach_garbage, test_application_that_writes_anything, test_application_that_seals_its_memory,
              test_application_that_holds_a_lease, test_application_that_abuses_doorbells, test_application_that_punches_holes,
              test_application_that_opens_sessions_until_refused, test_application_that_forks, test_application_that_never_reads,
              test_application_dies, test_malformed_frames])
