"""What is done to accounts: by their owners, by admins, from the command line; every edge is told."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.identity import fields, names, registering, sessions, shapes
from gateway.identity import roles as role_acts
from gateway.identity.actors import OPERATOR, Actor, one_at_a_time
from gateway.identity.audit import (
    META_CHANGED,
    SESSION_REVOKED,
    USER_CHANGED,
    USER_CONFIRMED,
    USER_DELETED,
    USER_LOCKED,
    USER_REGISTERED,
    USER_UNLOCKED,
    audit,
)  # fmt: skip
from gateway.identity.context import Context
from gateway.identity.lives import alive
from gateway.identity.passwords import Busy
from gateway.identity.sign_in import busy
from gateway.identity.web import Refused
from gateway.model import faults
from gateway.store import accounts as users
from gateway.store import revocations, roles
from gateway.store import sessions as rows
from gateway.store.accounts import User
from gateway.store.faults import Conflict
from gateway.store.roles import Rights
from gateway.store.sessions import Session

if TYPE_CHECKING:
    from gateway.identity.propagation import Settled
    from gateway.store.database import Database


class Profile(msgspec.Struct, frozen=True):
    """A change of one's own profile; None: it stays."""

    username: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    meta: dict[str, Any] | None = None  # merged into the public map; null takes a key away


class Known(msgspec.Struct, frozen=True):
    """A user and what it may do."""

    user: User
    rights: Rights


async def add_user(
    context: Context,
    email: str,
    username: str | None,
    password: str | None,
    given: Sequence[str] = (),
) -> Known:
    """An account made for somebody: confirmed, with these roles beside `user`; without a password it needs a
    reset key. Refused, with every field that is not right."""
    wanted = registering.Wanted(email, password, username)
    user = registering.checked(context, wanted)
    hashed = None if password is None else await context.passwords.hash(password)
    if isinstance(hashed, Busy):
        raise busy(hashed)
    user = msgspec.structs.replace(user, password_hash=hashed, confirmed=True)
    names_of_roles = sorted({registering.USER_ROLE, *given})
    try:
        async with context.store.writing() as db:
            await one_at_a_time(db)  # nobody deletes a role of these meanwhile
            await role_acts.known(db, names_of_roles)
            user = await registering.insert(db, user, names_of_roles, OPERATOR.name)
            rights = await roles.of(db, user.user_id)
            await audit(db, USER_REGISTERED, user.user_id, OPERATOR.name, roles=names_of_roles)
    except Conflict as conflict:
        raise registering.taken(conflict) from None
    return Known(user, rights)


async def find(context: Context, name: str) -> Known:
    """By id, address or user name; Refused when there is none."""
    async with context.store.reading() as db:
        user = await users.by_id(db, name) or await users.by_identifier(db, names.identifier(name))
        if user is None:
            raise Refused(faults.NOT_FOUND, "There is no such user.")
        return Known(user, await roles.of(db, user.user_id))


async def by_id(context: Context, user_id: str) -> Known:
    async with context.store.reading() as db:
        return Known(await _there(db, user_id), await roles.of(db, user_id))


async def search(context: Context, text: str = "", after: int = 0, most: int = 50) -> list[User]:
    """Those whose address or user name has the text in it; go on after the last one's `id`."""
    async with context.store.reading() as db:
        return await users.page(db, names.searched(text), after, most)


async def sessions_of(context: Context, user_id: str) -> list[Session]:
    """Those that live."""
    async with context.store.reading() as db:
        await _there(db, user_id)
        return await rows.live_of(db, user_id)


async def change_profile(
    context: Context, user_id: str, change: Profile, actor: Actor
) -> tuple[User, "Settled"]:
    found = fields.Fields()
    username = found.take("username", names.username, change.username)
    first_name = found.take("first_name", names.person, change.first_name)
    last_name = found.take("last_name", names.person, change.last_name)
    found.refuse()

    def changed(user: User) -> User:
        meta = _merged("meta", shapes.meta(user.meta), change.meta, names.public_meta)
        return msgspec.structs.replace(
            user,
            username=username or user.username,
            username_key=names.username_key(username) if username else user.username_key,
            first_name=user.first_name if first_name is None else first_name,
            last_name=user.last_name if last_name is None else last_name,
            meta=user.meta if meta is None else meta,
        )

    sent = [name for name in Profile.__struct_fields__ if getattr(change, name) is not None]
    return await _save(context, user_id, changed, USER_CHANGED, actor, fields=sent)


async def change_meta(
    context: Context,
    user_id: str,
    public: dict[str, Any] | None,
    protected: dict[str, Any] | None,
    actor: Actor,
) -> "Settled":
    """By an admin; each is merged, null takes a key away."""

    def changed(user: User) -> User:
        ours = _merged("protected", shapes.meta(user.protected), protected, names.meta)
        theirs = _merged("public", shapes.meta(user.meta), public, names.public_meta)
        return msgspec.structs.replace(user, protected=ours or user.protected, meta=theirs or user.meta)

    keys = sorted({*(public or {}), *(protected or {})})
    _, settled = await _save(context, user_id, changed, META_CHANGED, actor, keys=keys)
    return settled


async def lock(context: Context, user_id: str, why: str, actor: Actor) -> "Settled":
    """Nobody can sign in to it; its sessions end."""
    async with context.store.writing() as db:
        async with role_acts.Admins(context, db):
            await _held(db, user_id, actor)
            new = await users.lock(db, user_id, why)
        await sessions.end_all(context, db, user_id, "locked")
        if new:
            await audit(db, USER_LOCKED, user_id, actor.name, asker=actor.asker, why=why)
    return await context.propagation.settle(db.revocations)


async def unlock(context: Context, user_id: str, actor: Actor) -> None:
    """It may sign in again; what was counted against it is forgotten too."""
    async with context.store.writing() as db:
        await actor.begin(db)
        user = await _held(db, user_id, actor)
        if await users.unlock(db, user_id):
            await audit(db, USER_UNLOCKED, user_id, actor.name, asker=actor.asker)
    await context.limits.lockout.forget(user.email_key)


async def confirm(context: Context, user_id: str, actor: Actor) -> "Settled":
    """Somebody vouches for the account; its address stays unproved."""

    def changed(user: User) -> User:
        return msgspec.structs.replace(user, confirmed=True)

    return (await _save(context, user_id, changed, USER_CONFIRMED, actor))[1]


async def delete(context: Context, user_id: str, actor: Actor) -> "Settled":
    """The account and all that is its own, except what the audit trail says."""
    async with context.store.writing() as db:
        async with role_acts.Admins(context, db):
            user = await _held(db, user_id, actor)
            await sessions.end_all(context, db, user.user_id, "deleted")
            await users.delete(db, user.user_id)
        await audit(db, USER_DELETED, user_id, actor.name, asker=actor.asker)
    return await context.propagation.settle(db.revocations)


async def revoke_all(context: Context, user_id: str, actor: Actor) -> "Settled":
    """Every session of the user ends."""
    async with context.store.writing() as db:
        await actor.begin(db)
        await _held(db, user_id, actor)
        ended = await sessions.end_all(context, db, user_id, "revoked")
        await audit(db, SESSION_REVOKED, user_id, actor.name, asker=actor.asker, sessions=ended)
    return await context.propagation.settle(db.revocations)


async def revoke(context: Context, session_id: str, actor: Actor) -> "Settled":
    """One session ends, whosever it is."""
    async with context.store.writing() as db:
        await actor.begin(db)
        known = await rows.by_id(db, session_id)
        if known is not None:
            await users.locked(db, known.user_id)  # before those of two sessions that may both be its
        await actor.still(db)
        session = await rows.locked(db, session_id)
        if session is None or not alive(session, db.now):
            raise Refused(faults.NOT_FOUND, "There is no such session.")
        await sessions.end(context, db, session, "revoked")
        await audit(
            db, SESSION_REVOKED, session.user_id, actor.name, session=session_id, asker=actor.asker
        )  # fmt: skip
    return await context.propagation.settle(db.revocations)


async def _save(
    context: Context,
    user_id: str,
    changed: Callable[[User], User],
    event: str,
    actor: Actor,
    **data: Any,
) -> tuple[User, "Settled"]:
    try:
        async with context.store.writing() as db:
            await actor.begin(db)
            user = changed(await _held(db, user_id, actor))
            await users.save(db, user)
            await revocations.write(db, "changed", user=user_id)
            await audit(db, event, user_id, actor.name, asker=actor.asker, **data)
    except Conflict as conflict:
        raise registering.taken(conflict) from None
    return user, await context.propagation.settle(db.revocations)


def _merged(
    field: str,
    old: dict[str, Any],
    change: dict[str, Any] | None,
    check: Callable[[dict[str, Any]], dict[str, Any]],
) -> str | None:
    """The map after the change, as it is kept; None without a change."""
    if change is None:
        return None
    found = fields.Fields()
    meta = found.take(field, check, names.merged(old, change))
    found.refuse()
    return fields.json(meta)


async def _there(db: "Database", user_id: str) -> User:
    user = await users.by_id(db, user_id)
    if user is None:
        raise Refused(faults.NOT_FOUND, "There is no such user.")
    return user


async def _held(db: "Database", user_id: str, actor: Actor) -> User:
    """The user under its lock, and then who acts on it under its own."""
    user = await users.locked(db, user_id)
    await actor.still(db)
    if user is None:
        raise Refused(faults.NOT_FOUND, "There is no such user.")
    return user
