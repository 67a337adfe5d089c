"""What the identity service says to a question for units: few at a time, and none that are not there."""

import pytest

from gateway.identity.leasing import Leasing
from gateway.link.frames import Message
from gateway.link.questions import Lease
from gateway.model.rates import batch
from gateway.store.limiters import Counts, Taken

NOW = 1_700_000_000.0 - 1_700_000_000 % 60 + 45.0


class Elsewhere:
    """A count that has to be waited for."""

    def __init__(self) -> None:
        self.counts = Counts(lambda: NOW)

    def take_now(self, rule: object, key: str, want: int) -> None:
        return None

    async def take(self, rule, key: str, want: int) -> Taken:  # type: ignore[no-untyped-def]
        return self.counts.take_now(rule, key, want)


def asked(want: int = 1000, amount: int = 100, algorithm: str = "sliding_window", key: str = "u:1") -> Lease:
    return Lease(1, "shop/orders", key, want, [(amount, 60)], algorithm)  # type: ignore[arg-type]


def said(leasing: Leasing, question: Lease) -> Message:
    answer = leasing.now(question)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("amount", "edges", "algorithm", "granted"),
    [
        (100, 1, "sliding_window", 5),
        (100, 2, "fixed_window", 2),
        (100, 5, "fixed_window", 1),
        (100, 50, "fixed_window", 1),
        (19, 1, "sliding_window", 1),
        (100_000, 4, "sliding_window", 1250),
        (100_000, 4, "moving_window", 1),
    ],
)
def test_an_edge_holds_a_twentieth_at_most_divided_by_the_edges(
    amount: int, edges: int, algorithm: str, granted: int
) -> None:
    leasing = Leasing(Counts(lambda: NOW), lambda: edges)
    answer = said(leasing, asked(amount=amount, want=amount, algorithm=algorithm))
    assert (answer["granted"], answer["remaining"], answer["edges"]) == (granted, amount - granted, edges)


def test_nobody_connected_is_as_one() -> None:
    """A question may come before the edge is counted."""
    assert said(Leasing(Counts(lambda: NOW), lambda: 0), asked())["granted"] == 5


def test_what_is_wanted_is_not_exceeded_and_a_look_takes_nothing() -> None:
    leasing = Leasing(Counts(lambda: NOW), lambda: 1)
    assert said(leasing, asked(want=0)) | {"remaining": 100, "granted": 0} == said(leasing, asked(want=0))
    assert said(leasing, asked(want=3))["granted"] == 3
    assert said(leasing, asked(want=0))["remaining"] == 97


def test_every_time_is_a_duration() -> None:
    leasing = Leasing(Counts(lambda: NOW), lambda: 1)
    answer = said(leasing, asked(algorithm="fixed_window"))
    assert answer["spend_within"] == pytest.approx(15, abs=1e-5) and answer["reset_in"] == 15
    while said(leasing, asked(algorithm="fixed_window"))["granted"]:
        pass
    assert said(leasing, asked(algorithm="fixed_window"))["ask_again_in"] == 15


async def test_a_count_that_is_elsewhere_is_waited_for() -> None:
    leasing = Leasing(Elsewhere(), lambda: 2)
    assert leasing.now(asked()) is None
    answer = await leasing.later(asked())
    assert (answer["granted"], answer["edges"]) == (2, 2)


def test_all_edges_together_hold_a_twentieth_at_most() -> None:
    for amount in (1, 19, 20, 99, 100, 12_345):
        for edges in (1, 2, 3, 40):
            held = batch([amount, amount * 2], "sliding_window", edges) * edges
            assert held <= amount / 20 or batch([amount], "sliding_window", edges) == 1
