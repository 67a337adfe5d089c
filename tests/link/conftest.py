"""Fixtures: an identity side on a socket, and a relay before it; all on uvloop, as in the processes."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.link.house import House, Relay


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: a socket's path has at most 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="postern-") as made:
        yield Path(made)


@pytest.fixture
async def house(folder: Path) -> AsyncIterator[House]:
    house = House(folder)
    await house.start()
    yield house
    await house.close()


@pytest.fixture
async def relay(folder: Path, house: House) -> AsyncIterator[Relay]:
    relay = Relay(folder, house.path)
    await relay.start()
    yield relay
    await relay.close()
