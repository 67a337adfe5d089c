"""Addresses that accounts had before: kept for their old owners, who can take them back for a while."""

import msgspec

from gateway.store.database import Database, Row


class FormerAddress(msgspec.Struct, frozen=True):
    """What an account was called, and the hash of the key that gives it back."""

    id: int  # grows: of an account's, the smaller was left earlier
    hash: bytes
    user_id: str
    email: str
    email_key: str
    created_at: int
    expires_at: int

    def __repr__(self) -> str:
        return f"FormerAddress({self.user_id})"


async def insert(
    db: Database, hash: bytes, user_id: str, email: str, email_key: str, expires_at: int
) -> None:
    await db.run(
        "former_insert",
        hash=hash, user_id=user_id, email=email, email_key=email_key, created_at=await db.time(),
        expires_at=expires_at,
    )  # fmt: skip


async def by_hash(db: Database, hash: bytes) -> FormerAddress | None:
    """None when its time is over, too."""
    return _found(await db.one("former_by_hash", hash=hash, now=await db.time()))


async def by_key(db: Database, email_key: str) -> FormerAddress | None:
    """Whoever had the address first of those who can still take it back. Ask after an address was taken, in
    the same unit: who left it at the same time has committed by then."""
    return _found(await db.one("former_by_key", email_key=email_key, now=await db.time()))


async def drop_since(db: Database, address: FormerAddress) -> int:
    """This one and all that its user left later."""
    return await db.run("former_delete_since", user_id=address.user_id, id=address.id)


async def purge(db: Database, before: int, most: int = 500) -> int:
    """Delete at most so many whose time was over then; how many it were."""
    return await db.run("former_purge", now=before, most=most)


def _found(row: Row | None) -> FormerAddress | None:
    return FormerAddress(*row) if row else None
