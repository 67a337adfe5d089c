"""What is said to the process that tries plugins, and what it says."""

from typing import Any

import msgspec


class Trial(msgspec.Struct, frozen=True):
    """One plugin as routes.yaml has it."""

    class_: str
    settings: dict[str, Any]
    route: str = ""


class Trials(msgspec.Struct, frozen=True):
    each: tuple[Trial, ...]
    identity_names: tuple[str, ...] = ()  # folded


class Step(msgspec.Struct, frozen=True):
    """A trial has begun; or it is over, and that was wrong: with its settings, where `path` is set."""

    number: int
    over: bool = False
    problem: str = ""
    hint: str = ""
    path: tuple[str | int, ...] | None = None
