# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: what datagram sockets of the stack offer besides carrying datagrams (udp.py): no copies, options, errors,
broadcast, both families on one socket, and calls that wait while servers die. The argument is the IP version."""
import errno
import json
import socket
import subprocess
import sys
import time

from inside import APPS, application, bulkhead, domain_of, main, wait_for
from stack_socket import Blocked, StackSocket

VERSION = int(sys.argv[1])
FAMILY = socket.AF_INET if VERSION == 4 else socket.AF_INET6
STACK, HOST, LOOPBACK, ANY = {4: ("10.77.0.2", "10.77.0.1", "127.0.0.1", "0.0.0.0"),
                              6: ("fd77::2", "fd77::1", "::1", "::")}[VERSION]
HEADERS = {4: 28, 6: 48}[VERSION]
SIZES = (0, 1, 1472, 1473, 9000, 65507)
PORT, HOST_PORT, CLOSED = 7007, 7009, 999
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU = 10, 2, 14, 23, 24


def place(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def source(stack, address, port, *options, check=True):
    done = subprocess.run([APPS / "bh-source", "--stack", stack, "--udp", *map(str, options), place(address, port)],
                          capture_output=True, text=True, timeout=60)
    if check:
        assert done.returncode == 0, f"bh-source: {done.stdout} {done.stderr}"
    return json.loads(done.stdout)


def linux(family=FAMILY):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(5)
    return s


def fails(code, call, *arguments):
    try:
        result = call(*arguments)
    except OSError as error:
        assert error.errno == code, f"{error}, not {errno.errorcode[code]}"
        return
    raise AssertionError(f"{result}, not {errno.errorcode[code]}")


def answered(result, what):
    assert result["answered"] == result["sent"] and result["wrong"] == result["duplicate"] == result["errors"] == 0, \
        f"{what}: {result}"


def test_zero_copy_echo():
    """udp.py sends every size to an echo that copies."""
    for stack, address in (("linux", STACK), ("bulkhead", LOOPBACK)):
        for size in SIZES:
            window = 2 if size > 1452 else 16 # what Linux's receive buffers hold
            answered(source(stack, address, PORT, "--size", size, "--count", 200, "--window", window),
                     f"{stack}, {size} octets")


def test_too_large():
    with StackSocket(FAMILY) as s:
        fails(errno.EMSGSIZE, s.sendto, bytes(65508), (HOST, HOST_PORT))


def test_refused_by_linux():
    # Few: Linux sends six such errors at once, then one a second.
    with StackSocket(FAMILY) as s:
        s.settimeout(5)
        s.connect((HOST, CLOSED))
        s.send(b"anybody?")
        fails(errno.ECONNREFUSED, s.recvfrom, 10)
        fails(errno.EAGAIN, s.recvfrom, 10, socket.MSG_DONTWAIT)
        s.send(b"anybody?")
        wait_for("SO_ERROR", lambda: s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED)
        s.dissolve()
        fails(errno.EDESTADDRREQ, s.send, b"nobody")
        s.sendto(b"anybody?", (HOST, CLOSED)) # not connected: not told
        time.sleep(0.05)
        fails(errno.EAGAIN, s.recvfrom, 10, socket.MSG_DONTWAIT)


def test_dont_fragment():
    level, name, mtu = {4: (socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_MTU),
                        6: (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_MTU)}[VERSION]
    with StackSocket(FAMILY) as s:
        s.setsockopt(level, name, IP_PMTUDISC_DO)
        s.connect((HOST, HOST_PORT))
        s.settimeout(5)
        wait_for("the path MTU", lambda: s.getsockopt(level, mtu) == 1500)
        fails(errno.EMSGSIZE, s.send, bytes(1501 - HEADERS))
        s.send(bytes(1500 - HEADERS))
        assert len(s.recvfrom(2000)[0]) == 1500 - HEADERS


def test_ttl_and_class():
    level, ttl, tos, want_ttl, want_tos = {
        4: (socket.IPPROTO_IP, socket.IP_TTL, socket.IP_TOS, 12, socket.IP_RECVTOS),
        6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, socket.IPV6_TCLASS, socket.IPV6_RECVHOPLIMIT,
            socket.IPV6_RECVTCLASS)}[VERSION]
    with StackSocket(FAMILY) as s, linux() as peer:
        peer.bind((ANY, 0))
        peer.setsockopt(level, want_ttl, 1)
        peer.setsockopt(level, want_tos, 1)
        for expected in ((64, 0), (7, 0x28)):
            if expected != (64, 0):
                s.setsockopt(level, ttl, expected[0])
                s.setsockopt(level, tos, expected[1])
            s.sendto(b"x", (HOST, peer.getsockname()[1]))
            control = [int.from_bytes(data, "little") for _, _, data in peer.recvmsg(10, 100)[1]]
            assert tuple(control) == expected, f"{control}, not {expected}"


def test_broadcast():
    with linux() as s: # in
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.sendto(b"everybody?", ("10.77.0.255", PORT))
        assert s.recvfrom(100) == (b"everybody?", (STACK, PORT))
    with StackSocket(FAMILY) as s, linux() as peer: # out
        peer.bind((ANY, 0))
        port = peer.getsockname()[1]
        fails(errno.EACCES, s.sendto, b"x", ("255.255.255.255", port))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for address in ("255.255.255.255", "10.77.0.255"):
            s.sendto(address.encode(), (address, port))
            got, source_address = peer.recvfrom(100)
            assert got == address.encode() and source_address[0] == STACK, f"{got} from {source_address}"


def test_both_families():
    with StackSocket(socket.AF_INET6) as s, linux(socket.AF_INET) as peer:
        s.settimeout(5)
        s.bind(("::", 0))
        port = s.getsockname()[1]
        peer.sendto(b"four", ("10.77.0.2", port))
        got, address = s.recvfrom(10)
        assert got == b"four" and address[0] == "::ffff:10.77.0.1", address
        s.sendto(b"back", address)
        assert peer.recv(10) == b"back"
        with linux(socket.AF_INET6) as six:
            six.sendto(b"six", ("fd77::2", port))
            got, address = s.recvfrom(10)
            assert got == b"six" and address[0] == "fd77::1", address


def test_blocked_through_restarts():
    """A receiver that waits when each server dies is still waiting afterwards, and gets what comes then."""
    with StackSocket(FAMILY) as s, linux() as peer:
        s.bind((ANY, 0))
        port = s.getsockname()[1]
        for server in ("nic", "ip", "udp", "socket"):
            waiting = Blocked(lambda: s.recvfrom(100))
            incarnation = domain_of(server)["incarnation"]
            bulkhead("kill", server)
            wait_for("a new incarnation", lambda: (d := domain_of(server))["incarnation"] > incarnation and d["state"] == "running")
            assert waiting.waits(), f"{server}: {waiting.result} {waiting.error}"

            def arrives():
                peer.sendto(server.encode(), (STACK, port))
                waiting.thread.join(0.02)
                return not waiting.waits()
            wait_for(f"a datagram after the restart of {server}", arrives)
            assert waiting.error is None and waiting.result[0] == server.encode(), f"{waiting.result} {waiting.error}"
            while True: # the same, if it was sent again
                try:
                    s.recvfrom(100, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break


def test_zero_copy_through_restarts():
    """What lies in the rings, reserved or looked at, when udp dies is what it was afterwards."""
    client = subprocess.Popen([APPS / "bh-source", "--stack", "linux", "--udp", "--rate", "4000", "--count", "6000",
                               "--size", "1400", "--window", "1000", place(STACK, PORT)], stdout=subprocess.PIPE, text=True)
    for _ in range(5):
        time.sleep(0.2) # under load, not in the last one's wake
        incarnation = domain_of("udp")["incarnation"]
        bulkhead("kill", "udp")
        wait_for("a new udp", lambda: domain_of("udp")["incarnation"] > incarnation)
    result = json.loads(client.communicate(timeout=60)[0])
    print(result, flush=True)
    assert result["wrong"] == result["errors"] == 0 and result["lost"] < 2000, result
    answered(source("linux", STACK, PORT, "--count", 100), "afterwards")


if __name__ == "__main__":
    tests = [test_zero_copy_echo, test_too_large, test_refused_by_linux, test_dont_fragment, test_ttl_and_class,
             test_broadcast if VERSION == 4 else test_both_families, test_blocked_through_restarts,
             test_zero_copy_through_restarts]
    only = sys.argv[2:]
    with application("bh-echo", "--udp", "--zero-copy", place(ANY, PORT)), \
            application("bh-echo", "--stack", "linux", "--udp", place(HOST, HOST_PORT)):
        wait_for("the echoes", lambda: all(
            source("linux", address, port, "--count", 1, "--wait", 50, check=False)["answered"] == 1
            for address, port in ((STACK, PORT), (HOST, HOST_PORT))))
        main([t for t in tests if not only or t.__name__ in only])
