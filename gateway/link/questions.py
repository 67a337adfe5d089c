"""What an edge may ask over the link, and what each question's answer is called."""

import msgspec


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
    """Units of a shared count: `want` at most. `limits` are (how many, in how many seconds)."""

    id: int
    rule: str
    key: str
    want: int
    limits: list[tuple[int, int]]
    algorithm: str = "sliding_window"


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
