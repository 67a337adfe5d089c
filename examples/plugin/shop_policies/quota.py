"""Asks the shop's billing whether a user has something left, and remembers the answer for a moment."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar
from urllib.parse import quote, urlsplit

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import Fault
from gateway.model.lines import line
from gateway.model.policy import Effects, Ports
from gateway.model.verdict import Outcome, Refuse, Verdict

NOTHING_LEFT = Fault("quota_used_up", 402, "Your plan's quota is used up", "client")
NOT_KNOWN = Fault("quota_unknown", 503, "Your quota can't be looked up just now", "gateway")
MOST_REMEMBERED = 10_000  # users, in each worker

Ask = Callable[[str], Awaitable[int]]


class Quota:
    """After authentication: who asks is known. Where nobody has to sign in, the anonymous have no quota."""

    name: ClassVar[str] = "quota"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        billing: str  # asked for {billing}/{user's id}; it answers {"left": 7}
        remember: float = 5.0  # seconds
        within: float = 1.0  # seconds in which billing has to answer

        def __post_init__(self) -> None:
            parts = urlsplit(self.billing)
            if parts.scheme != "http" or not parts.hostname:
                raise ValueError("billing is an address such as http://billing.internal:8000/quota")

    def __init__(
        self,
        settings: Settings,
        ports: Ports,
        ask: Ask | None = None,  # a test gives its own
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask or Billing(settings.billing, settings.within).left
        self._clock, self._remember = clock, settings.remember
        self._known: dict[str, tuple[int, float]] = {}  # of a user: what was left, and until when that is so
        self._used_up = Refuse(NOTHING_LEFT)

    def effects(self) -> Effects:
        """What a client says of its quota goes no further."""
        return Effects(request_drop=frozenset({b"x-quota-left"}))

    def on_request(self, exchange: Exchange) -> Verdict:
        """A plain answer for those who are known; only for the others something is waited for."""
        identity = exchange.identity
        if identity is None:
            return None
        known = self._known.get(identity.id)
        if known is None or known[1] < self._clock():
            return self._look_up(identity.id, exchange)
        return self._judge(known[0], exchange)

    async def _look_up(self, user: str, exchange: Exchange) -> Outcome:
        try:
            left = await self._ask(user)
        except (OSError, ValueError) as error:  # what can happen to a question; all else is a defect
            exchange.note(f"billing: {error!r}")
            return Refuse(NOT_KNOWN)
        if len(self._known) >= MOST_REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[user] = left, self._clock() + self._remember
        return self._judge(left, exchange)

    def _judge(self, left: int, exchange: Exchange) -> Outcome:
        if left <= 0:
            return self._used_up
        exchange.request_add += line("X-Quota-Left", str(left))
        return None


class Billing:
    """The shop's billing service, asked over HTTP/1.0: one question for each connection."""

    def __init__(self, url: str, within: float) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._path, self._within = parts.path.rstrip("/"), within

    async def left(self, user: str) -> int:
        async with asyncio.timeout(self._within):
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                path = f"{self._path}/{quote(user, safe='')}"
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {self._host}\r\n\r\n".encode())
                reply = await reader.read(64 * 1024)
                while more := await reader.read(64 * 1024):
                    reply += more
            finally:
                writer.close()
        head, _, body = reply.partition(b"\r\n\r\n")
        if head.split(b" ")[1:2] != [b"200"]:
            raise ValueError(f"it answered {head[:40]!r}")
        told = json.loads(body)
        if not isinstance(told, dict) or not isinstance(told.get("left"), int):
            raise ValueError(f"it answered {body[:40]!r}")
        left: int = told["left"]
        return left
