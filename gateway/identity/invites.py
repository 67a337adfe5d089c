"""Invites: keys that let somebody register once, for one address or any, with roles if it says so."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gateway.identity import fields, letters, names
from gateway.identity.actors import OPERATOR, Actor
from gateway.identity.audit import INVITE_MADE, INVITE_WITHDRAWN, audit
from gateway.identity.context import Context
from gateway.identity.letters import Letter
from gateway.identity.outbox import KEPT
from gateway.identity.telling import when
from gateway.identity.web import Refused
from gateway.model import credentials, faults
from gateway.store import onetime, roles
from gateway.store.onetime import OneTimeKey

if TYPE_CHECKING:
    from gateway.store.database import Database

LASTS = 7 * 86400  # seconds
LONGEST = 90 * 86400
A_PLACE = r"[0-9]{1,18}\.[0-9a-f]{32}"
_ID = 16  # bytes of the hash
_AN_ID = re.compile(r"[0-9a-f]{32}")
_LAST = b"\xff" * (32 - _ID)


class Terms(msgspec.Struct, frozen=True):
    """What an invite gives."""

    email: str = ""  # the key of the one address that may use it; empty: any
    roles: tuple[str, ...] = ()
    by: str = ""


class Invite(msgspec.Struct, frozen=True):
    id: str  # of the key, which nobody can read again
    terms: Terms
    created_at: int
    expires_at: int

    @property
    def place(self) -> str:
        """In the list; the next page begins after it."""
        return f"{self.created_at}.{self.id}"


async def make(
    context: Context,
    email: str = "",
    given: Sequence[str] = (),
    lasts: float = LASTS,
    actor: Actor = OPERATOR,
) -> tuple[str, Invite]:
    """The key, shown this once, and what is kept of it. Whose address it is for gets it by mail, too."""
    found = fields.Fields()
    address = found.take("email", names.email, email or None)
    found.refuse()
    terms = Terms(address.key if address else "", tuple(sorted(set(given))), actor.name)
    key = credentials.new(credentials.INVITE)
    stored = credentials.stored(key)
    async with context.store.writing() as db:
        await actor.begin(db)
        await actor.still(db)
        known = {role.name for role in await roles.every(db)}
        for role in terms.roles:
            if role not in known:
                found.wrong("roles", f"There is no role {role}.")
        found.refuse()
        expires = db.now + round(lasts * 1000)
        await onetime.insert(db, stored, credentials.INVITE, expires, data=fields.json(terms))
        await audit(
            db, INVITE_MADE, actor=actor.name, asker=actor.asker, invite=_id(stored), roles=terms.roles
        )  # fmt: skip
        if address:
            values = {"link": f"/auth/register?invite={key}", "expires": when(expires)}
            language = actor.asker.language if actor.asker else ""
            letter = Letter("invite", address.address, "", language, values)
            await letters.post(context, db, letter, min(round(lasts * 1000), KEPT))
        made = Invite(_id(stored), terms, db.now, expires)
    return key, made


async def listed(context: Context, after: str = "", most: int = 50) -> list[Invite]:
    """Those that can still be used, newest first; go on after the last one's `place`."""
    place = _place(after)
    async with context.store.reading() as db:
        if place is None:
            found = await onetime.good_of(db, credentials.INVITE, most=most)
        else:
            found = await onetime.good_of(db, credentials.INVITE, place, most)
    return [_invite(each) for each in found]


async def withdraw(context: Context, invite_id: str, actor: Actor) -> None:
    async with context.store.writing() as db:
        await actor.begin(db)
        await actor.still(db)
        for each in await _of_id(db, invite_id):
            if await onetime.delete(db, each.hash, credentials.INVITE):
                await audit(db, INVITE_WITHDRAWN, actor=actor.name, asker=actor.asker, invite=invite_id)
                return
        raise Refused(faults.NOT_FOUND)


async def use(db: "Database", key: str, email_key: str) -> tuple[str, ...]:
    """The roles it gives; Refused when it can't be used. Used once, whoever asks at the same time; not at all
    when the unit it is used in fails."""
    found = await onetime.use(db, credentials.stored(key), credentials.INVITE)
    if found is None:
        raise Refused(faults.INVALID_KEY, "This invite is not, or no longer, valid.")
    terms = _invite(found).terms
    if terms.email and terms.email != email_key:
        raise Refused(faults.INVALID_KEY, "This invite is not, or no longer, valid.")
    known = {role.name for role in await roles.every(db)}
    return tuple(role for role in terms.roles if role in known)  # some may be gone by now


def _invite(key: OneTimeKey) -> Invite:
    terms = msgspec.json.decode(key.data, type=Terms)
    return Invite(_id(key.hash), terms, key.created_at, key.expires_at)


def _id(stored: bytes) -> str:
    """Tells invites apart; nothing can be done with it but withdraw one."""
    return stored[:_ID].hex()


async def _of_id(db: "Database", invite_id: str) -> list[OneTimeKey]:
    if not _AN_ID.fullmatch(invite_id):
        return []
    first = bytes.fromhex(invite_id)
    return await onetime.good_between(db, credentials.INVITE, first, first + _LAST)


def _place(after: str) -> tuple[int, bytes] | None:
    """What `place` says: the time, and the last hash there can be of that id."""
    if not after:
        return None
    time, _, invite_id = after.partition(".")
    return int(time), bytes.fromhex(invite_id) + _LAST
