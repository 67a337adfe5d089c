"""Facts about this store, by name, and locks for what has no row of its own."""

from gateway.store.database import Database

STORE_ID = "store_id"  # made with the tables


async def get(db: Database, name: str) -> str | None:
    value: str | None = await db.value("fact_get", name=name)
    return value


async def put(db: Database, name: str, value: str) -> None:
    await db.run("fact_put", name=name, value=value)


async def lock(db: Database, name: str) -> None:
    """Whoever locks the same fact waits until this unit ends."""
    await db.run("fact_lock", name=name)
