# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: applications that wait while servers die. The Linux side is stopped until nothing moves, so that every call on the stack's
side waits: WAIT (argument: epoll, poll or block) for data and for room. Then each server is killed, twice: nobody hears an error, nobody
turns round and round, and when the Linux side goes on every wait ends."""
import os
import signal
import sys
import time

from inside import SERVERS, main, wait_for
from kills import running
from steady import Load, verdict

WAIT = sys.argv[1]
QUIET_SECONDS, MEASURED_SECONDS = 0.3, 0.5
BUSY_SHARE = 0.1  # of a CPU, while nothing moves


def cpu_seconds(one):
    fields = open(f"/proc/{one.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waiting_kill(load, server):
    stack, linux = (load.server, load.client), (load.linux, load.linux_server)
    for one in linux:
        one.process.send_signal(signal.SIGSTOP)
    try:
        def quiet():
            before = [one.ask("report")["received"] for one in stack]
            time.sleep(QUIET_SECONDS)
            return before == [one.ask("report")["received"] for one in stack]
        wait_for("silence", quiet, 20)
        for _ in range(2):
            victims = wait_for(f"{server} to run", lambda: running((server,)), 20)
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            wait_for(f"{server} to run again", lambda: (now := running((server,))) and not set(now) & set(victims), 20)
        before = [cpu_seconds(one) for one in stack]
        time.sleep(MEASURED_SECONDS)
        spent = max(cpu_seconds(one) - then for one, then in zip(stack, before))
        assert spent < BUSY_SHARE * MEASURED_SECONDS, f"after the death of {server} who waits spent {spent:.2f} s of {MEASURED_SECONDS} on a CPU"
        for one in stack:
            lost = [s for s in one.ask("streams")["stream"] if s["lost"]]
            assert not lost, f"after the death of {server}: {len(lost)} streams lost, as {lost[0]}"
    finally:
        for one in linux:
            one.process.send_signal(signal.SIGCONT)
    print(f"{server} died while all waited", flush=True)
    load.moves(told=True)


def test_waits():
    load = Load(4, 20, (WAIT, WAIT))
    try:
        load.moves()
        for server in SERVERS:
            waiting_kill(load, server)
        wrong = verdict(load.stop())
        assert not wrong, "; ".join(wrong[:8])
    finally:
        load.kill()


if __name__ == "__main__":
    main([test_waits])
