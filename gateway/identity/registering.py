"""Registering: who may, what of it is taken, and the same work for an address that is taken already."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from gateway.identity import fields, invites, names, recovery
from gateway.identity.audit import ADDRESS_TAKEN, USER_REGISTERED, audit
from gateway.identity.context import Context
from gateway.identity.hooks import HookFailed, Registration
from gateway.identity.passwords import Busy
from gateway.identity.sign_in import SignedIn, busy, finish, from_here
from gateway.identity.web import Asker, Refused
from gateway.model import faults
from gateway.store import accounts as users
from gateway.store import former_addresses, roles
from gateway.store.accounts import User
from gateway.store.faults import Conflict, Missing

if TYPE_CHECKING:
    from gateway.store.database import Database

log = logging.getLogger(__name__)
USER_ROLE = "user"


class Wanted(msgspec.Struct, frozen=True):
    """What somebody sends to register; nothing of it is checked yet."""

    email: str
    password: str | None  # None: only where somebody else makes the account
    username: str | None = None
    first_name: str = ""
    last_name: str = ""
    meta: dict[str, Any] = {}
    invite: str = ""

    def __repr__(self) -> str:
        return "Wanted(…)"


async def register(
    context: Context, asker: Asker, wanted: Wanted, cookie: bool = False, bearer: bool = False
) -> SignedIn | None:
    """The account's first session; None where the address has to be confirmed first, taken or not."""
    settings = context.settings
    if not settings.password.on:
        raise Refused(faults.PASSWORD_OFF)
    if settings.registration == "closed":
        raise Refused(faults.REGISTRATION_CLOSED)
    if settings.registration == "invite" and not wanted.invite:
        raise Refused(faults.INVALID_KEY, "To register here, an invite is needed.")
    from_here(asker, cookie)
    user = checked(context, wanted, settings.email_domains)
    await _ask_hooks(context, _told(user, wanted, asker))
    hashed = await context.passwords.hash(wanted.password or "")
    if isinstance(hashed, Busy):
        raise busy(hashed)
    user = msgspec.structs.replace(user, password_hash=hashed)
    if settings.confirmation == "required":
        await _with_confirmation(context, asker, user, wanted.invite)
        return None
    try:
        try:
            return await _at_once(context, asker, user, wanted.invite, cookie, bearer)
        except Missing:  # a role of the invite was deleted since we looked: without it, then
            return await _at_once(context, asker, user, wanted.invite, cookie, bearer)
    except Conflict as conflict:
        raise taken(conflict) from None


def checked(context: Context, wanted: Wanted, email_domains: Sequence[str] = ()) -> User:
    """The account to make, its password not yet hashed; Refused with every field that is not right."""
    found = fields.Fields()
    email = found.take("email", names.email, wanted.email)
    if email and not names.allowed_domain(email, email_domains):
        found.wrong("email", f"Use an address of {', '.join(email_domains)}.")
    username = found.take("username", names.username, wanted.username)
    first_name = found.take("first_name", names.person, wanted.first_name)
    last_name = found.take("last_name", names.person, wanted.last_name)
    meta = found.take("meta", names.public_meta, wanted.meta)
    if wanted.password is not None:
        for fault in context.passwords.refused(wanted.password, wanted.username or "", wanted.email):
            found.wrong("password", fault)
    found.refuse()
    assert email is not None
    return User(
        user_id=str(uuid4()),
        username=username,
        username_key=names.username_key(username) if username else None,
        meta=fields.json(meta or {}),
        email=email.address,
        email_key=email.key,
        first_name=first_name or "",
        last_name=last_name or "",
        password_changed_at=0,
        created_at=0,
    )


async def _ask_hooks(context: Context, registration: Registration) -> None:
    """Nobody registers past a hook that objects, or does not answer."""
    try:
        reason = await context.hooks.against(registration)
    except HookFailed as fault:
        log.error("a hook failed", extra={"why": str(fault)})
        raise Refused(faults.HOOK_FAILED, headers=(("Retry-After", "5"),)) from None
    if reason:
        raise Refused(faults.REGISTRATION_REFUSED, reason)


def _told(user: User, wanted: Wanted, asker: Asker) -> Registration:
    return Registration(
        user.email, user.username, user.first_name, user.last_name, msgspec.json.decode(user.meta),
        bool(wanted.invite), asker.address, asker.agent,
    )  # fmt: skip


def taken(conflict: Conflict) -> Refused:
    return Refused(faults.USERNAME_TAKEN if conflict.field == "username" else faults.EMAIL_TAKEN)


async def insert(db: "Database", user: User, given: Sequence[str], by: str = "") -> User:
    """A new account with its roles. Raises Conflict: email, username; also for an address that somebody else
    can still take back."""
    user = await users.insert(
        db, msgspec.structs.replace(user, created_at=db.now, password_changed_at=db.now)
    )
    if await former_addresses.by_key(db, user.email_key) is not None:
        raise Conflict("email")
    for role in given:
        await roles.grant(db, user.user_id, role, by)
    return user


async def _at_once(
    context: Context, asker: Asker, user: User, invite: str, cookie: bool, bearer: bool
) -> SignedIn:
    async with context.store.writing() as db:
        invited = await invites.use(db, invite, user.email_key) if invite else ()
        user = await insert(db, user, (USER_ROLE, *invited))
        await audit(db, USER_REGISTERED, user.user_id, asker=asker)
        signed = await finish(context, db, asker, user, cookie=cookie, bearer=bearer)
        await recovery.write_to_confirm(context, db, user, asker)
    return signed


async def _with_confirmation(context: Context, asker: Asker, user: User, invite: str) -> None:
    """An account that nobody can sign in to before its address is confirmed.

    A taken user name leaves the account without one, and a taken address makes none; nobody is told here. The
    queries are as many, and an invite is used, either way: it would tell which it was.
    """
    try:
        await _confirm_later(context, asker, user, invite)
    except (Conflict, Missing):  # somebody took the address or the name, or deleted a role, since we looked
        await _confirm_later(context, asker, user, invite)


async def _confirm_later(context: Context, asker: Asker, user: User, invite: str) -> None:
    async with context.store.writing() as db:
        invited = await invites.use(db, invite, user.email_key) if invite else ()
        owner = await users.by_identifier(db, user.email_key)
        former = await former_addresses.by_key(db, user.email_key)
        namesake = await users.by_identifier(db, user.username_key or "")
        if namesake is not None:
            user = msgspec.structs.replace(user, username=None, username_key=None)
        given = (USER_ROLE, *invited)
        if owner is None and former is None:
            await insert(db, user, given)
            await recovery.write_to_confirm(context, db, user, asker)
            await audit(db, USER_REGISTERED, user.user_id, asker=asker)
        else:
            whose = owner.user_id if owner else former.user_id if former else ""
            await users.locked(db, whose)
            await former_addresses.by_key(db, user.email_key)
            for _ in given:
                await roles.of(db, whose)
            await recovery.write_taken(context, db, owner, asker)
            await audit(db, ADDRESS_TAKEN, whose, asker=asker)
