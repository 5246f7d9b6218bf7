# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: the programs of bench/apps over IPv6, with Linux's and with each other, and IPv4 on the same listener."""
import os
import pathlib
import subprocess
import tempfile

from inside import APPS, application, curl, main, random_file, sha256, wait_for

STACK, HOST, OCTETS = "[fd77::2]", "[fd77::1]", 20_000_000
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="bh-apps-"))


def run(program, *arguments):
    done = subprocess.run([APPS / program, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{program} {arguments}: {done.returncode} {done.stderr}"
    return done.stdout


def test_http():
    random_file(FOLDER / "file", OCTETS, "apps")
    wanted = sha256(FOLDER / "file")
    with application("bh-httpd", "--listen", "[::]:8080", FOLDER):
        wait_for("bh-httpd", lambda: curl("-o", "/dev/null", f"http://{STACK}:8080/file", seconds=5).returncode == 0)
        for i, address in enumerate((STACK, "10.77.0.2")):
            done = curl("-o", FOLDER / f"got{i}", f"http://{address}:8080/file")
            assert done.returncode == 0 and sha256(FOLDER / f"got{i}") == wanted, f"{address}: {done.stderr}"
        for i, address in enumerate(("[::1]", STACK, "127.0.0.1")): # without leaving the stack
            run("bh-get", "-q", "-o", FOLDER / f"own{i}", f"http://{address}:8080/file")
            assert sha256(FOLDER / f"own{i}") == wanted, address


def stream(listener, connector, address, port):
    """Octets from a bh-source to a bh-sink that checks them, the source connecting."""
    sink = subprocess.Popen([APPS / "bh-sink", "--stack", listener, "--check", "--listen", f"{address}:{port}"],
                            stdout=subprocess.PIPE, text=True)
    try:
        assert "listening" in sink.stdout.readline()
        run("bh-source", "--stack", connector, "--octets", OCTETS, f"{address}:{port}")
        assert sink.wait(10) == 0 and str(OCTETS) in sink.stdout.read()
    finally:
        if sink.poll() is None:
            sink.kill()
            sink.wait()


def test_streams():
    stream("bulkhead", "linux", STACK, 7101)
    stream("linux", "bulkhead", HOST, 7102)
    stream("bulkhead", "bulkhead", "[::1]", 7103)


def test_round_trips():
    with application("bh-echo", "[::]:7104"):
        wait_for("bh-echo", lambda: subprocess.run([APPS / "bh-rr", "--stack", "linux", "--count", "1", f"{STACK}:7104"],
                                                   capture_output=True).returncode == 0)
        for stack, address in (("linux", STACK), ("bulkhead", "[::1]")):
            print(address, run("bh-rr", "--stack", stack, "--count", 1000, f"{address}:7104").strip(), flush=True)
            run("bh-rr", "--stack", stack, "--connects", "--count", 50, f"{address}:7104")


if __name__ == "__main__":
    try:
        main([test_http, test_streams, test_round_trips])
    finally:
        for file in FOLDER.iterdir():
            os.unlink(file)
        FOLDER.rmdir()
