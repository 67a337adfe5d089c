"""The audit trail, one row for each thing that happened."""

import msgspec

from gateway.store.database import Database

_NEWEST = 2**63 - 1


class Event(msgspec.Struct, frozen=True):
    id: int
    at: int
    event: str
    user_id: str
    actor: str
    session_id: str
    address: str
    agent: str
    data: str  # JSON


async def insert(
    db: Database,
    *,
    event: str,
    user_id: str = "",
    actor: str = "",
    session_id: str = "",
    address: str = "",
    agent: str = "",
    data: str = "{}",
) -> None:
    """`data` is a JSON object; never a credential."""
    await db.run(
        "event_insert",
        at=await db.time(), event=event, user_id=user_id, actor=actor, session_id=session_id,
        address=address, agent=agent, data=data,
    )  # fmt: skip


async def page(db: Database, before: int = 0, event: str = "", most: int = 50) -> list[Event]:
    """Newest first: those before the id `before`; of one kind, if `event` names it."""
    rows = await db.rows("events_page", before=before or _NEWEST, event=event, most=most)
    return [Event(*row) for row in rows]


async def page_of(
    db: Database, user_id: str, before: int = 0, event: str = "", most: int = 50
) -> list[Event]:
    """Likewise, of one user."""
    rows = await db.rows("events_page_of", user_id=user_id, before=before or _NEWEST, event=event, most=most)
    return [Event(*row) for row in rows]


async def purge(db: Database, before: int, most: int = 500) -> int:
    """Delete at most so many that are older; how many it were."""
    return await db.run("events_purge", before=before, most=most)
