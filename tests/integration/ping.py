# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: echo of both families loses nothing, small and in fragments; traceroute and tracepath reach."""
import subprocess

from inside import main

HOSTS = ("10.77.0.2", "fd77::2")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_ping():
    for host in HOSTS:
        out = run("ping", "-n", "-c", "20", "-i", "0.05", "-W", "5", host)
        assert "20 received, 0% packet loss" in out, out


def test_ping_in_fragments():
    for host in HOSTS:
        for size in ("1472", "1473", "2000", "60000", "65507" if "." in host else "65487"):
            out = run("ping", "-n", "-c", "5", "-i", "0.05", "-s", size, host)
            assert "5 received, 0% packet loss" in out and "wrong data" not in out, f"{size}\n{out}"


def test_traceroute():
    for host in HOSTS:
        out = run("traceroute", "-n", "-w", "2", host).splitlines()
        assert len(out) == 2 and out[1].split()[1] == host, out
        out = run("tracepath", "-n", host)
        assert "reached" in out and "pmtu 1500" in out, out


main([test_ping, test_ping_in_fragments, test_traceroute])
