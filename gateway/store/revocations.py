"""The log of revocations: written in the transaction that revokes, read by every replica."""

from typing import Literal

import msgspec

from gateway.store.database import Database

Kind = Literal["revoked", "changed"]


class Revocation(msgspec.Struct, frozen=True):
    sequence: int
    kind: str
    session: str  # or
    user: str
    at: int


async def write(db: Database, kind: Kind, session: str = "", user: str = "") -> int:
    """The sequence, which also stands in `db.revocations`: to be settled once this unit is committed."""
    sequence: int = await db.value(
        "revocation_insert", kind=kind, session_id=session, user_id=user, at=await db.time()
    )
    db.revocations.append(sequence)
    return sequence


async def end(db: Database) -> int:
    """The highest sequence there is; 0 in an empty log."""
    return await db.value("revocations_end") or 0


async def after(db: Database, sequence: int, window: int = 0) -> list[Revocation]:
    """All over `sequence - window`, in their order. A window back, since sequences commit out of order."""
    rows = await db.rows("revocations_after", sequence=sequence - window)
    return [Revocation(*row) for row in rows]


async def purge(db: Database, before: int, most: int = 500) -> int:
    """Delete at most so many that are older; how many it were."""
    return await db.run("revocations_purge", before=before, most=most)
