"""The real gateway: started from a routes.yaml, asked by its admin listener, ended with all its processes."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.kit.raw import Answer, exchange, request
from tests.kit.tokens import SHAPE

REPOSITORY = Path(__file__).resolve().parents[2]
CRASHED = re.compile("Traceback|exception was never retrieved")
START = 20.0  # seconds: two noisy cores start several gateways at once


def free_port() -> int:
    """A port that nobody listens on, outside the range from which the kernel takes clients' ports."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def complete(yaml: str, port: int, admin: int) -> str:
    """The file with what every test's gateway needs and its text leaves out."""
    wanted = {
        "version": "1",
        "listen": f"127.0.0.1:{port}",
        "admin": f"127.0.0.1:{admin}",
        "drain": "{delay: 0s, timeout: 2s}",
        "identity": "{serve: []}",  # and so no identity service, where nobody has to sign in
    }
    missing = [f"{key}: {value}" for key, value in wanted.items() if not re.search(rf"^{key}:", yaml, re.M)]
    return "\n".join(missing) + "\n" + yaml


class Gateway:
    """A running gateway; made by run_gateway."""

    def __init__(self, folder: Path, workers: int, env: dict[str, str], role: str = "all") -> None:
        self.folder = folder
        self.port, self.admin = free_port(), free_port()
        self.token = secrets.token_hex(16)
        self.routes = folder / "routes.yaml"
        own = {"POSTERN_ADMIN_TOKEN": self.token, "POSTERN_DATA": str(folder / "data")}
        self.env = {"PATH": os.environ["PATH"], **own, **env}
        self._command = [sys.executable, "-m", "gateway.cli.app", "run", "-c", str(self.routes)]
        self._command += ["--workers", str(workers), "--role", role]
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, yaml: str) -> None:
        """Replace routes.yaml in one step."""
        fresh = self.folder / "routes.yaml.new"
        fresh.write_text(complete(yaml, self.port, self.admin))
        fresh.replace(self.routes)

    def start(self) -> None:
        with (self.folder / "out").open("ab") as out, (self.folder / "err").open("ab") as err:
            self.process = subprocess.Popen(
                self._command,
                cwd=REPOSITORY,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        deadline = time.monotonic() + START
        while not self.is_ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.errors()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the gateway is not ready:\n{self.errors()}")
            time.sleep(0.02)

    def is_ready(self) -> bool:
        try:
            return self.ask("/ready").status == 200
        except (OSError, IndexError):
            return False

    def ask(self, target: str, method: bytes = b"GET") -> Answer:
        """One request to the admin listener, with the admin's token."""
        line = b"Authorization: Bearer " + self.token.encode()
        data = request(
            target, line, b"Connection: close", method=method, body=b"" if method == b"POST" else None
        )
        return exchange(self.admin, data, most=1).replies[0]

    def reload(self, yaml: str) -> Answer:
        """Replace routes.yaml and have it loaded; the reply says whether it was."""
        self.write(yaml)
        return self.ask("/reload", b"POST")

    def metrics(self) -> dict[str, float]:
        """Every sample by its text, as `postern_connections` or `name{label="value"}`."""
        lines = self.ask("/metrics").body.decode().splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def output(self) -> str:
        return (self.folder / "out").read_text(errors="replace")

    def errors(self) -> str:
        return (self.folder / "err").read_text(errors="replace")

    def log_lines(self) -> list[str]:
        """The service log: what was written beside the access log."""
        lines = (self.output() + self.errors()).splitlines()
        return [line for line in lines if '"request_id"' not in line]

    def access_log(self) -> list[dict[str, Any]]:
        """The access log on stdout, parsed; every line must be JSON by itself."""
        return [json.loads(line) for line in self.output().splitlines() if '"request_id"' in line]

    def wait_logged(self, request_id: str, timeout: float = 10.0) -> dict[str, Any]:
        """The access-log line of one request; the log is written by a thread, a little later."""
        deadline = time.monotonic() + timeout
        while True:
            found = [line for line in self.access_log() if line["request_id"] == request_id]
            if found or time.monotonic() > deadline:
                assert len(found) == 1, f"{len(found)} lines of {request_id}"
                return found[0]
            time.sleep(0.01)

    def pids(self) -> list[int]:
        """The processes of the gateway: the supervisor, then its children."""
        assert self.process is not None
        found = [self.process.pid]
        for pid in found:
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def memory(self) -> int:
        """The bytes of all workers' resident memory."""
        assert self.process is not None
        pages = 0
        for pid in self.pids()[1:]:
            with suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The workers stand still meanwhile: all that comes is there at once when they go on."""
        children = self.pids()[1:]
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in children:
                os.kill(pid, signal.SIGCONT)

    def cpu_ticks(self) -> int:
        """The processor time that all workers have used."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids()[1:]]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats)

    def wait(self, timeout: float = 15.0) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM, and the exit code once it has drained."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """End whatever is left of the process group."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(5)


@contextmanager
def run_gateway(
    yaml: str, *, workers: int = 1, env: dict[str, str] | None = None, check: bool = True, role: str = "all"
) -> Iterator[Gateway]:
    """A ready gateway on free ports; on leaving, it must end cleanly and have written no traceback.

    `listen`, `admin`, `drain` and `version` are filled in where the text leaves them out.
    """
    with tempfile.TemporaryDirectory(prefix="postern-test-") as folder:
        gateway = Gateway(Path(folder), workers, env or {}, role)
        gateway.write(yaml)
        try:
            gateway.start()
            yield gateway
            code = gateway.stop() if gateway.process and gateway.process.poll() is None else 0
        finally:
            gateway.kill()
        if check:
            written = gateway.errors() + gateway.output()
            bad = [line for line in written.split("\n") if CRASHED.search(line)]
            assert not bad, "\n".join(bad) + "\n" + gateway.errors()[-20_000:]
            assert gateway.token not in written and not SHAPE.search(written), "T25: it logs a credential"
            assert code == 0, f"the gateway ended with {code}:\n{gateway.errors()}"
