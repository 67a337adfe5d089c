"""What signing in costs: cold tokens, refreshes, sign-ins, revocations, memory; on SQLite and PostgreSQL."""

import argparse
import asyncio
import http.client
import json
import os
import platform
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import interpreter, measure, people
from bench.peers import free_port
from gateway.config.service import Password, Service
from gateway.identity.passwords import Passwords
from tests.kit.postgres import run_postgres

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build/bench-identity"
RESULTS = ROOT / "bench/results-identity.md"
COLD, REFRESHING, SIGN_INS, REVOKED = 5_000, 64, 60, 300
CONNECTIONS = 16
PASSWORD = "a long password for nobody"

ROUTES = """
version: 1
listen: 127.0.0.1:{port}
admin: 127.0.0.1:{admin}
workers: 2
access_log: {{to: none}}
identity:
  limits: {{login: 1000000/second, register: 1000000/second, refresh: 1000000/second}}
routes:
  - name: here
    match: {{path: /here}}
    answer: {{status: 200, body: here}}
    policies: {{authenticate: required}}
"""


class Took(NamedTuple):
    """So many calls: how long each took (seconds), and CPU seconds of identity and of the whole tree."""

    calls: int
    elapsed: float
    durations: list[float]
    identity: float
    tree: float

    @property
    def rate(self) -> float:
        return self.calls / self.elapsed

    def per_call(self, cpu: float) -> float:
        return cpu / self.calls * 1e6

    def at(self, share: float) -> float:
        ordered = sorted(self.durations)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3


class Client:
    """One connection kept alive; as little of HTTP as is needed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, method: str, path: str, token: str = "", body: object = None) -> tuple[int, bytes]:
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(content)}\r\n"
        head += "Content-Type: application/json\r\n" if content else ""
        head += f"Authorization: Bearer {token}\r\n" if token else ""
        self._writer.write(head.encode() + b"\r\n" + content)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in answer.split(b"\r\n")[1:-2])
        return int(answer[9:12]), await self._reader.readexactly(int(fields[b"content-length"]))


class Gateway(NamedTuple):
    port: int
    process: subprocess.Popen[bytes]
    tokens: list[tuple[str, str]]

    def pids(self) -> dict[str, list[int]]:
        """By what they are: supervisor, identity, worker."""
        found: dict[str, list[int]] = {"supervisor": [self.process.pid], "identity": [], "worker": []}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                line = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == self.process.pid:
                found["identity" if b"gateway.identity" in line else "worker"].append(int(entry.name))
        return found

    async def timed(self, jobs: list[Callable[[Client], Awaitable[int]]], connections: int) -> Took:
        """The jobs over so many connections; each gives the status, which must be 200."""
        identity = self.pids()["identity"][0]
        clients = [await Client.to(self.port) for _ in range(connections)]
        waiting, durations = iter(jobs), list[float]()

        async def work(client: Client) -> None:
            for job in waiting:
                began = time.perf_counter()
                status = await job(client)
                durations.append(time.perf_counter() - began)
                if status not in (200, 201):
                    sys.exit(f"a call was answered {status}")

        before = measure.cpu_seconds(identity), measure.cpu_seconds(self.process.pid)
        began = time.perf_counter()
        await asyncio.gather(*(work(client) for client in clients))
        elapsed = time.perf_counter() - began
        after = measure.cpu_seconds(identity), measure.cpu_seconds(self.process.pid)
        return Took(len(durations), elapsed, durations, after[0] - before[0], after[1] - before[1])


@contextmanager
def gateway(programs: Path, url: str) -> Iterator[Gateway]:
    port, secret = free_port(), secrets.token_urlsafe(32)
    folder = FOLDER / secrets.token_hex(4)
    folder.mkdir(parents=True)
    routes = folder / "routes.yaml"
    routes.write_text(ROUTES.format(port=port, admin=free_port()))
    tokens = asyncio.run(people.fill(url, secret, COLD + REFRESHING + REVOKED, presented=True))
    own = {
        "POSTERN_SECRET": secret,
        "DATABASE_URL": url,
        "POSTERN_DATA": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    out = (folder / "out").open("wb")
    command = [str(programs / "postern"), "run", "-c", str(routes)]
    process = subprocess.Popen(command, env=os.environ | own, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_for(port, process)
        yield Gateway(port, process, tokens)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/api/auth/openapi.json")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    sys.exit("the gateway did not start; its output is in build/bench-identity")


async def measured(made: Gateway) -> dict[str, Took]:
    cold = made.tokens[:COLD]
    refreshing = made.tokens[COLD : COLD + REFRESHING]
    revoked = made.tokens[COLD + REFRESHING :]
    results: dict[str, Took] = {}

    def here(token: str) -> Callable[[Client], Awaitable[int]]:
        async def call(client: Client) -> int:
            return (await client.ask("GET", "/here", token))[0]

        return call

    results["cold"] = await made.timed([here(access) for access, _ in cold], CONNECTIONS)
    results["one cold"] = await made.timed([here(access) for access, _ in revoked], 1)

    latest = [refresh for _, refresh in refreshing]

    def refresh(number: int) -> Callable[[Client], Awaitable[int]]:
        async def call(client: Client) -> int:
            body = {"refresh_token": latest[number]}
            status, answer = await client.ask("POST", "/api/auth/refresh", body=body)
            latest[number] = json.loads(answer)["refresh_token"] if status == 200 else ""
            return status

        return call

    rounds = [refresh(number) for _ in range(40) for number in range(REFRESHING)]
    results["refresh"] = await made.timed(rounds, CONNECTIONS)
    results["sign-in"] = await made.timed([await sign_in(made, place) for place in range(SIGN_INS)], 4)

    def log_out(token: str) -> Callable[[Client], Awaitable[int]]:
        async def call(client: Client) -> int:
            return (await client.ask("POST", "/api/auth/logout", token))[0]

        return call

    results["revoke"] = await made.timed([log_out(access) for access, _ in revoked], 1)
    return results


async def sign_in(made: Gateway, place: int) -> Callable[[Client], Awaitable[int]]:
    """Signing in an account that is registered here, before the clock runs."""
    body = {"email": f"person{place}@example.com", "password": PASSWORD}
    client = await Client.to(made.port)
    status, _ = await client.ask("POST", "/api/auth/register", body=body)
    if status != 201:
        sys.exit(f"registering was answered {status}")

    async def call(client: Client) -> int:
        return (await client.ask("POST", "/api/auth/login", body=body))[0]

    return call


async def argon2() -> tuple[float, float]:
    """Verifications per second with the service's own threads, and CPU seconds of one."""
    passwords = Passwords(Service(password=Password()), os.cpu_count() or 1)
    kept = await passwords.hash(PASSWORD)
    assert isinstance(kept, str)
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(10):
        await asyncio.gather(*(passwords.verify(PASSWORD, kept) for _ in range(4)))
    return 40 / (time.perf_counter() - began), (time.process_time() - cpu) / 40


def pss(made: Gateway) -> dict[str, float]:
    """MiB by process; of several workers the mean."""
    return {name: statistics.mean(_pss(pid) for pid in pids) for name, pids in made.pids().items() if pids}


def _pss(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


HEAD = """# What signing in costs

One run on one machine ({cores} cores, {system}), CPython {build}.
The gateway has two workers; the client's own work is not counted. CPU is user and system time, of the
identity process and of all of the gateway.

A verification by argon2 (19 MiB, two passes) costs {argon:.1f} ms of CPU; the service's threads do {rate:.0f}
a second.

| | | calls/s | p50, ms | p99, ms | CPU of identity, µs | CPU of all, µs |
|---|---|---|---|---|---|---|
"""
NAMES = {
    "cold": f"cold token, {CONNECTIONS} connections",
    "one cold": "cold token, one connection",
    "refresh": f"refresh, {CONNECTIONS} connections",
    "sign-in": "sign-in, 4 connections",
    "revoke": "logout, to the edges' acknowledgement",
}
MEMORY = """
PSS in MiB; "after" is after all of the above.

| | supervisor | identity | worker |
|---|---|---|---|
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    python = interpreter.choose()
    programs = interpreter.environment(python)
    shutil.rmtree(FOLDER, ignore_errors=True)
    rate, cpu = asyncio.run(argon2())
    system = f"{platform.system()} {platform.machine()}"
    report = HEAD.format(cores=os.cpu_count(), system=system, build=python.build, argon=cpu * 1e3, rate=rate)
    memory = MEMORY
    FOLDER.mkdir(parents=True)
    with run_postgres(fsync="on", synchronous_commit="on", full_page_writes="on") as server:
        stores = {"SQLite": f"sqlite:{FOLDER}/postern.db", "PostgreSQL": server.make_database()}
        for store, url in stores.items():
            rows, sizes = one_store(programs, store, url)
            report += rows
            memory += sizes
    report += memory
    print(report)
    RESULTS.write_text(report)
    shutil.rmtree(FOLDER)


def one_store(programs: Path, store: str, url: str) -> tuple[str, str]:
    """The rows of its calls, and of memory."""
    with gateway(programs, url) as made:
        before = pss(made)
        results = asyncio.run(measured(made))
        after = pss(made)
    rows = memory = ""
    for name, words in NAMES.items():
        took = results[name]
        rows += f"| {words} | {store} | {took.rate:,.0f} | {took.at(0.5):.2f} | {took.at(0.99):.2f} | "
        rows += f"{took.per_call(took.identity):,.0f} | {took.per_call(took.tree):,.0f} |\n"
    for when, sizes in (("at start", before), ("after", after)):
        cells = " | ".join(f"{sizes[name]:.1f}" for name in ("supervisor", "identity", "worker"))
        memory += f"| {store}, {when} | {cells} |\n"
    return rows, memory


if __name__ == "__main__":
    main()
