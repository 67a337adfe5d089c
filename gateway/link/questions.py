"""What an edge may ask over the link, and what each question's answer is called."""

from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.model.rates import Algorithm

_Positive = Annotated[int, Meta(gt=0, le=1_000_000_000)]


class Resolve(msgspec.Struct, frozen=True):
    """Whose credential is this?"""

    id: int
    kind: str
    credential: str
    address: str = ""
    agent: str = ""
    stream: bool = False


class Renew(msgspec.Struct, frozen=True):
    """The successor of a session's cookie; with `bearer` a fresh access token of its session too."""

    id: int
    credential: str
    bearer: bool = False
    address: str = ""
    agent: str = ""


class Lease(msgspec.Struct, frozen=True):
    """Units of a shared count: `want` at most; 0 asks how many there are. `limits` are (how many, in how
    many seconds)."""

    id: int
    rule: Annotated[str, Meta(max_length=256)]
    key: Annotated[str, Meta(max_length=1024)]
    want: Annotated[int, Meta(ge=0)]
    limits: Annotated[list[tuple[_Positive, _Positive]], Meta(min_length=1, max_length=8)]
    algorithm: Algorithm = "sliding_window"


class Assert(msgspec.Struct, frozen=True):
    """A signed statement, for one audience, of whose credential this is."""

    id: int
    kind: str
    credential: str
    audience: str
    ttl: float


class Mismatch(msgspec.Struct, frozen=True):
    """A credential came from another place, or another program, than its session was signed in from."""

    id: int
    kind: str
    credential: str
    what: list[str]  # address, agent
    act: str  # log, step_up, strict: what the route does about it
    address: str = ""
    agent: str = ""
    route: str = ""


Question = Resolve | Renew | Lease | Assert | Mismatch

ASKED: dict[str, type[Question]] = {
    "resolve": Resolve, "renew": Renew, "lease": Lease, "assert": Assert, "mismatch": Mismatch,
}  # fmt: skip
ANSWERS: dict[type[Question], str] = {
    Resolve: "resolved", Renew: "renewed", Lease: "leased", Assert: "asserted", Mismatch: "noted",
}  # fmt: skip
