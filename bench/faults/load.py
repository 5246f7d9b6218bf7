# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: bh-load at both ends, what it says meanwhile and at its end."""
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BULKHEAD_BUILD", ROOT / "build")).resolve()
STACK, PORT, BIND_PORT = "10.77.0.2", 7100, 7190
START_S, END_S, DRAIN_MS = 15, 9, 6000


class Broken(Exception):
    """The run itself did not come about: it says nothing of the stack."""


class Program:
    """A process whose lines are JSON documents; the latest are kept."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([BUILD / "bench" / "apps" / "bh-load", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL, text=True)
        self.lines, self.status, self.said = [], {}, threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            if not line.startswith("{"):
                self.said.set()
                continue
            document = json.loads(line)
            if "at" in document:
                self.status = document
            else:
                self.lines.append(document)

    def end(self, seconds):
        """Its exit status, or None if it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
            self.process.kill()
            self.process.wait()
        self.reader.join(2)
        return status

    def error(self):
        return self.process.stderr.read().strip()


class Load:
    def __init__(self, options, seed, binds=False):
        """`binds`: somebody names and closes datagram sockets as well; nobody asks how that goes."""
        self.server = Program("--serve", str(PORT))
        if not self.server.said.wait(START_S):
            self.server.process.kill()
            raise Broken(f"the load's server does not listen: {self.server.error()}")
        self.client = Program("--stack", "linux", "--seed", str(seed), "--drain", str(DRAIN_MS), *options, f"{STACK}:{PORT}")
        end = time.monotonic() + START_S
        while not self.client.status or self.client.status["served"] < self.client.status["flows"] or self.client.status["lost"]:
            if time.monotonic() > end or self.client.process.poll() is not None:
                raise Broken(f"the load does not start: {self.client.status}")
            time.sleep(0.02)
        self.binder = Program("--bind", str(BIND_PORT)) if binds else None
        if self.binder and not self.binder.said.wait(START_S):
            raise Broken(f"no datagram socket can be bound: {self.binder.error()}")

    def status(self):
        return self.client.status

    def mark(self):
        self.client.process.send_signal(signal.SIGUSR1)

    def finish(self):
        """What both ends have to say: {"flows", "kinds", "served", "ended"}."""
        if self.binder:
            self.binder.process.kill()
            self.binder.process.wait()
        ended = {"client": self.client.end(END_S), "server": self.server.end(END_S)}
        return {"flows": [x for x in self.client.lines if "flow" in x], "kinds": {x["kind"]: x for x in self.client.lines if "kind" in x},
                "served": [x for x in self.server.lines if x.get("served") != "all"],
                "served_all": next((x for x in self.server.lines if x.get("served") == "all"), None), "ended": ended}
