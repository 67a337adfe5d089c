"""The edge's assertions: asked for with the credential itself, and kept with the identity they are of.

They lie in the cached identity, so a revoke, or a change of roles, takes them along.
"""

import asyncio
from collections.abc import Awaitable

from gateway.edge.identities import ASK_AGAIN, ASK_WITHIN, UNAVAILABLE, Identities
from gateway.link.client import LinkDown
from gateway.link.client import now as boottime
from gateway.model.challenges import bearer
from gateway.model.exchange import Exchange
from gateway.model.faults import INVALID_TOKEN
from gateway.model.identity import Identified
from gateway.model.verdict import Refuse

# What an upstream is handed has this much left at least, or a quarter of its life: it has to get there, and
# clocks differ.
LEFT_AT_LEAST = 15.0
# The identity was cached, and its credential is good no more: it has just expired, or news are on their way.
_OVER = Refuse(INVALID_TOKEN, headers=bearer("postern", "invalid_token"))


class Assertions:
    """One per worker: gateway.model.policy.Assertions."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._asking: dict[tuple[Identified, str, float], asyncio.Task[bytes | Refuse]] = {}

    def line(
        self, audience: str, ttl: float, exchange: Exchange
    ) -> bytes | Refuse | Awaitable[bytes | Refuse]:
        """At once, if one is kept that is good for a while yet."""
        who = exchange.who
        assert who is not None
        kept = who.assertions
        if kept is not None:
            found = kept.get((audience, ttl))
            if found is not None and boottime() < found[1]:
                return found[0]
        if not self._identities.link.up:
            return UNAVAILABLE
        return self._ask(who, audience, ttl, exchange.credential)

    async def _ask(self, who: Identified, audience: str, ttl: float, credential: bytes) -> bytes | Refuse:
        """One question for all who wait for the same; nobody's going away ends it for others."""
        key = who, audience, ttl
        task = self._asking.get(key)
        if task is None:
            task = asyncio.ensure_future(self._question(who, audience, ttl, credential))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._asking.pop(key, None))
        line = await asyncio.shield(task)
        missed = self._identities.missed(who)  # news may have come between the answer and this line
        return line if not missed else _OVER if missed == "revoked" else UNAVAILABLE

    async def _question(
        self, who: Identified, audience: str, ttl: float, credential: bytes
    ) -> bytes | Refuse:
        message = {"t": "assert", "kind": who.kind, "credential": credential.decode("latin-1"),
                   "audience": audience, "ttl": ttl}  # fmt: skip
        for _ in range(ASK_AGAIN):
            began = boottime()
            try:
                answer = await self._identities.link.ask(message, ASK_WITHIN)
            except (LinkDown, TimeoutError):
                return UNAVAILABLE
            outcome = answer.get("outcome")
            if outcome == "bad":
                return _OVER
            if outcome != "asserted":
                return UNAVAILABLE
            # T41: not one that was signed before a revoke, or with roles that were taken since
            if self._identities.current(who.identity, answer.get("as_of", -1)):
                return _keep(who, audience, ttl, answer["assertion"], began + float(answer["expires_in"]))
        return UNAVAILABLE


def _keep(who: Identified, audience: str, ttl: float, text: str, expires: float) -> bytes:
    """What remains counts from the asking, as with identities."""
    line = b"X-User-Assertion: " + text.encode("ascii") + b"\r\n"
    if who.assertions is None:
        who.assertions = {}
    who.assertions[audience, ttl] = line, expires - min(LEFT_AT_LEAST, ttl / 4)
    return line
