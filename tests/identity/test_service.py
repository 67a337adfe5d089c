"""The identity service's process, as the supervisor starts, reloads, counts and drains it."""

import asyncio
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.config import service as config
from gateway.config.service import Service
from gateway.link import frames
from gateway.model.metrics import IDENTITY_METRICS
from tests.identity.rig import SETTINGS, running

PATIENCE = 20.0


class Process:
    """The process, its control socket and the two sockets that it serves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = msgspec.structs.replace(
            SETTINGS, database_url=f"sqlite:{folder}/postern.db", data=str(folder)
        )
        self._reader = frames.FrameReader()
        self._said: list[frames.Message] = []

    async def start(self) -> None:
        self.control, theirs = socket.socketpair()
        self.control.setblocking(False)
        self.listening = {name: listening(self.folder / f"{name}.sock") for name in ("http", "link")}
        fds = {name: sock.fileno() for name, sock in self.listening.items()}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.identity.service", "--control", str(theirs.fileno()),
            pass_fds=[theirs.fileno(), *fds.values()], stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        theirs.close()
        await self.tell({"t": "start", "service": config.encode(self.settings), **fds})

    async def tell(self, message: frames.Message) -> None:
        await asyncio.get_running_loop().sock_sendall(self.control, frames.encode(message))

    async def said(self) -> frames.Message:
        async with asyncio.timeout(PATIENCE):
            while not self._said:
                data = await asyncio.get_running_loop().sock_recv(self.control, 1 << 16)
                assert data, "the process closed its control socket"
                self._said += self._reader.feed(data)
        return self._said.pop(0)

    async def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        connector = aiohttp.UnixConnector(path=str(self.folder / "http.sock"))
        within = aiohttp.ClientTimeout(PATIENCE)
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            client.get(f"http://gate{path}", headers=headers, timeout=within) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def reload(self, settings: Service) -> str:
        await self.tell({"t": "reload", "id": 7, "service": config.encode(settings)})
        said = await self.said()
        assert (said["t"], said["id"]) == ("reloaded", 7)
        return str(said["error"])

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def close(self) -> None:
        self.control.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()
        for sock in self.listening.values():
            sock.close()


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    with tempfile.TemporaryDirectory(prefix="postern-") as folder:
        process = Process(Path(folder))
        yield process
        await process.close()


async def test_it_serves_counts_and_drains(process: Process) -> None:
    await process.start()
    assert await process.said() == {"t": "ready"}
    status, body = await process.get("/api/auth/sessions")
    assert (status, body["code"]) == (401, "credential_missing")
    await process.tell({"t": "collect", "id": 3})
    said = await process.said()
    assert (said["t"], said["id"]) == ("counters", 3)
    names = {sample[0] for sample in said["samples"]}
    assert {"sessions_active", "store_query_duration_seconds"} <= names <= IDENTITY_METRICS.keys()
    await process.tell({"t": "drain", "timeout": 5})
    assert [(await process.said())["t"] for _ in range(2)] == ["counters", "drained"]
    assert await process.ended() == 0


async def test_a_head_is_as_large_as_the_edge_lets_through(process: Process) -> None:
    await process.start()
    await process.said()
    headers = {"Cookie": "x=" + "y" * 100_000} | {f"X-{number}": "z" for number in range(500)}
    status, body = await process.get("/api/auth/sessions?x=" + "y" * 20_000, headers)
    assert (status, body["code"]) == (401, "credential_missing")


async def test_a_reload_changes_what_is_served_at_once(process: Process) -> None:
    await process.start()
    await process.said()
    moved = msgspec.structs.replace(process.settings, prefix="/auth-api", serve=("api",))
    assert await process.reload(moved) == ""
    assert (await process.get("/auth-api/sessions"))[0] == 401
    assert (await process.get("/api/auth/sessions"))[0] == 404
    assert (await process.get("/.well-known/jwks.json"))[0] == 404


async def test_a_reload_that_needs_a_restart_changes_nothing(process: Process) -> None:
    await process.start()
    await process.said()
    other = msgspec.structs.replace(
        process.settings, database_url=f"sqlite:{process.folder}/other.db", prefix="/auth-api"
    )
    assert "database_url" in await process.reload(other)
    assert (await process.get("/api/auth/sessions"))[0] == 401


async def test_without_its_supervisor_it_ends(process: Process) -> None:
    await process.start()
    await process.said()
    process.control.close()
    assert await process.ended() == 0


async def test_what_it_can_not_start_with_is_told(process: Process) -> None:
    process.settings = msgspec.structs.replace(process.settings, secrets=("too short",))
    await process.start()
    said = await process.said()
    assert said["t"] == "failed" and "shorter than 32 bytes" in said["error"]
    assert "too short" not in said["error"]
    assert await process.ended() == 1


async def test_a_database_whose_sessions_need_another_secret_is_refused(process: Process) -> None:
    async with running(process.settings.database_url) as rig:
        await rig.signed_in()
    process.settings = msgspec.structs.replace(
        process.settings, secrets=("another-master-secret-0123456789-abcdef",)
    )
    await process.start()
    said = await process.said()
    assert said["t"] == "failed" and "key-id" in said["error"]
