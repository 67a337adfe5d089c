"""Headers that every request of a route carries to the upstream, or does not."""

from typing import ClassVar

import msgspec

from gateway.model.lines import free_name, lines
from gateway.model.policy import Effects, Ports


class RequestHeaders:
    name: ClassVar[str] = "request_headers"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        set: dict[str, str] = {}  # in the place of the client's
        add: dict[str, str] = {}  # beside the client's
        remove: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            for name in (*self.set, *self.add, *self.remove):
                free_name(name)
            lines(self.set)
            lines(self.add)

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._effects = Effects(
            request_drop=frozenset(free_name(name) for name in (*settings.set, *settings.remove)),
            request_add=lines(settings.set) + lines(settings.add),
        )

    def effects(self) -> Effects:
        return self._effects
