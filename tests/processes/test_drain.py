"""The end: announced, accepting for a while, then what was begun is ended, then nothing is left."""

import json
import os
import pty
import signal
from pathlib import Path

from tests.processes.supervised import Supervised, alive, supervised, until


def test_sigterm_is_announced_before_anything_closes(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2, drain={"delay": 60, "timeout": 120}) as gateway:
        pids = gateway.pids()
        gateway.signal(signal.SIGTERM)
        until(lambda: gateway.code("/ready") == 503)
        assert json.loads(gateway.admin("/ready")[1])["reasons"] == ["draining"]
        assert gateway.code("/live") == 200
        until(lambda: set(gateway.ask_all().values()) == {"draining"}, "workers were not told")
        assert gateway.admin("/reload", "POST")[0] == 422
        os.kill(pids[0], signal.SIGKILL)  # still restarted: it is to accept until the delay is over
        until(lambda: gateway.metrics()["postern_workers_ready"] == 2)
        gateway.signal(signal.SIGTERM)  # the second one ends at once
        assert gateway.wait() == 1
        assert not any(alive(pid) for pid in pids)


def test_sigterm_serves_what_is_queued_and_ends(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2) as gateway:
        pids = gateway.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        clients = [gateway.connect() for _ in range(20)]
        for client in clients:
            client.sendall(b"who")
        gateway.signal(signal.SIGTERM)
        until(lambda: gateway.code("/ready") == 503)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert all(len(gateway.read(client)) == 3 for client in clients)
        for client in clients:
            client.close()
        assert gateway.wait() == 0
        assert gateway.messages()[-1] == "every worker has ended what it had begun"
        assert not any(alive(pid) for pid in pids)


def test_drain_timeout_ends_what_does_not_end(tmp_path: Path) -> None:
    with supervised(tmp_path, drain={"delay": 0, "timeout": 1}) as gateway:
        (pid,) = gateway.pids()
        with gateway.connect() as client:
            client.sendall(b"hold")
            assert client.recv(100)
            gateway.signal(signal.SIGTERM)
            assert gateway.wait() == 0
        assert "drain.timeout is over: ending what is left" in gateway.messages()
        assert not alive(pid)


def test_ctrl_c_in_a_terminal_skips_the_delay(tmp_path: Path) -> None:
    gateway = Supervised(tmp_path, drain={"delay": 600, "timeout": 1200})
    ours, theirs = pty.openpty()
    gateway.start(stdin=theirs, stdout=theirs)
    try:
        gateway.until_ready()
        gateway.signal(signal.SIGINT)
        assert gateway.wait() == 0
    finally:
        gateway.kill()
        os.close(ours)
        os.close(theirs)


def test_a_closed_terminal_ends_the_gateway(tmp_path: Path) -> None:
    """SIGHUP is the order to reload, but not when the terminal is what has gone."""
    gateway = Supervised(tmp_path, drain={"delay": 600, "timeout": 1200})
    ours, theirs = pty.openpty()
    gateway.start(stdin=theirs, stdout=theirs)
    os.close(theirs)
    try:
        gateway.until_ready()
        os.close(ours)
        gateway.signal(signal.SIGHUP)
        assert gateway.wait() == 0
    finally:
        gateway.kill()
