"""Each test gets a place of its own: a SQLite file, then a PostgreSQL database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.store import accounts, sessions
from gateway.store.database import Store, migrate
from tests.kit.postgres import Postgres
from tests.store.places import Place, session, user


@pytest.fixture(scope="session")
def template(postgres_server: Postgres) -> str:
    """A migrated database, to be copied."""
    return postgres_server.make_template("store", lambda url: asyncio.run(migrate(url)))


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(f"sqlite:{tmp_path}/data/postern.db")
    server: Postgres = request.getfixturevalue("postgres_server")
    return Place(server.make_database(request.getfixturevalue("template")), server)


@pytest.fixture
async def place(new_place: Place) -> AsyncIterator[Place]:
    yield new_place
    await new_place.close()


@pytest.fixture
async def store(place: Place) -> Store:
    return await place.open()


@pytest.fixture
async def ann(store: Store) -> str:
    """The user_id of ann, who has the session s1."""
    async with store.writing() as db:
        await accounts.insert(db, user("ann"))
        await sessions.insert(db, session("s1"))
    return "id-of-ann"
