"""Plugins with one thing wrong each, and some without."""

import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.policy import Effects, Ports
from gateway.model.verdict import Reply, Verdict

print("what is printed here is no answer to anybody")


class Passes:
    """Right, and without settings of its own."""

    def __init__(self, settings: dict[str, Any], ports: Ports) -> None:
        self.settings, self.ports = settings, ports

    def on_request(self, exchange: Exchange) -> Verdict:
        return None

    class Within(Exception):
        """Not a policy, though a class."""


class Limit(msgspec.Struct, forbid_unknown_fields=True):
    at: int
    kind: Literal["soft", "hard"] = "soft"


class Counts(Passes):
    """Right, with settings."""

    name: ClassVar[str] = "counts"

    class Settings(msgspec.Struct, frozen=True):
        most: int
        key: str = ""
        limits: list[Limit] = []

        def __post_init__(self) -> None:
            if self.most < 0:
                raise ValueError(f"{self.most} is less than nothing, {self.key}")


class Threads(Passes):
    """Right, though it leaves something behind."""

    def __init__(self, settings: Any, ports: Ports) -> None:
        threading.Thread(target=time.sleep, args=(3600,)).start()


class Silent:
    """No policy."""


class Odd(Passes):
    on_response = "not a method"


class Late:
    async def on_response(self, exchange: Exchange, reply: Reply) -> None:
        """Nobody would wait for it."""


class Yields:
    def on_request(self, exchange: Exchange) -> Iterator[None]:
        yield None


class Unmade(Passes):
    def __init__(self, settings: dict[str, Any], ports: Ports) -> None:
        raise KeyError(settings.get("key", "region"))


class Narrow(Passes):
    def __init__(self) -> None:
        """It takes too little."""


class Loose(Passes):
    Settings = dict


class Uncheckable(Passes):
    class Settings(msgspec.Struct):
        most: int

        def __post_init__(self) -> None:
            raise ZeroDivisionError("nothing to divide by")


class Impostor(Passes):
    name: ClassVar[str] = "authenticate"


class Unnamed(Passes):
    name: ClassVar[str] = 'a "b"\n'


class Says(Passes):
    """Effects as its settings have them."""

    def effects(self) -> Any:
        given = dict(self.settings)
        if "other" in given:
            return given["other"]
        made = {name: value.encode() for name, value in given.items() if name.endswith("add")}
        made |= {name: frozenset(map(str.encode, value)) for name, value in given.items() if name not in made}
        return Effects(**made)
