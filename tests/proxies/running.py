"""Starting the proxy of an example: its own files, with free ports in place of those that it names."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.kit import programs
from tests.kit.gateway import REPOSITORY, free_port
from tests.kit.raw import get

EXAMPLES = REPOSITORY / "examples"
PROXY, SIGN_IN, VERIFY, BACKEND = "8080", "4000", "4002", "5000"  # the ports in the examples
STARTS_WITHIN = 20.0

Command = Callable[[str, Path], list[str]]


def nginx(program: str, folder: Path) -> list[str]:
    conf = folder / "nginx.conf"
    own = "".join(
        f"{kind}_temp_path {folder}/tmp; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = conf.read_text().replace("http {", f"http {{ access_log off; {own}", 1)
    user = "user root; " if os.geteuid() == 0 else ""  # else its workers could not use this folder
    main = f"{user}daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/err;"
    conf.write_text(f"{main}\n{text}")
    return [program, "-e", str(folder / "err"), "-p", str(folder), "-c", str(conf)]


def traefik(program: str, folder: Path) -> list[str]:
    return [program, f"--configFile={folder}/traefik.yaml"]


def caddy(program: str, folder: Path) -> list[str]:
    return [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def envoy(program: str, folder: Path) -> list[str]:
    one = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    return [program, "-c", str(folder / "envoy.yaml"), *one]


COMMANDS: dict[str, Command] = {"nginx": nginx, "traefik": traefik, "caddy": caddy, "envoy": envoy}


@contextmanager
def run_proxy(program: str, files: Mapping[str, str], ports: Mapping[str, int]) -> Iterator[int]:
    """The port of a proxy that accepts; it ends with the test."""
    found = programs.need(program)
    port = free_port()
    given = {PROXY: port, **ports}
    with tempfile.TemporaryDirectory(prefix="postern-proxy-") as name:
        folder = Path(name)
        for file, text in files.items():
            numbers = re.compile(rf"\b({'|'.join(given)})\b")
            (folder / file).write_text(numbers.sub(lambda match: str(given[match[1]]), text))
        command = COMMANDS[program](found, folder)
        env = {"PATH": os.environ["PATH"], "HOME": name, "XDG_CONFIG_HOME": name, "XDG_DATA_HOME": name}
        with (folder / "out").open("wb") as out:
            process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        try:
            until_it_serves(port, process, folder)
            yield port
        finally:
            end(process)


def until_it_serves(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    """It may accept before it has read all of its files: then it says 404."""
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        with suppress(OSError, IndexError):
            if get(port, "/public/ready").status != 404:
                return
        said = "".join(path.read_text(errors="replace") for path in folder.glob("[oe][ur][tr]"))
        assert process.poll() is None and time.monotonic() < deadline, said
        time.sleep(0.02)


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)


def example(name: str) -> dict[str, str]:
    """The proxy's files of an example."""
    paths = [path for path in (EXAMPLES / name).iterdir() if path.name not in ("README.md", "routes.yaml")]
    return {path.name: path.read_text() for path in paths}
