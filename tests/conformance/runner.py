# SPDX-License-Identifier: BSD-2-Clause
"""Runs packet scripts against a running stack, many at once.

    runner.py --side linux|bulkhead [--ip 4|6|46] [--jobs N] [--tolerance SECONDS] [--listed FILE] [--verbose] FILE|FOLDER...

How a script runs: its events in order, each at its time after the one before (what that was, is when it happened). `<` is sent, `>` has to be
the very next that the stack sends to this peer; calls are made by an agent (agent.c), those with a range of time in the background.
Numbers of a script are relative to the sequence numbers of the wire, which come with the SYNs. Nothing else may have come before the last event.

A script has an address and ports of its own, so that scripts do not meet. One that fails is run again when no other runs, up to
AGAIN times: what it then says counts, as the machine may have been busy. What failed at first is printed, passed or not."""
import argparse
import concurrent.futures
import csv
import errno
import itertools
import os
import pathlib
import queue
import select
import socket
import struct
import subprocess
import sys
import time

import frames
import links
from scripts_parser import Call, Icmp, Packet, ScriptError, parse, split

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("BULKHEAD_BUILD", HERE.parents[1] / "build")).resolve()
F = frames.FLAGS
AGAIN = 4  # times that a script that fails is run once more
PATIENCE = 0.3  # more than a range or tolerance allows, before what has not come is given up: its time is what is judged
CONSTANTS = {name: int(getattr(socket, name)) for name in dir(socket) if isinstance(getattr(socket, name), int)} | {
    name: getattr(select, name) for name in dir(select) if name.startswith("POLL")} | {
    "SOL_TCP": 6, "O_RDWR": 2, "O_NONBLOCK": os.O_NONBLOCK, "F_SETFL": 4, "F_GETFL": 3, "FIONREAD": 0x541B, "SIOCINQ": 0x541B,
    "SIOCOUTQ": 0x5411, "FIONBIO": 0x5421, "SO_LINGER": 13, "TCP_USER_TIMEOUT": 18, "IPV6_TCLASS": 67}


def value_of(text):
    """A number, a constant, or several with | between them."""
    total = 0
    for part in text.strip().split("|"):
        part = part.strip()
        try:
            total |= CONSTANTS[part] if part in CONSTANTS else int(part, 0)
        except ValueError:
            raise ScriptError(f"what is {part}?") from None
    return total


class Agent:
    """An application: agent.c, on the stack or on Linux."""

    def __init__(self, side):
        program = BUILD / "tests" / "conformance" / ("agent_kernel" if side == "linux" else "agent_bulkhead")
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.buffer, self.ids, self.answers = b"", itertools.count(), {}
        if self._line(time.monotonic() + 10) != "ready":
            raise ScriptError("the agent did not start")

    def _line(self, until):
        """The next line, or None at that time."""
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            if not select.select([self.process.stdout], [], [], max(left, 0))[0]:
                return None
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise ScriptError("the agent ended")
            self.buffer += part
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def begin(self, background, name, *arguments):
        number = next(self.ids)
        self.process.stdin.write(f"{number} {'&' if background else '-'} {name} {' '.join(map(str, arguments))}\n".encode())
        return number

    def end(self, number, until):
        """(result, errno, begun, ended, value), or None if it still runs at that time."""
        while number not in self.answers:
            line = self._line(until)
            if line is None:
                return None
            of, result, error, begun, ended, value = line.split()
            self.answers[int(of)] = (int(result), int(error), int(begun) / 1e9, int(ended) / 1e9, value)
        return self.answers.pop(number)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Connection:
    """What a script's numbers are on the wire. Before a SYN of the stack's has come its sequence numbers are what the script says."""

    def __init__(self):
        self.offset, self.learned, self.may_be_new = 0, False, True
        self.scale_there = 0
        self.mss = None
        self.stamps, self.latest = {}, None  # what the script calls a timestamp of the stack's -> (live, when); the first is the first

    def sent(self, packet):
        """By us."""
        if "S" in packet.flags:
            self.may_be_new = True
            sizes = [o[1] for o in packet.options or () if o[0] == "mss"]
            self.mss = sizes[0] if sizes else None

    def learn(self, packet, live):
        if "S" in packet.flags and self.may_be_new:
            self.offset = (live.seq - packet.seq) & frames.MASK
            self.learned, self.may_be_new, self.stamps = True, False, {}

    def stamped(self, label, live, when):
        """The stack's timestamp came, which the script calls `label`; None if it does not say."""
        self.stamps[label] = self.latest = (live, when)

    def stamp(self, value):
        """Live, of what the script says that we echo: the stack's with that name, else its latest."""
        if not self.stamps:
            return value
        return self.stamps.get(value, self.latest)[0]


class Run:
    """One script, one family."""

    def __init__(self, script, link, side, family, number, least_tolerance, verbose=False):
        self.script, self.link, self.side, self.family, self.verbose = script, link, side, family, verbose
        self.tolerance = max(script.tolerance or 0.03, least_tolerance)
        self.here, self.there = links.peer_address(family, number), links.STACK[family]
        self.peer_port, self.port = 8080, 10000 + number % 20000
        self.files, self.written, self.read = {}, {}, {}
        self.connection, self.unsettled = Connection(), False
        self.pending = self.pending_event = None  # the call that was begun and has not returned, and its event
        self.kept, self.seen = [], []  # of the stack's: not matched yet; all
        self.trace = []

    # ---- time

    def target(self, when, of=None):
        if when.kind == "absolute":
            return self.start + (when.start if of is None else of)
        return self.last + (when.start if of is None else of)

    def wait(self, when):
        if when.kind != "any":
            left = self.target(when) - time.monotonic()
            if left > 0:
                time.sleep(left)

    # ---- running

    def run(self):
        agent = Agent(self.side)
        self.queue = self.link.register(self.here)
        try:
            self.agent = agent
            self.link.introduce(self.here)
            self.start = self.last = self.reached = time.monotonic()
            for event in self.script.events:
                self.checked(event, self.event, event)
            self.finish()
        finally:
            self.reset()
            agent.close()
            self.link.forget(self.here)

    def checked(self, event, step, *arguments):
        """What goes wrong is said with the line of the event."""
        try:
            step(*arguments)
        except ScriptError as error:
            if str(error).startswith(self.script.path):  # of the call before, which had not returned
                raise
            raise ScriptError(f"{self.script.path}:{event.line}: {error}\n    {event.text}\n" + self.story()) from None

    def story(self):
        return "".join(f"      {line}\n" for line in self.trace[-14:])

    def say(self, text):
        self.trace.append(f"{time.monotonic() - self.start:8.4f} {text}")
        if self.verbose:
            print(self.trace[-1], flush=True)

    def finish(self):
        if self.pending:
            self.checked(self.pending_event, self.await_pending)
        self.unsettled = True
        self.settle()
        self.take(0)
        if self.kept and self.kept[0].time < self.reached:
            raise ScriptError(f"{self.script.path}:{self.script.events[-1].line}: at the end, and not in the script: {self.show(self.kept[0])}\n" + self.story())

    def event(self, event):
        what = event.what
        if isinstance(what, Packet) and not what.inbound:
            self.expect(event.when, what)
            return
        if isinstance(what, Call):
            if self.pending:
                self.checked(self.pending_event, self.await_pending)
            self.wait(event.when)
            self.pending_event, self.reached = event, time.monotonic()
            if self.side == "bulkhead":  # Linux has seen it as soon as it was written to the TAP
                self.settle()
            self.call(event.when, what)
            return
        self.wait(event.when)
        self.last = self.reached = time.monotonic()
        if isinstance(what, Packet):
            self.inject(what)
        elif isinstance(what, Icmp):
            self.inject_icmp(what)
        self.unsettled = what is not None or self.unsettled

    def reset(self):
        """Whatever there is of the connection ends, so that it disturbs nobody: the stack is told by a reset just where it waits."""
        if self.seen and self.link.stack_mac:
            last = self.seen[-1]
            self.send(seq=last.ack, ack=last.seq + last.length, flags=F["R"] | F["."])

    # ---- packets

    def send(self, **more):
        values = dict(seq=0, ack=0, flags=0, window=0, options=(), payload=b"", source_port=self.peer_port, port=self.port) | more
        self.link.send_ip(frames.tcp_packet(self.here, self.there, frames.Segment(**values)))

    def settle(self):
        """What was sent has been seen by the stack: a SYN to a port where nobody listens is answered behind it."""
        if not self.unsettled:
            return
        self.unsettled = False
        for _ in range(10):
            self.send(seq=1, flags=F["S"], source_port=1, port=1, window=1000)
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                s = self.take_one(end - time.monotonic())
                if s is not None and s.port == 1:
                    return
        raise ScriptError("the stack does not answer a SYN to a closed port")

    def take_one(self, seconds):
        """The next from the stack, kept unless it is for the port that settle() uses; None: none came."""
        try:
            s = self.queue.get(timeout=seconds) if seconds > 0 else self.queue.get_nowait()
        except queue.Empty:
            return None
        if s.port == 1 or s.port >= 20000:  # what settle() and flood() caused
            return s
        self.kept.append(s)
        self.seen.append(s)
        self.say("> " + self.show(s))
        return s

    def take(self, seconds):
        """Whether one is there, waiting for so long at most."""
        end = time.monotonic() + seconds
        while True:
            while self.take_one(0) is not None:
                pass
            if self.kept:
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.take_one(left)

    def show(self, s):
        """As a script would write it."""
        seq = (s.seq - self.connection.offset) & frames.MASK
        ack = f" ack {s.ack}" if s.flags & F["."] else ""
        options = " ".join(str(o) for o in s.options)
        ecn = {0: "", 1: " ect1", 2: " ect0", 3: " ce"}[s.ecn]
        return (f"{s.time - self.start:.4f} {frames.flags_text(s.flags)} {seq}:{seq + s.length}({s.length}){ack} win {s.window}"
                f" <{options}>{ecn}{' ' + s.fault if s.fault else ''}")

    def inject(self, p):
        flags = 0
        for letter in p.flags:
            flags |= F[letter]
        c = self.connection
        c.sent(p)
        options = tuple(self.option_out(o) for o in p.options or ())
        ack = 0 if p.ack is None else p.ack + c.offset
        payload = frames.pattern(p.seq - 1, p.length) if p.seq > 0 else bytes(p.length)
        self.say(f"< {p.flags} {p.seq}:{p.seq + p.length}({p.length})" + (f" ack {p.ack}" if p.ack is not None else "") +
                 (f" win {p.window}" if p.window is not None else ""))
        self.send(seq=p.seq, ack=ack, flags=flags, window=p.window or 0, options=options, payload=payload, urgent=p.urgent or 0,
                  ecn=frames.ECN.get(p.ecn, 0))

    def option_out(self, option):
        """SACK blocks and echoed timestamps are the stack's numbers."""
        c = self.connection
        if option[0] == "sack":
            return ("sack", tuple((a + c.offset, b + c.offset) for a, b in option[1]))
        if option[0] == "TS":
            return ("TS", option[1], c.stamp(option[2]))
        return option

    def inject_icmp(self, e):
        """Quotes what the stack sent, if it sent it, else what it might have."""
        seq = (e.seq + self.connection.offset) & frames.MASK
        self.say(f"< icmp {e.kind}")
        about = next((s.raw for s in reversed(self.seen) if s.seq == seq and s.length == e.length), None)
        if about is None:
            about = frames.tcp_packet(self.there, self.here, frames.Segment(seq, 0, F["."], 1000, (), bytes(e.length), self.port, self.peer_port))
        self.link.send_ip(frames.icmp_packet(self.here, self.there, e.kind, e.mtu, about))

    # ---- what has to come

    def expect(self, when, p):
        """One segment, or several that are the same octets."""
        start = None if when.kind == "any" else self.target(when)
        end = start if when.end is None else self.target(when, when.end)
        deadline = self.last + 10 if start is None else end + self.tolerance + PATIENCE
        want, at = p.length, p.seq
        while True:
            if not self.take(deadline - time.monotonic()):
                raise ScriptError("nothing came" if want == p.length else f"only {p.length - want} of {p.length} octets came")
            s = self.kept.pop(0)
            if s.port == self.peer_port and (s.flags & F["S"]) and not s.flags & F["."]:
                self.port = s.source_port
            self.connection.learn(p, s)
            self.check(p, s, at, want)
            if start is not None and not start - self.tolerance <= s.time <= end + self.tolerance:
                raise ScriptError(f"at {s.time - self.start:.4f} s, not at {start - self.start:.4f}"
                                  + (f" to {end - self.start:.4f}" if end != start else "") + f" (tolerance {self.tolerance:.3f})")
            want, at = want - s.length, at + s.length
            if want <= 0:
                break
        self.last = self.reached = s.time

    def check(self, p, s, at, want):
        """Segment s against p, of which `want` octets from `at` are still to come."""
        def wrong(what):
            raise ScriptError(f"{what}: {self.show(s)}")
        if s.fault:
            wrong(s.fault)
        last = s.length >= want
        if (s.seq - self.connection.offset) & frames.MASK != at & frames.MASK:
            wrong(f"sequence number is not {at}")
        if s.length > want or (s.length == 0) != (want == 0):
            wrong(f"not {want} octets")
        if self.connection.mss and s.length > self.connection.mss:
            wrong(f"larger than the MSS of {self.connection.mss}")
        must, may = self.flags_of(p.flags, last)
        if s.flags & ~may & 0xFF or ~s.flags & must:
            wrong(f"flags are not {p.flags}")
        if p.ack is not None and s.ack != p.ack & frames.MASK:
            wrong(f"acknowledgement is not {p.ack}")
        if p.window is not None and s.window != p.window:
            wrong(f"window is not {p.window}")
        if p.urgent is not None and s.urgent != p.urgent:
            wrong(f"urgent pointer is not {p.urgent}")
        if p.ecn is not None and s.ecn not in ((1, 2) if p.ecn == "ect01" else (frames.ECN[p.ecn],)):
            wrong(f"ECN field is not {p.ecn}")
        self.check_options(p, s, wrong)
        if s.length and s.payload != frames.pattern(at - 1, s.length):
            wrong("its octets are not those of the stream")

    def flags_of(self, text, last):
        """(that have to be there, that may be). PSH is the sender's choice; FIN is on the last piece."""
        must = 0
        for letter in text:
            must |= F[letter]
        if not last:
            must &= ~(F["F"] | F["P"])
        return must, must | F["P"]

    def check_options(self, p, s, wrong):
        """The same, in any order, padding aside."""
        if p.options == "any":
            for o in s.options:
                if o[0] == "TS":
                    self.connection.stamped(None, o[1], s.time)
            return
        want = [o for o in p.options or () if o[0] not in ("nop", "eol")]
        got = [o for o in s.options if o[0] not in ("nop", "eol")]
        if sorted(o[0] for o in want) != sorted(o[0] for o in got):
            wrong("options are not <" + ", ".join(o[0] for o in want) + ">")
        for o in want:
            found = next(g for g in got if g[0] == o[0])
            if o[0] == "TS":
                self.check_stamp(o, found, s, wrong)
            elif o != found and o[1] is not None:
                wrong(f"option is not {o}")

    def check_stamp(self, want, got, s, wrong):
        """The value's number is a name. The clock has to tick in milliseconds since the first."""
        if got[2] != want[2] & frames.MASK:
            wrong(f"echoes {got[2]}, not {want[2]}")
        stamps = self.connection.stamps
        if stamps:
            live, when = next(iter(stamps.values()))
            passed = (got[1] - live) & frames.MASK
            if abs(passed - (s.time - when) * 1000) > 1000 * self.tolerance + 20:
                wrong(f"the timestamp's clock moved by {passed} in {s.time - when:.3f} s")
        self.connection.stamped(want[1], got[1], s.time)

    # ---- calls

    def call(self, when, c):
        maker = getattr(self, "call_" + c.name, None)
        if maker is None:
            raise ScriptError(f"a call that is not known: {c.name}")
        command, check = maker(c, c.arguments)
        begun = time.monotonic()
        if command is None:  # it was not the agent's
            self.pending, self.last = None, begun
            return
        background = when.end is not None
        number = self.agent.begin(background, *command)
        self.pending = (number, c, check, when.start, None if when.end is None else begun + when.end - when.start)
        self.last = begun
        if not background:
            self.await_pending()
            self.last = time.monotonic()

    def await_pending(self):
        number, c, check, _, end = self.pending
        self.pending = None
        until = (time.monotonic() + 5) if end is None else end + self.tolerance + PATIENCE
        answer = self.agent.end(number, until)
        if answer is None:
            raise ScriptError(f"{c.name}() has not returned")
        result, error, begun, ended, value = answer
        name = errno.errorcode.get(error, str(error))
        self.say(f"{c.name}({', '.join(c.arguments)}) = {result}{' ' + name if error else ''} {'' if value == '-' else value}")
        if end is not None and abs(ended - end) > self.tolerance:
            raise ScriptError(f"{c.name}() returned at {ended - self.start:.4f} s, not at {end - self.start:.4f}")
        if check is not None and check(result, value):
            return
        if c.result is not None and (result != c.result or (c.error is not None and name != c.error)):
            raise ScriptError(f"{c.name}() = {result}{' ' + name if error else ''}")

    def file(self, text):
        number = value_of(text)
        if number not in self.files:
            raise ScriptError(f"descriptor {number} is not open")
        return self.files[number]

    def new_file(self, c):
        def opened(result, _):
            if c.result is not None and c.result >= 0 and result >= 0:
                self.files[c.result] = result
                self.written[result] = self.read[result] = 0
                return True
            return False
        return opened

    def address(self, host, port):
        if self.family == 4:
            return struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", port, socket.inet_aton(host))
        return struct.pack("=H", socket.AF_INET6) + struct.pack(">HI16s", port, 0, socket.inet_pton(socket.AF_INET6, host)) + bytes(4)

    def call_socket(self, c, a):
        if value_of(a[1]) & 15 != socket.SOCK_STREAM:
            raise ScriptError("only SOCK_STREAM")
        return ("socket", int(socket.AF_INET if self.family == 4 else socket.AF_INET6), value_of(a[1]), value_of(a[2])), self.new_file(c)

    def call_bind(self, c, a):
        return ("bind", self.file(a[0]), self.address(self.there, self.port).hex()), None

    def call_connect(self, c, a):
        if a[0] not in map(str, self.files):  # ksftn/tcp_basic_client: the socket's number is what socket() said
            raise ScriptError(f"descriptor {a[0]} is not open")
        self.connection.may_be_new = True
        return ("connect", self.file(a[0]), self.address(self.here, self.peer_port).hex()), None

    def call_listen(self, c, a):
        return ("listen", self.file(a[0]), value_of(a[1])), None

    def call_accept(self, c, a):
        return ("accept", self.file(a[0])), self.new_file(c)

    def call_close(self, c, a):
        return ("close", self.files.pop(value_of(a[0]), None) or self.file(a[0])), None

    def call_shutdown(self, c, a):
        return ("shutdown", self.file(a[0]), value_of(a[1])), None

    def call_write(self, c, a):
        return self.call_send(c, [a[0], a[1], a[2], "0"])

    def call_send(self, c, a):
        fd = self.file(a[0])

        def wrote(result, _):
            self.written[fd] += max(result, 0)
            return False
        return ("send", fd, value_of(a[2]), value_of(a[3]), self.written[fd]), wrote

    def call_read(self, c, a):
        return self.call_recv(c, [a[0], a[1], a[2], "0"])

    def call_recv(self, c, a):
        fd, flags = self.file(a[0]), value_of(a[3])

        def got(result, value):
            if value == "wrong":
                raise ScriptError("octets were read that are not those of the stream")
            if not flags & socket.MSG_PEEK:
                self.read[fd] += max(result, 0)
            return False
        return ("recv", fd, value_of(a[2]), flags, self.read[fd]), got

    def call_fcntl(self, c, a):
        if value_of(a[1]) != CONSTANTS["F_SETFL"]:
            raise ScriptError("only F_SETFL")
        return ("nonblock", self.file(a[0]), int(bool(value_of(a[2]) & os.O_NONBLOCK))), None

    def option_value(self, text):
        """[1], {onoff=1, linger=0}, or a string -> octets."""
        text = text.strip()
        if text.startswith('"'):
            return text.strip('"').encode()
        if text.startswith("{"):
            return b"".join(struct.pack("=i", value_of(part.split("=")[-1])) for part in split(text[1:-1]))
        inner = text[1:-1].strip()
        if inner.startswith("{") or inner.startswith('"'):
            return self.option_value(inner)
        return struct.pack("=i", getattr(errno, inner) if inner.startswith("E") and hasattr(errno, inner) else value_of(inner))

    def call_setsockopt(self, c, a):
        return ("setsockopt", self.file(a[0]), value_of(a[1]), value_of(a[2]), self.option_value(a[3]).hex()), None

    def call_getsockopt(self, c, a):
        want = self.option_value(a[3]) if a[3] != "..." else None

        def got(result, value):
            data = bytes.fromhex(value) if value != "-" else b""
            if result == 0 and want is not None and data.rstrip(b"\0") != want.rstrip(b"\0"):
                number = struct.unpack("=i", data)[0] if len(data) == 4 else data
                raise ScriptError(f"getsockopt() gives {number}" + (f" ({errno.errorcode[number]})" if a[2] == "SO_ERROR" and number else ""))
            return False
        return ("getsockopt", self.file(a[0]), value_of(a[1]), value_of(a[2]), 4 if want is None else max(len(want), 4)), got

    def call_ioctl(self, c, a):
        def got(result, value):
            if result == 0 and int(value) != value_of(a[2].strip("[]")):
                raise ScriptError(f"ioctl() gives {value}")
            return False
        return ("ioctl", self.file(a[0]), value_of(a[1])), got

    def call_flood(self, c, a):
        """So many other clients ask for a connection, and nothing more is heard of them."""
        for i in range(value_of(a[0])):
            self.send(seq=1000 * i, flags=F["S"], source_port=20000 + i, window=65535)
        self.unsettled = True
        return None, None

    def call_poll(self, c, a):
        fields = dict(part.split("=") for part in (p.strip() for p in split(a[0].strip("[]{} "))))
        fields = {k.strip(): v.strip() for k, v in fields.items()}

        def got(result, value):
            if int(value) != value_of(fields["revents"]):
                raise ScriptError(f"poll() gives {int(value):#x}, not {value_of(fields['revents']):#x}")
            return False
        return ("poll", self.file(fields["fd"]), value_of(fields["events"]), value_of(a[2])), got


# ---- many

def name_of(path):
    return pathlib.Path(path).stem


def families(script, wanted):
    return [f for f in wanted if script.ip_version in (None, f)]


def read_listed(path, side):
    """{(name, family)}: scripts that are known to fail on this side. A table: script, fails on, families, why, what Linux does, what
    Bulkhead does, the text that allows it."""
    listed = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["fails on"] == side:
                for family in row["ip"]:
                    listed[row["script"], int(family)] = row["why"]
    return listed


class Runner:
    def __init__(self, link, side, options):
        self.link, self.side, self.options = link, side, options
        self.numbers, self.seconds = itertools.count(), {}

    def attempt(self, script, family):
        """None, or what went wrong."""
        begun = time.monotonic()
        try:
            Run(script, self.link, self.side, family, next(self.numbers), self.options.tolerance, self.options.verbose).run()
            return None
        except (ScriptError, OSError) as error:
            return str(error)
        finally:
            self.seconds[script, family] = time.monotonic() - begun

    def attempt_again(self, script, family):
        """Alone, and a little later each time: what it says at last."""
        for more in range(AGAIN):
            time.sleep(0.2 * more)
            wrong = self.attempt(script, family)
            if wrong is None:
                return None
        return wrong

    def run_all(self, jobs):
        """{(name, family): what went wrong or None}"""
        results = {}
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            futures = {pool.submit(self.attempt, *job): job for job in jobs}
            for future in concurrent.futures.as_completed(futures):
                results[futures[future]] = future.result()
        return results


def collect(paths):
    for path in paths:
        path = pathlib.Path(path)
        yield from sorted(path.rglob("*.pkt")) if path.is_dir() else [path]


def report(runner, scripts, listed, wanted):
    """How many were not as they should be."""
    jobs = [(s, f) for s in scripts for f in families(s, wanted)]
    jobs.sort(key=lambda job: -sum(e.when.start for e in job[0].events))  # the slow ones first
    results, first = runner.run_all(jobs), {}
    for job, wrong in results.items():
        if wrong is not None and (name_of(job[0].path), job[1]) not in listed:
            first[job] = wrong.split("\n")[0]
            results[job] = runner.attempt_again(*job)
    bad = known = 0
    for (script, family), wrong in sorted(results.items(), key=lambda r: (name_of(r[0][0].path), r[0][1])):
        name = name_of(script.path)
        why = listed.get((name, family))
        if wrong is None and why is None:
            print(f"ok    script:{name} ip{family}, {runner.seconds[script, family]:.1f} s"
                  + (f" (the first time: {first[script, family]})" if (script, family) in first else ""))
        elif wrong is None:
            print(f"FAIL  script:{name} ip{family}: passes, but is listed ({why}): take it out of the table")
            bad += 1
        elif why is not None:
            print(f"known script:{name} ip{family}: {why}" + (f"\n{wrong}" if runner.options.verbose else ""))
            known += 1
        else:
            print(f"FAIL  script:{name} ip{family}: {wrong}")
            bad += 1
    print(f"{runner.side}: {len(results) - bad - known} scripts passed, {known} listed, {bad} failed, {len(first)} were run a second time", flush=True)
    return bad


def run_wrong(runner, paths, family):
    """Scripts that have to fail, and say what their first line says: the runner's own test. How many did not."""
    bad = 0
    for path in paths:
        text = path.read_text()
        says = text.split("\n", 1)[0].removeprefix("// ")
        for _ in range(1 + AGAIN):  # as others: the machine may be busy
            try:
                wrong = runner.attempt(parse(path, text), family)
            except ScriptError as error:
                wrong = str(error)
            as_said = wrong is not None and f": {says}" in wrong.split("\n")[0]
            if as_said:
                break
        if not as_said:
            print(f"FAIL  {path} ip{family}: is to fail with \"{says}\": {wrong}")
            bad += 1
    print(f"{runner.side}: {len(paths) - bad} wrong scripts failed as they should, {bad} did not", flush=True)
    return bad


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--side", choices=("linux", "bulkhead"), required=True)
    arguments.add_argument("--ip", choices=("4", "6", "46"), default="46")
    arguments.add_argument("--jobs", type=int, default=12)
    arguments.add_argument("--tolerance", type=float, default=0.0, help="seconds; a script's own counts if it is more")
    arguments.add_argument("--listed", help="the table of known differences")
    arguments.add_argument("--verbose", action="store_true")
    arguments.add_argument("--wrong", action="store_true", help="scripts that have to fail, with what their first line says")
    arguments.add_argument("scripts", nargs="+")
    options = arguments.parse_args()
    paths = list(collect(options.scripts))
    try:
        scripts = [] if options.wrong else [parse(path, path.read_text()) for path in paths]
    except (ScriptError, OSError) as error:
        sys.exit(f"runner: {error}")
    if not paths:
        sys.exit("runner: no script (*.pkt) there")
    link = links.KernelLink() if options.side == "linux" else links.LabLink()
    listed = read_listed(options.listed, options.side) if options.listed else {}
    runner, wanted = Runner(link, options.side, options), [int(c) for c in options.ip]
    bad = sum(run_wrong(runner, paths, f) for f in wanted) if options.wrong else report(runner, scripts, listed, wanted)
    sys.stdout.flush()
    os._exit(1 if bad else 0)  # the thread that reads the link still waits


if __name__ == "__main__":
    main()
