"""Users."""

from collections.abc import Iterable

import msgspec

from gateway.store.database import Database, Row


class User(msgspec.Struct, frozen=True):
    """Whoever makes one fills the keys with the one spelling of name and address (identity.names)."""

    user_id: str
    email: str
    email_key: str
    password_changed_at: int
    created_at: int
    id: int = 0  # given by the database; pages go by it
    username: str | None = None
    username_key: str | None = None
    meta: str = "{}"  # JSON: the user's own, public
    password_hash: str | None = None
    successful_login_attempts: int = 0
    confirmed: bool = False
    first_name: str = ""
    last_name: str = ""
    protected: str = "{}"  # JSON: set by admins and hooks
    locked_at: int | None = None
    locked_why: str = ""
    last_login_at: int | None = None
    last_login_address: str = ""
    email_proved_at: int | None = None

    def __repr__(self) -> str:
        """Neither address nor password hash may stand in a traceback."""
        return f"User({self.user_id})"


COLUMNS = User.__struct_fields__
_CONFIRMED = COLUMNS.index("confirmed")


def user_of(row: Row) -> User:
    values = list(row)
    values[_CONFIRMED] = bool(values[_CONFIRMED])  # SQLite has none
    return User(*values)


async def insert(db: Database, user: User) -> User:
    """With the `id` it got. Raises Conflict: email, username."""
    values = msgspec.structs.asdict(user)
    del values["id"]
    number = await db.value("user_insert", **values)
    return msgspec.structs.replace(user, id=number)


class Keys(msgspec.Struct, frozen=True):
    """What of a user has to be alone of its kind."""

    id: int
    user_id: str
    email_key: str
    username_key: str | None


async def keys_after(db: Database, after: int, most: int) -> list[Keys]:
    """Of all users, by `id`."""
    return [Keys(*row) for row in await db.rows("users_keys", after=after, most=most)]


async def insert_new(db: Database, users: Iterable[User], role: str, by: str) -> None:
    """Many, each with the role; those whose user_id, address or name is taken are left out, and those whose
    address somebody else had until lately and can take back."""
    given = [msgspec.structs.asdict(user) for user in users]
    for values in given:
        del values["id"]
    await db.many("user_insert_new", given)
    now = await db.time()
    roles = [{"user_id": values["user_id"], "role": role, "by": by, "now": now} for values in given]
    await db.many("user_role_if_there", roles)


async def by_id(db: Database, user_id: str) -> User | None:
    row = await db.one("user_by_id", user_id=user_id)
    return user_of(row) if row else None


async def by_identifier(db: Database, key: str) -> User | None:
    """By the key of an address or of a user name."""
    row = await db.one("user_by_identifier", key=key)
    return user_of(row) if row else None


async def locked(db: Database, user_id: str) -> User | None:
    """As it is now, and nobody else changes it until this unit ends. Who needs the locks of a user and of its
    sessions takes the user's first."""
    row = await db.one("user_locked", user_id=user_id)
    return user_of(row) if row else None


async def save(db: Database, user: User) -> None:
    """Names, addresses, metas, `confirmed`, `email_proved_at`, as they stand in `user`, which was read under
    its lock. Raises Conflict: email, username."""
    await db.run(
        "user_save",
        user_id=user.user_id, username=user.username, username_key=user.username_key, meta=user.meta,
        email=user.email, email_key=user.email_key, confirmed=user.confirmed, first_name=user.first_name,
        last_name=user.last_name, protected=user.protected, email_proved_at=user.email_proved_at,
        now=await db.time(),
    )  # fmt: skip


async def set_password(db: Database, user_id: str, password_hash: str | None) -> None:
    await db.run("user_set_password", user_id=user_id, password_hash=password_hash, now=await db.time())


async def rehash(db: Database, user_id: str, old: str, new: str) -> bool:
    """The same password hashed anew; False when it was changed meanwhile."""
    return await db.run("user_rehash", user_id=user_id, old=old, new=new) > 0


async def signed_in(db: Database, user_id: str, address: str) -> None:
    await db.run("user_signed_in", user_id=user_id, address=address, now=await db.time())


async def lock(db: Database, user_id: str, why: str) -> bool:
    """False when it was locked before, or is not there."""
    return await db.run("user_lock", user_id=user_id, why=why, now=await db.time()) > 0


async def unlock(db: Database, user_id: str) -> bool:
    return await db.run("user_unlock", user_id=user_id) > 0


async def delete(db: Database, user_id: str) -> bool:
    """With its sessions, roles and keys; the audit trail stays. Write the revocation beside it."""
    await db.run("user_drop_rotations", user_id=user_id)
    return await db.run("user_delete", user_id=user_id) > 0


async def page(db: Database, search: str = "", after: int = 0, most: int = 50) -> list[User]:
    """Those whose address or name has `search` in it (in the spelling of their keys), by `id`."""
    escaped = search.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    rows = await db.rows("users_page", after=after, pattern=f"%{escaped}%", most=most)
    return [user_of(row) for row in rows]


async def count(db: Database) -> int:
    return int(await db.value("users_count"))
