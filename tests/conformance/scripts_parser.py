# SPDX-License-Identifier: BSD-2-Clause
"""A packet script in packetdrill's language -> a list of events. README.md says which part of the language is read; anything else is
a ScriptError with its line.

    [time] < packet          comes to the stack          [time] call(...) = result [ERRNO]
    [time] > packet          has to come from it         [time] `true`"""
import dataclasses
import re


class ScriptError(Exception):
    """What is wrong with a script, or with what came: one line that names the line of the script."""


@dataclasses.dataclass
class When:
    """Seconds; kind "relative" to the event before, "absolute" to the script's start, or "any". `end` of a range, or None."""
    kind: str = "relative"
    start: float = 0.0
    end: float | None = None


@dataclasses.dataclass
class Packet:
    """A segment as the script writes it. None: not said. `options`: None is none, "any" is <...>."""
    inbound: bool
    flags: str
    seq: int
    length: int
    ack: int | None = None
    window: int | None = None
    urgent: int | None = None
    options: object = None
    ecn: str | None = None


@dataclasses.dataclass
class Icmp:
    """An error that comes to the stack, about a segment of its own."""
    kind: str
    mtu: int | None
    seq: int
    length: int


@dataclasses.dataclass
class Call:
    name: str
    arguments: list
    result: object  # int, or None for any
    error: str | None


@dataclasses.dataclass
class Event:
    line: int
    text: str
    when: When
    what: object  # Packet, Icmp, Call, or None: a point in time


@dataclasses.dataclass(eq=False)
class Script:
    path: str
    events: list
    ip_version: int | None = None
    tolerance: float | None = None


NUMBER = r"(?:\d+(?:\.\d+)?|\.\d+)"
TIME = re.compile(rf"(?:(\*)|(\+?)({NUMBER})(?:(?:\.\.\.|~)\+?({NUMBER}))?)\s*(?=\S)")
SEGMENT = re.compile(r"(?:\[(noecn|ect0|ect1|ect01|ce)\]\s*)?([-FSRP.UEW]+)\s+(\d+):(\d+)\((\d+)\)"
                     r"(?:\s+ack\s+(\d+))?(?:\s+win\s+(\d+))?(?:\s+urg\s+(\d+))?(?:\s*<(.*)>)?\s*$")
ECHOED = r"\[(\d+):(\d+)\((\d+)\)\]"
ICMP = re.compile(rf"(?:{ECHOED}\s*)?icmp\s+([a-z_]+)(?:\s+([a-z_]+))?(?:\s+mtu\s+(\d+))?(?:\s*{ECHOED})?\s*$")
CALL = re.compile(r"([a-z_0-9]+)\s*\((.*)\)\s*=\s*(-?\d+|0x[0-9a-fA-F]+|\.\.\.)(?:\s+([A-Z0-9]+))?(?:\s*\([^)]*\))?\s*$", re.S)
ICMP_KINDS = {"net_unreachable", "host_unreachable", "protocol_unreachable", "port_unreachable", "frag_needed", "packet_too_big",
              "net_prohibited", "host_prohibited", "admin_prohibited", "time_exceeded", "source_quench"}


def numbers(a, b, n):
    a, b, n = int(a), int(b), int(n)
    if b - a != n:
        raise ScriptError(f"{a}:{b}({n}) does not add up")
    return a, n


def parse_option(text):
    words = text.replace(":", " ").split()
    name, values = words[0], words[1:]
    if name in ("nop", "eol", "sackOK") and not values:
        return (name,)
    if name in ("mss", "wscale") and len(values) == 1:
        return (name, None if values[0] == "any" else int(values[0]))
    if name == "TS" and len(values) == 4 and values[0] == "val" and values[2] == "ecr":
        return ("TS", int(values[1]), int(values[3]))
    if name == "sack" and values and len(values) % 2 == 0:
        return ("sack", tuple((int(a), int(b)) for a, b in zip(values[::2], values[1::2])))
    if name == "raw" and len(values) == 1:
        return ("raw", bytes.fromhex(values[0]))
    raise ScriptError(f"an option that is not known: {text.strip()}")


def parse_options(text):
    if text is None or text.strip() == "":
        return None if text is None else ()
    if text.strip() == "...":
        return "any"
    return tuple(parse_option(o) for o in text.split(","))


def parse_segment(text, inbound):
    m = SEGMENT.match(text)
    if not m:
        raise ScriptError("not a packet")
    ecn, flags, a, b, n, ack, window, urgent, options = m.groups()
    seq, length = numbers(a, b, n)
    as_int = lambda s: None if s is None else int(s)
    packet = Packet(inbound, flags, seq, length, as_int(ack), as_int(window), as_int(urgent), parse_options(options), ecn)
    if packet.ack is not None and "." not in flags and not inbound:
        raise ScriptError("an acknowledgement number, but no '.' among the flags")
    if inbound and packet.options == "any":
        raise ScriptError("a packet that is sent has to say its options")
    if inbound and any(len(o) == 2 and o[1] is None for o in packet.options or ()):
        raise ScriptError("a packet that is sent has to say its options' values")
    return packet


def parse_icmp(text, inbound):
    m = ICMP.match(text)
    if not m or not inbound:
        raise ScriptError("not an ICMP error that can be sent")
    echoed = [g for g in m.group(1, 2, 3, 7, 8, 9) if g is not None]
    kind = m.group(5) or m.group(4)
    if kind not in ICMP_KINDS:
        raise ScriptError(f"an ICMP error that is not known: {kind}")
    if len(echoed) != 3:
        raise ScriptError("an ICMP error says about which segment it is: [1:1001(1000)]")
    seq, length = numbers(*echoed)
    return Icmp(kind, int(m.group(6)) if m.group(6) else None, seq, length)


def split(text):
    """At commas that are in no bracket."""
    parts, depth, current = [], 0, ""
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += c
    return parts + [current.strip()] if current.strip() or parts else []


def parse_call(text):
    m = CALL.match(text)
    if not m:
        raise ScriptError("neither a packet nor a call")
    name, arguments, result, error = m.groups()
    return Call(name, split(arguments), None if result == "..." else int(result, 0), error)


def parse_when(text):
    """(When, the rest). Without a time: at once."""
    m = TIME.match(text)
    if not m:
        return When(), text
    star, plus, start, end = m.groups()
    rest = text[m.end():]
    if star:
        return When("any"), rest
    return When("relative" if plus else "absolute", float(start), float(end) if end else None), rest


def parse_event(text):
    when, rest = parse_when(text)
    rest = rest.strip()
    if rest[:1] in "<>" and rest:
        parse = parse_icmp if re.search(r"\bicmp\b", rest) else parse_segment
        return when, parse(rest[1:].strip(), rest[0] == "<")
    if rest.startswith("`"):
        if rest != "`true`":
            raise ScriptError("the only command that is run is `true`")
        return when, None
    return when, parse_call(rest)


def without_comments(text):
    """As many lines as before."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    return re.sub(r"(//|(?<=\n)[ \t]*#|^#).*", "", text)


def option(script, text):
    name, _, value = text[2:].partition("=")
    if name == "ip_version" and value in ("ipv4", "ipv6"):
        script.ip_version = int(value[-1])
    elif name == "tolerance_usecs" and value.isdigit():
        script.tolerance = int(value) / 1e6
    else:
        raise ScriptError(f"an option that is not known: {text}")


def statements(text):
    """(line, text): a statement goes on as long as a bracket is open."""
    pending, first = "", 0
    for number, line in enumerate(without_comments(text).split("\n"), 1):
        if not line.strip():
            continue
        first = first if pending else number
        pending = f"{pending} {line.strip()}".strip()
        if pending.count("(") <= pending.count(")"):
            yield first, pending
            pending = ""
    if pending:
        yield first, pending


def parse(path, text):
    script = Script(str(path), [])
    for line, statement in statements(text):
        try:
            if statement.startswith("--"):
                for word in statement.split():
                    option(script, word)
            else:
                when, what = parse_event(statement)
                script.events.append(Event(line, statement, when, what))
        except ScriptError as error:
            raise ScriptError(f"{path}:{line}: {error}: {statement}") from None
    if not script.events:
        raise ScriptError(f"{path}:1: no event")
    return script
