"""What a policy can say of a request: go on (None), Refuse, Answer, or wait for one of these."""

from collections.abc import Awaitable

import msgspec

from gateway.model.faults import Fault

HeaderLines = tuple[tuple[bytes, bytes], ...]


class Reply(msgspec.Struct):
    """A whole reply made by the gateway; also the head of an upstream's reply when on_response sees it."""

    status: int
    headers: list[tuple[bytes, bytes]] = []
    body: bytes = b""


class Refuse(msgspec.Struct, frozen=True):
    """The request fails here, with this fault; `headers` go onto the reply (WWW-Authenticate, Retry-
    After)."""

    fault: Fault
    detail: str = ""
    headers: HeaderLines = ()


class Answer(msgspec.Struct, frozen=True):
    """The gateway itself answers: a preflight, a redirect to sign-in."""

    reply: Reply
    instead_of: Fault | None = None  # the refusal that it puts kindly: report mode lets such a request go on


Outcome = Refuse | Answer | None
Verdict = Outcome | Awaitable[Outcome]
