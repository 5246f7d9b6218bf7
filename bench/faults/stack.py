# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: the stack as the command `bulkhead` shows it, and faults as it puts them in."""
import json
import subprocess
import time

from load import BUILD


def ask(*arguments, seconds=10):
    """(exit status, stdout, stderr); status None: no answer in time."""
    try:
        done = subprocess.run([BUILD / "bulkhead", *map(str, arguments)], capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, "", "no answer in time"
    return done.returncode, done.stdout, done.stderr.strip()


def document(*arguments):
    """What it prints as JSON; None: it does not answer."""
    status, out, _ = ask(*arguments, "--json")
    return json.loads(out) if status == 0 else None


def domains():
    """{name: {"servers", "pid", "incarnation", "state"}}, "supervisor" too; None: nobody answers."""
    ps = document("ps")
    if ps is None:
        return None
    found = {d["name"]: {k: d[k] for k in ("servers", "pid", "incarnation", "state")} for d in ps["domains"]}
    found["supervisor"] = {"servers": [], "pid": ps["supervisor_pid"], "incarnation": 1, "state": "running"}
    return found


def events(since=0):
    found = document("events", "--since", since)
    return [] if found is None else found["events"]


class Injector:
    """The one place that knows how a fault is put in and how its activation is told."""

    def __init__(self, plan, places=None, timeout_ms=1000):
        self.plan, self.places, self.timeout_ms = plan, places, timeout_ms

    def arguments(self):
        p = self.plan
        found = ["inject", p["server"], p["class"], "--seed", p["fault_seed"], "--timeout", self.timeout_ms]
        found += ["--peer", p["peer"]] if p["peer"] else []
        found += ["--count", p["count"]] if p["count"] else []
        place = p.get("place") or (f"from:{self.places}" if p["group"] == "code" and self.places else None)
        found += ["--place", place] if place else []
        return found

    def put_in(self):
        """(what it says, None) or (None, why not)."""
        for _ in range(5):
            status, out, error = ask(*self.arguments(), "--json", seconds=20)
            if status == 0 or "try again" not in error:
                break
            time.sleep(0.1)
        return (json.loads(out)["text"], None) if status == 0 else (None, error or f"status {status}")

    @staticmethod
    def activation(found, domain):
        """(True, False or None: not known yet; the event) from the events since the fault was put in."""
        mine = [e for e in found if e["kind"] == "inject" and e["subject"] == domain]
        for event in mine:
            if "not activated" in event["text"] or "activation unknown" in event["text"]:  # if it showed, it was
                return False, event
            if "activated" in event["text"]:
                return True, event
        return None, None


UNTOLD = ("cannot be", "is on its way", "being restarted", "try again", "are on their way", "no fault", "no answer")


def verify(server):
    """None: all is as it should be; or what is wrong. It begins with "?" if that could not be told."""
    for _ in range(3):
        status, _, error = ask("inject", server, "verify", "--json", seconds=20)
        if status == 0:
            return None
        if not any(text in error for text in UNTOLD):
            return error
        time.sleep(0.1)
    return f"? {error}"


def plant(plan):
    """An escape on purpose, for the instrument to find. None, or why it could not be planted."""
    kind = plan["class"].removeprefix("plant-")
    if kind == "connection":
        ports = established_ports()
        if not ports:
            return "no connection to disturb"
        rule = ("table inet plant {\n chain in {\n  type filter hook input priority 0;\n"
                f"  tcp dport {ports[0]} reject with tcp reset\n }}\n}}\n")
        done = subprocess.run(["nft", "-f", "-"], input=rule, text=True, capture_output=True)
        return done.stderr.strip() or None
    status, _, error = ask("inject", plan["other"], kind if kind in ("kill", "stop") else f"plant-{kind}", "--seed", plan["fault_seed"])
    return None if status == 0 else error


def established_ports():
    """Local ports of the load's connections on the Linux side, the oldest (longest-lived: most octets) first."""
    shown = subprocess.run(["ss", "-tniH", "state", "established", "dst", "10.77.0.2"], capture_output=True, text=True).stdout
    found = []
    for line in shown.splitlines():
        if not line.startswith((" ", "\t")):
            found.append([0, int(line.split()[2].rsplit(":", 1)[1])])
        elif "bytes_acked:" in line and found:
            found[-1][0] = int(line.split("bytes_acked:")[1].split()[0])
    return [port for _, port in sorted(found, reverse=True)]


def realtime_us(monotonic_ns):
    return (time.time_ns() - time.monotonic_ns() + monotonic_ns) // 1000
