"""Asks the identity service for a cookie's successor: once for all who ask at the same time."""

import asyncio
from hashlib import sha256
from typing import Any

from gateway.link.client import Link, LinkDown
from gateway.model.exchange import Exchange

RENEW_WITHIN = 2.0


class Renewals:
    """One per worker."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._running: dict[tuple[object, ...], asyncio.Task[dict[str, Any] | None]] = {}

    async def renewed(self, cookie: bytes, exchange: Exchange, *, bearer: bool) -> dict[str, Any] | None:
        """The service's answer; with `bearer` a fresh access token is in it. None when there is none."""
        place = (exchange.client, exchange.noted.get(b"user-agent"))  # what is refused there may be due here
        key = (sha256(cookie).digest(), bearer, place)
        task = self._running.get(key)
        if task is None:
            agent = (exchange.noted.get(b"user-agent") or b"").decode("utf-8", "replace")
            message = {"t": "renew", "credential": cookie.decode("latin-1"), "bearer": bearer,
                       "address": exchange.client.decode("ascii", "replace"), "agent": agent}  # fmt: skip
            task = asyncio.ensure_future(self._ask(message))
            self._running[key] = task
            task.add_done_callback(lambda done: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any] | None:
        try:
            answer = await self._link.ask(message, RENEW_WITHIN)
        except (LinkDown, TimeoutError):
            return None
        return answer if answer.get("outcome") == "renewed" else None
