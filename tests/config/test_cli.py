"""The commands that read or write routes.yaml, as people and programs call them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

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


@pytest.mark.parametrize("command", ["check", "schema", "routes", "init"])
def test_every_help_has_an_example(command: str) -> None:
    assert f"Example: postern {command}" in RUNNER.invoke(app(), [command, "--help"]).output


def test_run_loads_no_command_line_library() -> None:
    code = (
        "import sys; sys.argv = ['postern', 'run', '--help']\nfrom gateway.cli.app import main\n"
        "try: main()\nexcept SystemExit: print({'typer', 'rich', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "set()"
