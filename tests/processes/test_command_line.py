"""Commands to a gateway that runs: they reach the service, and every edge, before they end."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.gateway import REPOSITORY, Gateway, run_gateway
from tests.kit.raw import Answer, exchange, request
from tests.kit.upstream import RecordingUpstream
from tests.processes.supervised import until

YAML = """
upstreams: {app: "URL"}
identity: {password: {argon2: {memory: 64KiB, time: 1}}}
routes:
  - {name: app, match: {path: /app/**}, upstream: app}
"""
PASSWORD = "a fine long password of ann"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with (
        RecordingUpstream() as upstream,
        run_gateway(YAML.replace("URL", upstream.url), workers=2) as running,
    ):
        until(lambda: running.metrics()["postern_workers_ready"] == 2)
        yield running


def postern(gateway: Gateway, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    data = str(gateway.folder / "data")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "POSTERN_DATA": data}
    command = [sys.executable, "-m", "gateway.cli.app", *words]
    return subprocess.run(
        command, cwd=gateway.folder, env=environment, input=stdin, capture_output=True, text=True, timeout=60
    )


def send(gateway: Gateway, target: str, *lines: bytes, body: Any = None) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    method = b"GET" if body is None else b"POST"
    if data is not None:
        lines += (b"Content-Type: application/json",)
    whole = request(target, *lines, b"Connection: close", method=method, body=data)
    return exchange(gateway.port, whole, most=1).replies[0]


def sign_in(gateway: Gateway, name: str) -> dict[str, Any]:
    """An account of that name, and its token answer."""
    email = f"{name}@example.com"
    added = postern(gateway, "users", "add", email, "--name", name, "--password", stdin=f"{PASSWORD}\n")
    assert added.returncode == 0, added.stderr
    answer = send(gateway, "/api/auth/login", body={"username": name, "password": PASSWORD})
    assert answer.status == 200, answer
    told: dict[str, Any] = json.loads(answer.body)
    return told


def call(gateway: Gateway, told: dict[str, Any]) -> int:
    return send(gateway, "/app/x", b"Authorization: Bearer " + told["access_token"].encode()).status


def test_a_revoked_session_is_refused_by_every_worker_when_the_command_has_ended(gateway: Gateway) -> None:
    told = sign_in(gateway, "ann")
    assert {call(gateway, told) for _ in range(20)} == {200}
    listed = json.loads(postern(gateway, "sessions", "list", "--user", "ann", "--json").stdout)["sessions"]
    assert [session["session_id"] for session in listed] == [told["session_id"]]
    done = postern(gateway, "sessions", "revoke", "--user", "ann")
    assert done.stdout == "1 session ended\n2 of 2 edges have acknowledged it\n", done.stderr
    assert {call(gateway, told) for _ in range(20)} == {401}


def test_everybody_s_sessions_are_listed_and_one_shows_where_it_was_refreshed(gateway: Gateway) -> None:
    told, other = sign_in(gateway, "una"), sign_in(gateway, "ugo")
    for _ in range(2):
        body = {"refresh_token": told["refresh_token"]}
        told = json.loads(send(gateway, "/api/auth/refresh", b"User-Agent: phone/2", body=body).body)
    listed = json.loads(postern(gateway, "sessions", "list", "--json").stdout)["sessions"]
    users = {session["session_id"]: session["user_id"] for session in listed}
    for one in (told, other):
        assert users[one["session_id"]] == one["user"]["user_id"]
    assert (
        len(json.loads(postern(gateway, "sessions", "list", "--limit", "1", "--json").stdout)["sessions"])
        == 1
    )
    shown = json.loads(postern(gateway, "sessions", "show", told["session_id"], "--json").stdout)
    assert shown["session"]["user_id"] == told["user"]["user_id"] and shown["session"]["ended_at"] is None
    made = [(each["generation"], each["address"], each["agent"]) for each in shown["rotations"]]
    assert made == [(3, "127.0.0.1", "phone/2"), (2, "127.0.0.1", "phone/2")]
    postern(gateway, "sessions", "revoke", told["session_id"])
    said = postern(gateway, "sessions", "show", told["session_id"]).stdout
    assert "ended why     revoked" in said and "phone/2" in said
    nobody = postern(gateway, "sessions", "show", "nonsense")
    assert (nobody.returncode, nobody.stderr) == (1, "postern: There is no such session.\n")


def test_a_locked_account_is_out_and_back_when_unlocked(gateway: Gateway) -> None:
    told = sign_in(gateway, "bob")
    assert call(gateway, told) == 200
    assert postern(gateway, "users", "lock", "bob", "--why", "left").returncode == 0
    assert {call(gateway, told) for _ in range(10)} == {401}
    body = {"username": "bob", "password": PASSWORD}
    assert send(gateway, "/api/auth/login", body=body).status == 401
    assert postern(gateway, "users", "unlock", "bob").returncode == 0
    assert send(gateway, "/api/auth/login", body=body).status == 200


def test_a_token_is_known_for_what_it_is_and_nothing_secret_is_said(gateway: Gateway) -> None:
    told = sign_in(gateway, "eve")
    for name, kind in (("access_token", "access token"), ("refresh_token", "refresh token")):
        done = postern(gateway, "tokens", "inspect", "--json", stdin=told[name] + "\n")
        answer = json.loads(done.stdout)
        assert (answer["kind"], answer["good"], answer["generation"]) == (kind, True, 1), done.stderr
        assert answer["session"] == told["session_id"] and told[name] not in done.stdout
    refreshed = send(gateway, "/api/auth/refresh", body={"refresh_token": told["refresh_token"]})
    assert refreshed.status == 200  # being looked at was no use of it
    postern(gateway, "sessions", "revoke", told["session_id"])
    done = postern(gateway, "tokens", "inspect", stdin=told["access_token"])
    assert done.returncode == 1 and "its session has ended: revoked" in done.stdout


def test_the_doctor_is_content_beside_a_running_gateway(gateway: Gateway) -> None:
    done = postern(gateway, "doctor", "-c", str(gateway.routes), "--json")
    assert done.returncode == 0, done.stdout
    states = {finding["check"]: finding["state"] for finding in json.loads(done.stdout)["findings"]}
    assert (states["database"], states["clock"], states["upstream app"]) == ("ok", "ok", "ok")


def test_a_killed_identity_service_comes_back_with_its_control_socket(gateway: Gateway) -> None:
    told = sign_in(gateway, "dan")
    before = identity(gateway)
    os.kill(before["pid"], signal.SIGKILL)
    until(
        lambda: identity(gateway)["state"] == "ready" and identity(gateway)["restarts"] > before["restarts"]
    )
    until(lambda: gateway.metrics()["postern_link_up"] == 2)
    assert call(gateway, told) == 200
    done = postern(gateway, "sessions", "revoke", "--user", "dan")
    assert done.stdout == "1 session ended\n2 of 2 edges have acknowledged it\n", done.stderr


def identity(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gateway.ask("/health").body)["parts"]["identity"]
    return found


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"POSTERN_SECRET": "a" * 40}, "POSTERN_SECRET: secret 1 has fewer than 8 different characters"),
        ({"DATABASE_URL": "sqlite:/proc/nowhere/postern.db"}, "/proc/nowhere"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/x", "POSTERN_SECRET": "hunter2-" * 5}, "database"),
    ],
)
def test_what_keeps_the_identity_service_from_starting_ends_the_gateway_and_is_said(
    settings: dict[str, str], said: str
) -> None:
    with (
        pytest.raises(AssertionError, match="ended with 1") as caught,
        run_gateway(YAML.replace("URL", "http://127.0.0.1:1"), env=settings, check=False),
    ):
        pytest.fail("it started")
    assert "the identity service can't start; the gateway ends" in str(caught.value)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value) and "Traceback" not in str(caught.value)


def test_a_database_without_its_secret_ends_the_start(tmp_path: Path) -> None:
    yaml = YAML.replace("URL", "http://127.0.0.1:1")
    data = {"POSTERN_DATA": str(tmp_path / "data")}
    with run_gateway(yaml, env=data):
        pass
    (tmp_path / "data/secret").unlink()
    with (
        pytest.raises(AssertionError, match="ended with 1") as caught,
        run_gateway(yaml, env=data, check=False),
    ):
        pytest.fail("it started")
    assert "put " in str(caught.value) and "back from the backup" in str(caught.value)
