"""How large a request's body may be: refused at once by its stated length, else while it streams."""

from typing import ClassVar

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import BODY_TOO_LARGE
from gateway.model.policy import Ports
from gateway.model.verdict import Refuse, Verdict


class BodyLimit:
    name: ClassVar[str] = "body_limit"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        limit: int  # bytes

        def __post_init__(self) -> None:
            if self.limit < 0:
                raise ValueError("a body's limit can't be negative")

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._limit = settings.limit
        self._refuse = Refuse(BODY_TOO_LARGE, f"This route accepts at most {settings.limit} bytes.")

    def on_request(self, exchange: Exchange) -> Verdict:
        exchange.body_limit = self._limit  # the edge counts a chunked body against it
        length = exchange.content_length
        if length is not None and length > self._limit:
            return self._refuse
        return None
