"""What handlers see of the web: the call and who makes it, how they answer and refuse, and their table."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict

from gateway.identity import lives, resolving
from gateway.identity.context import Context
from gateway.identity.cookies import clear_cookie
from gateway.identity.shapes import iso
from gateway.model import faults
from gateway.model.faults import Fault
from gateway.store import sessions as rows

if TYPE_CHECKING:
    from gateway.identity.propagation import Settled
    from gateway.store.accounts import User
    from gateway.store.sessions import Session

FRESH = 15 * 60_000  # milliseconds since the last proof, during which a caller counts as fresh
SEEN_EVERY = 60_000  # milliseconds: the store is told no more often that a session is used
ADMIN = "postern:admin"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIE_ORIGIN = (
    "A call that a session cookie signs in needs Sec-Fetch-Site: same-origin, or an Origin of this host or "
    "of identity.cors_origins; no page of another may have the cookie set. Programs use a bearer token."
)
REALM = 'Bearer realm="postern"'
Origin = Literal["ours", "foreign", "nobody's"]
Headers = tuple[tuple[str, str], ...]
Who = Literal["anyone", "caller", "fresh", "admin", "fresh admin"]


class Body(BaseModel):
    """A body whose unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"  # T25: there may be a password in it

    __str__ = __repr__


class OpenBody(BaseModel):
    """A body whose unknown fields are ignored: register and profile only."""

    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    __str__ = __repr__


class Query(BaseModel):
    """What may stand in a call's query; its values come as text."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Asker(msgspec.Struct, frozen=True):
    """Where a call comes from, as the edge tells it."""

    address: str
    agent: str = ""
    host: str = ""
    secure: bool = False  # https, as the client sees it
    request_id: str = ""
    origin: Origin = "nobody's"  # the page that makes the call; that of an origin which may call us is ours
    language: str = ""  # Accept-Language: in which mails are written
    device: str = ""  # the value of the cookie that a known browser has; it proves nothing yet

    def __repr__(self) -> str:
        """Without the cookie."""
        return f"Asker({self.address!r}, {self.request_id!r})"


class Caller(msgspec.Struct, frozen=True):
    """Who makes a call, as the credential says and the store confirms."""

    session: "Session"
    user: "User"
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    by: Literal["bearer", "cookie"]
    level: int
    fresh: bool


class Call(msgspec.Struct, frozen=True):
    """One call of the API: its context, asker, credentials, path, query and checked body."""

    context: Context
    asker: Asker
    method: str = "GET"
    path: Mapping[str, str] = {}  # the {names} of the endpoint's path
    query: Any = None  # of the endpoint's query model
    body: Any = None  # of the endpoint's body model
    bearer: str | None = None
    cookie: str | None = None  # the value of our session cookie
    caller: Caller | None = None  # where the endpoint needs one: the frame has asked already

    def __repr__(self) -> str:
        """Without its credentials and its body."""
        return f"Call({self.method}, {self.asker.request_id})"


class Reply(msgspec.Struct, frozen=True):
    """What a handler answers."""

    status: int
    body: Any = None  # JSON; None: no body
    headers: Headers = ()


class Refused(Exception):
    """A call fails with this fault; a handler raises it anywhere, also to roll a transaction back."""

    def __init__(
        self,
        fault: Fault,
        detail: str = "",
        headers: Headers = (),
        errors: Mapping[str, list[str]] | None = None,
    ) -> None:
        super().__init__(fault.code)
        self.fault = fault
        self.detail = detail
        self.headers = headers
        self.errors = errors


Handler = Callable[[Call], Awaitable[Reply]]


class Endpoint(msgspec.Struct, frozen=True):
    """One line of the API: app.py mounts it under the prefix, openapi.py describes it."""

    method: str
    path: str  # "/sessions/{session_id}"
    handler: Handler
    summary: str
    answers: dict[int, type[BaseModel] | None]  # None: no body
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    optional_body: bool = False  # the call may come without one: every field of the model has a default
    who: Who = "anyone"
    faults: tuple[Fault, ...] = ()  # those of the handler; the frame's own are added
    also: tuple[str, ...] = ()  # other paths of the same call
    limit: str = ""  # its name in identity.limits, when 429 is possible


def answer(status: int, body: Any = None, headers: Headers = ()) -> Reply:
    return Reply(status, body, headers)


def settled_answer(settled: "Settled", body: Mapping[str, Any] | None = None, headers: Headers = ()) -> Reply:
    """200 once every edge knows; else 202, with those that may not know yet and when it is safe anyway."""
    said: dict[str, Any] = dict(body or {})
    said["propagated"] = {"edges": settled.edges, "acknowledged": settled.acknowledged}
    if not settled.pending:
        return Reply(200, said, headers)
    said["pending"] = [{"edge": each.edge, "safe_at": iso(each.safe_at_ms)} for each in settled.pending]
    return Reply(202, said, headers)


async def who(call: Call, need: Who = "caller") -> Caller:
    """The caller, by bearer or by cookie; refused when there is none or it may not do this."""
    caller = call.caller or await _caller(call)
    if need in ("admin", "fresh admin") and ADMIN not in caller.permissions:
        raise missing_scope(ADMIN)
    if need in ("fresh", "fresh admin") and not caller.fresh:
        raise Refused(
            faults.INSUFFICIENT_USER_AUTHENTICATION,
            "Prove it is you: POST /reauth.",
            challenge("insufficient_user_authentication", f"max_age={FRESH // 1000}"),
        )
    return caller


def missing_scope(permission: str) -> Refused:
    told = challenge("insufficient_scope", f'scope="{permission}"')
    return Refused(faults.INSUFFICIENT_SCOPE, "", told)


async def _caller(call: Call) -> Caller:
    if call.bearer is None and call.cookie is None:
        raise Refused(faults.CREDENTIAL_MISSING, "", challenge())
    if call.bearer is not None:
        found = await resolving.look(call.context, "bearer", call.bearer)
        if isinstance(found, resolving.Found):
            return await _seen(call.context, found, "bearer")
        if not _replaceable(call, found):
            raise Refused(faults.INVALID_TOKEN, "", challenge("invalid_token"))
        by_cookie = await by_cookie_of(call)
        if by_cookie.session.session_id != found.session:
            raise Refused(faults.INVALID_TOKEN, "", challenge("invalid_token"))
        return by_cookie
    return await by_cookie_of(call)


def _replaceable(call: Call, bad: resolving.Bad) -> bool:
    """A bearer that is merely over may be replaced by the cookie of its own session, where that is on."""
    return bool(bad.session) and call.cookie is not None and call.context.settings.cookie.renewal


async def by_cookie_of(call: Call) -> Caller:
    """The caller by the cookie alone; a page of another site must not make our user's browser do things."""
    cookie = call.context.settings.cookie
    if call.method not in SAFE and call.asker.origin != "ours":
        raise Refused(faults.ORIGIN_REFUSED, COOKIE_ORIGIN)
    found = await resolving.look(call.context, "cookie", call.cookie or "")
    if isinstance(found, resolving.Bad):
        cleared = (("Set-Cookie", clear_cookie(cookie)),)
        raise Refused(faults.INVALID_TOKEN, "", challenge("invalid_token") + cleared)
    return await _seen(call.context, found, "cookie")


async def _seen(context: Context, found: resolving.Found, by: Literal["bearer", "cookie"]) -> Caller:
    """Edges tell of the use that goes through them; they don't look at who makes our own calls."""
    session = found.session
    if found.now - session.last_seen_at >= SEEN_EVERY:
        async with context.store.writing() as db:
            idle_until = lives.idle_until(context.settings.tokens, db.now)
            await rows.touch(db, [(session.session_id, db.now, idle_until)])
    return Caller(
        session, found.user, found.roles, found.permissions, by, session.level,
        fresh=found.now - session.proved_at <= FRESH,
    )  # fmt: skip


def challenge(error: str = "", *more: str) -> Headers:
    """WWW-Authenticate of RFC 6750 and RFC 9470; without an error when no credential came."""
    parts = [REALM, *([f'error="{error}"'] if error else []), *more]
    return (("WWW-Authenticate", ", ".join(parts)),)
