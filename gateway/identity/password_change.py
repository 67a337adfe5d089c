"""Another password: by the current one, or by a one-time key that an admin made."""

from typing import TYPE_CHECKING

import msgspec

from gateway.identity import devices, fields, letters, sessions
from gateway.identity import roles as role_acts
from gateway.identity.actors import Actor
from gateway.identity.audit import PASSWORD_CHANGED, PASSWORD_RESET_MADE, SESSION_CREATED, audit
from gateway.identity.context import Context
from gateway.identity.first_proof import end_access, prove_address
from gateway.identity.passwords import Busy
from gateway.identity.recovery import MAILED, RESET_FOR
from gateway.identity.sign_in import SignedIn, busy, prove
from gateway.identity.telling import place, when
from gateway.identity.web import Asker, Caller, Refused
from gateway.model import credentials, faults
from gateway.store import accounts as users
from gateway.store import devices as device_rows
from gateway.store import onetime, roles
from gateway.store.accounts import User

if TYPE_CHECKING:
    from gateway.identity.propagation import Settled
    from gateway.store.database import Database


async def change(
    context: Context, caller: Caller, asker: Asker, current: str, new: str
) -> tuple[SignedIn, "Settled"]:
    """Every session of the user ends, and one opens for who changed it, carried as the caller's was."""
    _check(context, caller.user, new)
    await prove(context, caller, asker, current)
    hashed = await _hashed(context, new)
    async with context.store.writing() as db:
        user = await users.locked(db, caller.user.user_id)
        old = await sessions.still(db, caller)
        if user is None or user.password_changed_at != caller.user.password_changed_at:
            raise Refused(faults.INVALID_CREDENTIALS)
        await users.set_password(db, user.user_id, hashed)
        for kind in (credentials.RESET, credentials.NEW_EMAIL):
            await onetime.drop_of(db, user.user_id, kind)
        await sessions.end_all(context, db, user.user_id, "password_changed")
        user = msgspec.structs.replace(user, password_hash=hashed, password_changed_at=db.now)
        opened = await sessions.open_session(
            context, db, user, asker, tuple(old.methods.split(",")), old.level,
            cookie=bool(old.cookie_mode), bearer=caller.by == "bearer",
        )  # fmt: skip
        await device_rows.drop_of(db, user.user_id)
        if old.cookie_mode:
            known = await devices.remember(context, db, user.user_id, asker)
            opened = msgspec.structs.replace(opened, device_cookie=known)
        rights = await roles.of(db, user.user_id)
        session = opened.session.session_id
        await audit(db, PASSWORD_CHANGED, user.user_id, session=session, asker=asker)
        await _tell(context, db, user, asker)
        await audit(db, SESSION_CREATED, user.user_id, session=session, asker=asker)
        now = db.now
    settled = await context.propagation.settle(db.revocations)
    return SignedIn(opened, user, rights.roles, rights.permissions, now), settled


async def make_reset(context: Context, user_id: str, actor: Actor) -> tuple[str, "Settled"]:
    """A key for another password, shown to the admin this once, for the user. The password there was stops
    working, all sessions end, and older such keys are void."""
    key = credentials.new(credentials.RESET)
    async with context.store.writing() as db:
        async with role_acts.Admins(context, db):
            held = await users.locked(db, user_id)
            await actor.still(db)
            if held is None:
                raise Refused(faults.NOT_FOUND)
            await users.set_password(db, user_id, None)
        await end_access(context, db, user_id, "password_reset")
        expires = db.now + RESET_FOR
        await onetime.insert(db, credentials.stored(key), credentials.RESET, expires, user_id)
        await audit(db, PASSWORD_RESET_MADE, user_id, actor.name, asker=actor.asker)
    return key, await context.propagation.settle(db.revocations)


async def reset(context: Context, asker: Asker, key: str, new: str) -> "Settled":
    """The key's user has this password from now on; all sessions end, and none opens."""
    stored = credentials.stored(key)
    async with context.store.reading() as db:
        found = await onetime.by_hash(db, stored, credentials.RESET)
        good = found is not None and found.used_at is None and found.expires_at > db.now
        user = await users.by_id(db, found.user_id) if good and found and found.user_id else None
        mailed = found is not None and found.data == MAILED
    if user is None:
        raise Refused(faults.INVALID_KEY)
    _check(context, user, new)
    hashed = await _hashed(context, new)
    async with context.store.writing() as db:
        held = await users.locked(db, user.user_id)
        if held is None or await onetime.use(db, stored, credentials.RESET) is None:
            raise Refused(faults.INVALID_KEY)
        await users.set_password(db, user.user_id, hashed)
        await end_access(context, db, user.user_id, "password_reset")
        if mailed:
            await prove_address(context, db, held, asker, keep_password=True)
        await audit(db, PASSWORD_CHANGED, user.user_id, asker=asker, by="reset")
        await _tell(context, db, held, asker)
    return await context.propagation.settle(db.revocations)


async def _tell(context: Context, db: "Database", user: User, asker: Asker) -> None:
    """The owner, who may not be the one who changed it."""
    values = {"when": when(db.now), "place": place(asker), "forgot": "/auth/forgot"}
    await letters.post(context, db, letters.to_user("password_changed", user, asker, values))


def _check(context: Context, user: User, new: str) -> None:
    found = fields.Fields()
    for fault in context.passwords.refused(new, user.username or "", user.email):
        found.wrong("new_password", fault)
    found.refuse()


async def _hashed(context: Context, new: str) -> str:
    hashed = await context.passwords.hash(new)
    if isinstance(hashed, Busy):
        raise busy(hashed)
    return hashed
