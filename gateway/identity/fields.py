"""Fields that somebody sent: each checked, every fault told at once; and what is kept as JSON."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from gateway.identity.names import BadName
from gateway.identity.web import Refused
from gateway.model import faults

_Given = TypeVar("_Given")
_Taken = TypeVar("_Taken")


class Fields:
    """Collects what is wrong with each."""

    def __init__(self) -> None:
        self._errors: dict[str, list[str]] = {}

    def take(self, name: str, check: Callable[[_Given], _Taken], value: _Given | None) -> _Taken | None:
        """The checked value; None when there is none, or it is not right."""
        if value is None:
            return None
        try:
            return check(value)
        except BadName as bad:
            self.wrong(name, str(bad))
            return None

    def wrong(self, name: str, message: str) -> None:
        self._errors.setdefault(name, []).append(message)

    def refuse(self) -> None:
        """Refused, if anything is wrong."""
        if self._errors:
            raise Refused(faults.INVALID_FIELDS, errors=self._errors)


def json(value: Any) -> str:
    """As the store keeps it."""
    return msgspec.json.encode(value).decode()
