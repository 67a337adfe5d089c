"""A process killed in the middle: what it said is kept is there, and what it began is there wholly or not."""

import random
import subprocess
import sys

import pytest

from gateway.store import events, facts, revocations
from gateway.store.database import Store
from tests.store.places import Place

ROUNDS = 4


async def killed_after(lines: int, place: Place) -> int:
    """The last number that a writer said before kill -9."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.store.writer", place.url], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    try:
        for _ in range(lines):
            assert writer.stdout.readline()
    finally:
        writer.kill()
        rest, _ = writer.communicate(timeout=20)
    said = [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    return int(said[-1]) if said else 0


@pytest.mark.parametrize("seed", [1])
async def test_a_kill_in_the_middle_of_writing_leaves_a_consistent_store(place: Place, seed: int) -> None:
    chosen = random.Random(seed)
    for _ in range(ROUNDS):
        said = await killed_after(chosen.randrange(1, 60), place)
        store: Store = await place.open()
        async with store.reading() as db:
            count = int(await facts.get(db, "count") or 0)
            kept = await events.page(db, most=10_000)
            told = await revocations.after(db, 0)
        assert count >= said
        assert [int(each.user_id) for each in kept] == list(range(count, 0, -1))
        assert [int(each.session) for each in told] == list(range(1, count + 1))
        async with store.writing() as db:
            await facts.put(db, "count", str(count))
