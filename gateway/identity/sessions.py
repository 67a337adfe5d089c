"""A session's life: how one is opened, what is answered with its tokens, how it ends."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.identity import lives
from gateway.identity.audit import SESSION_REVOKED, audit
from gateway.identity.context import Context
from gateway.identity.cookies import set_cookie
from gateway.identity.shapes import user_answer
from gateway.identity.web import COOKIE_ORIGIN, Asker, Caller, Headers, Refused, challenge
from gateway.model import faults
from gateway.model.agents import family
from gateway.model.credentials import new_id
from gateway.store import accounts as users
from gateway.store import revocations
from gateway.store import sessions as rows
from gateway.store.accounts import User
from gateway.store.sessions import Session

if TYPE_CHECKING:
    from gateway.store.database import Database

AGENT = 300  # characters that are kept of a user-agent
MOST = 500  # sessions of one user that live at the same time
NAMED = 100  # sessions that end together and are told to the edges one by one
_SALT = 16
_AT_ONCE = 5000  # milliseconds: answers given so soon after a rotation are the same to the byte


class OpenedSession(msgspec.Struct, frozen=True):
    """A session and what its owner is given of it now; never to be logged."""

    session: Session
    access_token: str = ""
    access_until: int = 0  # milliseconds
    refresh_token: str = ""
    set_cookie: str = ""  # a whole Set-Cookie value
    device_cookie: str = ""  # likewise: by which the browser is known again

    def __repr__(self) -> str:
        return f"OpenedSession({self.session.session_id})"

    @property
    def headers(self) -> Headers:
        return tuple(("Set-Cookie", line) for line in (self.set_cookie, self.device_cookie) if line)


async def open_session(
    context: Context,
    db: "Database",
    user: User,
    asker: Asker,
    methods: Sequence[str] = ("pwd",),
    level: int = 1,
    cookie: bool = False,
    bearer: bool = False,
) -> OpenedSession:
    """A sign-in, in the caller's transaction. With `cookie` the session is carried by a cookie, and there are
    no tokens in the answer unless `bearer` asks for them.

    Where the user has MOST already, those used longest ago end: settle `db.revocations` afterwards. Raises
    Refused when the account was locked, deleted or given another password since `user` was read.
    """
    if cookie and asker.origin == "foreign":  # login CSRF; a program says nothing, a browser's page must
        raise Refused(faults.ORIGIN_REFUSED, COOKIE_ORIGIN)
    held = await users.locked(db, user.user_id)
    if held is None or held.locked_at is not None or held.password_changed_at != user.password_changed_at:
        raise Refused(faults.INVALID_CREDENTIALS)
    session = new_session(context, user.user_id, asker, db.now, tuple(methods), level, cookie)
    await rows.insert(db, session)
    context.counters.count("sessions_started_total")
    await _make_room(context, db, session, asker)
    opened = with_tokens(context, session) if bearer or not cookie else OpenedSession(session)
    if cookie:
        opened = msgspec.structs.replace(opened, set_cookie=cookie_line(context, session, db.now))
    return opened


def new_session(
    context: Context, user_id: str, asker: Asker, now: int, methods: tuple[str, ...], level: int, cookie: bool
) -> Session:
    """As a sign-in now would begin it; it is not kept yet."""
    tokens = context.settings.tokens
    absolute = now + lives.milliseconds(tokens.absolute_ttl) if tokens.absolute_ttl else 0
    return Session(
        session_id=new_id(), user_id=user_id, salt=os.urandom(_SALT), key_id=context.secrets.newest,
        generation=1, min_generation=1, rotated_at=now,
        access_until=lives.access_until(tokens, now, absolute), presented_at=None,
        cookie_generation=1, cookie_rotated_at=now, cookie_presented_at=None,
        family=family(asker.agent), address=asker.address, agent=asker.agent[:AGENT],
        methods=",".join(methods), level=level, proved_at=now, created_at=now, last_seen_at=now,
        idle_until=lives.idle_until(tokens, now), absolute_until=absolute, ended_at=None, ended_why="",
        cookie_mode=int(cookie),
    )  # fmt: skip


def with_tokens(context: Context, session: Session) -> OpenedSession:
    """The tokens of the current generation: the same bytes whenever they are asked for."""
    context.counters.count("tokens_issued_total", "access")
    context.counters.count("tokens_issued_total", "refresh")
    refresh = context.tokens.refresh(session.session_id, session.salt, session.key_id, session.generation)
    return OpenedSession(
        session, access_token(context, session, session.access_until), session.access_until, refresh
    )


def carried_by_cookie(context: Context, session: Session, now: int, bearer: bool) -> OpenedSession:
    """The current cookie, and with `bearer` an access token of its own expiry (lives.renewed_until). Never a
    refresh token: who can use the cookie for a moment must not take away what lasts."""
    line = cookie_line(context, session, now)
    if not bearer:
        return OpenedSession(session, set_cookie=line)
    context.counters.count("tokens_issued_total", "access")
    until = lives.renewed_until(context.settings.tokens, session, now)
    return OpenedSession(session, access_token(context, session, until), until, set_cookie=line)


def cookie_line(context: Context, session: Session, now: int) -> str:
    """The Set-Cookie value of the current generation's cookie."""
    context.counters.count("tokens_issued_total", "cookie")
    value = context.tokens.cookie(session.session_id, session.salt, session.key_id, session.cookie_generation)
    return set_cookie(context.settings.cookie, value, (lives.ends_at(session) - now) / 1000)


def access_token(context: Context, session: Session, until: int) -> str:
    if context.settings.tokens.format == "jwt":
        return context.keys.access(
            session.user_id, session.session_id, session.generation, session.rotated_at, until
        )
    return context.tokens.access(session.session_id, session.salt, session.key_id, session.generation, until)


def token_answer(
    opened: OpenedSession, user: User, roles: Sequence[str], permissions: Sequence[str], now: int
) -> dict[str, Any]:
    """The token answer of the API; to be answered with `opened.headers`."""
    session = opened.session
    if now - session.rotated_at < _AT_ONCE:  # parallel refreshes get equal answers
        now = session.rotated_at
    told: dict[str, Any] = {}
    if opened.access_token:
        told |= {
            "access_token": opened.access_token,
            "token_type": "Bearer",
            "expires_in": max(0, opened.access_until - now) // 1000,
        }
    if opened.refresh_token:
        told["refresh_token"] = opened.refresh_token
    return told | {
        "refresh_expires_in": max(0, lives.ends_at(session) - now) // 1000,
        "session_id": session.session_id,
        "user": user_answer(user, tuple(roles), tuple(permissions)),
    }


async def _make_room(context: Context, db: "Database", opened: Session, asker: Asker) -> None:
    """A program that signs in for each call, and never out, must not gather sessions without end."""
    user_id = opened.user_id
    ended = await rows.end_beyond(db, user_id, opened.session_id, MOST - 1, "crowded")
    if ended:
        await _tell(db, user_id, ended)
        _count_ended(context, ended, db.now, "crowded")
        one = ended[0].session_id if len(ended) == 1 else ""
        how_many = len(ended)
        await audit(db, SESSION_REVOKED, user_id, session=one, asker=asker, why="crowded", sessions=how_many)


async def end(context: Context, db: "Database", session: Session, why: str) -> None:
    """End one session, in the caller's transaction; settle `db.revocations` afterwards."""
    if await rows.end(db, session.session_id, why):
        await revocations.write(db, kind="revoked", session=session.session_id)
        _count_ended(context, [session], db.now, why)


async def end_all(context: Context, db: "Database", user_id: str, why: str, keep: str = "") -> int:
    """End all live sessions of a user but `keep`; how many ended. Settle `db.revocations` afterwards.

    The transaction must hold the user's own lock already (store.accounts.locked), before any session's:
    so no two of them wait for each other in a ring.
    """
    ended = await rows.end_all_of(db, user_id, why, keep)
    if not keep:  # also when none is live: what an edge may still hold of the user goes
        await revocations.write(db, kind="revoked", user=user_id)
    else:
        await _tell(db, user_id, ended)
    _count_ended(context, ended, db.now, why)
    return len(ended)


async def _tell(db: "Database", user_id: str, ended: Sequence[Session]) -> None:
    """That these of the user's have ended, and others have not."""
    if 0 < len(ended) <= NAMED:
        for session in ended:
            await revocations.write(db, kind="revoked", session=session.session_id)
    else:  # so many, or none any more: edges look at all of the user's again, and who does not is pending
        await revocations.write(db, kind="changed", user=user_id)


def _count_ended(context: Context, ended: Sequence[Session], now: int, why: str) -> None:
    for session in ended:
        context.counters.count("sessions_ended_total", why)
        context.counters.observe("session_duration_seconds", (now - session.created_at) / 1000)


async def still(db: "Database", caller: Caller) -> Session:
    """Take the lock of the caller's session, and refuse if it has ended since the call was authenticated."""
    session = await rows.locked(db, caller.session.session_id)
    if session is None or not lives.alive(session, db.now):
        raise Refused(faults.INVALID_TOKEN, "", challenge("invalid_token"))
    return session


async def touch(context: Context, seen: Sequence[tuple[str, float]]) -> None:
    """These sessions were used, so many seconds ago: they idle from then on.

    Each in a transaction of its own: who holds the locks of several sessions has to have their user's first.
    """
    for session_id, seconds_ago in seen:
        async with context.store.writing() as db:
            at = db.now - lives.milliseconds(max(0.0, seconds_ago))
            await rows.touch(db, [(session_id, at, lives.idle_until(context.settings.tokens, at))])
