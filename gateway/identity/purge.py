"""Takes away what nobody needs any more: what has ended, was used or is over, old audit rows, old news."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from gateway.identity.context import Context
from gateway.identity.devices import KEPT as DEVICES_KEPT
from gateway.store import devices, events, former_addresses, onetime, revocations, sessions
from gateway.store.database import Database

KEYS_KEPT = 7 * 86400.0  # seconds after they were used or expired
REVOCATIONS_KEPT = 86400.0  # nobody looks further back than a minute
_STEP = 500  # rows in one transaction: nobody waits long for it


class Purged(msgspec.Struct, frozen=True):
    """How many rows of each went."""

    sessions: int
    keys: int
    events: int
    revocations: int
    addresses: int  # that could be taken back
    devices: int


async def purge(context: Context) -> Purged:
    """In small steps, each a transaction of its own; to be cancelled at any time."""
    settings = context.settings
    return Purged(
        sessions=await _sessions(context, settings.sessions_kept),
        keys=await _steps(context, onetime.purge, KEYS_KEPT),
        events=await _steps(context, events.purge, settings.audit_kept),
        revocations=await _steps(context, revocations.purge, REVOCATIONS_KEPT),
        addresses=await _steps(context, former_addresses.purge, 0),
        devices=await _steps(context, devices.purge, DEVICES_KEPT),
    )


async def _sessions(context: Context, kept: float) -> int:
    gone, start = 0, ""
    while True:
        async with context.store.writing() as db:
            step = await sessions.purge(db, db.now - round(kept * 1000), start, _STEP)
        gone += step.sessions
        if not step.next:
            return gone
        start = step.next
        await asyncio.sleep(0)


async def _steps(context: Context, step: Callable[[Database, int, int], Awaitable[int]], kept: float) -> int:
    gone = 0
    while True:
        async with context.store.writing() as db:
            went = await step(db, db.now - round(kept * 1000), _STEP)
        gone += went
        if went < _STEP:
            return gone
        await asyncio.sleep(0)
