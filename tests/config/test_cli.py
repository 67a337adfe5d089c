"""The commands that read or write routes.yaml, as people and programs call them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gateway import __version__
from gateway.cli.app import app
from gateway.config.compile import load

RUNNER = CliRunner()
BAD = Path(__file__).parent / "bad"


@pytest.fixture
def first(tmp_path: Path) -> str:
    """The file that init writes."""
    path = tmp_path / "routes.yaml"
    done = RUNNER.invoke(app(), ["init", "--upstream", "http://127.0.0.1:5000", "-c", str(path)])
    assert done.exit_code == 0, done.output
    return str(path)


def test_init_writes_a_file_that_is_right_and_requires_sign_in(first: str) -> None:
    assert load(first, environ={}).routes[-1].policies["authenticate"] == {"mode": "required"}


def test_init_overwrites_nothing_unless_it_is_told_to(first: str) -> None:
    before = Path(first).read_text()
    again = ["init", "--upstream", "http://127.0.0.1:6000", "-c", first]
    done = RUNNER.invoke(app(), again)
    assert done.exit_code == 1
    assert Path(first).read_text() == before
    assert RUNNER.invoke(app(), [*again, "--force"]).exit_code == 0
    assert load(first, environ={}).upstreams[0].servers[0].port == 6000


def test_init_refuses_what_is_no_server(tmp_path: Path) -> None:
    done = RUNNER.invoke(app(), ["init", "--upstream", "nonsense", "-c", str(tmp_path / "x.yaml")])
    assert done.exit_code == 2
    assert not (tmp_path / "x.yaml").exists()


def test_check_says_that_a_file_is_right(first: str) -> None:
    done = RUNNER.invoke(app(), ["check", "-c", first])
    assert (done.exit_code, done.output) == (0, f"{first} is right: 1 route, 1 upstream\n")


def test_check_prints_every_fault_and_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    done = RUNNER.invoke(app(), ["check", "-c", "many_at_once.yaml"])
    assert (done.exit_code, done.output) == (1, (BAD / "many_at_once.txt").read_text())


def test_check_has_a_form_for_programs(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = json.loads(RUNNER.invoke(app(), ["check", "-c", first, "--json"]).output)
    assert (right["ok"], right["faults"], right["routes"]) == (True, [], 1)
    monkeypatch.chdir(BAD)
    done = RUNNER.invoke(app(), ["check", "-c", "version_2.yaml", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.output) == {
        "ok": False,
        "faults": [
            {
                "file": "version_2.yaml",
                "line": 1,
                "path": "version",
                "problem": "2 is not a version of this file",
                "hint": "write version: 1",
            }
        ],
    }


def test_check_of_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    done = RUNNER.invoke(app(), ["check", "-c", str(tmp_path / "none.yaml")])
    assert done.exit_code == 1
    assert "can't be read" in done.output


def test_a_role_that_does_not_exist_is_wrong_usage(first: str) -> None:
    assert RUNNER.invoke(app(), ["check", "-c", first, "--role", "nobody"]).exit_code == 2


def test_routes_shows_every_route(first: str) -> None:
    done = RUNNER.invoke(app(), ["routes", "-c", first])
    assert done.exit_code == 0
    assert "/api/auth/**" in done.output
    assert "upstream app" in done.output
    described = json.loads(RUNNER.invoke(app(), ["routes", "-c", first, "--json"]).output)["routes"]
    assert described[-1]["name"] == "app"
    assert described[-1]["goes_to"] == "upstream app"


def test_routes_of_a_wrong_file_says_why() -> None:
    assert RUNNER.invoke(app(), ["routes", "-c", str(BAD / "version_2.yaml")]).exit_code == 1


def test_schema_prints_the_schema() -> None:
    done = RUNNER.invoke(app(), ["schema"])
    assert json.loads(done.output)["properties"]["version"] == {"const": 1, "description": "always 1"} | {
        "title": json.loads(done.output)["properties"]["version"].get("title")
    }


def commands() -> list[str]:
    """All of them, those of groups too."""
    root = typer.main.get_command(app())
    found: list[str] = []
    waiting: list[tuple[list[str], Any]] = [([], root)]
    while waiting:
        path, command = waiting.pop()
        inner = getattr(command, "commands", {})
        if not inner:
            found.append(" ".join(path))
        waiting += [([*path, name], each) for name, each in inner.items()]
    return sorted(found)


@pytest.mark.parametrize("command", commands())
def test_every_help_has_an_example(command: str) -> None:
    told = RUNNER.invoke(app(), [*command.split(), "--help"], env={"COLUMNS": "200"}).output
    assert re.search(rf"Example: .*postern {command}", told)


def test_the_groups_that_the_specification_names_are_there() -> None:
    wanted = (
        "check doctor init migrate reload routes run schema secret settings version keys|list keys|rewrap"
    )
    wanted += " keys|rotate sessions|list sessions|revoke tokens|inspect users|add users|list users|lock"
    assert {word.replace("|", " ") for word in wanted.split()} <= set(commands())


@pytest.mark.parametrize("words", [["--version"], ["version"]])
def test_the_version_is_told_both_ways(words: list[str]) -> None:
    assert RUNNER.invoke(app(), words).output == f"postern {__version__}\n"


def test_init_has_a_form_for_programs(tmp_path: Path) -> None:
    path = str(tmp_path / "routes.yaml")
    done = RUNNER.invoke(app(), ["init", "--upstream", "http://127.0.0.1:5000", "-c", path, "--json"])
    assert json.loads(done.output) == {"wrote": path, "next": f"postern run -c {path}"}


def test_a_secret_is_long_and_new_each_time() -> None:
    made = {RUNNER.invoke(app(), ["secret"]).output.strip() for _ in range(3)}
    assert len(made) == 3 and all(len(secret) >= 32 for secret in made)
    assert len(json.loads(RUNNER.invoke(app(), ["secret", "--json"]).output)["secret"]) >= 32


SECRETS = {
    "POSTERN_SECRET": "hunter2-and-much-more-than-32-bytes",
    "POSTERN_ADMIN_TOKEN": "hunter2-of-the-admin",
    "DATABASE_URL": "postgresql://me:hunter2@db/shop",
}


def test_settings_tell_value_and_source_and_no_secret(first: str) -> None:
    done = RUNNER.invoke(app(), ["settings", "-c", first, "--json"], env={**SECRETS, "TOKEN_TTL": "600"})
    assert done.exit_code == 0, done.output
    assert "hunter2" not in done.output
    told = {row["setting"]: (row["value"], row["from"]) for row in json.loads(done.output)["settings"]}
    assert told["TOKEN_TTL"] == ("10m", "environment: TOKEN_TTL")
    assert told["SESSION_TTL"] == ("90d", "default")
    assert told["POSTERN_SECRET"] == ("(hidden)", "environment: POSTERN_SECRET")
    assert told["DATABASE_URL"] == ("postgresql://me:(hidden)@db/shop", "environment: DATABASE_URL")
    Path(first).write_text(Path(first).read_text() + "identity: {token_ttl: 5m}\n")
    shown = RUNNER.invoke(app(), ["settings", "-c", first], env={"TOKEN_TTL": "600"}).output
    assert re.search(r"TOKEN_TTL +5m +routes.yaml: identity.token_ttl", shown)


@pytest.mark.parametrize("name", ["ENABLE_CLUSTERING", "CLUSTER_STRATEGY", "CLUSTER_SECRET"])
def test_settings_answer_what_is_replaced(first: str, name: str) -> None:
    done = RUNNER.invoke(app(), ["settings", "-c", first], env={name: "hunter2"})
    assert f"{name} is set and has no effect here. In its place: " in done.output
    assert "hunter2" not in done.output


@pytest.mark.parametrize(
    "words", [["sessions", "revoke"], ["sessions", "revoke", "a", "--user", "b"], ["users", "add"]]
)
def test_wrong_usage_ends_with_2(words: list[str]) -> None:
    assert RUNNER.invoke(app(), words).exit_code == 2


def test_run_loads_no_command_line_library() -> None:
    code = (
        "import sys; sys.argv = ['postern', 'run', '--help']\nfrom gateway.cli.app import main\n"
        "try: main()\nexcept SystemExit: print({'typer', 'rich', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "set()"
