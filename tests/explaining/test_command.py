"""`postern explain` as a person types it: before and after a request, with and without a running gateway."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from tests.kit.gateway import REPOSITORY, Gateway
from tests.kit.identity import ROUTES, IdentityWorld, run_identity_gateway
from tests.kit.people import AGENT, Person, register

FILED = ROUTES.replace("name: other,", "name: other, access_log: {to: other.log}, ").replace(
    "name: fresh,", "name: fresh, access_log: {to: none}, "
)
KEYS = {
    "request", "configuration", "outcome", "refusal", "path", "route", "policies", "user", "upstream", "head",
    "added_to_reply", "reply", "notes",
}  # fmt: skip
RUNNER = CliRunner()


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def house() -> Iterator[IdentityWorld]:
    with run_identity_gateway(FILED) as made:
        yield made


@pytest.fixture(scope="module")
def person(house: IdentityWorld) -> Person:
    return register(house)


def postern(gateway: Gateway, *words: str, text: str = "", **env: str) -> Done:
    """In this process: what a command costs before it begins is not what is tried here."""
    environment = {**gateway.env, "COLUMNS": "200", **env}
    done = RUNNER.invoke(app(), ["explain", *words, "-c", str(gateway.routes)], input=text, env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return Done(done.exit_code, done.stdout, done.stderr)


def explained(gateway: Gateway, *words: str, code: int = 0, text: str = "", **env: str) -> dict[str, Any]:
    done = postern(gateway, *words, "--json", text=text, **env)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_exit_code_says_whether_it_passes(house: IdentityWorld, person: Person) -> None:
    passes = explained(house.gateway, "GET", "/app/x", "--user", person.email, "--from", "192.0.2.7")
    assert set(passes) == KEYS and passes["outcome"] == "passes" and passes["user"] == person.user_id
    assert "X-Forwarded-For: 192.0.2.7" in passes["head"]
    refused = explained(house.gateway, "GET", "https://gateway.test/app/x?y", code=1)
    assert refused["outcome"] == "refused" and refused["head"] is None
    assert refused["refusal"]["code"] == "credential_missing" and refused["refusal"]["by"] == "authenticate"
    assert refused["request"] == {
        "method": "GET", "target": "/app/x?y", "host": "gateway.test", "from": "127.0.0.1", "agent": "",
    }  # fmt: skip
    assert explained(house.gateway, "GET", "/answered")["outcome"] == "answered"
    assert explained(house.gateway, "GET", "/app/../x", code=1)["path"] is None


def test_a_token_is_taken_from_stdin_and_never_said(house: IdentityWorld, person: Person) -> None:
    for words, text in ((("--token", "-"), person.access + "\n"), (("--token", person.access), "")):
        done = postern(house.gateway, "GET", "/forwarding/x", *words, text=text)
        assert done.returncode == 0 and person.access not in done.stdout + done.stderr
        assert "  Authorization: Bearer (hidden)\n" in done.stdout
        assert f"  X-User-Session: {person.session}\n" in done.stdout


def test_print_for_people(house: IdentityWorld) -> None:
    done = postern(house.gateway, "GET", "/app/x")
    assert done.returncode == 1 and done.stderr == "" and "\x1b" not in done.stdout
    assert "refused by the policy authenticate: 401 credential_missing, Sign in first\n" in done.stdout
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["authenticate", "refused", "credential_missing;", "Sign", "in", "first"] in words
    assert ["csrf", "not", "asked", "an", "earlier", "answer", "ended", "the", "round"] in words
    assert ["HTTP/1.1", "401"] in words and ["WWW-Authenticate:", "Bearer", 'realm="postern"'] in words


def test_what_others_chose_never_commands_a_terminal(house: IdentityWorld) -> None:
    """Beside a running gateway, as a process of its own; colours are the command's own."""
    leading, following = pty.openpty()
    target = "/app/\x1b[31mred?\x9b31m"
    words = ["explain", "GET", target, "-H", "X-Red: \x1b[31m", "-c", str(house.gateway.routes)]
    environment = {**house.gateway.env, "PYTHONPATH": str(REPOSITORY), "TERM": "xterm", "COLUMNS": "120"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli.app", *words], stdout=following, timeout=60, env=environment
        )
        shown = os.read(leading, 65536)
    finally:
        os.close(leading)
        os.close(following)
    assert done.returncode == 1
    assert b"\x1b[1;31mrefused by the request itself" in shown
    assert b"\x1b[31m" not in shown and b"\x9b" not in shown


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("GET",), "a method and a path"),
        (("short",), "a method and a path"),
        (("GET", "orders"), "neither a URL nor a path"),
        (("GET", "/x", "--from", "nowhere"), "no IP address"),
        (("GET", "/x", "-H", "no header"), "'Name: value'"),
        (("GET", "/x", "--token", "a", "--user", "b"), "not both"),
        (("GET", "/app/x", "--token", "a", "-H", "Authorization: Bearer b"), "one credential of a kind"),
        ((), "Missing argument"),
    ],
)
def test_wrong_usage_is_2(house: IdentityWorld, words: tuple[str, ...], why: str) -> None:
    done = postern(house.gateway, *words)
    assert done.returncode == 2 and done.stdout == ""
    assert why in " ".join(done.stderr.replace("│", " ").split())


def test_nobody_of_that_name_is_a_fault(house: IdentityWorld) -> None:
    done = postern(house.gateway, "GET", "/app/x", "--user", "eve")
    assert done.returncode == 1 and "nobody here is 'eve'" in done.stderr


def test_a_request_that_was_is_found_by_its_id(house: IdentityWorld, person: Person) -> None:
    """Among the lines that the workers keep: whichever of the two has served it."""
    for status, lines in ((200, (person.bearer,)), (401, ())) * 3:
        reply = house.get("/app/x/y", *lines, AGENT, source=person.address)
        assert reply.status == status
        told = explained(house.gateway, reply.value(b"x-request-id").decode())
        assert set(told) == {"request", "found_in", "configuration", "policies", "now", "notes"}
        assert told["found_in"] == "the running gateway" and told["configuration"]["same"]
        assert (told["request"]["status"], told["request"]["path"]) == (status, "/app/x/y")
        verdicts = {one["policy"]: one["verdict"] for one in told["policies"]}
        expected = ("allowed", "allowed") if status == 200 else ("refused", "not_asked")
        assert (verdicts["authenticate"], verdicts["csrf"]) == expected
        now = told["now"]  # without the credential, which no log has
        assert now["refusal"]["code"] == "credential_missing" and now["request"]["from"] == person.address
        assert now["request"]["agent"] == AGENT.decode().partition(": ")[2]
    by_user = explained(house.gateway, told["request"]["request_id"], "--user", person.email)
    assert by_user["now"]["outcome"] == "passes" and by_user["now"]["user"] == person.user_id
    shown = postern(house.gateway, told["request"]["request_id"])
    assert shown.returncode == 0
    assert "found in the running gateway; its configuration was " in shown.stdout
    assert "The same method, path, address and agent now" in shown.stdout


def test_a_strangers_agent_commands_no_terminal(house: IdentityWorld) -> None:
    agent = b"User-Agent: a\xc2\x9b31mb\xe2\x80\xaec"
    request_id = house.get("/public/x", agent).value(b"x-request-id").decode()
    for words in ((request_id,), (request_id, "--json")):
        done = postern(house.gateway, *words)
        assert done.returncode == 0 and not {"\x9b", "\u202e"} & set(done.stdout)
    assert json.loads(done.stdout)["request"]["agent"] == "a\x9b31mb\u202ec"


def test_a_line_in_a_file_is_found_there_before_and_after_rotation(house: IdentityWorld) -> None:
    log = house.gateway.folder / "other.log"
    asked = house.get("/other/x").value(b"x-request-id").decode()
    written(log, asked)
    assert explained(house.gateway, asked)["found_in"] == str(log)
    log.rename(f"{log}.1")
    assert explained(house.gateway, asked)["found_in"] == f"{log}.1"
    os.rename(f"{log}.1", f"{log}.2")
    assert explained(house.gateway, asked)["found_in"] == "the running gateway"


def written(log: Path, text: str) -> None:
    """The log's thread writes it within a moment."""
    deadline = 1000
    while text not in (log.read_text() if log.exists() else ""):
        deadline -= 1
        assert deadline
        os.sched_yield()
        subprocess.run(["true"], check=True)


def test_a_request_without_a_line_is_not_found(house: IdentityWorld) -> None:
    unlogged = house.get("/fresh/x").value(b"x-request-id").decode()
    for request_id in (unlogged, "f" * 32):
        done = postern(house.gateway, request_id)
        assert done.returncode == 1 and "no line of this request was found" in done.stderr
    with (
        edited(house.gateway, "limits: {keepalive", "access_log: {to: none}\nlimits: {keepalive"),
        edited(house.gateway, ", access_log: {to: other.log}", ""),
    ):
        done = postern(house.gateway, "f" * 32)
        assert done.returncode == 1 and "access_log.to is none, so nothing is known" in done.stderr
    without = postern(house.gateway, "f" * 32, POSTERN_ADMIN_TOKEN="another")
    assert without.returncode == 1 and "another admin token" in without.stderr


def test_another_configuration_than_the_lines_is_told(house: IdentityWorld) -> None:
    reply = house.get("/app/x")
    with edited(
        house.gateway, "  - {name: app, match: {path: /app/**}", "  - {name: new, match: {path: /app/**}"
    ):
        told = explained(house.gateway, reply.value(b"x-request-id").decode())
        assert not told["configuration"]["same"] and told["policies"] is None
        assert told["configuration"]["then"] == told["request"]["config"] != told["configuration"]["now"]
        assert told["now"]["route"]["name"] == "new"
        shown = postern(house.gateway, reply.value(b"x-request-id").decode())
        assert "since then a policy may have changed" in shown.stdout
        assert "authenticate refused it, or would have: credential_missing" in shown.stdout


@contextmanager
def edited(gateway: Gateway, old: str, new: str) -> Iterator[None]:
    """A copy of the routes file that the gateway does not watch."""
    real = gateway.routes
    text = real.read_text()
    assert old in text
    copy = real.with_name(f"{real.stem}-edited.yaml")
    copy.write_text(text.replace(old, new))
    gateway.routes = copy
    try:
        yield
    finally:
        gateway.routes = real
        copy.unlink()


def test_a_frozen_service_leaves_it_unknown(house: IdentityWorld, person: Person) -> None:
    pid = house.pid_of_identity()
    os.kill(pid, signal.SIGSTOP)
    try:
        told = explained(house.gateway, "GET", "/app/x", "--token", person.access, code=1)
        assert told["outcome"] == "unknown" and told["reply"] is None
        [verdict] = [one for one in told["policies"] if one["verdict"] == "unknown"]
        assert verdict["policy"] == "authenticate" and "does not answer" in verdict["why"][0]
        assert explained(house.gateway, "GET", "/public/x")["outcome"] == "passes"
    finally:
        os.kill(pid, signal.SIGCONT)


def test_where_no_secret_is_known_everything_but_people_is_explained(house: IdentityWorld) -> None:
    """A sidecar, or a developer's machine: the settings of the identity service are out of reach."""
    nowhere = {"POSTERN_DATA": str(house.gateway.folder / "nowhere"), "POSTERN_SECRET": ""}
    old = "identity: {"
    with edited(house.gateway, old, 'identity: {"postern_secret": "${NOT_SET_HERE}", '):
        told = explained(house.gateway, "GET", "/app/x", code=1, **nowhere)
        assert told["refusal"]["code"] == "credential_missing"
        assert told["configuration"] == "" and "NOT_SET_HERE" in told["notes"][0]
        told = explained(house.gateway, "GET", "/app/x", "--user", "ann", code=1, **nowhere)
        assert told["outcome"] == "unknown"
    told = explained(house.gateway, "GET", "/app/x", "--user", "ann", code=1, **nowhere)
    [unknown] = [one for one in told["policies"] if one["verdict"] == "unknown"]
    assert unknown["why"] == ["no identity service runs here, and there is no database to look into"]
    assert not Path(nowhere["POSTERN_DATA"]).exists(), "explaining makes no database"


def test_without_a_running_service_the_store_is_looked_into() -> None:
    with run_identity_gateway(ROUTES, workers=1) as made:
        someone = register(made)
        made.gateway.stop()
        before = sorted(path.name for path in Path(made.gateway.env["POSTERN_DATA"]).iterdir())
        told = explained(made.gateway, "GET", "/app/x", "--token", someone.access)
        assert told["outcome"] == "passes" and told["user"] == someone.user_id
        told = explained(made.gateway, "GET", "/app/x", "--user", someone.username)
        assert told["outcome"] == "passes" and "X-User-Session: made-up" in told["head"]
        assert sorted(path.name for path in Path(made.gateway.env["POSTERN_DATA"]).iterdir()) == before
        done = postern(made.gateway, "f" * 32)
        assert done.returncode == 1 and "the workers can't be asked" in done.stderr
