"""Rate limits as values: how many in how long, counted how, and under which name."""

from typing import Literal

import msgspec

Algorithm = Literal["sliding_window", "moving_window", "fixed_window"]
OnStoreFailure = Literal["local", "deny", "allow"]


class Limit(msgspec.Struct, frozen=True):
    amount: int
    seconds: int


class Rule(msgspec.Struct, frozen=True):
    """What is counted together: equal names are one count, over routes, workers and replicas."""

    name: str  # service/name
    limits: tuple[Limit, ...]  # each of them must allow it
    algorithm: Algorithm = "sliding_window"
    on_store_failure: OnStoreFailure = "local"
