"""The outbox: what is to be sent is written with its cause, claimed by one sender, deleted when sent."""

import msgspec

from gateway.store.database import Database


class Item(msgspec.Struct, frozen=True):
    """One thing to send, claimed by whoever got it until `claimed_until`."""

    id: str
    kind: str  # mail, webhook; none: to be thrown away
    label: str  # which mail, which event: for people
    key_id: str  # of the secret that it is sealed with
    sealed: bytes
    attempts: int
    created_at: int
    expires_at: int
    claimed_until: int = 0

    def __repr__(self) -> str:
        return f"Item({self.kind} {self.label})"


class Waiting(msgspec.Struct, frozen=True):
    """One of those that wait, as people may see it."""

    id: str
    kind: str
    label: str
    attempts: int
    created_at: int
    due_at: int
    expires_at: int
    failure: str


async def put(db: Database, item: Item) -> None:
    """Due at once."""
    await db.run(
        "outbox_put",
        id=item.id, kind=item.kind, label=item.label, key_id=item.key_id, sealed=item.sealed,
        created_at=item.created_at, due_at=item.created_at, expires_at=item.expires_at,
    )  # fmt: skip


async def claim(db: Database, for_ms: int, most: int) -> list[Item]:
    """Those that are due and nobody else's, ours for so long."""
    now = await db.time()
    return [Item(*row) for row in await db.rows("outbox_claim", now=now, until=now + for_ms, most=most)]


async def done(db: Database, id: str) -> None:
    await db.run("outbox_done", id=id)


async def later(db: Database, id: str, due_at: int, failure: str) -> None:
    """It failed; it is due again then. `failure` is for people: nothing of the text, no address."""
    await db.run("outbox_later", id=id, due_at=due_at, failure=failure)


async def purge(db: Database) -> list[tuple[str, str, int]]:
    """Delete what nobody will send any more: (kind, label, attempts) of each."""
    found = await db.rows("outbox_purge", now=await db.time())
    return [(row[0], row[1], row[2]) for row in found]


async def is_due(db: Database) -> bool:
    """Whether there is anything to send, or to throw away, that nobody has claimed."""
    return await db.one("outbox_is_due", now=await db.time()) is not None


async def count(db: Database) -> dict[str, int]:
    """How many wait, by kind."""
    return {row[0]: row[1] for row in await db.rows("outbox_count")}


async def waiting(db: Database, most: int = 200) -> list[Waiting]:
    return [Waiting(*row) for row in await db.rows("outbox_list", most=most)]


async def key_ids(db: Database) -> list[str]:
    """Of the secrets that something here is sealed with."""
    return [row[0] for row in await db.rows("outbox_key_ids")]


async def sealed_otherwise(db: Database, key_id: str) -> list[tuple[str, bytes]]:
    """(id, sealed) of those that are sealed with another secret."""
    return [(row[0], bytes(row[1])) for row in await db.rows("outbox_sealed_otherwise", key_id=key_id)]


async def reseal(db: Database, id: str, key_id: str, sealed: bytes) -> None:
    await db.run("outbox_reseal", id=id, key_id=key_id, sealed=sealed)
