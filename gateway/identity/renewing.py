"""Renewing what a cookie carries: the next cookie when it is due, and access tokens beside it."""

from typing import Any

import msgspec

from gateway.identity import binding, lives, rotation, sessions, tokens
from gateway.identity.binding import Elsewhere
from gateway.identity.context import Context
from gateway.identity.resolving import Bad, proved
from gateway.identity.sessions import OpenedSession
from gateway.identity.tokens import Parts
from gateway.identity.web import Asker
from gateway.model.credentials import COOKIE
from gateway.store import sessions as rows
from gateway.store.database import Database
from gateway.store.faults import StoreUnavailable
from gateway.store.sessions import Session, WithUser


class Renewed(msgspec.Struct, frozen=True):
    """The session as its cookie carries it from now on."""

    opened: OpenedSession
    row: WithUser
    now: int


async def renew_for_link(
    context: Context, credential: str, bearer: bool, address: str, agent: str
) -> dict[str, Any]:
    """The link's question: a whole Set-Cookie value, and with `bearer` an access token. Whom the binding does
    not let renew keeps the cookie that it has: the route's own `bind` says what that is good for."""
    try:
        renewed = await renew(context, credential, bearer, Asker(address, agent))
    except StoreUnavailable:
        return {"outcome": "unavailable"}
    if isinstance(renewed, Bad):
        return {"outcome": "bad"}
    if isinstance(renewed, Elsewhere):
        return {"outcome": "elsewhere"}
    opened = renewed.opened
    return {
        "outcome": "renewed",
        "set_cookie": opened.set_cookie,
        "access_token": opened.access_token or None,
        "expires_in": (opened.access_until - renewed.now) / 1000 if opened.access_token else None,
    }


async def renew(context: Context, credential: str, bearer: bool, asker: Asker) -> Renewed | Bad | Elsewhere:
    """Whoever shows a good cookie gets the current one: a new one if that was due. All who come with the
    predecessor meanwhile get the very same."""
    parts = tokens.read(credential)
    if parts is None or parts.kind != COOKIE:
        return Bad()
    async with context.store.reading() as db:
        row = await rows.with_user(db, parts.session)
        now = db.now
    if row is None or not proved(context, parts, row.session.salt) or not _good(context, row, parts, now):
        return Bad()
    elsewhere: Elsewhere | None = None
    if binding.moved(context, row.session, asker) or _something_due(context, row.session, parts, bearer, now):
        async with context.store.locking() as db:
            held = await rows.locked(db, parts.session)
            if held is None:
                return Bad()
            row = msgspec.structs.replace(row, session=held)
            if not _good(context, row, parts, db.now):
                return Bad()
            elsewhere = await binding.judge_refresh(context, db, row.session, asker)
            if elsewhere is None:
                session = await _moved(context, db, row.session, parts, bearer, asker)
                row, now = msgspec.structs.replace(row, session=session), db.now
        if db.revocations:
            await context.propagation.settle(db.revocations)
    if elsewhere is not None:
        return elsewhere
    return Renewed(sessions.carried_by_cookie(context, row.session, now, bearer), row, now)


def _good(context: Context, row: WithUser, parts: Parts, now: int) -> bool:
    cookie = context.settings.cookie
    return (
        row.user.locked_at is None
        and lives.alive(row.session, now)
        and lives.cookie_until(cookie, row.session, parts.generation, now) > 0
    )


def _something_due(context: Context, session: Session, parts: Parts, bearer: bool, now: int) -> bool:
    return _due(context, session, parts, now) or _outdated(session, bearer) or _unseen(session, parts)


def _due(context: Context, session: Session, parts: Parts, now: int) -> bool:
    current = parts.generation == session.cookie_generation
    return current and now >= lives.renewal_due(context.settings.cookie, session)


def _outdated(session: Session, bearer: bool) -> bool:
    """Whether no access token of the current generation would be good: e-mail or second factor changed."""
    return bearer and session.generation < session.min_generation


def _unseen(session: Session, parts: Parts) -> bool:
    return parts.generation == session.cookie_generation and session.cookie_presented_at is None


async def _moved(
    context: Context, db: Database, session: Session, parts: Parts, bearer: bool, asker: Asker
) -> Session:
    """In the transaction that holds the lock: what is due now that nobody else can do it too.

    An access token made here is of the current generation with an expiry of its own, so the generation need
    not move for it, and its use is not taken for the refresh token's owner's.
    """
    if _outdated(session, bearer):
        session = await rotation.rotate(context, db, session, asker)
    if _due(context, session, parts, db.now):
        idle_until = lives.idle_until(context.settings.tokens, db.now)
        return await rows.renew_cookie(db, session.session_id, _key_id(context, session, db.now), idle_until)
    if _unseen(session, parts):
        await rows.mark_cookie_presented(db, session.session_id, parts.generation)
    return session


def _key_id(context: Context, session: Session, now: int) -> str:
    """Of the newest secret, so that nothing needs an older one for long: the cookie before this one names its
    own. Not while a refresh may be asked for again, whose answer is to be the same to the byte (rule 3)."""
    seen = session.presented_at
    grace = lives.milliseconds(context.settings.tokens.reuse_grace)
    repeatable = session.generation > 1 and (seen is None or now < seen + grace)
    return session.key_id if repeatable else context.secrets.newest
