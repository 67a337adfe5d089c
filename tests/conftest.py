"""Fixtures for all tests: the standard world, started once per test process: a gateway takes a second."""

from collections.abc import Iterator

import pytest

from tests.kit.world import World, run_world


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    with run_world() as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The standard gateway with a fresh record; what the gateway sent upstream must have been valid HTTP."""
    shared_world.upstream.clear()
    yield shared_world
    assert shared_world.upstream.violations == []
