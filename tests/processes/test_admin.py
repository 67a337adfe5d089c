"""The admin listener: health, sums over workers, and who may do what."""

import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway import admin
from tests.processes.supervised import Supervised, supervised, until

REQUESTS = 'postern_requests_total{method="GET",route="stand-in",status="200"}'


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """One for those tests that only ask."""
    with supervised(tmp_path_factory.mktemp("still"), workers=2) as running:
        yield running


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Supervised]:
    with supervised(tmp_path, workers=2) as running:
        yield running


def test_counters_are_added_over_workers_and_survive_them(gateway: Supervised) -> None:
    met = {gateway.ask()[0] for _ in range(40)}
    assert met == {"0", "1"}
    before = gateway.metrics()
    assert before[REQUESTS] == 40
    assert before["postern_connections"] == 2  # a gauge: one for each worker
    assert before['postern_request_duration_seconds_sum{route="stand-in"}'] == 10
    assert before['postern_request_duration_seconds_bucket{le="+Inf",route="stand-in"}'] == 40

    for pid in gateway.pids():
        os.kill(pid, signal.SIGKILL)
    until(lambda: gateway.metrics()["postern_workers_ready"] == 2)
    after = gateway.metrics()
    assert after[REQUESTS] == 40
    assert after["postern_connections"] == 2
    assert after["postern_worker_restarts_total"] == 2
    gateway.ask()
    assert gateway.metrics()[REQUESTS] == 41


def test_a_server_is_healthy_only_where_every_worker_says_so(still: Supervised) -> None:
    assert still.metrics()['postern_upstream_healthy{server="a:1",upstream="app"}'] == 0
    health = json.loads(still.admin("/health")[1])
    assert health["parts"]["upstreams"] == [{"upstream": "app", "server": "a:1", "healthy": False}]
    assert health["status"] == "degraded"


def test_a_hanging_worker_does_not_hang_the_scrape(gateway: Supervised) -> None:
    for _ in range(10):
        gateway.ask()
    assert gateway.metrics()[REQUESTS] == 10
    pid = gateway.pids()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert gateway.metrics()[REQUESTS] == 10  # its last known counts
        assert gateway.code("/live") == 200
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_lines_of_a_request_are_asked_of_every_worker(still: Supervised) -> None:
    status, body = still.admin("/requests/known-request")
    found = json.loads(body)["requests"]
    assert (status, [line["time"] for line in found]) == (200, ["2025-01-02", "2025-01-01"])
    for unknown in ("another-request", "short", "known-request%22", "known-request/x", ""):
        assert still.code(f"/requests/{unknown}") == 404, unknown


def test_a_worker_that_hangs_or_ends_does_not_keep_the_others_lines(gateway: Supervised) -> None:
    pid = gateway.pids()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert len(json.loads(gateway.admin("/requests/known-request")[1])["requests"]) == 1
    finally:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(json.loads(gateway.admin("/requests/known-request")[1]).get("requests", ())) == 2)


def test_the_supervisors_own_figures_are_there(still: Supervised) -> None:
    metrics = still.metrics()
    assert metrics["postern_config_reload_success"] == 1
    assert metrics["postern_config_reload_timestamp_seconds"] > 1_600_000_000
    assert metrics["postern_workers_ready"] == 2
    assert any(name.startswith("postern_build_info{version=") for name in metrics)


@pytest.mark.parametrize("path", ["/live", "/ready", "/health", "/metrics"])
def test_what_machines_ask_for_is_open(still: Supervised, path: str) -> None:
    assert still.admin(path, token=None)[0] == 200


@pytest.mark.parametrize("path", ["/routes", "/config", "/reload", "/requests/known-request", "/nothing"])
@pytest.mark.parametrize("token", [None, "wrong", "a-token-for-tests-and-more", "ü"])
def test_everything_else_needs_the_token(still: Supervised, path: str, token: str | None) -> None:
    method = "POST" if path == "/reload" else "GET"
    assert still.admin(path, method, token=token)[0] == 401
    assert still.admin(path, method)[0] == (404 if path == "/nothing" else 200)


def test_a_wrong_method_is_named(still: Supervised) -> None:
    assert still.admin("/reload")[0] == 405
    assert still.admin("/live", "DELETE")[0] == 405


def test_a_token_is_made_and_kept_where_only_the_owner_reads_it(tmp_path: Path) -> None:
    gateway = Supervised(tmp_path)
    gateway.token = ""
    gateway.start()
    try:
        until(lambda: gateway.code("/ready") == 200)
        path = tmp_path / "data/admin-token"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert len(path.read_text().strip()) >= 43
        assert gateway.admin("/config", token=path.read_text().strip())[0] == 200
        assert gateway.admin("/config", token="guess")[0] == 401
    finally:
        gateway.kill()


def test_silent_clients_do_not_keep_others_out(gateway: Supervised) -> None:
    with ExitStack() as stack:
        for _ in range(admin.PLACES + 4):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.admin_port)))
            silent.sendall(b"GET /live HTTP/1.1\r\nX: ")
        assert gateway.code("/ready") == 200


def test_secrets_are_hidden(tmp_path: Path) -> None:
    policies = {"request_headers": {"set": {"Authorization": "Basic c2VjcmV0", "X-Tenant": "acme"}}}
    route = {"name": "app", "path": "/**", "upstream": "app", "policies": policies}
    answer = {"name": "moved", "path": "/m", "redirect": {"to": "http://user:pw@else.example/"}}
    with supervised(tmp_path, routes=[route, answer]) as gateway:
        text = gateway.admin("/config")[1].decode()
        assert "c2VjcmV0" not in text and "user:pw" not in text
        assert '"X-Tenant": "acme"' in text
        listed = {each["name"]: each["to"] for each in json.loads(gateway.admin("/routes")[1])}
        assert listed == {"app": "upstream app", "moved": "redirect 308 http://(hidden)@else.example/"}
