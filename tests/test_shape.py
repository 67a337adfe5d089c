"""The shape of the house itself: sizes, names, pairs, floors, lock; STYLE habits 1, 2 and 12."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gateway.model.faults import FAULTS
from policies import POLICIES

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    path for top in ("gateway", "policies", "tests", "bench") for path in (ROOT / top).rglob("*.py")
)
THREATS = [
    f"T{number:02}" for number in (*range(1, 21), 22, 23, *range(24, 29), 30, 35, 36, 37, 38, 39, 41, 44, 45)
]
# Distributions whose import name is not their own name.
IMPORTED_AS = {
    "pyyaml": "yaml",
    "prometheus-client": "prometheus_client",
    "pydantic-settings": "pydantic_settings",
    "aiohttp-cors": "aiohttp_cors",
    "argon2-cffi": "argon2",
    "pyjwt": "jwt",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


class Seen(NamedTuple):
    """What these tests want to know of a module: it is parsed once."""

    imports: tuple[str, ...]
    functions: tuple[tuple[str, int, int], ...]  # name, line, length


@cache
def seen(path: Path) -> Seen:
    imports, functions = [], []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: write the import's full name"
            imports.append(node.module or "")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            functions.append((node.name, node.lineno, node.end_lineno - node.lineno + 1))
    return Seen(tuple(imports), tuple(functions))


def imports_of(path: Path) -> tuple[str, ...]:
    return seen(path).imports


def top_of(module: str) -> str:
    """pydantic_core is pydantic's own other half: pinned by it, and where it keeps its errors."""
    return module.split(".")[0].replace("pydantic_core", "pydantic")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements(extra: str = "") -> set[str]:
    project = pyproject()["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {re.split(r"[\[<>=!~; ]", line)[0].lower() for line in lines}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_a_room_with_one_purpose(path: Path) -> None:
    """At most 400 lines; functions of at most 60; the first line says the purpose in one sentence."""
    text = path.read_text()
    assert text.count("\n") <= 400, "split it: a file has at most 400 lines"
    first = text.split("\n", 1)[0]
    assert re.fullmatch(r'"""\S.*\.("""|)', first), "the first line is one sentence on the module's purpose"
    for name, line, length in seen(path).functions:
        assert length <= 60, f"{name} at line {line} has {length} lines, 60 are allowed"


def test_nothing_is_left_for_later() -> None:
    """No note to self in the code: what is not done is not there."""
    note = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|NotImplementedError")
    found = [
        f"{name_of(path)}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if note.search(line) and path != Path(__file__).resolve()
    ]
    assert not found


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_one_policy_one_file_one_name(policy: type) -> None:
    """rate_limit in YAML is policies/rate_limit.py, RateLimit, its test and its page."""
    name = policy.name  # type: ignore[attr-defined]
    assert policy.__module__ == f"policies.{name}"
    assert policy.__name__ == "".join(word.capitalize() for word in name.split("_"))
    assert (ROOT / f"tests/policies/test_{name}.py").is_file()
    assert (ROOT / f"docs/policies/{name}.md").is_file()


def test_every_policy_file_stands_in_the_table() -> None:
    files = {path.stem for path in (ROOT / "policies").glob("*.py")} - {"__init__"}
    listed = {policy.name for policy in POLICIES}
    helpers = {name for name in files if name.startswith("_")}
    assert files - helpers == listed


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.py")), ids=name_of)
def test_a_policy_imports_the_model_only(path: Path) -> None:
    """Its ports are given to it; it never takes a client library, or a part of the edge."""
    for name in imports_of(path):
        top = name.split(".")[0]
        allowed = (
            name.startswith("gateway.model")
            or top in {"policies", "msgspec"}
            or top in sys.stdlib_module_names
        )
        assert allowed, f"{name} is not for policies"


def test_the_edge_worker_loads_nothing_heavy() -> None:
    """What a worker holds in memory, and what can break it, is what it needs to move requests."""
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    [heavy] = [
        each["forbidden_modules"] for each in contracts if "gateway.edge" in each.get("source_modules", ())
    ]
    script = f"import gateway.edge.worker, sys; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_every_fault_is_documented() -> None:
    """docs/errors.md has one row per code, with the status that is really sent."""
    text = (ROOT / "docs/errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (\S.*) \| (\S.*) \|$", text, re.M)
    assert {code: int(status) for code, status, _, _ in rows} == {
        code: fault.status for code, fault in FAULTS.items()
    }
    assert len(rows) == len(FAULTS)


def test_every_threat_is_tried_against_the_running_gateway() -> None:
    """One test or more is named after each, as in test_T07_identity_headers_never_pass."""
    tests = "\n".join(path.read_text() for path in (ROOT / "tests/threats").glob("test_*.py"))
    tried = set(re.findall(r"^(?:async )?def test_(T\d\d)_", tests, re.M))
    assert set(THREATS) - tried == set()


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.lock", ["", "test", "dev"]), ("requirements-peers.lock", ["peers"])]
)
def test_the_lock_pins_by_hash_and_names_no_place(lock: str, extras: list[str]) -> None:
    """T40: what is installed is what was tested, from whatever index the reader uses."""
    text = (ROOT / lock).read_text()
    entries = re.split(r"\n(?! )", text.replace("\\\n", "").strip())
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==\S+ ( ; [^-]+)?", entry), entry[:80]
        assert re.search(r" --hash=sha256:[0-9a-f]{64}\b", entry), entry[:80]
    assert not re.search(r"://|--index|--find-links|--extra|--trusted|@ |/", text)
    pinned = {entry.split("==")[0] for entry in entries}
    assert set().union(*map(requirements, extras)) <= pinned


def test_every_dependency_is_used() -> None:
    """T40: no dependency unused, and none used that is not declared."""
    used = {top_of(name) for path in MODULES if name_of(path).startswith(("gateway", "policies"))
            for name in imports_of(path)}  # fmt: skip
    declared = {IMPORTED_AS.get(name, name) for name in requirements()}
    assert declared - used == set(), "declared, but not imported"
    extras = set(pyproject()["project"]["optional-dependencies"]) - {"test", "dev", "peers", "bench"}
    optional = {IMPORTED_AS.get(name, name) for extra in extras for name in requirements(extra)}
    assert optional - used == set(), "an extra that nothing imports"
    known = declared | optional | {"gateway", "policies"}
    assert used - known - set(sys.stdlib_module_names) == set(), "not declared"


def test_what_tests_import_is_in_the_test_extra() -> None:
    used = {top_of(name) for path in (ROOT / "tests").rglob("*.py") for name in imports_of(path)}
    declared = {IMPORTED_AS.get(name, name) for name in requirements() | requirements("test")}
    assert used - declared - {"gateway", "policies", "tests", "bench"} - set(sys.stdlib_module_names) == set()
