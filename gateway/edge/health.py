"""Asks every server of an upstream for a page again and again, and tells the group who answers well."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from random import Random
from urllib.parse import quote

from gateway.config.snapshot import Health, Server, Upstream
from gateway.edge.servers import Group, ServerState, authority

Changed = Callable[[Group, ServerState, str], None]
Sleep = Callable[[float], Awaitable[None]]

HEAD_LIMIT = 16 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: .*)?\r?\n", re.DOTALL)


class HealthChecker:
    """Owns one task per server of a group. `changed` hears of each change, with the reason."""

    __slots__ = ("_changed", "_context", "_group", "_health", "_random", "_sleep", "_tasks")

    def __init__(
        self,
        group: Group,
        changed: Changed,
        context: ssl.SSLContext | None = None,
        sleep: Sleep = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        self._group = group
        self._health = group.upstream.health
        self._changed = changed
        self._context = context
        self._sleep = sleep
        self._random = random or Random()
        self._tasks: dict[ServerState, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin; servers that DNS adds or removes later are followed. Without `health` nothing is done."""
        if self._health is None:
            return
        self._group.on_added.append(self._watch)
        self._group.on_removed.append(self._forget)
        for server in self._group.servers:
            self._watch(server)

    def close(self) -> None:
        """Stop. From now on nothing changes in the group."""
        if self._watch in self._group.on_added:
            self._group.on_added.remove(self._watch)
            self._group.on_removed.remove(self._forget)
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _watch(self, server: ServerState) -> None:
        if self._health is not None:
            task = asyncio.create_task(self._keep(server, self._health), name=f"health {server.name}")
            self._tasks[server] = task

    def _forget(self, server: ServerState) -> None:
        task = self._tasks.pop(server, None)
        if task is not None:
            task.cancel()

    async def _keep(self, server: ServerState, health: Health) -> None:
        # Spread, so that workers and replicas don't ask all at once.
        await self._sleep(self._random.uniform(0, min(1.0, health.every)))
        while True:
            fault = await check(server, self._group.upstream, health, self._context)
            if self._group.checked(server, passed=not fault):
                self._changed(self._group, server, fault)
            await self._sleep(health.every * self._random.uniform(0.9, 1.1))


async def check(
    server: ServerState, upstream: Upstream, health: Health, context: ssl.SSLContext | None
) -> str:
    """Ask once; why the server does not pass, or nothing when it does."""
    try:
        async with asyncio.timeout(health.timeout):
            status = await _ask(server, upstream, health, context)
    except TimeoutError:
        return f"no answer in {health.timeout:g} s"
    except ssl.SSLError as error:
        return f"TLS failed: {error.reason or error}"
    except OSError as error:
        return error.strerror or str(error) or "the connection broke"
    except ValueError:
        return "the answer is not HTTP/1.1"
    return "" if status in health.expect else f"answered {status}"


async def _ask(
    server: ServerState, upstream: Upstream, health: Health, context: ssl.SSLContext | None
) -> int:
    secure = server.record.secure
    name = (upstream.tls.server_name or server.record.host) if secure else None
    tls = (context or True) if secure else None  # True: the system's authorities; never silently in clear
    if isinstance(server.address, str):
        reader, writer = await asyncio.open_unix_connection(
            server.address, ssl=tls, server_hostname=name, limit=HEAD_LIMIT
        )
    else:
        reader, writer = await asyncio.open_connection(
            *server.address[:2], ssl=tls, server_hostname=name, limit=HEAD_LIMIT
        )
    try:
        writer.write(request(server.record, upstream, health))
        return await _status(reader)
    finally:
        # At once: the rest of the answer does not matter, and a goodbye over TLS could take long.
        writer.transport.abort()


def request(record: Server, upstream: Upstream, health: Health) -> bytes:
    path = quote(health.path, safe="/?%&=+:,;@~!$'()*-._")
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host(record, upstream)}\r\n"
        "User-Agent: postern-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    ).encode()


def host(record: Server, upstream: Upstream) -> str:
    """The Host header: the fixed one of the upstream, else the server's own: no client is being served."""
    if upstream.host not in ("preserve", "upstream"):
        return upstream.host
    return authority(record)


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of the final reply; ValueError when that is not HTTP or its head is too large."""
    left = HEAD_LIMIT
    while left > 0:
        line = await reader.readline()
        match = STATUS_LINE.fullmatch(line)
        if match is None:
            raise ConnectionError("closed without an answer") if not line else ValueError(line)
        left -= len(line)
        if match[1][0:1] != b"1" or match[1] == b"101":
            return int(match[1])
        while left > 0 and line not in (b"\r\n", b"\n", b""):  # 1xx: the rest of its head, then the next
            line = await reader.readline()
            left -= len(line)
    raise ValueError("too many interim replies")
