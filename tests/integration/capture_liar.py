# SPDX-License-Identifier: BSD-2-Clause
"""`bulkhead capture` of a domain that lies: the test is the supervisor and the domain. A writer that is always ahead, but
never too far, cannot keep the command from seeing that its time is up or that it is interrupted; indices and lengths out
of range harm nobody."""
import array
import ctypes
import mmap
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from inside import BUILD, main

MAGIC = 0x42484B43
OCTETS, HEAD = 4 << 20, 4096  # of records, and before them
RECORD, BLOCK = 32, 44        # an empty record in the ring, and in the file
CLAIM_AT, HEAD_AT, SEQUENCE_AT, INCARNATION_AT = 0, 8, 16, 24


class Liar:
    def __init__(self, folder):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(folder / "capture"))
        self.listener.listen()
        self.fd = os.memfd_create("capture", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, HEAD + OCTETS)
        self.ring = mmap.mmap(self.fd, HEAD + OCTETS)
        self.put(INCARNATION_AT, 1)

    def put(self, at, value):
        ctypes.c_uint64.from_buffer(self.ring, at).value = value  # as one

    def serve(self):
        connection, _ = self.listener.accept()
        connection.recv(100)
        connection.sendmsg([struct.pack("<IiII", MAGIC, 0, 1, 0)],
                           [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self.fd]))])
        return connection


def capture(folder, *arguments):
    return subprocess.Popen([BUILD / "bulkhead", "capture", "nic-ip", "-w", "-", "--run-dir", folder, *arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def always_ahead(liar, process, until):
    """Reads what the command writes, and so knows how far it is. Seconds until it has ended."""
    start, read = time.monotonic(), 0
    while part := os.read(process.stdout.fileno(), 1 << 16):
        read += len(part)
        liar.put(HEAD_AT, read // BLOCK * RECORD + OCTETS // 2)
        liar.put(CLAIM_AT, read // BLOCK * RECORD + OCTETS // 2)
        if time.monotonic() - start > until:
            process.kill()
    return time.monotonic() - start, process.wait(5)


def with_liar(test, *arguments):
    with tempfile.TemporaryDirectory(prefix="bh-liar-") as name:
        liar = Liar(pathlib.Path(name))
        process = capture(name, *arguments)
        connection = liar.serve()
        try:
            test(liar, process)
        finally:
            process.kill()
            process.wait(5)
            connection.close()


def test_time_is_up():
    def run(liar, process):
        took, status = always_ahead(liar, process, 10)
        assert status == 0 and took < 5, (took, status)
    with_liar(run, "--seconds", "1")


def test_interrupted():
    def run(liar, process):
        threading.Timer(0.5, process.send_signal, [signal.SIGINT]).start()
        took, status = always_ahead(liar, process, 10)
        assert status == 0 and took < 5, (took, status)
    with_liar(run)


def test_nonsense():
    rng = random.Random(3)

    def run(liar, process):
        threading.Thread(target=process.stdout.read, daemon=True).start()
        while process.poll() is None:
            at = rng.choice((CLAIM_AT, HEAD_AT, SEQUENCE_AT))
            liar.put(at, rng.choice((0, 1, 31, 33, OCTETS, OCTETS - 1, rng.randrange(1 << 64), (1 << 64) - 1)))
            place = HEAD + rng.randrange(OCTETS // 8) * 8
            liar.put(place, rng.choice((rng.randrange(1 << 64), rng.randrange(200000), 0)))
        assert process.returncode == 0, process.returncode
    with_liar(run, "--seconds", "1")


main([test_time_is_up, test_interrupted, test_nonsense])
