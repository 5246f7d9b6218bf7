# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: two programs on the stack talk to each other through its loopback addresses and its own, both families: octets that are
checked both ways, a file whose hash is right, round trips, connections; no frame of it touches the device."""
import json
import pathlib
import subprocess
import tempfile

from inside import APPS, application, counters, main, random_file, sha256, wait_for

ADDRESSES = ("127.0.0.1", "127.8.9.10", "10.77.0.2", "[::1]", "[fd77::2]")
OCTETS = 50_000_000
ports = iter(range(7300, 7400))


def run(program, *arguments):
    done = subprocess.run([APPS / program, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{program} {arguments}: {done.returncode} {done.stderr}"
    return done.stdout.strip()


def listening(program, *arguments):
    process = subprocess.Popen([APPS / program, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    assert "listening" in process.stdout.readline()
    return process


def end(process, kill=False):
    if kill:
        process.terminate()
    try:
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_streams():
    """The one that connects sends, then the one that listens."""
    for address in ADDRESSES:
        for listener, connector in ("bh-sink", "bh-source"), ("bh-source", "bh-sink"):
            port = next(ports)
            more = {"bh-sink": ["--check"], "bh-source": ["--octets", OCTETS]}
            server = listening(listener, *more[listener], "--listen", f"{address}:{port}")
            said = run(connector, *more[connector], f"{address}:{port}")
            assert server.wait(10) == 0, f"{listener} on {address}: {server.returncode}"
            assert str(OCTETS) in said and str(OCTETS) in server.stdout.read(), said
            end(server)
            print(f"  {address} {listener} listens: {said}", flush=True)


def test_file():
    with tempfile.TemporaryDirectory(prefix="bh-within-") as name:
        folder, port = pathlib.Path(name), next(ports)
        (folder / "root").mkdir()
        random_file(folder / "root" / "file", OCTETS, 11)
        wanted = sha256(folder / "root" / "file")
        server = listening("bh-httpd", "--listen", f"[::]:{port}", folder / "root")
        for address in ADDRESSES:
            run("bh-get", "-o", folder / "got", f"http://{address}:{port}/file")
            assert sha256(folder / "got") == wanted, address
        end(server, True)


def test_round_trips():
    port = next(ports)
    server = listening("bh-echo", f"[::]:{port}")
    for address in ADDRESSES:
        print(f"  {address} {run('bh-rr', '--count', 2000, f'{address}:{port}')}", flush=True)
        run("bh-rr", "--connects", "--count", 200, f"{address}:{port}")
    end(server, True)


def test_nobody_there():
    for address in ADDRESSES:
        done = subprocess.run([APPS / "bh-rr", "--count", "1", f"{address}:{next(ports)}"], capture_output=True, text=True, timeout=10)
        assert done.returncode == 1 and "refused" in done.stderr.lower(), done.stderr


def test_nothing_on_the_wire():
    nic = counters("nic")
    assert nic.get("octets_in", 0) + nic.get("octets_out", 0) < 1000000, nic


def test_nothing_left():
    def left():
        ip, tcp, owner = counters("ip"), counters("tcp"), counters("socket")
        return {"slots": tcp["slots_given"] - tcp["slots_back"], "tcp loans": tcp["loans_out"] - tcp["loans_home"],
                "endpoints": tcp["endpoints"], "sockets": owner["sockets_made"] - owner["sockets_freed"]}
    try:
        wait_for("everything to be home", lambda: not any(left().values()), 70, 0.1)
    except AssertionError:
        raise AssertionError(f"left behind: {left()}")


if __name__ == "__main__":
    main([test_streams, test_file, test_round_trips, test_nobody_there, test_nothing_on_the_wire, test_nothing_left])
