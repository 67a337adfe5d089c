"""Roles and who has them: changed so that every edge knows, and somebody is always left to administer."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway.identity.actors import Actor, one_at_a_time
from gateway.identity.audit import ROLE_CHANGED, ROLE_DELETED, ROLE_MADE, ROLES_CHANGED, audit
from gateway.identity.context import Context
from gateway.identity.fields import Fields
from gateway.identity.web import ADMIN, Refused
from gateway.model import faults
from gateway.store import accounts as users
from gateway.store import revocations
from gateway.store import roles as rows
from gateway.store.faults import Conflict
from gateway.store.roles import Role

if TYPE_CHECKING:
    from gateway.identity.propagation import Settled
    from gateway.store.database import Database

SHIPPED = ("user", "admin")
# No comma, no space: lists of them stay lists in headers and in claims.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_PERMISSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:*/-]{0,99}")
_CHARACTERS = "letters, digits, and after the first any of . _ : -"
_MOST_PERMISSIONS = 200


async def listed(context: Context) -> list[Role]:
    async with context.store.reading() as db:
        return await rows.every(db)


async def make(context: Context, name: str, permissions: Iterable[str], actor: Actor) -> Role:
    """A new role, which nobody has yet."""
    given = sorted(set(permissions))
    found = Fields()
    if not _NAME.fullmatch(name):
        found.wrong("name", f"Use up to 64 characters: {_CHARACTERS}")
    _check(found, given)
    try:
        async with context.store.writing() as db:
            await actor.begin(db)
            await actor.still(db)
            await rows.insert(db, name, given)
            await audit(
                db, ROLE_MADE, actor=actor.name, asker=actor.asker, role=name, permissions=given
            )  # fmt: skip
            return Role(name, tuple(given), db.now)
    except Conflict:
        raise Refused(faults.ROLE_TAKEN) from None


async def change(context: Context, name: str, permissions: Iterable[str], actor: Actor) -> "Settled":
    """The role has exactly these permissions from now on, for all who have it."""
    given = sorted(set(permissions))
    _check(Fields(), given)
    async with context.store.writing() as db:
        async with Admins(context, db):
            await actor.still(db)
            if not await rows.update(db, name, given):
                raise Refused(faults.NOT_FOUND)
        await revocations.write(db, "changed")  # of nobody in particular: everybody is looked at again
        await audit(db, ROLE_CHANGED, actor=actor.name, asker=actor.asker, role=name, permissions=given)
    return await context.propagation.settle(db.revocations)


async def delete(context: Context, name: str, actor: Actor) -> "Settled":
    """Nobody has it any more."""
    if name in SHIPPED:
        raise Refused(faults.SHIPPED_ROLE)
    async with context.store.writing() as db:
        async with Admins(context, db):
            await actor.still(db)
            if not await rows.delete(db, name):
                raise Refused(faults.NOT_FOUND)
        await revocations.write(db, "changed")
        await audit(db, ROLE_DELETED, actor=actor.name, asker=actor.asker, role=name)
    return await context.propagation.settle(db.revocations)


async def set_of(context: Context, user_id: str, wanted: Iterable[str], actor: Actor) -> "Settled":
    """The user has exactly these roles from now on."""
    names = set(wanted)
    async with context.store.writing() as db:
        async with Admins(context, db):
            held = await users.locked(db, user_id)
            await actor.still(db)
            if held is None:
                raise Refused(faults.NOT_FOUND)
            await known(db, names)
            before = set((await rows.of(db, user_id)).roles)
            for name in sorted(names - before):
                await rows.grant(db, user_id, name, actor.name)
            for name in sorted(before - names):
                await rows.withdraw(db, user_id, name)
        await revocations.write(db, "changed", user=user_id)  # an edge may not know an earlier change yet
        if names != before:
            await audit(
                db, ROLES_CHANGED, user_id, actor.name, asker=actor.asker,
                given=sorted(names - before), taken=sorted(before - names),
            )  # fmt: skip
    return await context.propagation.settle(db.revocations)


async def known(db: "Database", names: Iterable[str]) -> None:
    """Refused when there is no such role."""
    there = {role.name for role in await rows.every(db)}
    found = Fields()
    for name in sorted(names):
        if name not in there:
            found.wrong("roles", f"There is no role {name}.")
    found.refuse()


class Admins:
    """What is done within it must leave a user with postern:admin who can sign in, if there was one. Taken
    before any other lock; one at a time, else two could each take the other's right away."""

    def __init__(self, context: Context, db: "Database") -> None:
        self._settings = context.settings
        self._db = db
        self._before = 0

    async def __aenter__(self) -> None:
        await one_at_a_time(self._db)
        self._before = await self._able()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._before and not await self._able():
            raise Refused(faults.LAST_ADMIN)

    async def _able(self) -> int:
        """Who has no password, or is not confirmed where that is needed, keeps nothing administrable."""
        passwords, confirmed = self._settings.password.on, self._settings.confirmation == "required"
        return await rows.able(self._db, ADMIN, passwords=passwords, confirmed=confirmed)


def _check(found: Fields, permissions: list[str]) -> None:
    """Refused with all that is wrong, what was found before included."""
    if len(permissions) > _MOST_PERMISSIONS:
        found.wrong("permissions", f"Give at most {_MOST_PERMISSIONS}.")
    if not all(_PERMISSION.fullmatch(permission) for permission in permissions):
        found.wrong("permissions", f"Use up to 100 characters each: {_CHARACTERS} * /")
    found.refuse()
