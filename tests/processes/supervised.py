"""A supervisor process over stand-in workers, and what a test wants to ask of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.kit.gateway import free_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PATIENCE = 20.0  # seconds until a test that waits gives up


def until(what: Callable[[], object], said: str = "it did not happen") -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, said
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class Supervised:
    """The process, its routes file (a snapshot as JSON), and its sockets."""

    def __init__(self, folder: Path, **snapshot: Any) -> None:
        self.folder, self.routes = folder, folder / "routes.json"
        self.port, self.admin_port = free_port(), free_port()
        self.snapshot = {
            "hash": "one",
            "listen": [{"host": "127.0.0.1", "port": self.port}],
            "admin": {"host": "127.0.0.1", "port": self.admin_port},
            "workers": 1,
            "drain": {"delay": 0, "timeout": 5},
            **snapshot,
        }
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "POSTERN_SECRET": "hidden"}
        self.token = "a-token-for-tests"
        self.process: subprocess.Popen[bytes] | None = None
        self.write()

    def write(self, **changes: Any) -> None:
        self.snapshot |= changes
        fresh = self.folder / "fresh"
        fresh.write_text(json.dumps(self.snapshot))
        fresh.replace(self.routes)

    def start(self, **streams: Any) -> None:
        command = [sys.executable, str(HERE / "stand_in_run.py"), str(self.routes), str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log} | streams
            environment = {"POSTERN_ADMIN_TOKEN": self.token} if self.token else {}
            self.process = subprocess.Popen(
                command, env=self.environment | environment, cwd=self.folder, **given
            )

    def until_ready(self) -> None:
        until(lambda: self.code("/ready") == 200 or self.ended(), self.log())
        assert not self.ended(), self.log()
        size = self.snapshot["workers"]
        until(lambda: [w["state"] for w in self.workers()] == ["ready"] * size, self.log())

    def ended(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.log().splitlines() if line.startswith("{")]

    def admin(self, path: str, method: str = "GET", token: str | None = "") -> tuple[int, bytes]:
        """Status and body; with the right token unless another, or None, is given."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}", method=method)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token or self.token}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def code(self, path: str) -> int:
        try:
            return self.admin(path)[0]
        except OSError:
            return 0

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.admin("/health")[1])["parts"]["workers"]
        return found

    def pids(self) -> list[int]:
        return [worker["pid"] for worker in self.workers()]

    def metrics(self) -> dict[str, float]:
        lines = self.admin("/metrics")[1].decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, words: str = "who") -> list[str]:
        """What one worker answers: its place, its pid, its configuration."""
        with self.connect() as client:
            client.sendall(words.encode())
            return self.read(client)

    def read(self, client: socket.socket) -> list[str]:
        data = b""
        while part := client.recv(65536):
            data += part
        return data.decode().split()

    def ask_all(self) -> dict[str, str]:
        """Which configuration each worker has, by its place; enough connections to meet all of two."""
        return {place: config for place, _, config in (self.ask() for _ in range(40))}

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait(5)


@contextmanager
def supervised(folder: Path, **snapshot: Any) -> Iterator[Supervised]:
    """A ready gateway of stand-ins; nothing of it is left afterwards."""
    gateway = Supervised(folder, **snapshot)
    gateway.start()
    try:
        gateway.until_ready()
        yield gateway
    finally:
        gateway.kill()
