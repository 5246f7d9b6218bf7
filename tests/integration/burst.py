# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: a thousand peers connect at once, and write at once, again and again. Nothing is dropped between nic and tcp, so nobody waits for a
retransmission; they all go on when tcp is killed, and write at that very moment; and a TCP server that hangs with all this in front of it keeps
nobody else waiting. With `reset`, for --recovery listeners: all are told that their connections have gone, and come again at once."""
import resource
import select
import socket
import sys
import time

from inside import STACK, STACK6, application, bulkhead, counters, domain_of, last_event, main, ping, restored_after

CONNECTIONS = int(sys.argv[1])
PORT, ROUNDS, SIZE = 7007, 5, 100
SOON = 0.9  # below the first retransmission of a SYN


def drops():
    """What was lost on the way, by server; the device's queue is the Linux side's."""
    kinds = {"nic": ("drop_in_no_loan",), "ip": ("drop_no_transport", "drop_local_full", "drop_no_buffer"), "tcp": ("drop_recovering", "drop_no_slot")}
    now = counters()
    found = {f"{server} {name}": now.get(server, {}).get(name, 0) for server, names in kinds.items() for name in names}
    found["device"] = int(next(line for line in open("/proc/net/dev") if "bh0:" in line).split(":")[1].split()[11])
    return found


def since(before):
    return {name: value - before[name] for name, value in drops().items() if value != before[name]}


def connect_all():
    """Both families; returns the sockets and how long the last one took."""
    start = time.monotonic()
    poll, waiting = select.poll(), {}
    for i in range(CONNECTIONS):
        s = socket.socket(socket.AF_INET6 if i % 2 else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        s.connect_ex((STACK6 if i % 2 else STACK, PORT))
        poll.register(s, select.POLLOUT)
        waiting[s.fileno()] = s
    sockets = list(waiting.values())
    while waiting:
        assert time.monotonic() < start + 20, f"{len(waiting)} of {CONNECTIONS} are not connected"
        for fd, _ in poll.poll(100):
            error = waiting[fd].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            assert error == 0, f"connect: {error}"
            poll.unregister(fd)
            del waiting[fd]
    return sockets, time.monotonic() - start


def exchange(sockets, number):
    """Each sends, then each is read from; how long the last one took."""
    start = time.monotonic()
    poll, got = select.poll(), {}
    for i, s in enumerate(sockets):
        s.send((i * ROUNDS + number).to_bytes(4, "big") * (SIZE // 4))
        poll.register(s, select.POLLIN)
        got[s.fileno()] = (i, s, b"")
    while got:
        assert time.monotonic() < start + 20, f"{len(got)} of {len(sockets)} have no answer"
        for fd, _ in poll.poll(100):
            i, s, data = got[fd]
            part = s.recv(SIZE)
            assert part, f"connection {i} ended"
            got[fd] = (i, s, data + part)
            if len(data + part) == SIZE:
                assert data + part == (i * ROUNDS + number).to_bytes(4, "big") * (SIZE // 4), f"connection {i} got another's octets"
                poll.unregister(fd)
                del got[fd]
    return time.monotonic() - start


def test_all_at_once():
    before, longest = drops(), []
    for _ in range(3):
        sockets, span = connect_all()
        longest.append(span)
        longest += [exchange(sockets, n) for n in range(ROUNDS)]
        for s in sockets:
            s.close()
    print(f"  {CONNECTIONS} at once, 3 times: connected within {1e3 * max(longest[::ROUNDS + 1]):.0f} ms, answered within "
          f"{1e3 * max(longest):.0f} ms, dropped {since(before)}", flush=True)
    assert not since(before), f"dropped: {since(before)}"
    assert max(longest) < SOON, f"somebody waited {max(longest):.3f} s"


def test_all_go_on():
    """tcp is killed three times, and everybody writes while it is away."""
    sockets, _ = connect_all()
    exchange(sockets, 0)
    spans = []
    for n in range(3):
        number = last_event()
        bulkhead("kill", "tcp")
        spans.append(exchange(sockets, n))
        restored_after(number, "tcp")
    print(f"  {CONNECTIONS} go on: answered {', '.join(f'{1e3 * span:.0f}' for span in spans)} ms after tcp was killed", flush=True)
    assert max(spans) < SOON, f"somebody waited {max(spans):.3f} s"
    for s in sockets:
        s.close()


def test_reset_all_at_once():
    """A tcp that died tells a thousand peers, and all of them come again at once."""
    sockets, _ = connect_all()
    exchange(sockets, 0)
    number, before = last_event(), drops()
    bulkhead("kill", "tcp")
    poll, waiting = select.poll(), {s.fileno(): s for s in sockets}
    for s in sockets:
        poll.register(s, select.POLLIN)
    start = time.monotonic()
    again = []
    while waiting:
        assert time.monotonic() < start + 20, f"{len(waiting)} of {CONNECTIONS} were not told"
        for fd, _ in poll.poll(100):
            poll.unregister(fd)
            family = waiting.pop(fd).family
            again.append(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            again[-1].connect_ex((STACK6 if family == socket.AF_INET6 else STACK, PORT))
    for s in again:
        poll.register(s, select.POLLOUT)
    left = len(again)
    while left:
        assert time.monotonic() < start + 20, f"{left} of {CONNECTIONS} are not connected"
        for fd, _ in poll.poll(100):
            poll.unregister(fd)
            left -= 1
    span = time.monotonic() - start
    print(f"  {CONNECTIONS} reset and connected again within {1e3 * span:.0f} ms, dropped {since(before)}", flush=True)
    exchange(again, 1)
    assert span < SOON, f"somebody waited {span:.3f} s"
    for s in sockets + again:
        s.close()
    restored_after(number, "tcp")


def test_others_go_on():
    """While tcp hangs under all this, ping is answered."""
    if domain_of("tcp")["servers"] != ["tcp"]:
        return
    sockets, _ = connect_all()
    number = last_event()
    bulkhead("kill", "tcp", "--signal", "STOP")
    for s in sockets:
        s.send(b"hello")
    got = ping(count=100, interval=0.002, deadline=1)
    print("  tcp hangs: " + " ".join(got.stdout.split("statistics ---")[1].split("\n")).strip(), flush=True)
    assert " 0% packet loss" in got.stdout, got.stdout
    restored_after(number, "tcp")
    for s in sockets:
        s.close()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with application("bh-echo", "--connections", CONNECTIONS + 50, "--send-buffer", "16k", "--receive-buffer", "16k", f"[::]:{PORT}", ready=PORT):
        main([test_reset_all_at_once] if sys.argv[2:] == ["reset"] else [test_all_at_once, test_all_go_on, test_others_go_on])
