"""Ways back in, by mail: confirming an address, a forgotten password or user name, "this was not me".

What is asked for an address is the same work, and the same answer, whether anybody has it (T19).
"""

from typing import TYPE_CHECKING

import msgspec

from gateway.identity import devices, letters, lockout, names
from gateway.identity.audit import RESET_ASKED, USER_CONFIRMED, USER_DELETED, USER_LET_IN, audit
from gateway.identity.context import Context
from gateway.identity.telling import place, when
from gateway.identity.web import Asker, Refused
from gateway.model import credentials, faults
from gateway.store import accounts as users
from gateway.store import onetime, revocations
from gateway.store.accounts import User

if TYPE_CHECKING:
    from gateway.identity.propagation import Settled
    from gateway.store.database import Database

CONFIRM_FOR = 24 * 3600_000  # milliseconds
RESET_FOR = 3600_000
UNLOCK_FOR = 24 * 3600_000
MAILED = '{"mailed": true}'  # data of a key that only the address's owner has


async def write_to_confirm(context: Context, db: "Database", user: User | None, asker: Asker) -> None:
    """The letter with a key to confirm the address and one to say that it was somebody else; a decoy for
    nobody."""
    confirm, not_me = credentials.new(credentials.CONFIRM), credentials.new(credentials.NOT_ME)
    expires = db.now + CONFIRM_FOR
    for key, kind in ((confirm, credentials.CONFIRM), (not_me, credentials.NOT_ME)):
        owner = user.user_id if user else None
        await onetime.insert(db, credentials.stored(key), kind, expires, owner, MAILED)
    values = {
        "link": f"/auth/confirm?key={confirm}", "not_me": f"/auth/not-me?key={not_me}",
        "when": when(db.now), "place": place(asker), "expires": when(expires),
    }  # fmt: skip
    await letters.post(context, db, letters.to_user("confirm", user, asker, values), CONFIRM_FOR)


async def write_to_reset(context: Context, db: "Database", user: User | None, asker: Asker) -> None:
    """The letter with a key for another password; a decoy for nobody."""
    made = credentials.new(credentials.RESET)
    expires = db.now + RESET_FOR
    await onetime.insert(
        db, credentials.stored(made), credentials.RESET, expires, user.user_id if user else None, MAILED
    )
    values = {
        "link": f"/auth/reset?key={made}", "when": when(db.now), "place": place(asker),
        "expires": when(expires),
    }  # fmt: skip
    await letters.post(context, db, letters.to_user("reset", user, asker, values), RESET_FOR)


async def write_to_unlock(context: Context, db: "Database", user: User | None, asker: Asker) -> None:
    """The letter with a key that lets a browser try passwords again; a decoy for nobody."""
    made = credentials.new(credentials.UNLOCK)
    expires = db.now + UNLOCK_FOR
    await onetime.insert(
        db, credentials.stored(made), credentials.UNLOCK, expires, user.user_id if user else None, MAILED
    )
    values = {"link": f"/auth/unlock?key={made}", "when": when(db.now), "expires": when(expires)}
    await letters.post(context, db, letters.to_user("unlock", user, asker, values), UNLOCK_FOR)


async def write_taken(context: Context, db: "Database", owner: User | None, asker: Asker) -> None:
    """To the owner of an address that somebody registers again, to nobody where it is only kept for one who
    had it; the same work as write_to_confirm."""
    for kind in (credentials.CONFIRM, credentials.NOT_ME):
        key = credentials.stored(credentials.new(kind))
        await onetime.insert(db, key, kind, db.now + CONFIRM_FOR, None, MAILED)
    values = {
        "link": "/auth/sign-in", "forgot": "/auth/forgot", "when": when(db.now), "place": place(asker),
    }  # fmt: skip
    await letters.post(context, db, letters.to_user("taken", owner, asker, values), CONFIRM_FOR)


async def confirm(context: Context, asker: Asker, key: str) -> "Settled":
    """The key's user owns the address. The password that it was registered with stays."""
    stored = credentials.stored(key)
    async with context.store.writing() as db:
        user = await user_of_key(db, stored, credentials.CONFIRM)
        if await onetime.use(db, stored, credentials.CONFIRM) is None:
            raise Refused(faults.INVALID_KEY)
        await onetime.drop_of(db, user.user_id, credentials.NOT_ME)
        proved = user.email_proved_at or db.now
        await users.save(db, msgspec.structs.replace(user, confirmed=True, email_proved_at=proved))
        await revocations.write(db, "changed", user=user.user_id)
        await audit(db, USER_CONFIRMED, user.user_id, asker=asker)
    return await context.propagation.settle(db.revocations)


async def not_me(context: Context, asker: Asker, key: str) -> "Settled":
    """Somebody else made the account: it goes, as long as nobody has confirmed it."""
    stored = credentials.stored(key)
    async with context.store.writing() as db:
        user = await user_of_key(db, stored, credentials.NOT_ME)
        if user.confirmed or await onetime.use(db, stored, credentials.NOT_ME) is None:
            raise Refused(faults.INVALID_KEY)
        await revocations.write(db, "revoked", user=user.user_id)
        await users.delete(db, user.user_id)
        await audit(db, USER_DELETED, user.user_id, asker=asker, why="not me")
    return await context.propagation.settle(db.revocations)


async def resend(context: Context, asker: Asker, email: str) -> None:
    """Another letter to confirm, to who has not done it yet. Older keys stay good until they are over."""
    key = await _asked(context, asker, email)
    async with context.store.writing() as db:
        user = await _known(db, key)
        waiting = user if user and not (user.confirmed and user.email_proved_at) else None
        await write_to_confirm(context, db, waiting, asker)


async def forgot_password(context: Context, asker: Asker, email: str) -> None:
    """A key for another password. The one there is stays good."""
    if not context.settings.password.on:
        raise Refused(faults.PASSWORD_OFF)
    key = await _asked(context, asker, email)
    async with context.store.writing() as db:
        user = await _known(db, key)
        await write_to_reset(context, db, user, asker)
        await audit(db, RESET_ASKED, user.user_id if user else "", asker=asker)


async def forgot_username(context: Context, asker: Asker, email: str) -> None:
    key = await _asked(context, asker, email)
    async with context.store.writing() as db:
        user = await _known(db, key)
        values = {"username": (user.username or "") if user else "", "link": "/auth/sign-in"}
        await letters.post(context, db, letters.to_user("username", user, asker, values))


async def unlock(context: Context, asker: Asker, key: str) -> str:
    """Whoever got the letter may try passwords again, by this browser and from this network: a whole
    Set-Cookie value, by which it is known. What was counted stays, and the password is still needed."""
    stored = credentials.stored(key)
    async with context.store.writing() as db:
        user = await user_of_key(db, stored, credentials.UNLOCK)
        if await onetime.use(db, stored, credentials.UNLOCK) is None:
            raise Refused(faults.INVALID_KEY)
        cookie = await devices.remember(context, db, user.user_id, asker)
        await audit(db, USER_LET_IN, user.user_id, asker=asker)
    await context.limits.lockout.let_in(lockout.attempt(user.email_key, asker.address))
    return cookie


async def _asked(context: Context, asker: Asker, email: str) -> str:
    """The key of the address, after the limits: per address that asks, and per account and network."""
    await context.limits.check("mail", asker)
    key = names.identifier(email) if "@" in email else ""
    await context.limits.check_account("mail_account", key, asker)
    return key


async def _known(db: "Database", key: str) -> User | None:
    """Who has this address and may be written to: nobody who is locked."""
    user = await users.by_identifier(db, key)
    return user if user is not None and user.locked_at is None else None


async def user_of_key(db: "Database", stored: bytes, purpose: str) -> User:
    """The key's user, under the lock; nobody changes it until this unit ends."""
    found = await onetime.by_hash(db, stored, purpose)
    user = await users.locked(db, found.user_id) if found is not None and found.user_id else None
    if user is None:
        raise Refused(faults.INVALID_KEY)
    return user
