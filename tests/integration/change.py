# SPDX-License-Identifier: BSD-2-Clause
"""Inside a lab: planned change of a running stack under load. WHAT is one of
  restart      each server 20 times
  binary       a copy of bulkhead-domain takes over for each server; programs that cannot are refused, and nothing happens
  repartition  factored, monolithic, tcp alone and back, 10 rounds; what attached in one partition is served in all others
  back         a domain of the new partition does not start: the former partition goes on
No connection is lost, no application sees an error, and the audit holds."""
import contextlib
import itertools
import json
import pathlib
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from inside import BUILD, SERVERS, STACK, Echo, application, bulkhead, connects, domain_of, domains, echoes, events, last_event, main, resources, spares_are_there, wait_for

WHAT = sys.argv[1]
PORT, UDP_PORT, LATE_PORT = 7007, 7008, 7100
FACTORED, MONOLITHIC, ALONE = "nic|ip|tcp|udp|socket", "nic+ip+tcp+udp+socket", "tcp|nic+ip+udp+socket"
VARIANTS = BUILD / "tests" / "variants"


class Datagrams:
    """One datagram at a time to an echo application; what is lost is sent again."""

    def __init__(self):
        self.stop, self.rounds, self.wrong, self.errors = False, 0, 0, []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect((STACK, UDP_PORT))
            for number in itertools.count():
                if self.stop:
                    return
                data = number.to_bytes(8, "big") * 20
                try:
                    s.send(data)
                    if select.select([s], [], [], 0.1)[0]:
                        got = s.recv(4096)
                        self.wrong += got[8:] != got[:-8] or int.from_bytes(got[:8], "big") > number
                        self.rounds += 1
                except OSError as error:
                    self.errors.append(str(error))

    def finish(self):
        self.stop = True
        self.thread.join(10)


class Load:
    """Connections and datagrams, each octet checked; none of them may end before it is told to."""

    def __init__(self):
        self.echo, self.datagrams = Echo(PORT, 6, 200000), Datagrams()
        wait_for("load", lambda: self.echo.rounds > 50 and self.datagrams.rounds > 50, 30)
        self.datagrams.errors.clear()  # nobody listened there at first

    def goes_on(self):
        """Every connection has had an answer, and datagrams too."""
        start, datagrams = time.monotonic(), self.datagrams.rounds
        wait_for("every connection to go on", lambda: all(last > start for last in self.echo.last), 20)
        wait_for("datagrams to go on", lambda: self.datagrams.rounds > datagrams, 20)
        self.unharmed()

    def unharmed(self):
        assert self.echo.resets == 0, f"{self.echo.resets} connections were lost"
        assert not self.echo.errors and not self.datagrams.errors, (self.echo.errors[:3], self.datagrams.errors[:3])
        assert self.echo.wrong == 0 and self.datagrams.wrong == 0, "wrong octets"

    def finish(self):
        self.goes_on()
        self.echo.finish()
        self.datagrams.finish()
        self.unharmed()


@contextlib.contextmanager
def loaded():
    with application("bh-echo", PORT, ready=PORT) as tcp, application("bh-echo", "--udp", UDP_PORT) as udp:
        load = Load()
        yield load
        load.finish()
        assert tcp.poll() is None and udp.poll() is None, "an application ended"


def audit_holds():
    def settled():
        report = json.loads(bulkhead("audit", "--json", check=False))
        return not report.get("unsettled") and report
    report = wait_for("an audit of what stands still", settled, 20, 0.05)
    assert not report.get("findings"), report["findings"]
    assert not report.get("finding"), report["finding"]


def refusal(*arguments):
    done = subprocess.run([BUILD / "bulkhead", *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, (done.returncode, done.stderr)
    return done.stderr


def lives():
    return {d["name"]: (d["pid"], d["incarnation"]) for d in domains()}


def test_restart():
    with loaded() as load:
        for server in SERVERS:
            before = domain_of(server)["incarnation"]
            for _ in range(20):
                bulkhead("restart", server)
                d = domain_of(server)
                assert d["state"] == "running", d  # that is what the answer says
                load.goes_on()
            assert domain_of(server)["incarnation"] == before + 20, (before, domain_of(server))
        audit_holds()


def program_of(server):
    return domain_of(server).get("program", "")


def test_binary():
    with tempfile.TemporaryDirectory(prefix="bh-change-") as place, loaded() as load:
        pathlib.Path(place).chmod(0o755)
        copy, text, plain, raises = (f"{place}/{name}" for name in ("another", "text", "plain", "raises"))
        shutil.copy(BUILD / "bulkhead-domain", copy)
        for path, mode in ((text, 0o755), (plain, 0o644), (raises, 0o4755)):
            pathlib.Path(path).write_text("not a program\n")
            pathlib.Path(path).chmod(mode)
        for server in SERVERS:
            assert program_of(server) == ""
            bulkhead("restart", server, "--binary", copy)
            assert program_of(server) == copy, domain_of(server)
            load.goes_on()
        life = domain_of("udp")["incarnation"]
        bulkhead("kill", "udp")  # and the next life runs it too
        wait_for("udp", lambda: (d := domain_of("udp"))["incarnation"] > life and d["state"] == "running", 20)
        assert program_of("udp") == copy
        assert f"  {copy}" in bulkhead("ps")
        before = lives()
        for path, why in ((text, "cannot be executed"), (plain, "not an executable file"), ("/bin/true", "exit status 0"),
                          ("/bin/sleep", "ended before it was ready"), (place, "not an executable file"),
                          (raises, "set-uid"), (VARIANTS / "variant-version", "keeps the state of socket as version")):
            said = wait_until_free("socket", path)
            assert why in said, said
            assert program_of("socket") == copy
        assert lives() == before, f"a refused program ended somebody: {before} -> {lives()}"
        load.goes_on()
        said = refusal("restart", "udp", "--binary", str(VARIANTS / "variant-init"))
        assert "the former program goes on" in said, said
        wait_for("udp", lambda: domain_of("udp")["state"] == "running", 20)
        assert program_of("udp") == copy
        load.goes_on()
        bulkhead("restart", "tcp", "--binary", str(BUILD / "bulkhead-domain"))
        audit_holds()
        load.goes_on()


def wait_until_free(server, path):
    """What is said of this program; the one before it may still be dying."""
    return wait_for("an answer", lambda: (said := refusal("restart", server, "--binary", str(path))) and "already" not in said and said, 20)


def supervisor():
    return json.loads(bulkhead("ps", "--json"))["supervisor_pid"]


def unserved(since):
    done = [e for e in events(since) if e["kind"] == "repartition" and e["text"].startswith("done")]
    assert len(done) == 1, done
    return int(done[0]["span_us"][0])


def test_repartition():
    gaps, held = [], None
    with loaded() as load, contextlib.ExitStack() as late:
        for turn in range(10):
            for partition in (MONOLITHIC, ALONE, FACTORED):
                since = last_event()
                bulkhead("repartition", partition)
                assert json.loads(bulkhead("ps", "--json"))["partition"] == partition
                assert sorted(d["name"] for d in domains()) == sorted(partition.split("|"))
                assert all(d["state"] == "running" for d in domains())
                gaps.append(unserved(since))
                load.goes_on()
                if turn < 2:  # attached in each partition, and served in all that follow
                    port = LATE_PORT + len(gaps)
                    late.enter_context(application("bh-echo", port, ready=port))
                audit_holds()
                for n in range(min(len(gaps), 6)):
                    assert echoes(LATE_PORT + 1 + n, bytes(range(256))), f"what attached in partition {n}"
            if turn == 3:
                spares_are_there()
                held = resources([supervisor()])
        spares_are_there()
        now = resources([supervisor()])
        for pid, then in held.items():
            assert abs(now[pid]["descriptors"] - then["descriptors"]) <= 10, f"descriptors {then} -> {now[pid]}"
            assert abs(now[pid]["maps"] - then["maps"]) <= 10, f"maps {then} -> {now[pid]}"
    assert "already" in refusal("repartition", FACTORED)
    print(f"30 partitions: nobody was served for {sorted(gaps)[15] / 1000:.1f} ms (median), {max(gaps) / 1000:.1f} ms (worst)", flush=True)


def test_back():
    with loaded() as load:
        for server in ("ip", "udp"):
            bulkhead("restart", server, "--binary", str(VARIANTS / "variant-group"))
        load.goes_on()
        said = refusal("repartition", "nic|ip+udp|tcp|socket")
        assert "ip+udp did not start" in said and "the former partition goes on" in said, said
        assert json.loads(bulkhead("ps", "--json"))["partition"] == FACTORED
        load.goes_on()
        audit_holds()
        bulkhead("repartition", MONOLITHIC)  # of several programs: it runs the one beside the supervisor
        assert program_of("ip") == ""
        load.goes_on()


if __name__ == "__main__":
    main([{"restart": test_restart, "binary": test_binary, "repartition": test_repartition, "back": test_back}[WHAT]])
