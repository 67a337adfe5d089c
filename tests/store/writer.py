"""A process that writes until it is killed, and says each number once it is kept.

python -m tests.store.writer URL
"""

import asyncio
import sys

from gateway.store import events, facts, revocations
from gateway.store.database import Store


async def write(url: str) -> None:
    store = await Store.open(url)
    while True:
        async with store.writing() as db:
            await facts.lock(db, "count")
            number = int(await facts.get(db, "count") or 0) + 1
            await events.insert(db, event="counted", user_id=str(number))
            await facts.put(db, "count", str(number))
            await revocations.write(db, "revoked", session=str(number))
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
