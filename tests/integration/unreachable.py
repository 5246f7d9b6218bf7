# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: what connect() says when nobody answers for the other end: no route, a neighbour that is not there, and each
reason that a router (Linux) gives. The last are held against what Linux's own connect() says behind the same router."""
import errno
import socket
import subprocess
import sys
import time

from inside import counters, host_behind, main
from stack_socket import StackSocket

PORT = 7014
# what the router does, and what it is about; the addresses are the n-th of these networks
REASONS = ("icmp type net-unreachable", "icmp type host-unreachable", "icmp type prot-unreachable",
           "icmp type port-unreachable", "icmp type admin-prohibited", "icmp type net-prohibited",
           "icmp type host-prohibited", "icmpv6 type no-route", "icmpv6 type admin-prohibited",
           "icmpv6 type addr-unreachable", "icmpv6 type port-unreachable", "icmpv6 type policy-fail",
           "icmpv6 type reject-route")


def run(*command):
    subprocess.run(command, check=True)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tried(address):
    """(error, seconds) of a connect of the stack."""
    begin = time.monotonic()
    with StackSocket(family_of(address), socket.SOCK_STREAM) as s:
        try:
            s.connect((address, PORT))
        except OSError as e:
            return e.errno, time.monotonic() - begin
    return 0, time.monotonic() - begin


LINUX = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.settimeout(20)
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    print(0)
except OSError as e:
    print(e.errno)
"""


def linux(pid, address):
    return int(subprocess.run(["nsenter", "-t", str(pid), "-n", sys.executable, "-c", LINUX, address, str(PORT)],
                              check=True, capture_output=True, text=True).stdout)


def name(error):
    return errno.errorcode.get(error, error)


def test_no_route():
    for address in ("192.0.2.1", "2001:db8::1"):
        error, seconds = tried(address)
        assert name(error) == "ENETUNREACH" and seconds < 0.5, f"{address}: {name(error)} after {seconds:.1f} s"


def test_no_neighbour():
    """As Linux: three requests, a second apart."""
    for address in ("10.77.0.99", "fd77::99"):
        error, seconds = tried(address)
        assert name(error) == "EHOSTUNREACH" and 1.5 < seconds < 6, f"{address}: {name(error)} after {seconds:.1f} s"


def client():
    """A Linux host behind the same router: its namespace is held by a process of ours."""
    holder = host_behind("v0", "v1")
    inside = ["nsenter", "-t", str(holder.pid), "-n"]
    run("ip", "link", "set", "v0", "up")
    run(*inside, "ip", "link", "set", "v1", "up")
    for router, host in (("192.0.2.1/24", "192.0.2.2/24"), ("2001:db8::1/64", "2001:db8::2/64")):
        v6 = ("nodad",) if ":" in host else ()
        run("ip", "address", "add", router, "dev", "v0", *v6)
        run(*inside, "ip", "address", "add", host, "dev", "v1", *v6)
        run(*inside, "ip", "route", "add", "default", "via", router.split("/")[0])
    return holder


def address_of(n, reason):
    return f"fd99::{n + 1:x}" if "icmpv6" in reason else f"198.51.100.{n + 1}"


def test_reasons():
    holder = client()
    try:
        run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.icmp_ratelimit=0",
            "net.ipv6.icmp.ratelimit=0")
        run("ip", "route", "add", "198.51.100.0/24", "dev", "v0")
        run("ip", "route", "add", "fd99::/64", "dev", "v0")
        run("nft", "add table inet reasons; add chain inet reasons f { type filter hook forward priority 0; }")
        for n, reason in enumerate(REASONS):
            family = "ip6" if "icmpv6" in reason else "ip"
            run("nft", f"add rule inet reasons f {family} daddr {address_of(n, reason)} tcp dport {PORT} reject with {reason}")
        for n, reason in enumerate(REASONS):
            error, seconds = tried(address_of(n, reason))
            wanted = linux(holder.pid, address_of(n, reason))
            print(f"{reason}: {name(error)} after {seconds:.2f} s, Linux {name(wanted)}")
            assert error != 0 and error == wanted, f"{reason}: {name(error)}, Linux says {name(wanted)}"
            assert seconds < 10, f"{reason}: after {seconds:.1f} s"
        assert counters("tcp")["tcp_drop_unreachable"] == 0
    finally:
        holder.terminate()
        holder.wait()


if __name__ == "__main__":
    if sys.argv[1] == "no-route":
        main((test_no_route, test_no_neighbour))
    else:
        main((test_reasons,))
