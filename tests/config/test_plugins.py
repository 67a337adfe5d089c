"""Plugins are tried in a process of their own: whatever they do there, the check goes on and says so."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gateway.config import checks_plugins
from gateway.config.compile import compile_all, load
from gateway.config.faults import ConfigFaults
from gateway.config.service import decode_compiled
from gateway.config.snapshot import decode

OWN = "tests.config.own"
ROUTE = """  - name: r{number}
    match: {{path: /r{number}}}
    upstream: app
    policies: {{plugins: [{{class: "{word}", settings: {settings}}}]}}
"""


def write(folder: Path, *words: str, settings: str = "{}") -> str:
    routes = "".join(
        ROUTE.format(number=number, word=word, settings=settings) for number, word in enumerate(words)
    )
    path = folder / "routes.yaml"
    path.write_text("version: 1\nupstreams: {app: http://127.0.0.1:5000}\nroutes:\n" + routes)
    return str(path)


def faults(path: str, role: str = "all") -> list[str]:
    try:
        load(path, role, {})  # type: ignore[arg-type]
    except ConfigFaults as caught:
        return [f"{fault.path}: {fault.problem}" for fault in caught.faults]
    return []


def command(*words: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, timeout=60, env={**os.environ, **environ}
    )


def test_one_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before it are judged, it is named, and it does not live on."""
    monkeypatch.setattr(checks_plugins, "WITHIN", 3.0)
    path = write(tmp_path, f"{OWN}.raises:Class", f"{OWN}.hangs:Class", f"{OWN}.classes:Silent")
    began = time.monotonic()
    first, second = faults(path)
    assert "RuntimeError" in first
    assert second == "routes[1].policies.plugins[0].class: it was not done within 3 seconds"
    assert time.monotonic() - began < 20
    assert not running("gateway.config.try_plugins")


def running(word: str) -> list[str]:
    """Processes of this one that have the word in their command."""
    children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split()
    commands = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in children]
    return [command for command in commands if word in command]


def test_the_command_line_is_not_ended_by_a_plugin(tmp_path: Path) -> None:
    path = write(tmp_path, f"{OWN}.leaves:Class", f"{OWN}.exits:Class", f"{OWN}.classes:Silent")
    done = command("gateway.cli.app", "check", "-c", path)
    assert done.returncode == 1
    assert [line.split(b": ")[1] for line in done.stdout.splitlines()] == [
        b"routes[%d].policies.plugins[0].class" % number for number in range(3)
    ]


def test_what_a_plugin_prints_is_no_part_of_the_snapshot(tmp_path: Path) -> None:
    done = command("gateway.config.compile", write(tmp_path, f"{OWN}.classes:Threads"))
    assert done.returncode == 0, done.stderr
    made = decode(decode_compiled(done.stdout).snapshot).routes[-1]
    assert made.policies["plugins"]["classes"][0]["class"] == f"{OWN}.classes:Threads"


def test_a_plugin_sees_none_of_the_gateways_secrets(tmp_path: Path) -> None:
    """It is tried with the environment that a worker has."""
    (tmp_path / "curious.py").write_text(
        "import os\nraise LookupError(sorted(set(os.environ) & {'POSTERN_SECRET', 'SMTP_URL', 'TZ'}))"
    )
    given = {"POSTERN_SECRET": "s" * 48, "SMTP_URL": "smtp://x", "TZ": "UTC", "PYTHONPATH": str(tmp_path)}
    done = command("gateway.cli.app", "check", "-c", write(tmp_path, "curious:Class"), **given)
    assert b"LookupError: ['TZ']" in done.stdout


def test_the_folder_of_the_file_is_no_place_for_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the working directory."""
    (tmp_path / "beside.py").write_text("class Class:\n    def on_request(self, exchange): return None")
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, "beside:Class")
    assert faults(path) == ["routes[0].policies.plugins[0].class: there is no module beside"]


def test_equal_plugins_are_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "counting.py").write_text(
        "class Class:\n"
        "    def __init__(self, settings, ports): print('made', file=open(__file__ + '.log', 'a')); 1 / 0\n"
        "    def on_request(self, exchange): return None\n"
    )
    found = faults(write(tmp_path, *["counting:Class"] * 50))
    assert len(found) == 50 and all("ZeroDivisionError" in fault for fault in found)
    assert (tmp_path / "counting.py.log").read_text() == "made\n"


def test_who_runs_no_edge_runs_no_plugins(tmp_path: Path) -> None:
    path = write(tmp_path, "nowhere:Class")
    assert faults(path, "identity") == []
    assert len(faults(path, "edge")) == len(faults(path)) == 1


def test_the_hash_tells_of_settings_but_not_of_secrets(tmp_path: Path) -> None:
    def made(settings: str, **environ: str) -> tuple[str, object]:
        path = write(tmp_path, f"{OWN}.classes:Passes", settings=settings)
        snapshot = decode(compile_all(path, "all", environ).snapshot)
        return snapshot.hash, snapshot.routes[-1].policies["plugins"]["classes"][0]["settings"]

    hashed, settings = made('{key: "${KEY}", n: 1}', KEY="first")
    assert settings == {"key": "first", "n": 1}
    assert made('{key: "${KEY}", n: 1}', KEY="second") == (hashed, {"key": "second", "n": 1})
    assert made('{key: "${KEY}", n: 2}', KEY="first")[0] != hashed
