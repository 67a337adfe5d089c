"""Keys that sign JWT access tokens and assertions, as they lie in the database: sealed."""

import msgspec

from gateway.store import facts
from gateway.store.database import Database

_LOCK = "lock_signing_keys"


class SigningKey(msgspec.Struct, frozen=True):
    kid: str
    algorithm: str
    key_id: str  # of the secret that it is sealed with
    sealed: bytes
    public: str  # JSON: the JWK
    created_at: int
    retired_at: int | None = None
    expires_at: int | None = None

    def __repr__(self) -> str:
        return f"SigningKey({self.kid})"


async def live(db: Database, lock: bool = False) -> list[SigningKey]:
    """All there are, newest first. With `lock` nobody else who locks changes them until this unit ends."""
    if lock:
        await facts.lock(db, _LOCK)
    return [SigningKey(*row) for row in await db.rows("signing_keys_all")]


async def insert(db: Database, key: SigningKey) -> None:
    await db.run("signing_key_insert", **msgspec.structs.asdict(key))


async def retire(db: Database, kid: str, retired_at: int, expires_at: int) -> None:
    """It signs no more; it verifies until it expires."""
    await db.run("signing_key_retire", kid=kid, retired_at=retired_at, expires_at=expires_at)


async def reseal(db: Database, kid: str, key_id: str, sealed: bytes) -> None:
    await db.run("signing_key_reseal", kid=kid, key_id=key_id, sealed=sealed)


async def purge(db: Database) -> int:
    """Delete the expired ones."""
    return await db.run("signing_keys_purge", now=await db.time())
