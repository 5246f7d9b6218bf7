# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: ping, then files of MEGABYTES by curl down and up, hashes compared; with LOSS per cent dropped both ways, and Linux
sending no super-segments then, so that each of its segments is lost by itself; over the families of FAMILIES (4, 6, 46)."""
import pathlib
import sys
import tempfile

from inside import (STACK, STACK6, application, counters, curl, drop_percent, main, ping, random_file, sha256,
                    super_segments_off)

MEGABYTES = int(sys.argv[1])
LOSS = float(sys.argv[2]) if len(sys.argv) > 2 else 0
FAMILIES = sys.argv[3] if len(sys.argv) > 3 else "4"
PORT = 8080
SECONDS = 900 if LOSS else 300  # without SACK a loss often costs a timeout
HOSTS = [host for family, host in (("4", STACK), ("6", f"[{STACK6}]")) if family in FAMILIES]


def test_ping():
    done = ping(count=20, interval=0.05)
    assert done.returncode == 0 and " 0% packet loss" in done.stdout, done.stdout


def transfer(folder, host):
    original, fetched, stored = folder / "root" / "down.bin", folder / "down.bin", folder / "root" / "up.bin"
    url = f"http://{host}:{PORT}"
    down = curl("-w", "%{speed_download}", "-o", fetched, f"{url}/down.bin", seconds=SECONDS)
    assert down.returncode == 0, down.stderr
    up = curl("-w", "%{speed_upload}", "-T", original, f"{url}/up.bin", seconds=SECONDS)
    assert up.returncode == 0, up.stderr
    print(f"{host}: down {float(down.stdout) * 8e-9:.2f} Gb/s, up {float(up.stdout.split()[-1]) * 8e-9:.2f} Gb/s", flush=True)
    assert sha256(fetched) == sha256(original), "downloaded file differs"
    assert sha256(stored) == sha256(original), "uploaded file differs"
    fetched.unlink()
    stored.unlink()


def test_transfers():
    with tempfile.TemporaryDirectory(prefix="bh-transfer-") as name:
        folder = pathlib.Path(name)
        (folder / "root").mkdir()
        random_file(folder / "root" / "down.bin", MEGABYTES << 20, 1)
        where = PORT if FAMILIES == "4" else f"[::]:{PORT}"
        with application("bh-httpd", "--listen", where, folder / "root", ready=PORT):
            if LOSS:
                super_segments_off()
                drop_percent(LOSS)
            for host in HOSTS:
                before = counters("tcp")["tcp_retransmits"]
                transfer(folder, host)
                if LOSS:
                    assert counters("tcp")["tcp_retransmits"] > before, "nothing was lost: the test tested nothing"


main([test_ping, test_transfers] if not LOSS else [test_transfers])
