# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: one round of figures, as JSON on stdout. The server program runs on the stack named by the argument (bulkhead, or
linux: in a second network namespace behind a veth pair, Linux's own stack on the same kind of link), its peer always on Linux."""
import json
import os
import re
import signal
import subprocess
import sys

from inside import APPS, STACK, STACK6, domains, wait_for

BULK_OCTETS = int(os.environ.get("BENCH_OCTETS", 1_000_000_000))
ROUND_TRIPS = int(os.environ.get("BENCH_ROUND_TRIPS", 10_000))
CONNECTIONS = int(os.environ.get("BENCH_CONNECTIONS", 3_000))
AT_ONCE = int(os.environ.get("BENCH_AT_ONCE", 100))
PORT = 9000


class Bulkhead:
    addresses = STACK, f"[{STACK6}]"

    def start(self, *arguments):
        return subprocess.Popen([APPS / arguments[0], *map(str, arguments[1:])], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)


class Linux:
    """A second host: a network namespace behind veth, made without root."""
    addresses = "10.78.0.2", "[fd78::2]"

    def __init__(self):
        self.holder = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", "sleep", "600"])
        own = os.readlink("/proc/self/ns/net")
        wait_for("the namespace", lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own
                 and open(f"/proc/{self.holder.pid}/uid_map").read().strip() != "")
        for command in (f"link add veth0 type veth peer name veth1 netns {self.holder.pid}",
                        "addr add 10.78.0.1/24 dev veth0", "addr add fd78::1/64 dev veth0 nodad", "link set veth0 up"):
            subprocess.run(["ip", *command.split()], check=True)
        for command in ("addr add 10.78.0.2/24 dev veth1", "addr add fd78::2/64 dev veth1 nodad", "link set veth1 up"):
            subprocess.run(self.enter() + ["ip", *command.split()], check=True)

    def enter(self):
        return ["nsenter", "--target", str(self.holder.pid), "--user", "--net", "--preserve-credentials"]

    def start(self, *arguments):
        return subprocess.Popen(self.enter() + [APPS / arguments[0], "--stack", "linux", *map(str, arguments[1:])],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def busy_seconds():
    fields = [int(f) for f in open("/proc/stat").readline().split()[1:]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def peer(*arguments):
    done = subprocess.run([APPS / arguments[0], "--stack", "linux", *map(str, arguments[1:])], capture_output=True,
                          text=True, timeout=120)
    if done.returncode != 0:
        raise SystemExit(f"{arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def with_server(host, program, *arguments):
    """Starts a server on `host`, waits until it says that it listens, runs the peer, ends the server."""
    def run(call):
        server = host.start(program, *arguments)
        line = server.stdout.readline()
        if not line:
            raise SystemExit(f"{program}: {server.stderr.read().strip()}")
        try:
            return call()
        finally:
            server.terminate()
            server.communicate(timeout=15)
    return run


def gigabits(text):
    return float(re.search(r"([\d.]+) Gb/s", text)[1])


def microseconds(text):
    return float(re.search(r"median ([\d.]+) us", text)[1])


def a_second(text):
    return float(re.search(r"([\d.]+) a second", text)[1])


def main():
    host = Bulkhead() if sys.argv[1] == "bulkhead" else Linux()
    four, six = (f"{address}:{PORT}" for address in host.addresses)
    result = {}

    def bulk(server, server_arguments, client, client_arguments, name, at):
        start = busy_seconds()
        text = with_server(host, server, "--listen", PORT, *server_arguments)(lambda: peer(client, *client_arguments, at))
        result[name] = gigabits(text)
        result[name + "_cpu"] = (busy_seconds() - start) / (BULK_OCTETS / 1e9)

    for family, at in (("", four), ("6", six)):
        bulk("bh-source", ("--octets", BULK_OCTETS), "bh-sink", (), "out" + family, at)
        bulk("bh-sink", (), "bh-source", ("--octets", BULK_OCTETS), "in" + family, at)

    def round_trips():
        for name, at in (("rr_us", four), ("rr6_us", six)):
            result[name] = microseconds(peer("bh-rr", "--count", ROUND_TRIPS, at))
        result["connects"] = a_second(peer("bh-rr", "--count", CONNECTIONS, "--connects", four))
        result["at_once"] = a_second(peer("bh-rr", "--connections", AT_ONCE, "--count", 5 * ROUND_TRIPS, four, six))

    def datagrams():
        for name, at in (("udp_us", four), ("udp6_us", six)):
            result[name] = microseconds(peer("bh-rr", "--udp", "--count", ROUND_TRIPS, at))

    with_server(host, "bh-echo", PORT)(round_trips)
    with_server(host, "bh-echo", "--udp", PORT)(datagrams)
    if isinstance(host, Bulkhead):
        result["private_kib"] = {d["name"]: d["private_kib"] for d in domains()}
    else:
        host.holder.send_signal(signal.SIGKILL)
    print(json.dumps(result))


main()
