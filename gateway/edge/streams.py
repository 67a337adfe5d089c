"""Requests that last (WebSockets, event streams, long transfers): ended when the session behind them ends."""

import asyncio
import logging
from collections.abc import Awaitable
from inspect import isawaitable
from typing import TYPE_CHECKING

from gateway.edge.answers import break_request
from gateway.edge.identities import QUIET, News
from gateway.edge.states import SENDING, SENT, TUNNEL
from gateway.link.client import now as boottime
from gateway.model import faults
from gateway.model.exchange import Exchange
from gateway.model.identity import Identified
from gateway.model.verdict import Refuse

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream
    from gateway.edge.identities import Identities

log = logging.getLogger(__name__)
LASTS = 5.0  # seconds after which any request counts as one that lasts
AT_ONCE = 32  # questions about open ones: the service takes a bounded number from each edge
_RUNNING = frozenset({SENDING, SENT, TUNNEL})


class Streams:
    """Those of one worker, with the identity each was admitted with."""

    def __init__(self, identities: "Identities") -> None:
        self._identities = identities
        self.open: dict[Exchange, Downstream] = {}
        self._unjudged: dict[Exchange, Downstream] = {}  # news about them came before they were open
        self._judging: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self.open)

    def add(self, down: "Downstream") -> None:
        """It lasts from now on. What was told since it was let in has passed it by."""
        exchange = down.exchange
        if exchange.who is None or exchange in self.open:
            return
        self.open[exchange] = down
        missed = self._identities.missed(exchange.who)
        if missed == "revoked":  # not here, in the middle of what begins
            asyncio.get_running_loop().call_soon(self._end, exchange, down)
        elif missed:
            self._unjudged[exchange] = down

    def discard(self, exchange: Exchange) -> None:
        self.open.pop(exchange, None)
        self._unjudged.pop(exchange, None)

    def heard(self, news: News) -> Awaitable[None] | None:
        """End those whose session is gone now; ask again about those whose user has changed. What is
        returned is done when all of it is."""
        concerned = [
            (exchange, down)
            for exchange, down in self.open.items()
            if exchange.who is not None and news.concerns(exchange.who.identity)
        ]
        if news.kind == "revoked":
            for exchange, down in concerned:
                self._end(exchange, down)
            return None
        return self._look_again(concerned) if concerned else None

    def sessions(self) -> set[str]:
        """Which are in use by what is open."""
        return {exchange.who.identity.session for exchange in self.open if exchange.who is not None} - {""}

    async def look_at_all(self) -> None:
        """After a reconnect nobody knows what was missed."""
        await self._look_again(list(self.open.items()))

    def flows(self, down: "Downstream") -> bool:
        """Whether more may go through: not after a revoke, however slowly it is sent; and a process that was
        frozen beyond all leases must not even begin to."""
        exchange, identities = down.exchange, self._identities
        who = exchange.who
        if who is None:
            return True
        link = identities.link
        late = (who.known != link.known or who.epoch != link.epoch) and exchange not in self.open
        ended = late and identities.missed(who) == "revoked"
        quiet = boottime() - link.last_answer > QUIET
        if not ended and (not quiet or identities.vouched(who, exchange.route.serve_stale)):
            return True
        self.open[exchange] = down
        self._end(exchange, down)
        return False

    def sweep(self) -> None:
        """End those for which the link's word, and the route's patience, are over, and external ones with
        their token."""
        for exchange, down in list(self.open.items()):
            who = exchange.who
            if who is None:
                continue
            if not self._identities.vouched(who, exchange.route.serve_stale) or _is_over(who):
                self._end(exchange, down)
        if self._unjudged and self._identities.link.up and (self._judging is None or self._judging.done()):
            unjudged, self._unjudged = list(self._unjudged.items()), {}
            self._judging = asyncio.get_running_loop().create_task(self._look_again(unjudged))

    def close(self) -> None:
        if self._judging is not None:
            self._judging.cancel()

    async def _look_again(self, concerned: "list[tuple[Exchange, Downstream]]") -> None:
        waiting = iter(concerned)

        async def ask() -> None:
            for exchange, down in waiting:
                await self._ask_about(exchange, down)

        await asyncio.gather(*(ask() for _ in range(min(AT_ONCE, len(concerned)))))

    async def _ask_about(self, exchange: Exchange, down: "Downstream") -> None:
        who = exchange.who
        assert who is not None
        try:
            found = await self._identities.of_stream(
                who.kind, exchange.credential, exchange.client.decode("ascii")
            )
            if exchange not in self.open:
                return
            if isinstance(found, Refuse) and not self._identities.link.up:
                return  # asked again after the reconnect; until then it lives as long as what is cached
            if not isinstance(found, Identified) or not await _may_stay(exchange, found):
                self._end(exchange, down)
        except Exception:
            log.exception("a stream could not be judged anew: it ends")
            self._end(exchange, down)

    def _end(self, exchange: Exchange, down: "Downstream") -> None:
        if self.open.pop(exchange, None) is None or down.exchange is not exchange:
            return
        if down.phase not in _RUNNING:
            return
        exchange.rare = True
        if down.phase == TUNNEL and down.tunnel is not None:
            exchange.failed = faults.SESSION_ENDED
            down.tunnel.close()
        else:
            break_request(down, faults.SESSION_ENDED)


def _is_over(who: Identified) -> bool:
    """An external identity has no session to go on after its token."""
    return who.kind == "external" and boottime() >= who.expires


async def _may_stay(exchange: Exchange, found: Identified) -> bool:
    """Whether the route's policies about rights would let this identity in."""
    exchange.who = found
    for judge in exchange.route.lasting:
        verdict = judge(exchange)
        if isawaitable(verdict):
            verdict = await verdict
        if verdict is not None and not exchange.route.report:
            return False
    return True
