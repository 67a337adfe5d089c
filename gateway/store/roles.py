"""Roles: names for sets of permissions, and who has them."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from gateway.store.database import Database, Row


class Role(msgspec.Struct, frozen=True):
    name: str
    permissions: tuple[str, ...]
    created_at: int


class Rights(NamedTuple):
    """What a user has: role names, and the permissions of all of them."""

    roles: tuple[str, ...]
    permissions: tuple[str, ...]


def rights_of(rows: Iterable[Row]) -> Rights:
    """Of rows of a role's name and its permissions as JSON; a row without a role counts for nothing."""
    names: list[str] = []
    permissions: set[str] = set()
    for name, text in rows:
        if name is not None:
            names.append(name)
            permissions.update(_permissions(text))
    return Rights(tuple(names), tuple(sorted(permissions)))


async def of(db: Database, user_id: str) -> Rights:
    return rights_of(await db.rows("roles_of", user_id=user_id))


async def insert(db: Database, name: str, permissions: Iterable[str]) -> None:
    """Raises Conflict: name."""
    await db.run("role_insert", name=name, permissions=_text(permissions), now=await db.time())


async def every(db: Database) -> list[Role]:
    return [_role(row) for row in await db.rows("roles_all")]


async def by_name(db: Database, name: str) -> Role | None:
    row = await db.one("role_by_name", name=name)
    return _role(row) if row else None


async def update(db: Database, name: str, permissions: Iterable[str]) -> bool:
    return await db.run("role_update", name=name, permissions=_text(permissions)) > 0


async def delete(db: Database, name: str) -> bool:
    """Nobody has it afterwards."""
    return await db.run("role_delete", name=name) > 0


async def grant(db: Database, user_id: str, role: str, by: str = "") -> bool:
    """False when the user has it already. Raises Missing when there is no such role or user."""
    return await db.run("role_grant", user_id=user_id, role=role, granted_by=by, now=await db.time()) > 0


async def withdraw(db: Database, user_id: str, role: str) -> bool:
    return await db.run("role_withdraw", user_id=user_id, role=role) > 0


async def holders(db: Database, role: str) -> list[str]:
    """The user_ids of all who have it."""
    return [row[0] for row in await db.rows("role_holders", role=role)]


async def able(db: Database, permission: str, *, passwords: bool, confirmed: bool) -> int:
    """How many users have this permission, are not locked, and have what signing in needs: a password, a
    confirmed address."""
    quoted = msgspec.json.encode(permission).decode()
    return int(
        await db.value("roles_able", quoted=quoted, passwords=int(passwords), confirmed=int(confirmed))
    )


def _role(row: Row) -> Role:
    name, permissions, created_at = row
    return Role(name, _permissions(permissions), created_at)


def _permissions(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])


def _text(permissions: Iterable[str]) -> str:
    return msgspec.json.encode(sorted(set(permissions))).decode()
