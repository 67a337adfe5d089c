"""Another e-mail address: the new one proves itself, the old one is told and can take the account back."""

from typing import TYPE_CHECKING

import msgspec

from gateway.identity import fields, letters, names, sessions
from gateway.identity.audit import EMAIL_ASKED, EMAIL_CHANGED, EMAIL_UNDONE, audit
from gateway.identity.context import Context
from gateway.identity.first_proof import remove_credentials
from gateway.identity.letters import Letter
from gateway.identity.recovery import user_of_key, write_to_reset
from gateway.identity.telling import masked, place, when
from gateway.identity.web import Asker, Caller, Refused, challenge
from gateway.model import credentials, faults
from gateway.store import accounts as users
from gateway.store import former_addresses, onetime, revocations
from gateway.store import sessions as rows
from gateway.store.accounts import User
from gateway.store.faults import Conflict

if TYPE_CHECKING:
    from gateway.identity.names import Email
    from gateway.identity.propagation import Settled
    from gateway.store.database import Database

CHANGE_FOR = 24 * 3600_000  # milliseconds
UNDO_FOR = 7 * 86400_000  # nobody else gets the old address in this time


class Change(msgspec.Struct, frozen=True):
    """Data of a key: what the address is to be."""

    email: str
    email_key: str


async def begin(context: Context, caller: Caller, asker: Asker, email: str) -> None:
    """A letter with a key to the new address. Where somebody has it already, they are told instead: the same
    work, and the same answer (T19). The caller is fresh; keys of earlier calls are void."""
    await context.limits.check("mail", asker)
    wanted = _checked(context, caller.user, email)
    await context.limits.check_account("mail_account", wanted.key, asker)
    key = credentials.new(credentials.NEW_EMAIL)
    async with context.store.writing() as db:
        user = await users.locked(db, caller.user.user_id)
        session = await sessions.still(db, caller)
        if user is None:
            raise Refused(faults.INVALID_TOKEN, "", challenge("invalid_token"))
        owner = await users.by_identifier(db, wanted.key)
        held = await former_addresses.by_key(db, wanted.key)
        free = owner is None and (held is None or held.user_id == user.user_id)
        expires = db.now + CHANGE_FOR
        await onetime.drop_of(db, user.user_id, credentials.NEW_EMAIL)
        await onetime.insert(
            db, credentials.stored(key), credentials.NEW_EMAIL, expires, user.user_id if free else None,
            fields.json(Change(wanted.address, wanted.key)),
        )  # fmt: skip
        to_owner = {
            "link": "/auth/sign-in", "forgot": "/auth/forgot", "when": when(db.now), "place": place(asker),
        }  # fmt: skip
        to_new = {"link": f"/auth/email?key={key}", "expires": when(expires)}
        told = (
            Letter("email_new", wanted.address, user.username or "", asker.language, to_new)
            if free
            else letters.to_user("taken", owner, asker, to_owner)
        )
        await letters.post(context, db, told, CHANGE_FOR)
        await audit(db, EMAIL_ASKED, user.user_id, session=session.session_id, asker=asker)


async def finish(context: Context, asker: Asker, key: str, caller: Caller | None = None) -> "Settled":
    """The account has the address that the key was mailed to. Access tokens die, and one refresh gives new
    ones. Where a caller is given, it is its own account or none."""
    stored = credentials.stored(key)
    try:
        async with context.store.writing() as db:
            user = await user_of_key(db, stored, credentials.NEW_EMAIL)
            if caller is not None:
                await sessions.still(db, caller)
            foreign = caller is not None and caller.user.user_id != user.user_id
            used = None if foreign else await onetime.use(db, stored, credentials.NEW_EMAIL)
            if used is None or user.locked_at is not None:
                raise Refused(faults.INVALID_KEY)
            await _change(context, db, user, msgspec.json.decode(used.data, type=Change), asker)
    except Conflict:  # somebody took it meanwhile
        raise Refused(faults.INVALID_KEY) from None
    return await context.propagation.settle(db.revocations)


async def _change(context: Context, db: "Database", user: User, change: Change, asker: Asker) -> None:
    await _give(db, user, change.email, change.email_key)
    held = await former_addresses.by_key(db, change.email_key)
    if held is not None and held.user_id != user.user_id:
        raise Refused(faults.INVALID_KEY)
    undo = ""
    if held is not None:
        # It goes back to who may take it back anyhow: what it was called in between has no say over it.
        await former_addresses.drop_since(db, held)
    else:
        undo = credentials.new(credentials.UNDO_EMAIL)
        await former_addresses.insert(
            db, credentials.stored(undo), user.user_id, user.email, user.email_key, db.now + UNDO_FOR
        )
    await onetime.drop_all_of(db, user.user_id)  # those that were mailed to the old address prove nothing now
    await rows.outdate_access(db, user.user_id)
    await revocations.write(db, "changed", user=user.user_id)
    await _tell_old(context, db, user, change.email, undo, asker)
    await audit(db, EMAIL_CHANGED, user.user_id, asker=asker)


async def undo(context: Context, asker: Asker, key: str) -> "Settled":
    """The account is its old address's again. Whoever changed it has nothing any more: no session, password
    or key; another password is chosen by a key that is mailed. Addresses it had earlier than this one can
    still take it back, those it had since can't."""
    stored = credentials.stored(key)
    try:
        async with context.store.writing() as db:
            found = await former_addresses.by_hash(db, stored)
            user = await users.locked(db, found.user_id) if found is not None else None
            found = await former_addresses.by_hash(db, stored)  # of many who use it at once, one finds it
            if user is None or found is None:
                raise Refused(faults.INVALID_KEY)
            await former_addresses.drop_since(db, found)
            restored = await _give(db, user, found.email, found.email_key)
            await remove_credentials(context, db, user.user_id, "email_undone")
            if context.settings.password.on:
                await write_to_reset(context, db, restored, asker)
            await _tell_old(context, db, user, found.email, "", asker)
            await audit(db, EMAIL_UNDONE, user.user_id, asker=asker)
    except Conflict:
        raise Refused(faults.INVALID_KEY) from None
    return await context.propagation.settle(db.revocations)


async def _give(db: "Database", user: User, email: str, email_key: str) -> User:
    """The user with that address, which is proved. Raises Conflict where somebody has it."""
    changed = msgspec.structs.replace(
        user, email=email, email_key=email_key, confirmed=True, email_proved_at=db.now
    )
    await users.save(db, changed)
    return changed


async def _tell_old(
    context: Context, db: "Database", user: User, new: str, undo_key: str, asker: Asker
) -> None:
    """`user`: as it was before; without a key it can't be taken back."""
    values = {
        "new": masked(new), "undo": f"/auth/undo?key={undo_key}" if undo_key else "",
        "when": when(db.now), "place": place(asker), "expires": when(db.now + UNDO_FOR),
    }  # fmt: skip
    await letters.post(context, db, letters.to_user("email_old", user, asker, values))


def _checked(context: Context, user: User, email: str) -> "Email":
    found = fields.Fields()
    wanted = found.take("email", names.email, email)
    domains = context.settings.email_domains
    if wanted and not names.allowed_domain(wanted, domains):
        found.wrong("email", f"Use an address of {', '.join(domains)}.")
    if wanted and wanted.key == user.email_key:
        found.wrong("email", "This is the account's address already.")
    found.refuse()
    assert wanted is not None
    return wanted
