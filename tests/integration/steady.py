# SPDX-License-Identifier: BSD-2-Clause
"""Load that has to outlast deaths: bh-steady on both sides of a lab, connections opened by each side, and datagrams."""
import json
import socket
import subprocess
import sys
import threading
import time

from inside import APPS, HOST6, STACK, wait_for

PORT, UDP_PORT = 7100, 7200


class Steady:
    """One bh-steady, and what it says."""

    def __init__(self, stack, *arguments):
        self.process = subprocess.Popen([APPS / "bh-steady", "--stack", stack, *map(str, arguments)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
        first = self.process.stdout.readline()
        assert first, f"bh-steady {arguments} did not start"

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        assert line, "bh-steady ended"
        return json.loads(line)

    def ask(self, command):
        self.say(command)
        return self.hear()

    def end(self):
        said = self.hear()
        self.process.wait(30)
        return said


class Load:
    """Bulk streams and requests both ways: half of the connections opened by Linux over IPv4, half by the stack's application over IPv6."""

    def __init__(self, bulk=4, requests=100, wait=("epoll", "poll")):
        count = (bulk + requests) // 2
        self.server = Steady("bulkhead", "--wait", wait[0], "--connections", count, "--listen", PORT)
        self.linux_server = Steady("linux", "--connections", count, "--listen", PORT)
        some = "--bulk", bulk // 2, "--requests", requests // 2
        self.linux = Steady("linux", *some, f"{STACK}:{PORT}")
        self.client = Steady("bulkhead", "--wait", wait[1], "--connections", count, *some, f"[{HOST6}]:{PORT}")
        self.all = [self.server, self.linux_server, self.linux, self.client]
        wait_for("all connections", lambda: sum(self.ask("report", "streams")) == 4 * count)
        self.ports = self.ports_now()

    def ask(self, command, figure):
        """A figure of each of the four."""
        for one in self.all:
            one.say(command)
        return [one.hear()[figure] for one in self.all]

    def unsent(self):
        """Octets of Linux's bulk streams that the stack has not acknowledged."""
        return sum(one.ask("unsent")["unsent"] for one in (self.linux, self.linux_server))

    def ports_now(self):
        return [[s["port"] for s in one.ask("streams")["stream"]] for one in self.all]

    def lost(self):
        return sum(self.ask("report", "lost"))

    def moves(self, seconds=20, told=False):
        """Waits until every stream that is not lost has received something. `told`: shows what Linux says of those that do not in a second."""
        def received():
            return {(i, s["number"]): s["received"] for i, one in enumerate(self.all) for s in one.ask("streams")["stream"]
                    if not s["lost"]}
        before, late_at = received(), time.monotonic() + (1 if told else 2 * seconds)
        missing = []

        def all_moved():
            nonlocal missing, late_at
            now = received()
            missing = [key for key in before if now.get(key, STOPPED) <= before[key]]
            if missing and time.monotonic() > late_at:
                late_at += 2 * seconds
                ports = {self.ports[{0: 2, 1: 3}.get(one, one)][number] for one, number in missing}  # of who connected
                lines = subprocess.run(["ss", "-tnioOH"], capture_output=True, text=True).stdout.splitlines()
                print("late:", missing, *[line for line in lines if any(f":{port} " in line for port in ports)], sep="\n  ", flush=True)
            return not missing
        try:
            wait_for("every stream to go on", all_moved, seconds, 0.02)
        except AssertionError as error:
            raise AssertionError(f"{error}: {len(missing)} of {len(before)} do not, as {missing[:5]} "
                                 "(0 the stack's listener, 1 Linux's, 2 Linux's client, 3 the stack's)") from error

    def stop(self):
        """Ends all streams; what the four say of them, who connected beside who accepted."""
        for one in (self.linux, self.client):
            one.say("stop")
        ends = [one.end() for one in (self.linux, self.client)]
        for one in (self.server, self.linux_server):
            one.say("stop")
        ends += [one.end() for one in (self.server, self.linux_server)]
        return (ends[0], ends[2]), (ends[1], ends[3])

    def kill(self):
        for one in self.all:
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait()


STOPPED = 1 << 63  # has been lost meanwhile: does not hold up the others


def verdict(pairs):
    """What is wrong with the streams of Load.stop(), a line for each."""
    wrong = []
    for connected, accepted in pairs:
        other = {s["number"]: s for s in accepted["stream"]}
        for s in connected["stream"]:
            o = other.get(s["number"])
            name = f"stream {s['number']} ({s['kind']}, port {s['port']})"
            for who, end in ("connected", s), ("accepted", o):
                if end is None:
                    wrong.append(f"{name}: not known to who {who}")
                elif end["lost"]:
                    wrong.append(f"{name}: lost, who {who} heard: {end['error']}")
                elif end["wrong"]:
                    wrong.append(f"{name}: {end['wrong']} octets wrong, the first at {end['first_wrong']}, where it was {who}")
                elif not end["whole"]:
                    wrong.append(f"{name}: no end where it was {who}")
            if o and s["whole"] and o["whole"] and (s["sent"], s["received"]) != (o["received"], o["sent"]):
                wrong.append(f"{name}: sent {s['sent']}, {o['received']} came; {o['sent']} back, {s['received']} came")
    return wrong


class Datagrams:
    """A Linux socket that asks `bh-echo --udp` on the stack all the time. Datagrams may be lost, never wrong."""

    def __init__(self, port=UDP_PORT):
        self.echo = subprocess.Popen([APPS / "bh-echo", "--udp", str(port)], stdout=subprocess.PIPE, text=True)
        assert "listening" in self.echo.stdout.readline(), "bh-echo --udp does not listen"
        self.port, self.ended = port, False
        self.sent = self.answered = self.wrong = self.refused = 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        wait_for("an answered datagram", lambda: self.answered > 0)

    def _run(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect((STACK, self.port))
            s.settimeout(0.05)
            while not self.ended:
                data = self.sent.to_bytes(8, "big") + bytes((self.sent + i) & 255 for i in range(400))
                self.sent += 1
                try:
                    s.send(data)
                    got = b""
                    while got != data:  # or an earlier one, late
                        got = s.recv(2048)
                        number = int.from_bytes(got[:8], "big")
                        right = number < self.sent and got[8:] == bytes((number + i) & 255 for i in range(400))
                        self.answered += right
                        self.wrong += not right
                except TimeoutError:
                    pass
                except OSError:
                    self.refused += 1
                time.sleep(0.002)

    def answers(self, seconds=20):
        before = self.answered
        wait_for("a datagram to be answered", lambda: self.answered > before, seconds)

    def stop(self):
        self.ended = True
        self.thread.join(5)
        self.echo.terminate()
        self.echo.wait(10)
