"""Fixtures of the identity tests: the service over each database, empty at the start."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.store.database import Store
from tests.identity.house import Actor, house, signed_in
from tests.identity.rig import Rig
from tests.kit.postgres import Postgres


@pytest.fixture(scope="session")
def template(postgres_server: Postgres) -> str:
    """A migrated PostgreSQL database, to be copied."""

    async def migrate(url: str) -> None:
        await (await Store.open(url, "auto")).close()

    return postgres_server.make_template("identity", lambda url: asyncio.run(migrate(url)))


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The url of a database of its own."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/postern.db"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    url = server.make_database(request.getfixturevalue("template"))
    yield url
    server.drop_database(url)


@pytest.fixture
async def rig(database: str) -> AsyncIterator[Rig]:
    async with house(database) as rig:
        yield rig


@pytest.fixture
async def root(rig: Rig) -> Actor:
    return await signed_in(rig, "root", "admin")


@pytest.fixture
async def ada(rig: Rig) -> Actor:
    return await signed_in(rig, "ada")
