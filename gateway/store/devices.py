"""Browsers that users have signed in from; each is known by the hash of its cookie."""

from gateway.store.database import Database


async def count_try(db: Database, hash: bytes, user_id: str, most: int) -> bool:
    """Whether this browser is known to the user. Counted as one of `most` tries, after which it is forgotten;
    `used` or `put` says that it was a good one."""
    tries = await db.value("device_try", hash=hash, user_id=user_id)
    if tries is None:
        return False
    if tries > most:
        await db.run("device_delete", hash=hash, user_id=user_id)
        return False
    return True


async def known(db: Database, hash: bytes, user_id: str) -> bool:
    return await db.value("device_known", hash=hash, user_id=user_id) is not None


async def used(db: Database, hash: bytes, user_id: str) -> None:
    """Its user signed in: nothing is counted against it."""
    await db.run("device_used", hash=hash, user_id=user_id, now=await db.time())


async def put(db: Database, hash: bytes, user_id: str, most: int, instead_of: bytes | None = None) -> None:
    """Known from now on, also to all to whom the cookie was that this one takes the place of. Of the user's,
    the `most` that were used last are kept."""
    if instead_of is not None:
        await db.run("device_move", old=instead_of, hash=hash)
    await db.run("device_put", hash=hash, user_id=user_id, now=await db.time())
    await db.run("devices_drop_beyond", user_id=user_id, most=most)


async def drop_of(db: Database, user_id: str) -> int:
    """All of a user's are forgotten."""
    return await db.run("devices_drop_of", user_id=user_id)


async def purge(db: Database, before: int, most: int = 500) -> int:
    """Delete at most so many that were not used since; how many it were."""
    return await db.run("devices_purge", before=before, most=most)
