"""Workers come and go; the listening sockets stay."""

import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.processes.supervised import Supervised, alive, supervised, until


def test_every_worker_of_a_start_serves(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2) as gateway:
        assert gateway.ask_all() == {"0": "one", "1": "one"}
        assert sorted(gateway.pids()) == sorted({int(gateway.ask()[1]) for _ in range(40)})


def test_a_killed_worker_is_replaced_on_the_same_socket(tmp_path: Path) -> None:
    """Connections that wait in the queue of a dead worker are served by the next one."""
    with supervised(tmp_path) as gateway:
        (first,) = gateway.pids()
        os.kill(first, signal.SIGSTOP)  # so that what comes now stays in the queue
        clients = [gateway.connect() for _ in range(20)]
        for client in clients:
            client.sendall(b"who")
        os.kill(first, signal.SIGKILL)
        answers = [gateway.read(client) for client in clients]
        for client in clients:
            client.close()
        assert [place for place, _, _ in answers] == ["0"] * 20
        assert str(first) not in {pid for _, pid, _ in answers}
        assert gateway.metrics()["postern_worker_restarts_total"] == 1


def test_a_worker_that_crashes_again_and_again_is_started_again_and_again(tmp_path: Path) -> None:
    with supervised(tmp_path) as gateway:
        for _ in range(3):
            assert gateway.ask("crash") == []
        assert gateway.ask()[0] == "0"
        waits = [line for line in gateway.messages() if "starting it again" in line]
        assert [line.rsplit(" in ", 1)[1] for line in waits] == ["0.1 s", "0.2 s", "0.4 s"]
        assert "exit code 3" in waits[0]


def test_a_worker_that_says_why_it_cannot_start_ends_the_start(tmp_path: Path) -> None:
    gateway = Supervised(tmp_path, service="fail-at-start")
    gateway.start()
    assert gateway.wait() == 1
    assert "the certificate can't be read" in gateway.log()


def test_workers_that_never_start_end_the_start(tmp_path: Path) -> None:
    gateway = Supervised(tmp_path, service="crash-at-start")
    gateway.start()
    assert gateway.wait() == 1
    assert gateway.messages()[-1] == "no worker can start; the gateway ends"
    assert "exit code 7" in gateway.log()


def test_workers_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    with supervised(tmp_path, workers=2) as gateway:
        pids = gateway.pids()
        gateway.signal(signal.SIGKILL)
        gateway.wait()
        until(lambda: not any(alive(pid) for pid in pids), "a worker lives on without its supervisor")


def test_workers_are_given_no_secret(tmp_path: Path) -> None:
    """The environment may hold secrets; a worker sees only what it needs."""
    with supervised(tmp_path) as gateway:
        names = set(gateway.ask("environment"))
        assert {"PATH", "PYTHONSAFEPATH"} <= names
        assert not any(name.startswith("POSTERN") for name in names)


def test_a_unix_socket_is_shared_private_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "gate.sock"
    with supervised(tmp_path, workers=2, listen=[{"path": str(path)}]) as gateway:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(b"who")
            assert gateway.read(client)[2] == "one"
        gateway.signal(signal.SIGTERM)
        assert gateway.wait() == 0
        assert not path.exists()


def test_a_stale_unix_socket_makes_room(tmp_path: Path) -> None:
    """One that was left by kill -9."""
    path = tmp_path / "gate.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with supervised(tmp_path, listen=[{"path": str(path)}]) as gateway:
        assert path.is_socket() and gateway.code("/ready") == 200


@pytest.mark.parametrize("admin", [False, True], ids=["listen", "admin"])
def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path, admin: bool) -> None:
    gateway = Supervised(tmp_path)
    key, port = ("admin", gateway.admin_port) if admin else ("listen", gateway.port)
    with socket.create_server(("127.0.0.1", port), reuse_port=True):
        gateway.start()
        assert gateway.wait() == 1
    message = gateway.messages()[-1]
    assert f"127.0.0.1:{port}" in message and f"`{key}:` in routes.yaml" in message
    assert f"ss -ltnp 'sport = :{port}'" in message


def test_a_missing_routes_file_is_named(tmp_path: Path) -> None:
    gateway = Supervised(tmp_path)
    gateway.routes.unlink()
    gateway.start()
    assert gateway.wait() == 1
    assert str(gateway.routes) in gateway.messages()[-1] and "postern run -c FILE" in gateway.messages()[-1]


def test_a_faulty_routes_file_ends_the_start_with_its_faults(tmp_path: Path) -> None:
    gateway = Supervised(tmp_path)
    gateway.routes.write_text('{"hash": 1}')
    gateway.start()
    assert gateway.wait() == 1
    assert "has faults" in gateway.messages()[-1] and f"{gateway.routes}:1: Expected `str`" in gateway.log()
