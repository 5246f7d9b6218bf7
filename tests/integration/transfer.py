# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: ping, then files of MEGABYTES by curl down and up, hashes compared; with LOSS per cent dropped both ways."""
import os
import pathlib
import sys
import tempfile

from inside import (STACK, answers_ping, application, counters, curl, drop_percent, main, ping, random_file, sha256, wait_for)

MEGABYTES = int(sys.argv[1])
LOSS = float(sys.argv[2]) if len(sys.argv) > 2 else 0
PORT = 8080


def test_ping():
    done = ping(count=20, interval=0.05)
    assert done.returncode == 0 and " 0% packet loss" in done.stdout, done.stdout


def test_transfers():
    with tempfile.TemporaryDirectory(prefix="bh-transfer-") as folder:
        root = pathlib.Path(folder, "root")
        root.mkdir()
        original, fetched, stored = root / "down.bin", pathlib.Path(folder, "down.bin"), root / "up.bin"
        random_file(original, MEGABYTES << 20, 1)
        with application("bh-httpd", "--listen", PORT, root, ready=PORT):
            if LOSS:
                drop_percent(LOSS)
            down = curl("-w", "%{speed_download}", "-o", fetched, f"http://{STACK}:{PORT}/down.bin", seconds=300)
            assert down.returncode == 0, down.stderr
            up = curl("-w", "%{speed_upload}", "-T", original, f"http://{STACK}:{PORT}/up.bin", seconds=300)
            assert up.returncode == 0, up.stderr
            print(f"down {float(down.stdout) * 8e-9:.2f} Gb/s, up {float(up.stdout.split()[-1]) * 8e-9:.2f} Gb/s", flush=True)
            assert sha256(fetched) == sha256(original), "downloaded file differs"
            assert sha256(stored) == sha256(original), "uploaded file differs"
        if LOSS:
            assert counters("tcp")["tcp_retransmits"] > 0, "nothing was lost: the test tested nothing"


main([test_ping, test_transfers] if not LOSS else [test_transfers])
