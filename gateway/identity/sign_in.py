"""Proving a password: to sign in, and again for what needs a fresh proof; equal work whoever asks."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.identity import binding, devices, lockout, names, recovery, sessions
from gateway.identity.audit import LOGIN_FAILED, PASSWORD_REFUSED, REAUTHENTICATED, SESSION_CREATED, audit
from gateway.identity.context import Context
from gateway.identity.passwords import Busy, Matches
from gateway.identity.sessions import OpenedSession
from gateway.identity.web import COOKIE_ORIGIN, Asker, Caller, Refused
from gateway.model import faults
from gateway.store import accounts as users
from gateway.store import revocations, roles
from gateway.store import sessions as rows
from gateway.store.accounts import User

if TYPE_CHECKING:
    from gateway.identity.propagation import Settled
    from gateway.store.database import Database

NOT_CONFIRMED = "Name or password is not right, or the address is not confirmed yet."


class SignedIn(msgspec.Struct, frozen=True):
    """An open session, and what its token answer is made from; never to be logged."""

    opened: OpenedSession
    user: User
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    now: int

    def __repr__(self) -> str:
        return f"SignedIn({self.opened!r})"

    @property
    def answer(self) -> dict[str, Any]:
        return sessions.token_answer(self.opened, self.user, self.roles, self.permissions, self.now)


async def sign_in(
    context: Context, asker: Asker, identifier: str, password: str, cookie: bool = False, bearer: bool = False
) -> SignedIn:
    """A session for who knows the password; Refused, the same for wrong, unknown, locked and waiting: each
    takes one look-up, one comparison by argon2 and one row of audit."""
    began, result = time.perf_counter(), "failed"
    try:
        signed = await _sign_in(context, asker, names.identifier(identifier), password, cookie, bearer)
        result = "ok"
        return signed
    except Refused as refused:
        if refused.fault is faults.SIGN_IN_BUSY:
            result = "busy"
        raise
    finally:
        context.counters.count("logins_total", result)
        context.counters.observe("login_duration_seconds", time.perf_counter() - began)


async def _sign_in(
    context: Context, asker: Asker, identifier: str, password: str, cookie: bool, bearer: bool
) -> SignedIn:
    from_here(asker, cookie)
    async with context.store.reading() as db:
        user = await users.by_identifier(db, identifier)
    known = await devices.tries(context, asker, user.user_id if user else "")
    tried = lockout.attempt(user.email_key if user else identifier, asker.address, known)
    match, waits = await _compared(context, tried, password, user.password_hash if user else None)
    if user is None or match is None or waits or not may_sign_in(context, user):
        await _failed(context, tried, LOGIN_FAILED, user, match is not None, asker)
        detail = NOT_CONFIRMED if context.settings.confirmation == "required" else ""
        raise Refused(faults.INVALID_CREDENTIALS, detail)
    renewed = await context.passwords.hash(password) if match.needs_rehash else None
    async with context.store.writing() as db:
        signed = await finish(context, db, asker, user, cookie=cookie, bearer=bearer)
        if isinstance(renewed, str) and user.password_hash:  # too busy: another sign-in will do it
            await users.rehash(db, user.user_id, user.password_hash, renewed)
    if db.revocations:  # of sessions that it crowded out
        await context.propagation.settle(db.revocations)
    await context.limits.lockout.succeeded(tried)
    return signed


async def finish(
    context: Context,
    db: "Database",
    asker: Asker,
    user: User,
    methods: Sequence[str] = ("pwd",),
    level: int = 1,
    *,
    cookie: bool = False,
    bearer: bool = False,
) -> SignedIn:
    """The end of every way in, in the transaction of what proved it: the session, and a browser that is known
    from then on. Settle `db.revocations` afterwards. Refused as by sessions.open_session."""
    opened = await sessions.open_session(context, db, user, asker, methods, level, cookie, bearer)
    device = await devices.signed_in(context, db, user, opened.session, asker)
    opened = msgspec.structs.replace(opened, device_cookie=device)
    await users.signed_in(db, user.user_id, asker.address)
    rights = await roles.of(db, user.user_id)
    await audit(db, SESSION_CREATED, user.user_id, session=opened.session.session_id, asker=asker)
    return SignedIn(opened, user, rights.roles, rights.permissions, db.now)


def from_here(asker: Asker, cookie: bool) -> None:
    """Refused where another site's page would put a session into the browser; whatever else it sends."""
    if cookie and asker.origin == "foreign":
        raise Refused(faults.ORIGIN_REFUSED, COOKIE_ORIGIN)


def may_sign_in(context: Context, user: User) -> bool:
    """Whether this account's own password would do."""
    confirmed = user.confirmed or context.settings.confirmation == "optional"
    return user.locked_at is None and confirmed


async def prove(context: Context, caller: Caller, asker: Asker, password: str) -> None:
    """Refused unless this is the caller's password. Failures count as those of sign-in do: a stolen token is
    no way round the lockout."""
    user = caller.user
    known = await devices.tries(context, asker, user.user_id)
    here = lockout.same_network(asker.address, caller.session.address)
    tried = lockout.attempt(user.email_key, asker.address, known or here)
    match, waits = await _compared(context, tried, password, user.password_hash)
    if match is None or waits:
        await _failed(context, tried, PASSWORD_REFUSED, user, match is not None, asker)
        raise Refused(faults.INVALID_CREDENTIALS)
    if known:
        await devices.proved(context, asker, user.user_id)
    await context.limits.lockout.succeeded(tried)


async def prove_again(context: Context, caller: Caller, asker: Asker, password: str) -> "Settled":
    """The caller's session is fresh from now on, and every edge knows."""
    await prove(context, caller, asker, password)
    async with context.store.writing() as db:
        user = await users.locked(db, caller.user.user_id)
        session = await sessions.still(db, caller)
        if user is None or user.password_changed_at != caller.user.password_changed_at:
            raise Refused(faults.INVALID_CREDENTIALS)
        await rows.prove(db, session.session_id)
        await binding.rebind(db, session, asker)
        await revocations.write(db, "changed", session=session.session_id)
        await audit(db, REAUTHENTICATED, user.user_id, session=session.session_id, asker=asker)
    return await context.propagation.settle(db.revocations)


def busy(found: Busy) -> Refused:
    return Refused(faults.SIGN_IN_BUSY, headers=(("Retry-After", str(found.retry_after)),))


async def _compared(
    context: Context, tried: lockout.Attempt, password: str, kept: str | None
) -> tuple[Matches | None, bool]:
    """The match, None when it is wrong; and whether it does not count. Looked at twice: of guesses made side
    by side none counts after the one that began the wait."""
    waits = context.limits.lockout.waits
    waited = await waits(tried)
    found = await context.passwords.verify(password, kept)
    if isinstance(found, Busy):
        raise busy(found)
    waiting = waited or await waits(tried)
    if waiting:
        context.counters.count("lockouts_total")
    return found if isinstance(found, Matches) else None, waiting


async def _failed(
    context: Context, tried: lockout.Attempt, event: str, user: User | None, right: bool, asker: Asker
) -> None:
    """Where it takes a mailed link now, it goes to the owner: at the hundredth failure, and when the right
    password was tried since. Else the same work for nobody, whatever was tried."""
    failed = await context.limits.lockout.failed(tried)
    async with context.store.writing() as db:
        await audit(db, event, user.user_id if user else "", asker=asker, failures=failed.failures)
        if failed.link:
            owner = user if user and may_sign_in(context, user) and (right or failed.first) else None
            if owner is not None and not await context.limits.allows("unlock", owner.email_key, asker):
                owner = None
            await recovery.write_to_unlock(context, db, owner, asker)
