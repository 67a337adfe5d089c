"""Gives the upstream a signed statement of who asks, which it can verify without trusting the way there."""

from collections.abc import Awaitable
from typing import ClassVar

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.policy import Ports
from gateway.model.verdict import Outcome, Refuse, Verdict

SHORTEST, LONGEST = 5.0, 300.0  # seconds


class Assertion:
    name: ClassVar[str] = "assertion"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        audience: str
        ttl: float = 60.0

        def __post_init__(self) -> None:
            if not self.audience:
                raise ValueError("audience is empty: name the upstream that the assertion is for")
            if not SHORTEST <= self.ttl <= LONGEST:
                raise ValueError(f"ttl has to be {SHORTEST:g} to {LONGEST:g} seconds")

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._audience = settings.audience
        self._ttl = settings.ttl
        if ports.assertions is None:
            raise ValueError("nobody here makes assertions")
        self._line = ports.assertions.line

    def on_request(self, exchange: Exchange) -> Verdict:
        """The anonymous have none; what a client sends under this name never gets this far."""
        if exchange.who is None:
            return None
        line = self._line(self._audience, self._ttl, exchange)
        if type(line) is bytes:
            exchange.request_add += line
            return None
        return line if isinstance(line, Refuse) else _wait(line, exchange)  # type: ignore[arg-type]


async def _wait(asked: Awaitable[bytes | Refuse], exchange: Exchange) -> Outcome:
    line = await asked
    if isinstance(line, Refuse):
        return line
    exchange.request_add += line
    return None
