"""Rate limits as values: how many in how long, counted how, and under which name."""

from collections.abc import Sequence
from typing import Literal

import msgspec

Algorithm = Literal["sliding_window", "moving_window", "fixed_window"]
OnStoreFailure = Literal["local", "deny", "allow"]
WASTED = 20  # of a limit at most one part in so many can lie unspent at the edges


class Limit(msgspec.Struct, frozen=True):
    amount: int
    seconds: int


class Rule(msgspec.Struct, frozen=True):
    """What is counted together: equal names are one count, over routes, workers and replicas."""

    name: str  # service/name
    limits: tuple[Limit, ...]  # each of them must allow it
    algorithm: Algorithm = "sliding_window"
    on_store_failure: OnStoreFailure = "local"


def batch(amounts: Sequence[int], algorithm: str, edges: int) -> int:
    """The most units that one edge holds of a count: all edges together little of it, and of a small or
    exact one only what is asked for."""
    if algorithm == "moving_window":
        return 1
    return max(1, min(amounts) // WASTED // max(1, edges))
