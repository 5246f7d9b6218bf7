# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: Linux and the stack with ECN (RFC 3168), and a router (nftables) that marks some of what is ECT. MODE is that of
the stack: passive, on or off."""
import subprocess
import sys

from inside import APPS, HOST, STACK, STACK6, application, counters, main, nft, super_segments_off
from sack import ECHO, through_echo

MODE = sys.argv[1]
ECN, ECN_SEEN = 8, 16  # TCPI_OPT_*
NAMES = ("tcp_ecn_connections", "tcp_ce_in", "tcp_ece_in", "tcp_retransmits", "tcp_timeouts")
BOTH = "tcp flags & (ecn | cwr)"


def tcp_ecn(value):
    with open("/proc/sys/net/ipv4/tcp_ecn", "w") as file:
        file.write(str(value))


def router(every):
    """Marks one of so many that are ECT, counts what is said of it."""
    chains = ""
    for way, hook, device in (("in", "input", "iifname"), ("out", "output", "oifname")):
        marks = "".join(f"{ip} ecn ect0 numgen inc mod {every} == 0 counter name ce_{way} {ip} ecn set ce; " for ip in ("ip", "ip6"))
        chains += f"""chain {way} {{ type filter hook {hook} priority 0; {device} != "bh0" accept; meta l4proto != tcp accept;
            tcp flags & (syn | ecn | cwr) == ecn counter name ece_{way}
            tcp flags & (syn | cwr) == cwr counter name cwr_{way}
            tcp flags & (syn | ack | ecn | cwr) == (syn | ecn | cwr) counter name asks_{way}
            tcp flags & (syn | ack | ecn | cwr) == (syn | ack | ecn) counter name agrees_{way}
            {marks} }}\n"""
    kinds = "".join(f"counter {kind}_{way} {{ }}\n" for kind in ("ece", "cwr", "asks", "agrees", "ce") for way in ("in", "out"))
    nft(f"table inet router {{\n{kinds}{chains}}}")


def routed():
    """What the router counted; it is gone then."""
    listed = subprocess.run(["nft", "list", "counters", "table", "inet", "router"], capture_output=True, text=True, check=True).stdout
    nft("delete table inet router")
    words = listed.split()
    return {words[i + 1]: int(words[i + 4]) for i, word in enumerate(words) if word == "counter"}


def test_linux_asks():
    """Marks both ways: both sides come down and say so, and nothing is sent twice."""
    tcp_ecn(1)
    super_segments_off()
    for address in (STACK, STACK6):
        before = counters("tcp")
        router(50)
        info = through_echo(address, 8 << 20)
        seen, after = routed(), counters("tcp")
        moved = {name: after[name] - before[name] for name in NAMES}
        print(address, seen, moved, "delivered_ce", int.from_bytes(info[196:200], "little"), flush=True)
        if MODE == "off":
            assert not info[5] & ECN and seen["agrees_in"] == 0 and seen["ce_in"] == seen["ce_out"] == 0
            continue
        assert info[5] & ECN and info[5] & ECN_SEEN, f"options {info[5]:#x}"
        assert seen["asks_out"] == seen["agrees_in"] == moved["tcp_ecn_connections"] == 1
        assert seen["ce_out"] > 0 and moved["tcp_ce_in"] >= seen["ce_out"], "a packet is one segment or more"
        assert seen["ece_in"] > 0 and seen["cwr_out"] > 0, "the stack echoes, Linux comes down"
        assert int.from_bytes(info[196:200], "little") > 0, "Linux was told"
        assert seen["ce_in"] > 0 and seen["ece_out"] > 0, "Linux echoes"
        assert moved["tcp_ece_in"] > 0 and seen["cwr_in"] > 0, "the stack comes down"
        assert moved["tcp_retransmits"] == 0, "nothing was lost"


def test_stack_asks():
    """Of Linux, which is willing (net.ipv4.tcp_ecn=2) and knows no more of it than what is in the SYN."""
    tcp_ecn(2)
    router(50)
    before = counters("tcp")
    sink = subprocess.Popen([APPS / "bh-sink", "--stack", "linux", "--check", "--listen", f"{HOST}:7102"],
                            stdout=subprocess.PIPE, text=True)
    try:
        assert "listening" in sink.stdout.readline()
        subprocess.run([APPS / "bh-source", "--stack", "bulkhead", "--octets", "20000000", f"{HOST}:7102"], check=True, timeout=60,
                       stdout=subprocess.DEVNULL)
        assert sink.wait(10) == 0 and "20000000" in sink.stdout.read()
    finally:
        if sink.poll() is None:
            sink.kill()
            sink.wait()
    seen, after = routed(), counters("tcp")
    moved = {name: after[name] - before[name] for name in NAMES}
    print(seen, moved, flush=True)
    asks = int(MODE == "on")
    assert seen["asks_in"] == seen["agrees_out"] == moved["tcp_ecn_connections"] == asks
    assert (seen["ce_in"] > 0) == (seen["ece_out"] > 0) == (seen["cwr_in"] > 0) == (moved["tcp_ece_in"] > 0) == bool(asks)


with application("bh-echo", f"[::]:{ECHO}", ready=ECHO):
    main([test_linux_asks, test_stack_asks])
