"""Leases edges units of shared counts: how many at once, and until when they may be spent."""

from collections.abc import Callable

from gateway.link.frames import Message
from gateway.link.questions import Lease
from gateway.model.rates import Limit, Rule, batch
from gateway.store.limiters import SharedCounts, Taken


class Leasing:
    """What LinkService says to `lease`. `edges` counts those that may hold units."""

    def __init__(self, counts: SharedCounts, edges: Callable[[], int]) -> None:
        self._counts, self._edges = counts, edges

    def now(self, question: Lease) -> Message | None:
        """None where the count has to be waited for."""
        edges = max(1, self._edges())
        taken = self._counts.take_now(_rule(question), question.key, _most(question, edges))
        return _said(taken, edges) if taken is not None else None

    async def later(self, question: Lease) -> Message:
        edges = max(1, self._edges())
        taken = await self._counts.take(_rule(question), question.key, _most(question, edges))
        return _said(taken, edges)


def _rule(question: Lease) -> Rule:
    limits = tuple(Limit(amount, seconds) for amount, seconds in question.limits)
    return Rule(question.rule, limits, question.algorithm)


def _most(question: Lease, edges: int) -> int:
    amounts = [amount for amount, _ in question.limits]
    return min(question.want, batch(amounts, question.algorithm, edges))


def _said(taken: Taken, edges: int) -> Message:
    """Every time is a duration: clocks of two processes need not agree."""
    return {
        "outcome": "leased", "granted": taken.units, "spend_within": taken.spend_within,
        "ask_again_in": taken.ask_again_in, "remaining": taken.left, "nearest": taken.nearest,
        "reset_in": taken.reset_in, "edges": edges,
    }  # fmt: skip
