"""Every block in the documentation is true: configurations load, commands exist, code compiles."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from operator import attrgetter
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

import pytest
import yaml
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.config.compile import compile_all
from gateway.config.faults import ConfigFaults
from gateway.config.reference import sections
from gateway.config.schema import Document
from gateway.config.schema_identity import LATER
from gateway.config.service import Service
from gateway.identity import audit
from gateway.identity.table import endpoints
from gateway.model.faults import FAULTS
from gateway.model.metrics import EDGE_METRICS, IDENTITY_METRICS
from policies import POLICIES
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.line import Line, Received
from tests.kit.scripts import answer

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
# What a reader may be told to type besides `make` and `postern`.
PROGRAMS = {
    "curl",
    "git",
    "cd",
    "kill",
    "pip",
    "python3",
    "openssl",
    "sudo",
    "source",
    "export",
    "ulimit",
    "nginx",
    "traefik",
    "caddy",
    "envoy",
}
GROUPS = {"users", "import", "sessions", "tokens", "keys"}  # of commands
EVENT = re.compile(r"[a-z]+\.[a-z_]+")
BY_PLACE = attrgetter("place")
ENVIRONMENT = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": f"{ROOT}:{ROOT}/examples/plugin"}


class Block(NamedTuple):
    place: str  # page and line
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    """Fenced blocks. ```yaml refused``` holds a configuration that must be refused, ```sh run``` what is run
    against a gateway."""
    return list(_blocks(languages))


def _blocks(languages: tuple[str, ...]) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text() if page.is_file() else ""
        for found in re.finditer(r"^( *)```([\w ]*)\n(.*?)^\1```$", text, re.M | re.S):
            if found[2] in languages:
                line = text.count("\n", 0, found.start()) + 1
                body = re.sub(rf"^{found[1]}", "", found[3], flags=re.M)
                yield Block(f"{page.relative_to(ROOT)}:{line}", found[2], body)


def whole(text: str) -> str:
    """A fragment put where it belongs: a list of routes, the policies of one, or keys of the top."""
    first = next(line for line in text.splitlines() if line and not line.startswith("#"))
    key = first.split(":")[0]
    if key == "version":
        return text
    if first.startswith("- "):
        text = "routes:\n" + indent(text, "  ")
    elif key in {policy.name for policy in POLICIES}:
        text = "policies:\n" + indent(text, "  ")
        key = "policies"
    if key == "policies":
        text = "routes:\n  - name: page\n    match: {path: /**}\n    upstream: app\n" + indent(text, "    ")
    if not re.search("^routes:", text, re.M):
        text += "\nroutes:\n  - {name: page, match: {path: /**}, upstream: app}\n"
    if not re.search("^upstreams:", text, re.M):
        names = {"app", *re.findall(r"\bupstream: *([\w-]+)", text)}
        text += "\nupstreams:\n" + "".join(f"  {name}: http://127.0.0.1:5000\n" for name in sorted(names))
    return "version: 1\n" + text


@pytest.mark.parametrize("block", blocks("yaml", "yaml refused"), ids=BY_PLACE)
def test_a_configuration_in_the_documentation_loads(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or is refused, where the page says that it is."""
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])  # where its plugins are
    monkeypatch.chdir(tmp_path)
    routes = tmp_path / "routes.yaml"
    routes.write_text(whole(block.text))
    faults = ""
    try:
        compile_all(str(routes), "all", ENVIRONMENT)
    except ConfigFaults as caught:
        faults = str(caught)
    assert bool(faults) == (block.language == "yaml refused"), faults


@pytest.mark.parametrize("block", blocks("sh", "sh run"), ids=BY_PLACE)
def test_a_command_in_the_documentation_exists(block: Block) -> None:
    """Bash can read it; each make target, each subcommand of postern and each of its options is there."""
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    if block.language == "sh run":
        return
    for line in block.text.replace("\\\n", "").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if not words:
            continue
        program = words[0].removeprefix(".venv/bin/")
        if program == "make":
            named = {word for word in words[1:] if "=" not in word and not word.startswith("-")}
            assert named <= make_targets()
        elif program == "postern":
            assert_postern(words[1:])
        else:
            assert program in PROGRAMS


def assert_postern(words: list[str]) -> None:
    command = " ".join(words[: 2 if words[0] in GROUPS else 1])
    text = help_of(command)
    for option in words[1:]:
        if option.startswith("-"):
            assert option.split("=")[0] in text, f"postern {command} has no {option}"


@cache
def help_of(command: str) -> str:
    runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})
    done = runner.invoke(app(), [*command.split(), "--help"])
    assert done.exit_code == 0, f"postern {command}: {done.output}"
    return done.stdout


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("block", blocks("json"), ids=BY_PLACE)
def test_json_in_the_documentation_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("python"), ids=BY_PLACE)
def test_python_in_the_documentation_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec")


def test_every_block_says_its_language() -> None:
    """One that no test above reads is marked as text."""
    known = {"yaml", "yaml refused", "sh", "sh run", "json", "python", "text"}
    for page in PAGES:
        fences = re.findall(r"^ *```(.*)$", page.read_text(), re.M)
        assert set(fences[::2]) <= known, page.relative_to(ROOT)
        assert set(fences[1::2]) <= {""}, page.relative_to(ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_documentation_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_begins_with_two_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert {"make demo", "make test"} <= set(re.findall(r"^make [a-z-]+", text, re.M))
    assert {"demo", "test", "run", "hard", "check", "fmt", "bench", "bench-quick", "help"} <= make_targets()


def test_the_metrics_of_the_operations_page_are_those_that_exist() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    named = set(re.findall(r"postern_([a-z_]+)", page)) - {"secret"}  # a key of routes.yaml
    own = set(re.findall(r"{PREFIX}([a-z_]+)", (ROOT / "gateway/metrics_page.py").read_text()))
    own |= {"worker_restarts_total", "identity_restarts_total"}  # the library adds what ends a counter
    counted = set(EDGE_METRICS) | set(IDENTITY_METRICS)
    assert named <= counted | own, named - counted - own
    assert counted <= named


def test_the_page_of_sign_in_has_every_call_of_the_api() -> None:
    """With who may make it, and how it answers when all is well."""
    who = {
        "caller": "signed in",
        "fresh": "signed in, fresh",
        "admin": "admin",
        "fresh admin": "admin, fresh",
    }
    made = {
        (f"{each.method} {path}", who.get(each.who, ""), ", ".join(map(str, each.answers)))
        for each in endpoints(Service())[0]
        for path in (each.path, *each.also)
    }
    page = (ROOT / "docs/sign-in.md").read_text().partition("## All calls")[2].partition("## Settings")[0]
    told = {
        (call, kind if kind in who.values() else "", re.sub(r"[^\d]+", ", ", answers).strip(", "))
        for calls, kind, answers in re.findall(r"^\| (`[A-Z]+ /.*?) \| (.*?) \| (.*?) \|$", page, re.M)
        for call in re.findall("`(.*?)`", calls)
    }
    assert told == made


def test_the_page_of_sign_in_names_every_event() -> None:
    names = {value for name, value in vars(audit).items() if name.isupper() and EVENT.fullmatch(str(value))}
    page = (ROOT / "docs/sign-in.md").read_text().partition("What is written:")[2].partition("`actor`")[0]
    assert set(re.findall("`(.*?)`", page)) == names


def test_every_key_that_works_today_has_an_example() -> None:
    """Of the gateway, its upstreams and routes, and of sign-in as far as it is here."""
    used = set().union(*(keys_of(yaml.safe_load(whole(block.text))) for block in blocks("yaml")))
    later = re.compile(rf".*policies\.|identity\.({'|'.join(LATER)}|connect_\w+|brand\.logo)\b")
    wanted = {
        (path.strip("`") + "." if path.startswith("`") else "") + (field.alias or name)
        for path, model in sections(Document, "", set())
        for name, field in model.model_fields.items()
    }
    missing = {key for key in wanted if not later.match(key)} - used
    assert not missing, sorted(missing)


def keys_of(value: object, path: str = "") -> set[str]:
    """Paths as in docs/configuration.md: [] for an item of a list, .NAME for a name of the file's own."""
    if isinstance(value, list):
        return set().union(*(keys_of(item, path + "[]") for item in value))
    if not isinstance(value, dict):
        return set()
    found = set()
    for name, inner in value.items():
        key = "NAME" if path in ("upstreams", "issuers") else str(name)
        here = f"{path}.{key}" if path else key
        found |= {here} | keys_of(inner, here)
    return found


# What the pages' `sh run` blocks are run against: routes as in `make demo`, and a backend that echoes.
ADDRESS = "http://127.0.0.1:4000"
ROUTES = """
upstreams: {app: "URL"}
routes:
  - {name: public, match: {path: /public/**}, upstream: app, policies: {authenticate: none}}
  - {name: private, match: {path: /**}, upstream: app}
"""
# Each call's status and body are noted, and the body goes on to where the page wants it.
BASH = """
curl() {
    local body="$NOTES/$(($(wc -l < "$NOTES/said")))"
    command curl -w '%{stderr}%{http_code}\\n' "$@" 2>> "$NOTES/said" | tee "$body"
}
postern() { POSTERN_DATA="$DATA" "$PYTHON" -m gateway.cli.app "$@" -c "$ROUTES"; }
"""
CODE = re.compile(rf"\b({'|'.join(sorted(FAULTS))})\b")
RUN = sorted({block.place.split(":")[0] for block in blocks("sh run")})


@pytest.fixture(scope="module")
def gateway_of_the_pages() -> Iterator[IdentityWorld]:
    with run_identity_gateway(ROUTES, workers=1, base_url=ADDRESS) as world:
        world.upstream.reply(echo)
        yield world


def echo(line: Line, request: Received) -> None:
    headers = {name.decode(): value.decode() for name, value in request.headers}
    seen = {"method": request.method.decode(), "path": request.target.decode(), "headers": headers}
    answer(json.dumps({"the backend was given": seen}).encode())(line, request)


@pytest.mark.parametrize("page", RUN)
def test_the_calls_of_a_page_answer_as_it_says(
    page: str, gateway_of_the_pages: IdentityWorld, tmp_path: Path
) -> None:
    """In their order: the statuses that the comments name, and the fields of the example after each block."""
    own = [block for block in blocks("sh run", "json") if block.place.startswith(f"{page}:")]
    said = run_blocks([block for block in own if block.language == "sh run"], gateway_of_the_pages, tmp_path)
    for block, following in zip(own, [*own[1:], None], strict=True):
        if block.language == "sh run":
            found = said[block.place]
            answered = [f"{status} {body['code']}" if status >= "400" else status for status, body in found]
            assert answered == promised(block.text), (block.place, found)
            if following is not None and following.language == "json":
                assert shape_of(found[-1][1]) == shape_of(json.loads(following.text)), following.place


def promised(text: str) -> list[str]:
    """Of each call its status and, of a refusal, the code."""
    comments = re.findall(r"^# (\d{3}): (.*)$", text, re.M)
    return [f"{status} {found[0]}" if (found := CODE.findall(why)) else status for status, why in comments]


def run_blocks(parts: list[Block], world: IdentityWorld, notes: Path) -> dict[str, list[tuple[str, Any]]]:
    """By the place of the block: each call's status and its body."""
    text = BASH + "".join(f"echo {part.place} >> $NOTES/said\n{part.text}\n" for part in parts)
    text = text.replace(ADDRESS, f"http://127.0.0.1:{world.port}")
    own = {"NOTES": str(notes), "PYTHON": sys.executable, "ROUTES": str(world.gateway.routes)}
    own["DATA"] = world.gateway.env["POSTERN_DATA"]  # whatever folder a page names
    (notes / "said").touch()
    done = subprocess.run(
        ["bash", "-eu", "-c", text], cwd=notes, env={**ENVIRONMENT, **world.gateway.env, **own},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    lines = (notes / "said").read_text().splitlines()
    assert done.returncode == 0, (lines[-3:], done.stdout[-1000:], done.stderr)
    said: dict[str, list[tuple[str, Any]]] = {}
    place = ""
    for number, line in enumerate(lines):
        if line.isdecimal():
            body = json.loads((notes / str(number)).read_bytes() or b"null")
            world.ledger.sent(body)
            said[place].append((line, body))
        else:
            place = line
            said[place] = []
    return said


def shape_of(value: Any) -> Any:
    """Which fields there are, at every depth; of a list that of its first item."""
    if isinstance(value, dict):
        return {key: shape_of(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape_of(each) for each in value[:1]]
    return None if value is None else type(value).__name__
