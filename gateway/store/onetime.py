"""Keys that work once, known by their hash only: invites, and what is sent by mail."""

import msgspec

from gateway.store.database import Database, Row

_NEWEST = 2**63 - 1


class OneTimeKey(msgspec.Struct, frozen=True):
    hash: bytes
    purpose: str
    user_id: str | None
    data: str  # JSON
    created_at: int
    expires_at: int
    used_at: int | None = None

    def __repr__(self) -> str:
        return f"OneTimeKey({self.purpose})"


async def insert(
    db: Database, hash: bytes, purpose: str, expires_at: int, user_id: str | None = None, data: str = "{}"
) -> None:
    """`hash`: credentials.stored(key). Raises Missing when the user is gone."""
    await db.run(
        "key_insert",
        hash=hash, purpose=purpose, user_id=user_id, data=data, created_at=await db.time(),
        expires_at=expires_at,
    )  # fmt: skip


async def by_hash(db: Database, hash: bytes, purpose: str) -> OneTimeKey | None:
    """Also when it is used or expired."""
    return _key(await db.one("key_by_hash", hash=hash, purpose=purpose))


async def use(db: Database, hash: bytes, purpose: str) -> OneTimeKey | None:
    """The key, used from now on; None when it is unknown, of another purpose, expired or used. Of many who
    try, one gets it."""
    return _key(await db.one("key_use", hash=hash, purpose=purpose, now=await db.time()))


async def good_of(
    db: Database, purpose: str, after: tuple[int, bytes] = (_NEWEST, b""), most: int = 200
) -> list[OneTimeKey]:
    """Newest first; neither used nor expired. Go on `after` the time and the hash of the last one."""
    created_at, hash = after
    rows = await db.rows(
        "keys_of_purpose",
        purpose=purpose, now=await db.time(), created_at=created_at, hash=hash, most=most,
    )  # fmt: skip
    return [OneTimeKey(*row) for row in rows]


async def good_between(db: Database, purpose: str, first: bytes, last: bytes) -> list[OneTimeKey]:
    """Those that are neither used nor expired and whose hash lies there."""
    now = await db.time()
    rows = await db.rows("keys_between", purpose=purpose, now=now, first=first, last=last)
    return [OneTimeKey(*row) for row in rows]


async def delete(db: Database, hash: bytes, purpose: str) -> bool:
    return await db.run("key_delete", hash=hash, purpose=purpose) > 0


async def drop_of(db: Database, user_id: str, purpose: str) -> int:
    """A user's, of one purpose."""
    return await db.run("keys_drop_of", user_id=user_id, purpose=purpose)


async def drop_all_of(db: Database, user_id: str) -> int:
    """A user's, of every purpose."""
    return await db.run("keys_drop_all_of", user_id=user_id)


async def purge(db: Database, before: int, most: int = 500) -> int:
    """Delete at most so many that were used or expired before; how many it were."""
    return await db.run("keys_purge", before=before, most=most)


def _key(row: Row | None) -> OneTimeKey | None:
    return OneTimeKey(*row) if row else None
