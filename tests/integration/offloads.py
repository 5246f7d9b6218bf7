# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: the TAP has the offloads that this kernel can give, and Linux uses them: what it segments comes as one."""
import ctypes
import fcntl
import platform
import re
import socket
import struct

from inside import STACK, counters, main, wait_for

SIOCETHTOOL, ETHTOOL_GSSET_INFO, ETHTOOL_GSTRINGS, ETHTOOL_GFEATURES, ETH_SS_FEATURES = 0x8946, 0x37, 0x1b, 0x3a, 4
UDP_SEGMENT, PIECE, PIECES = 103, 1000, 20


def ethtool(request):
    buffer = ctypes.create_string_buffer(request, len(request))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sQ16x", b"bh0", ctypes.addressof(buffer)))
    return buffer.raw


def features():
    """Names of what is on in bh0, as `ethtool -k` would show them."""
    count = struct.unpack_from("I", ethtool(struct.pack("IIQI", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0)), 16)[0]
    strings = ethtool(struct.pack("III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count) + bytes(32 * count))[12:]
    names = [strings[i * 32:i * 32 + 32].split(b"\0")[0].decode() for i in range(count)]
    words = (count + 31) // 32
    blocks = ethtool(struct.pack("II", ETHTOOL_GFEATURES, words) + bytes(16 * words))[8:]
    active = [struct.unpack_from("4I", blocks, 16 * i)[2] for i in range(words)]
    return {name for i, name in enumerate(names) if active[i // 32] >> i % 32 & 1}


def kernel_has_uso():
    major, minor = map(int, re.match(r"(\d+)\.(\d+)", platform.release()).groups())
    return (major, minor) >= (6, 2)


def test_features():
    on = features()
    wanted = {"tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation"}
    if kernel_has_uso():
        wanted.add("tx-udp-segmentation")
    assert wanted <= on, f"missing: {wanted - on}"


def test_udp_comes_whole():
    if not kernel_has_uso():
        print("skipped: Linux 6.2 has it first", flush=True)
        return
    before = counters("nic")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, PIECE)
        s.sendto(bytes(PIECE * PIECES), (STACK, 4444))  # no one's port: it is the frame that counts
    wait_for("one frame of all the datagrams", lambda: counters("nic")["super_frames_in"] > before["super_frames_in"])
    assert counters("nic")["octets_in"] - before["octets_in"] > PIECE * PIECES
    assert counters("nic")["drop_in_offload"] == before["drop_in_offload"]


main([test_features, test_udp_comes_whole])
