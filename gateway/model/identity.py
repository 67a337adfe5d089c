"""Who asks: what a credential stands for, and how it becomes the X-User-* lines that a backend can trust."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal
from urllib.parse import quote

import msgspec

Kind = Literal["user", "service", "external"]

# What a backend is told: claim -> header name.
STANDARD: dict[str, str] = {
    "user_id": "X-User-Id", "name": "X-User-Name", "email": "X-User-Email",
    "email_verified": "X-User-Email-Verified", "roles": "X-User-Roles",
    "permissions": "X-User-Permissions", "session": "X-User-Session", "level": "X-User-Level",
    "methods": "X-User-Methods", "kind": "X-User-Kind",
}  # fmt: skip
PROTECTED_META = "X-User-Meta-"
PUBLIC_META = "X-User-Public-"
ASSERTION = "X-User-Assertion"

# Visible ASCII less `%`, so that decoding is unambiguous; inside list items less `,` too.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_PLAIN_ITEM = _PLAIN.replace(",", "")


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """One user, service or external identity, as it was when the credential was resolved."""

    id: str  # for an external one: issuer-name:sub
    name: str = ""
    email: str = ""
    email_verified: bool = False
    roles: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    session: str = ""
    level: int = 1
    methods: tuple[str, ...] = ()
    kind: Kind = "user"
    protected: dict[str, str] = {}  # meta that only admins and hooks set; the only one `require` reads
    public: dict[str, str] = {}  # the user's own
    proved: float = 0.0  # seconds since the last proof (sign-in, reauth), when this was resolved
    confirmed: bool = False  # the account's address
    address: str = ""  # of the session's sign-in
    agent: str = ""  # likewise
    other_address: str = ""  # of the other family (v4, v6), from where the same person proved themselves too
    issuer: str = ""  # the name, in routes.yaml, of the issuer of an external one
    api_key: str = ""  # the id of the API key that was presented


def header_block(
    identity: Identity, names: Mapping[str, str] = STANDARD, forward_meta: Iterable[str] = ()
) -> bytes:
    """The lines for the upstream, each ended by CRLF; `names` empty means the standard ones."""
    lines = [f"{name}: {_said(identity, claim)}" for claim, name in (names or STANDARD).items()]
    for key in forward_meta:
        if key in identity.protected:
            lines.append(f"{PROTECTED_META}{key}: {quote(identity.protected[key], safe=_PLAIN)}")
        if key in identity.public:
            lines.append(f"{PUBLIC_META}{key}: {quote(identity.public[key], safe=_PLAIN)}")
    return "".join(line + "\r\n" for line in lines).encode("ascii")


def header_names(names: Mapping[str, str] = STANDARD, forward_meta: Iterable[str] = ()) -> list[str]:
    """Every name that can stand in a header block, and the assertion's."""
    meta = [prefix + key for key in forward_meta for prefix in (PROTECTED_META, PUBLIC_META)]
    return [*(names or STANDARD).values(), *meta, ASSERTION]


def with_all(block: bytes, names: Iterable[str]) -> bytes:
    """The block, and an empty line for each name that it lacks."""
    there = {line.partition(b":")[0] for line in block.split(b"\r\n")}
    return block + b"".join(b"%b: \r\n" % name for each in names if (name := each.encode()) not in there)


def as_text(value: Any) -> str:
    """What stands in meta, as `protected` and `public` have it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _said(identity: Identity, claim: str) -> str:
    value: Any = getattr(identity, "id" if claim == "user_id" else claim)
    if isinstance(value, tuple):
        return ",".join(quote(item, safe=_PLAIN_ITEM) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(str(value), safe=_PLAIN)


class Identified:
    """A credential that was resolved: what the cache keeps, and what a request carries while it is served."""

    __slots__ = (
        "address", "agent", "answer", "assertions", "block", "due", "epoch", "expires", "identity", "kind",
        "known", "log", "passed", "placed", "proved_at", "used",
    )  # fmt: skip

    def __init__(
        self,
        identity: Identity,
        kind: str,  # of the credential: bearer, cookie, api_key
        block: bytes = b"",  # header_block, made once
        log: bytes = b"",  # the log line's fields about it, as JSON text
        expires: float = float("inf"),  # CLOCK_BOOTTIME
        due: float = float("inf"),  # when it expires, or its cookie is to be renewed
        known: int = 0,  # the number of the last revocation that is known not to concern it
        epoch: int = 0,  # of the link: numbers are of one connection
        proved_at: float = 0.0,  # CLOCK_BOOTTIME of the last proof (sign-in, reauth), or somewhat before it
    ) -> None:
        self.identity = identity
        self.kind = kind
        self.block = block
        self.log = log
        self.expires = expires
        self.due = due
        self.known = known
        self.epoch = epoch
        self.used = True  # since the cache last looked for what nobody uses
        self.proved_at = proved_at
        # as a request has them, so that `bind` need only compare
        self.address = identity.address.encode("ascii", "replace")
        self.agent = identity.agent.encode("utf-8", "replace")
        self.answer = b""  # the block for other proxies, made when one of them asks: with_all
        self.passed: object = None  # the `require` that let it pass last; what it is never changes
        # the `bind` that let it pass last, with the address and agent of that request
        self.placed: tuple[object, bytes, bytes | None] | None = None
        # (audience, ttl) -> line, CLOCK_BOOTTIME
        self.assertions: dict[tuple[str, float], tuple[bytes, float]] | None = None


class BadCredential:
    """A credential that is not, or no longer, valid."""

    __slots__ = ("session",)

    def __init__(self, session: str = "") -> None:
        self.session = session  # of a bearer that has only expired
