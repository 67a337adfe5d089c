"""Webhooks: tells other programs what happened, signed, by the outbox, in the transaction of the cause."""

import hashlib
import hmac
import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import aiohttp
import msgspec

from gateway.config.service import Webhook
from gateway.identity.audit import Happened
from gateway.identity.outbox import Never, NotNow, Outbox
from gateway.identity.shapes import iso
from gateway.store.database import Database

WEBHOOK = "webhook"
SIGNATURE = "Postern-Signature"
WITHIN = 15.0  # seconds
_GONE = 410  # RFC 9110 section 15.5.11: it is not to be asked again


class Webhooks:
    """Who is told of what; a carrier of the outbox too."""

    def __init__(
        self, hooks: tuple[Webhook, ...], outbox: Outbox, clock: Callable[[], float] = time.time
    ) -> None:
        self._outbox, self._clock = outbox, clock
        self._session: aiohttp.ClientSession | None = None
        self.use(hooks)

    def use(self, hooks: tuple[Webhook, ...]) -> None:
        """These from now on. What waits for one that is gone is thrown away."""
        self._hooks = {hook.url: hook for hook in hooks}

    async def write(self, db: Database) -> None:
        """Store.before_commit: what happened in this unit goes to whoever wants to know it."""
        for happened in db.happened:
            assert isinstance(happened, Happened)
            for hook in self._hooks.values():
                if any(fnmatchcase(happened.event, pattern) for pattern in hook.events):
                    await self._outbox.put(
                        db, WEBHOOK, happened.event, {"url": hook.url, "told": told(happened)}
                    )

    async def send(self, id: str, label: str, content: dict[str, Any]) -> None:
        hook = self._hooks.get(content["url"])
        if hook is None:
            raise Never("its webhook is not configured any more")
        body = msgspec.json.encode({"id": id, **content["told"]})
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "postern",
            SIGNATURE: signature(hook.secret, int(self._clock()), body),
        }
        try:
            async with self._client().post(
                hook.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            raise NotNow(f"the webhook can't be reached: {type(fault).__name__}") from None
        if status == _GONE:
            raise Never("the webhook answered 410: it wants no more")
        if not 200 <= status < 300:
            raise NotNow(f"the webhook answered {status}")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=WITHIN),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # nothing of the reply is read
                trust_env=False,
            )
        return self._session


def told(happened: Happened) -> dict[str, Any]:
    """What the receiver reads; `id`, the same at each attempt, is put before it."""
    said = {"event": happened.event, "at": iso(happened.at), "user_id": happened.user_id}
    more = {
        "actor": happened.actor, "session_id": happened.session_id, "address": happened.address,
        "agent": happened.agent,
    }  # fmt: skip
    return said | {name: value for name, value in more.items() if value} | {"data": happened.data}


def signature(secret: str, at: int, body: bytes) -> str:
    """t=SECONDS,v1=HEX: HMAC-SHA256 by the secret over the seconds, a dot and the body."""
    proof = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={proof}"
