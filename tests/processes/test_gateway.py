"""The real gateway as processes: start, a killed worker, reload, drain, and what is left of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.kit.gateway import REPOSITORY, Gateway, free_port, run_gateway
from tests.kit.raw import Client, get, request
from tests.kit.scripts import gated
from tests.kit.upstream import RecordingUpstream
from tests.processes.supervised import alive, until

YAML = """
upstreams: {app: "URL"}
routes:
  - {name: app, match: {path: /app/**}, upstream: app, policies: {authenticate: none}}
  - {name: answered, match: {path: /answered}, answer: {status: 200, body: hello}}
"""
MORE = YAML + "  - {name: new, match: {path: /new}, answer: {status: 200, body: new}}\n"


@pytest.fixture
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture
def gateway(upstream: RecordingUpstream) -> Iterator[Gateway]:
    with run_gateway(YAML.replace("URL", upstream.url), workers=2) as running:
        until(lambda: running.metrics()["postern_workers_ready"] == 2)
        yield running


def served(gateway: Gateway) -> float:
    return sum(v for name, v in gateway.metrics().items() if name.startswith("postern_requests_total{"))


def test_killed_workers_lose_no_queued_connection_and_no_count(gateway: Gateway) -> None:
    for _ in range(20):
        assert get(gateway.port, "/app/x").status == 200
    assert served(gateway) == 20
    workers = [worker["pid"] for worker in json.loads(gateway.ask("/health").body)["parts"]["workers"]]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(gateway.port)) for _ in range(20)]
        for client in clients:
            client.send(request("/app/queued"))
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        assert [client.reply().status for client in clients] == [200] * 20
    assert served(gateway) == 40
    assert not set(workers) & set(gateway.pids())


def test_a_reload_changes_routes_and_breaks_no_request(gateway: Gateway, upstream: RecordingUpstream) -> None:
    gate = threading.Event()
    upstream.reply(gated(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", gate, b"ok"), b"/app/slow")
    with Client(gateway.port) as client:
        client.send(request("/app/slow"))
        upstream.wait_for(1)
        assert get(gateway.port, "/new").status == 404
        assert gateway.reload(MORE.replace("URL", upstream.url)).status == 200
        assert [get(gateway.port, "/new").body for _ in range(20)] == [b"new"] * 20
        gate.set()
        assert client.reply().body == b"ok"


def test_a_bad_file_is_refused_with_its_lines(gateway: Gateway) -> None:
    answer = gateway.reload("routes:\n  - {name: app, match: {path: relative}, upstream: nowhere}\n")
    assert answer.status == 422
    faults = json.loads(answer.body)["faults"]
    assert len(faults) >= 2 and all("routes.yaml:" in fault for fault in faults)
    assert get(gateway.port, "/app/x").status == 200
    assert gateway.metrics()["postern_config_reload_success"] == 0


def test_a_sigterm_ends_what_was_begun_and_leaves_nothing(
    gateway: Gateway, upstream: RecordingUpstream
) -> None:
    gate = threading.Event()
    upstream.reply(gated(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", gate, b"ok"), b"/app/slow")
    pids = gateway.pids()
    with Client(gateway.port) as client:
        client.send(request("/app/slow"))
        upstream.wait_for(1)
        gateway.signal(signal.SIGTERM)
        until(lambda: refused(gateway.port))
        gate.set()
        assert client.reply().body == b"ok"
    assert gateway.wait() == 0
    assert not any(alive(pid) for pid in pids)


def test_a_sigterm_under_load_breaks_no_connection_that_was_made(gateway: Gateway) -> None:
    """Without any delay: whoever got a connection gets an answer; who comes later is refused, not reset."""
    answers: list[int] = []
    broken: list[Exception] = []

    def come_again_and_again() -> None:
        while True:
            try:
                sock = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
            except ConnectionRefusedError:
                return
            try:
                with sock:
                    sock.sendall(request("/answered", b"Connection: close"))
                    answers.append(int(sock.recv(1000)[9:12]))
            except (OSError, ValueError) as error:
                broken.append(error)

    clients = [threading.Thread(target=come_again_and_again) for _ in range(8)]
    for client in clients:
        client.start()
    until(lambda: len(answers) > 200)
    gateway.signal(signal.SIGTERM)
    for client in clients:
        client.join(20)
    assert gateway.wait() == 0
    assert not broken
    assert set(answers) == {200}


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_workers_end_with_a_killed_supervisor(upstream: RecordingUpstream) -> None:
    with run_gateway(YAML.replace("URL", upstream.url), workers=2, check=False) as gateway:
        pids = gateway.pids()
        gateway.signal(signal.SIGKILL)
        gateway.wait()
        until(lambda: not any(alive(pid) for pid in pids), "a worker lives on without its supervisor")


def test_the_supervisor_loads_nothing_heavy(gateway: Gateway) -> None:
    """Its memory counts on every host: msgspec and the standard library."""
    code = "import gateway.supervisor, gateway.admin, sys; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in out.stdout.split()}
    assert "gateway" in loaded
    assert not loaded & {"asyncio", "uvloop", "pydantic", "yaml", "typer", "rich", "prometheus_client"}


def test_a_certificate_that_cannot_be_used_ends_the_start(
    upstream: RecordingUpstream, tmp_path: Path
) -> None:
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text("not a certificate")
    tls = f"tls: {{cert: {tmp_path}/tls.crt, key: {tmp_path}/tls.key}}\n"
    with (
        pytest.raises(AssertionError, match="ended with 1") as error,
        run_gateway(tls + YAML.replace("URL", upstream.url), check=False),
    ):
        pytest.fail("it started")
    assert "tls.crt" in str(error.value)


def test_postern_reload_uses_the_kept_token(tmp_path: Path, upstream: RecordingUpstream) -> None:
    """No token is set: the gateway makes one in data/, and `postern reload` finds it there."""
    data = {"POSTERN_DATA": str(tmp_path), "POSTERN_ADMIN_TOKEN": ""}
    with run_gateway(YAML.replace("URL", upstream.url), env=data) as gateway:
        command = [sys.executable, "-m", "gateway.cli.app", "reload", "-c", str(gateway.routes), "--json"]
        environment = {"PATH": os.environ["PATH"], "POSTERN_DATA": str(tmp_path)}
        gateway.write(MORE.replace("URL", upstream.url))
        out = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert out.returncode == 0, out.stderr
        assert json.loads(out.stdout)["loaded"] is True
        assert get(gateway.port, "/new").status == 200
        gateway.routes.write_text("version: 2\n" + gateway.routes.read_text().replace("version: 1", ""))
        out = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert out.returncode == 1 and "routes.yaml:1" in out.stderr


def test_the_demo_shows_what_it_says_and_leaves_nothing(tmp_path: Path) -> None:
    with run_demo(tmp_path) as (demo, port, lines):
        tries = [line.strip() for line in lines if "curl " in line]
        assert len(tries) == 5 and all(f"http://127.0.0.1:{port}/" in line for line in tries)
        signed_in, called, refreshed, revoked, refused = told_by_bash(tries)
        assert json.loads(signed_in)["user"]["username"] == "demo"
        given = json.loads(called)["the backend was given"]["headers"]
        assert given["X-User-Name"] == "demo" and given["X-User-Roles"] == "user"
        assert given["X-User-Id"] == json.loads(signed_in)["user"]["user_id"]  # not the forged one
        assert "Authorization" not in given
        assert json.loads(refreshed)["session_id"] == json.loads(signed_in)["session_id"]
        assert json.loads(revoked)["propagated"] == {"edges": 1, "acknowledged": 1}
        assert refused.startswith("HTTP/1.1 401 ")
        pids = [int(pid) for pid in Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()]
        assert len(pids) == 2
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 0
        assert not any(alive(pid) for pid in pids)


def told_by_bash(lines: list[str]) -> list[str]:
    """What each line prints, run one after the other in one shell, as a person would."""
    mark = "-- the next --"
    script = f"\necho '{mark}'\n".join(lines)
    out = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    return [part.strip() for part in out.stdout.split(mark)]


def test_a_demo_minds_no_settings_of_its_users_and_begins_anew(tmp_path: Path) -> None:
    theirs = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/real", "POSTERN_SECRET": "short"}
    port = free_port()
    with run_demo(tmp_path, port, theirs) as (_, _, first):
        pass
    with run_demo(tmp_path, port, theirs) as (_, _, second):
        assert json.loads(told_by_bash([line for line in second if "/login" in line])[0])["access_token"]
        old = told_by_bash([line for line in first if "/login" in line])[0]
        assert json.loads(old)["code"] == "invalid_credentials"


def test_two_demos_do_not_share_their_routes(tmp_path: Path) -> None:
    with run_demo(tmp_path) as (_, _, first), run_demo(tmp_path) as (_, _, second):
        routes = {line for line in first + second if line.startswith("Its routes: ")}
        assert len(routes) == 2


@contextmanager
def run_demo(
    folder: Path, port: int = 0, settings: dict[str, str] | None = None
) -> Iterator[tuple["subprocess.Popen[str]", int, list[str]]]:
    port = port or free_port()
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "POSTERN_DEMO_PORT": str(port),
        **(settings or {}),
    }  # fmt: skip
    command = [sys.executable, "-m", "gateway.cli.app", "demo"]
    demo = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None
        lines: list[str] = []
        while "Ctrl-C" not in (line := demo.stdout.readline()):
            assert line, "the demo ended"
            lines.append(line)
        yield demo, port, lines
    finally:
        demo.kill()
        demo.wait()
        assert demo.stdout is not None
        demo.stdout.close()


def test_a_taken_demo_port_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        complaint = refused_demo(tmp_path, port)
    assert f"port {port}" in complaint and "POSTERN_DEMO_PORT=" in complaint


def test_a_demo_that_can_not_write_says_so(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    complaint = refused_demo(tmp_path, free_port())
    assert str(tmp_path / "data") in complaint and "POSTERN_DATA=" in complaint


def refused_demo(folder: Path, port: int) -> str:
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "POSTERN_DEMO_PORT": str(port),
    }  # fmt: skip
    out = subprocess.run(
        [sys.executable, "-m", "gateway.cli.app", "demo"],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert out.returncode == 1 and len(out.stderr.splitlines()) == 1
    return out.stderr
