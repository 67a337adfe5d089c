"""The protocol of a policy, built in or your own, and the fixed effects that the chain applies for it."""

from typing import Protocol

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.verdict import Reply, Verdict


class Effects(msgspec.Struct, frozen=True):
    """What a policy does to every request of its route alike: merged once at load, free per request.

    Names are lower-case. Blocks are whole header lines, each ended by CRLF.
    """

    request_drop: frozenset[bytes] = frozenset()  # the client's headers of these names don't reach the upstream
    request_add: bytes = b""  # lines added towards the upstream
    reply_drop: frozenset[bytes] = frozenset()  # the upstream's headers of these names don't reach the client
    reply_add: bytes = b""  # lines added to every reply of the route, refusals too
    reads: frozenset[bytes] = frozenset()  # request headers the policy wants to find in exchange.noted


class Policy(Protocol):
    """One object per route, made at load. Every method is optional.

    A method that raises refuses the request with 500 policy_crashed: nothing fails open.
    """

    def effects(self) -> Effects:
        """Constant changes, asked for once."""

    def on_request(self, exchange: Exchange) -> Verdict:
        """Judge. Called in the fixed order; None lets the request go on to the next policy."""

    def on_response(self, exchange: Exchange, reply: Reply) -> None:
        """See the reply's head on its way back, in reverse order; refusals too. May change `reply`."""
