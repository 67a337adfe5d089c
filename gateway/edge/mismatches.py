"""Tells the identity service that a credential came from elsewhere than its session was signed in from."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from gateway.link.client import Link, LinkDown
from gateway.model.binding import AGAIN, AGENT, PLACES, SESSIONS, place_of
from gateway.model.exchange import Exchange
from gateway.model.seldom import Seldom

ASK_WITHIN = 5.0
AT_ONCE = 64
PAUSE = 5.0  # seconds until what could not be told may be tried again


class Mismatches:
    """One per worker."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._told = Seldom(AGAIN, PLACES, SESSIONS)
        self._telling: set[asyncio.Task[None]] = set()

    def tell(self, what: tuple[str, ...], act: str, exchange: Exchange) -> bool | Awaitable[bool]:
        """See Ports: nobody waits for what is only to be known."""
        if exchange.who is None:
            return False
        agent = (exchange.noted.get(b"user-agent") or b"").decode("utf-8", "replace")[:AGENT]
        client = exchange.client.decode("ascii", "replace")
        message = {
            "t": "mismatch", "kind": exchange.who.kind, "credential": exchange.credential.decode("latin-1"),
            "what": list(what), "act": act, "address": client, "agent": agent, "route": exchange.route.name,
        }  # fmt: skip
        if act == "strict":
            return self._ask(message)
        session, place = exchange.who.identity.session, place_of(client, agent)
        if self._link.up and len(self._telling) < AT_ONCE and self._told.new(session, place):
            task = asyncio.ensure_future(self._tell(message, session, place))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        return True

    def close(self) -> None:
        for task in self._telling:
            task.cancel()

    async def _tell(self, message: dict[str, Any], session: str, place: str) -> None:
        if not await self._ask(message):
            await asyncio.sleep(PAUSE)
            self._told.forget(session, place)

    async def _ask(self, message: dict[str, Any]) -> bool:
        """Whether the service knows it now, or the credential is over anyway."""
        try:
            answer = await self._link.ask(message, ASK_WITHIN)
        except (LinkDown, TimeoutError):
            return False
        return answer.get("outcome") in ("noted", "bad")
