"""What the identity service tells this worker over the link, and who in the worker is to know."""

import asyncio
import logging
import math
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gateway.edge.assertions import Assertions
from gateway.edge.identities import Identities, News
from gateway.edge.leases import Leases
from gateway.edge.streams import Streams
from gateway.link.client import Link, Push

if TYPE_CHECKING:
    from gateway.config.snapshot import Snapshot
    from gateway.link.frames import Message

log = logging.getLogger(__name__)
TOUCH_EVERY = 60.0  # seconds


class Newsroom:
    """The link of one worker, and all that lives by it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        path: str,
        worker: int,
        snapshot: "Snapshot",
        tell: "Callable[[Message], None]",
    ) -> None:
        self._loop = loop
        self._path = path
        self._tell = tell
        self._worker = worker
        self._told_up = False
        self._touching: asyncio.TimerHandle | None = None
        self.link = Link(loop, path, hello(worker, snapshot), self._heard, self._up, self._down, log)
        self.identities = Identities(self.link, snapshot.identity)
        self.assertions = Assertions(self.identities)
        self.leases = Leases(loop, self.link)
        self.streams = Streams(self.identities)

    def start(self) -> None:
        if self._path:
            self.link.start()
            self._touching = self._loop.call_later(TOUCH_EVERY, self._touch)

    def use(self, snapshot: "Snapshot") -> None:
        """Another configuration."""
        self.identities.use(snapshot.identity)
        self.link.reintroduce(hello(self._worker, snapshot))

    def look(self) -> None:
        """A few times a second: end what nobody vouches for any more; tell the supervisor of the link."""
        self.streams.sweep()
        self._tell_link()

    def close(self) -> None:
        if self._touching is not None:
            self._touching.cancel()
        self.streams.close()
        self.identities.close()
        self.link.close()

    def _heard(self, push: Push) -> Awaitable[None] | None:
        """The acknowledgement goes out when this, or what it returns, is done."""
        news = News(push.n, push.kind, push.session, push.user)
        self.identities.drop(news)
        return self.streams.heard(news)

    def _up(self) -> Awaitable[None] | None:
        self.identities.begin_afresh()
        self.leases.begin_afresh()
        self._tell_link()
        return self.streams.look_at_all() if self.streams else None

    def _down(self) -> None:
        self._tell_link()

    def _tell_link(self) -> None:
        if self.link.up != self._told_up:
            self._told_up = self.link.up
            self._tell({"t": "link", "up": self._told_up})

    def _touch(self) -> None:
        self._touching = self._loop.call_later(TOUCH_EVERY, self._touch)
        sessions = {*self.identities.touched(), *self.streams.sessions()}
        if sessions and self.link.up:
            self.link.touch((session, 0.0) for session in sessions)


def hello(worker: int, snapshot: "Snapshot") -> dict[str, Any]:
    """Who we are, and how long our routes would go on without the service."""
    patience = [route.serve_stale for route in snapshot.routes if route.serve_stale >= 0]
    longest = max([snapshot.identity.serve_stale, *patience])
    return {
        "t": "hello", "versions": [1], "edge": f"worker-{worker}", "pid": os.getpid(),
        "serve_stale": -1 if math.isinf(longest) else longest,
    }  # fmt: skip
