"""The identity service's process: takes its sockets and settings from the supervisor, and serves.

python -m gateway.identity.service --control FD
"""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

from gateway.config import service as config
from gateway.config.faults import ConfigFaults
from gateway.config.service import Service
from gateway.identity import assembly, control
from gateway.identity.app import make_app
from gateway.identity.context import Context
from gateway.identity.edge_book import book_beside
from gateway.identity.hooks import load as load_hooks
from gateway.identity.keys import TEND_EVERY
from gateway.identity.purge import purge
from gateway.identity.runner import Runner
from gateway.identity.table import endpoints
from gateway.link import child, frames
from gateway.link.server import LinkServer
from gateway.model.metrics import Sample
from gateway.store import outbox as outbox_rows
from gateway.store import sessions as session_rows
from gateway.store.faults import StoreFault

log = logging.getLogger(__name__)
CONTROL = "control.sock"  # in the data folder
PURGE_EVERY = 600.0
COUNT_EVERY = 60.0
ISSUERS_EVERY = 60.0
BACKLOG = 1024
KEEPALIVE = 120.0  # longer than the edge keeps an idle connection
HEAD = 2 << 20  # bytes and lines of a request's head: more than any edge's `limits` let through
LAST_REQUESTS = 5.0  # seconds that requests may take when the process is told to drain without a time


class IdentityService:
    """The running service: its context, its two sockets and the tasks that look after things."""

    def __init__(self, context: Context, http: socket.socket, link: socket.socket) -> None:
        self.context = context
        self._http = http
        self._server = LinkServer(
            link, assembly.LinkService(context), context.propagation, logging.getLogger("gateway.link")
        )
        self._runner: Runner | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._active = 0
        self._pending: dict[str, int] = {}

    async def start(self) -> None:
        await self._server.start()
        self._runner = await self._serve()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(_every(TEND_EVERY, self._tend)),
            loop.create_task(_every(PURGE_EVERY, self._purge)),
            loop.create_task(_every(COUNT_EVERY, self._count)),
            loop.create_task(_every(ISSUERS_EVERY, self._refresh_issuers)),
            loop.create_task(self.context.outbox.run()),
            loop.create_task(control.serve(self.context, Path(self.context.settings.data) / CONTROL)),
        ]

    async def _serve(self) -> Runner:
        app = make_app(self.context, *endpoints(self.context.settings))
        runner = Runner(
            app,
            access_log=None,
            handle_signals=False,
            auto_decompress=False,  # compressed bodies are refused, so none is ever unpacked
            handler_cancellation=False,  # a client that leaves does not stop what it began
            keepalive_timeout=KEEPALIVE,
            max_line_size=HEAD,
            max_field_size=HEAD,
            max_headers=HEAD,
            shutdown_timeout=LAST_REQUESTS,
        )
        await runner.setup()
        # the socket is the supervisor's: a duplicate of it can be closed, and queued connections stay
        await web.SockSite(runner, self._http.dup(), backlog=BACKLOG).start()
        return runner

    async def reload(self, settings: Service) -> str:
        """The reason why it can't be done; empty when it was done."""
        before = self.context.settings
        try:
            assembly.reconfigure(self.context, settings)
        except ValueError as error:
            return str(error)
        try:
            await self._tend()  # other tokens may need another key
            old, self._runner = self._runner, await self._serve()
        except Exception as error:  # all or nothing
            assembly.reconfigure(self.context, before)
            return f"the new settings can't be used: {type(error).__name__}"
        if old is not None:
            await old.cleanup()
        return ""

    async def _tend(self) -> None:
        await self.context.keys.tend(self.context.store)

    async def _purge(self) -> None:
        await purge(self.context)

    async def _count(self) -> None:
        async with self.context.store.reading() as db:
            self._active = await session_rows.count_live(db)
            self._pending = await outbox_rows.count(db)

    async def _refresh_issuers(self) -> None:
        await self.context.issuers.refresh()

    def samples(self) -> list[Sample]:
        return [
            *self.context.counters.samples(),
            *self.context.store.samples(),
            Sample("sessions_active", (), self._active),
            *(Sample("outbox_pending", (kind,), count) for kind, count in self._pending.items()),
        ]

    async def drain(self, patience: float) -> None:
        """Answer what has come, take no more; then let go of edges and store."""
        if self._runner is not None:
            for site in list(self._runner.sites):
                await site.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._runner.cleanup()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.close()
        await assembly.dismantle(self.context)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            async with asyncio.timeout(max(seconds, 30.0)):
                await work()
        except Exception as error:  # it is tried again; the class tells enough, and no text of it goes out
            log.error("%s failed and will be tried again: %s", work.__name__.strip("_"), type(error).__name__)
        await asyncio.sleep(seconds)


async def serve(sock: socket.socket) -> int:
    """Follow the supervisor's messages until it says drain, or is gone."""
    sock.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=sock)
    incoming = frames.FrameReader()
    running: IdentityService | None = None

    async def tell(message: frames.Message) -> None:
        if writer.is_closing():  # the supervisor is gone, and uvloop would raise RuntimeError
            return
        with contextlib.suppress(OSError):
            writer.write(frames.encode(message))
            await writer.drain()

    patience = LAST_REQUESTS
    told = False
    while not told:
        data = await reader.read(1 << 20)
        if not data:
            break
        for message in incoming.feed(data):
            kind = message["t"]
            if kind == "start":
                try:
                    running = await _started(message)
                except (ConfigFaults, StoreFault, OSError, ValueError) as fault:
                    await tell({"t": "failed", "error": str(fault)})
                    return 1
                await tell({"t": "ready"})
            elif running is None:
                continue
            elif kind == "reload":
                error = await _reloaded(running, message["service"])
                await tell({"t": "reloaded", "id": message["id"], "error": error})
            elif kind == "collect":
                await tell({"t": "counters", "id": message["id"], "samples": running.samples()})
            elif kind == "drain":
                patience, told = float(message["timeout"]), True
    if running is not None:
        await running.drain(patience)
        await tell({"t": "counters", "id": -1, "samples": running.samples()})
    await tell({"t": "drained"})
    writer.close()
    return 0


async def _started(message: frames.Message) -> IdentityService:
    http, link = (socket.socket(fileno=message[name]) for name in ("http", "link"))
    settings = config.decode(message["service"])
    context = await assembly.assemble(settings, book=book_beside(link), hooks=load_hooks())
    running = IdentityService(context, http, link)
    await running.start()
    return running


async def _reloaded(running: IdentityService, data: bytes) -> str:
    try:
        return await running.reload(config.decode(data))
    except Exception as error:
        log.exception("a reload crashed")
        return f"the identity service could not use the configuration: {type(error).__name__}"


if __name__ == "__main__":
    sys.exit(child.main(sys.argv, "gateway.identity.service", serve))
