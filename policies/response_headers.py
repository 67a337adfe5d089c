"""Headers that every reply of a route carries to the client, or does not."""

from typing import ClassVar

import msgspec

from gateway.model.lines import free_name, lines
from gateway.model.policy import Effects, Ports


class ResponseHeaders:
    name: ClassVar[str] = "response_headers"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        set: dict[str, str] = {}  # in the place of the upstream's
        add: dict[str, str] = {}  # beside the upstream's
        remove: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            for name in (*self.set, *self.add, *self.remove):
                free_name(name)
            lines(self.set)
            lines(self.add)

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._effects = Effects(
            reply_drop=frozenset(free_name(name) for name in (*settings.set, *settings.remove)),
            reply_add=lines(settings.set) + lines(settings.add),
        )

    def effects(self) -> Effects:
        return self._effects
