# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: the supervisor killed with SIGKILL under load, one of its domains stopped before. Nothing of the stack is left a
moment later, applications hear of it at once, and the next `bulkhead up` takes the run directory over without help."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

from inside import APPS, BUILD, STACK, Echo, bulkhead, connects, domains, main, wait_for

PORT, DEVICE, OTHER = 7007, "bh0", "bh-other"  # the first is the lab's own: it stays
ENDS_S = 5.0  # at most, after the supervisor


def processes():
    """All of the stack but the supervisor: {pid: name}."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
            if name.startswith(("bulkhead-domai", "bulkhead-manag")) and "Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0]:
                found[int(pid)] = name
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def test_death():
    applications = [subprocess.Popen([APPS / "bh-echo", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                    for arguments in ([str(PORT)], ["--udp", str(PORT + 1)], [str(PORT + 2)])]
    wait_for("applications", lambda: connects(PORT) and connects(PORT + 2), 30)
    load = Echo(PORT, 6, 200000)  # the third one has nothing to do: it sleeps in a call
    wait_for("load", lambda: load.rounds > 50, 40)
    table = json.loads(bulkhead("ps", "--json"))
    assert len(processes()) > len(table["domains"])
    os.kill(table["domains"][-1]["pid"], signal.SIGSTOP)  # who does not look at anything any more ends too
    os.kill(table["supervisor_pid"], signal.SIGKILL)
    start = time.monotonic()
    wait_for("every process of the stack to end", lambda: not processes(), ENDS_S)
    for process in applications:
        said = process.communicate(timeout=10)[1]
        assert process.returncode not in (0, -signal.SIGSEGV, -signal.SIGBUS), (process.args, process.returncode, said)
        assert "down" in said.lower() or "network" in said.lower(), f"{process.args}: {process.returncode} {said}"
    print(f"all told after {1000 * (time.monotonic() - start):.0f} ms: {said.strip()}", flush=True)
    load.stop = True
    done = subprocess.run([BUILD / "bulkhead", "ps"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "no stack runs" in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_next():
    run_dir = os.environ["BULKHEAD_RUN_DIR"]
    again = subprocess.Popen([BUILD / "bulkhead", "up", "--run-dir", run_dir, "--driver", f"tap:{DEVICE}", "--address",
                              f"{STACK}/24"])
    try:
        wait_for("the next stack", lambda: all(d["state"] == "running" for d in running()), 40)
        with subprocess.Popen([APPS / "bh-echo", str(PORT)], stdout=subprocess.DEVNULL) as application:
            wait_for("service", lambda: connects(PORT, 5), 30)
            bulkhead("down")
            assert application.wait(10) != 0
    finally:
        if again.poll() is None:
            again.terminate()
        again.wait(20)
    assert not processes() and not os.path.exists(f"{run_dir}/attach")


def there(device):
    return subprocess.run(["ip", "link", "show", device], capture_output=True).returncode == 0


def test_device():
    """What the supervisor made goes with it."""
    stack = subprocess.Popen([BUILD / "bulkhead", "up", "--driver", f"tap:{OTHER}", "--address", "10.78.0.2/24"])
    try:
        wait_for("a stack of its own", lambda: all(d["state"] == "running" for d in running()), 40)
        assert there(OTHER)
        os.kill(json.loads(bulkhead("ps", "--json"))["supervisor_pid"], signal.SIGKILL)
        wait_for("every process of the stack to end", lambda: not processes(), ENDS_S)
        wait_for("the device to go", lambda: not there(OTHER), ENDS_S)
    finally:
        if stack.poll() is None:
            stack.terminate()
        stack.wait(20)


def running():
    done = subprocess.run([BUILD / "bulkhead", "ps", "--json"], capture_output=True, text=True, timeout=10)
    return json.loads(done.stdout)["domains"] if done.returncode == 0 else [{"state": "none"}]


if __name__ == "__main__":
    main([test_death, test_next, test_device])
