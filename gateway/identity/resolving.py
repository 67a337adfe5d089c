"""What a credential stands for, read from the store each time: for the link and for our own calls."""

import logging
from typing import Any, Literal

import msgspec

from gateway.identity import lives, tokens
from gateway.identity.context import Context
from gateway.identity.hooks import HookFailed, Subject
from gateway.identity.shapes import meta
from gateway.identity.tokens import Parts
from gateway.model.credentials import ACCESS, COOKIE, JWT_STARTS
from gateway.model.identity import Identity, as_text
from gateway.store import sessions as rows
from gateway.store.accounts import User
from gateway.store.faults import StoreUnavailable
from gateway.store.sessions import Session

log = logging.getLogger(__name__)
Kind = Literal["bearer", "cookie"]
OPENS: dict[str, Kind] = {"bearer": "bearer", "header": "bearer", "cookie": "cookie"}  # how an edge found it


class Found(msgspec.Struct, frozen=True):
    """A good credential, and whose it is."""

    session: Session
    user: User
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    now: int
    until: int  # milliseconds; until then it may be believed without asking again
    renew_in: int | None = None  # milliseconds until a cookie should be replaced


class Bad(msgspec.Struct, frozen=True):
    """No good credential; the session is told when a proved one is bad for its expiry only."""

    code: Literal["invalid_token", "token_expired"] = "invalid_token"
    session: str = ""


async def resolve(
    context: Context, kind: str, credential: str, address: str, agent: str, stream: bool, seen: bool = True
) -> dict[str, Any]:
    """The link's question. `stream`: an open one goes on as long as its session lives. `seen`: it counts as
    having been presented."""
    if kind == "external":  # it ends with its token, a stream too
        return await context.issuers.resolve(context.store, credential)
    opens = OPENS.get(kind)
    try:
        found = await look(context, opens, credential, stream, seen) if opens else Bad()
    except StoreUnavailable:
        return {"outcome": "unavailable"}
    if isinstance(found, Bad):
        told = {"outcome": "bad", "code": found.code}
        return told | {"session": found.session} if found.session else told
    known = identity(found, context.settings.forward_meta)
    try:
        known = await _with_claims(context, known)
    except HookFailed as fault:  # never without what a hook may add: a route may require it
        log.error("a hook failed", extra={"why": str(fault)})
        return {"outcome": "unavailable"}
    return {
        "outcome": "identified",
        "identity": known,
        "expires_in": (found.until - found.now) / 1000,
        "renew_in": None if found.renew_in is None else found.renew_in / 1000,
    }


async def _with_claims(context: Context, known: Identity) -> Identity:
    if not context.hooks.adds_claims:
        return known
    subject = Subject(known.id, known.email, known.name or None, known.roles, known.protected)
    added = await context.hooks.claims(subject)
    return msgspec.structs.replace(known, protected={**known.protected, **added})


async def look(
    context: Context, kind: Kind, credential: str, stream: bool = False, seen: bool = True
) -> Found | Bad:
    """What a credential presented as `kind` stands for. A token of one purpose opens nothing else (T30)."""
    parts = _read(context, credential)
    if parts is None or parts.kind != (COOKIE if kind == "cookie" else ACCESS):
        return Bad()
    async with context.store.reading() as db:
        row = await rows.with_user(db, parts.session)
        now = db.now
    if row is None or not proved(context, parts, row.session.salt):
        return Bad()
    session, user = row.session, row.user
    if user.locked_at is not None or not lives.alive(session, now):
        return Bad()
    found = Found(session, user, tuple(row.roles), tuple(row.permissions), now, lives.ends_at(session))
    if stream:
        return found
    judged = (_cookie if kind == "cookie" else _access)(context, found, parts)
    if isinstance(judged, Found) and seen:
        await _present(context, judged, parts)
    return judged


def _read(context: Context, credential: str) -> Parts | None:
    if credential.startswith(JWT_STARTS):
        return context.keys.verify(credential)
    return tokens.read(credential)


def proved(context: Context, parts: Parts, salt: bytes) -> bool:
    """A JWT, which names no key-id, has had its signature verified when it was read."""
    return not parts.key_id or context.tokens.proved(parts, salt)


def _access(context: Context, found: Found, parts: Parts) -> Found | Bad:
    session = found.session
    if not session.min_generation <= parts.generation <= session.generation:
        return Bad()
    if parts.expires <= found.now:
        return Bad("token_expired", session.session_id)
    return msgspec.structs.replace(found, until=min(parts.expires, found.until))


def _cookie(context: Context, found: Found, parts: Parts) -> Found | Bad:
    session, cookie = found.session, context.settings.cookie
    until = lives.cookie_until(cookie, session, parts.generation, found.now)
    if not until:
        return Bad()
    due = lives.renewal_due(cookie, session) if parts.generation == session.cookie_generation else 0
    return msgspec.structs.replace(found, until=until, renew_in=max(0, due - found.now))


async def _present(context: Context, found: Found, parts: Parts) -> None:
    """Keep, before it is answered, that this generation has been seen: its predecessor's grace begins."""
    session = found.session
    if parts.kind == COOKIE:
        if parts.generation == session.cookie_generation and session.cookie_presented_at is None:
            async with context.store.writing() as db:
                await rows.mark_cookie_presented(db, session.session_id, parts.generation)
        return
    own = parts.generation == session.generation and parts.expires == session.access_until
    if own and session.presented_at is None:
        async with context.store.writing() as db:
            await rows.mark_presented(db, session.session_id, parts.generation)


def identity(found: Found, forward_meta: tuple[str, ...]) -> Identity:
    session, user = found.session, found.user
    public = meta(user.meta)
    return Identity(
        id=user.user_id,
        name=user.username or "",  # never what a person may write freely: it could be another's user name
        email=user.email,
        email_verified=user.email_proved_at is not None,
        roles=found.roles,
        permissions=found.permissions,
        session=session.session_id,
        level=session.level,
        methods=tuple(method for method in session.methods.split(",") if method),
        protected={key: as_text(value) for key, value in meta(user.protected).items()},
        public={key: as_text(public[key]) for key in forward_meta if key in public},
        proved=max(0, found.now - session.proved_at) / 1000,
        confirmed=bool(user.confirmed),
        address=session.address,
        agent=session.agent,
        other_address=session.other_address,
    )
