"""An edge that is frozen (SIGSTOP) and goes on: named, and harmless after its moment (T18, T41)."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.link.client import LEASE
from tests.link.house import House, until

ROOT = Path(__file__).resolve().parent.parent.parent
STALE = 0.5


class Frozen:
    """The process, and the times at which it used what it had cached."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.uses: list[float] = []
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.uses.append(float(line))

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture
async def frozen(house: House) -> AsyncIterator[Frozen]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.link.edge_process", house.path, "worker-1", str(STALE),
        cwd=ROOT, stdout=PIPE,
    )  # fmt: skip
    frozen = Frozen(process)
    await until(lambda: frozen.uses, within=20.0)
    yield frozen
    process.kill()
    await process.wait()
    await frozen.reading


@pytest.mark.parametrize("goes_on", ["before its moment", "after it"])
async def test_t18_t41_a_frozen_edge_is_named_and_uses_nothing_after_its_moment(
    house: House, frozen: Frozen, goes_on: str
) -> None:
    frozen.freeze()
    stopped = time.time()
    sequence = house.rows.write("s")
    settled = await house.propagation.settle([sequence])
    assert (settled.edges, settled.acknowledged) == (1, 0)
    [pending] = settled.pending
    safe_at = pending.safe_at_ms / 1000
    assert pending.edge == "worker-1"
    assert safe_at <= stopped + LEASE + STALE + 0.5  # counted from before it was stopped
    if goes_on == "after it":
        await asyncio.sleep(safe_at - time.time() + 0.05)
    frozen.go_on()
    await until(lambda: house.propagation.edges()[0].lag == 0.0)
    told = time.time()
    assert (await house.propagation.settle([sequence])).pending == ()
    await asyncio.sleep(0.05)  # what it would use now it would say within this time
    assert not [use for use in frozen.uses if use > safe_at]
    assert not [use for use in frozen.uses if use > told]


async def test_an_edge_that_was_frozen_for_a_moment_goes_on_as_before(house: House, frozen: Frozen) -> None:
    frozen.freeze()
    await asyncio.sleep(0.3)
    frozen.go_on()
    uses = len(frozen.uses)
    await until(lambda: len(frozen.uses) > uses + 10)
    assert (await house.propagation.settle([house.rows.write("other")])).pending == ()
