"""The built-in routes: what stands before the identity service, as policies do before an upstream."""

from typing import ClassVar

import msgspec

from gateway.edge.identities import UNAVAILABLE
from gateway.link.client import Link
from gateway.model.exchange import Exchange
from gateway.model.faults import FAULTS
from gateway.model.verdict import Refuse, Reply

# In the service's replies, for the edge only: user, session and code of refusal, with - for none.
TOLD = b"X-Postern-Told"
_to_json = msgspec.json.Encoder().encode


class BuiltIn:
    name: ClassVar[str] = "identity"

    def __init__(self, link: Link) -> None:
        self._link = link

    def on_request(self, exchange: Exchange) -> Refuse | None:
        """While the service is away, say so at once."""
        return None if self._link.up else UNAVAILABLE

    def on_response(self, exchange: Exchange, reply: Reply) -> None:
        """The log is to tell who called and why it failed; the client needs nothing of it."""
        for place, (name, value) in enumerate(reply.headers):
            if name == TOLD:
                del reply.headers[place]
                _take(exchange, value.decode("latin-1").split(" "))
                return


def _take(exchange: Exchange, told: list[str]) -> None:
    if len(told) != 3:
        return
    user, session, code = told
    fields = {"user": user, "session": session}
    known = {name: value for name, value in fields.items() if value != "-"}
    if known:
        exchange.told = b"," + _to_json(known)[1:-1]
    fault = FAULTS.get(code)
    if fault is not None:
        exchange.failed = fault
        exchange.rare = True
