"""Migrations: each once, in order, all or none, and never changed afterwards."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.store import facts, migrating
from gateway.store.database import Store, migrate
from gateway.store.faults import StoreOutdated
from tests.kit.postgres import Postgres
from tests.store.places import Place

SHIPPED = [path.name for path in sorted((migrating._FOLDER / "postgres").glob("*.sql"))]
LATER = "0099_later.sql"


@pytest.fixture(params=["sqlite", "postgresql"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Nothing has been migrated here."""
    if request.param == "sqlite":
        return Place(f"sqlite:{tmp_path}/data/postern.db")
    server: Postgres = request.getfixturevalue("postgres_server")
    return Place(server.make_database(), server)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Gives this program one more migration."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrating._FOLDER, folder)
    monkeypatch.setattr(migrating, "_FOLDER", folder)

    def add(sql: str) -> None:
        for kind in ("sqlite", "postgres"):
            (folder / kind / LATER).write_text(sql)

    return add


def names(migrations: list[migrating.Migration]) -> list[str]:
    return [each.name for each in migrations]


async def test_both_databases_have_the_same_migrations() -> None:
    assert names(migrating.known("sqlite")) == names(migrating.known("postgres")) == SHIPPED


async def test_migrating_again_does_nothing(place: Place) -> None:
    assert names(await migrate(place.url)) == SHIPPED
    store = await place.open()
    async with store.writing() as db:
        await facts.put(db, "colour", "green")
    assert await migrate(place.url) == []
    async with store.reading() as db:
        assert await facts.get(db, "colour") == "green"


async def test_a_dry_run_tells_and_does_nothing(place: Place) -> None:
    assert names(await migrate(place.url, dry_run=True)) == SHIPPED
    assert names(await migrate(place.url, dry_run=True)) == SHIPPED
    if place.sqlite:
        assert not place.path.exists()
    await migrate(place.url)
    assert await migrate(place.url, dry_run=True) == []


async def test_several_who_open_a_new_database_at_once_migrate_it_once(place: Place) -> None:
    stores = await asyncio.gather(*(place.open() for _ in range(4)))
    identities = set()
    for store in stores:
        async with store.reading() as db:
            identities.add(await facts.get(db, facts.STORE_ID))
    assert len(identities) == 1


async def test_by_hand_means_that_opening_refuses_and_says_what_to_do(place: Place) -> None:
    """SQLite's are always done at the start."""
    if place.sqlite:
        await place.open("manual")
    else:
        with pytest.raises(StoreOutdated, match=rf"{SHIPPED[0]}.*postern migrate"):
            await place.open("manual")
        await migrate(place.url)
        await place.open("manual")
    assert await migrate(place.url, dry_run=True) == []


async def test_a_migration_that_was_changed_afterwards_is_refused(
    place: Place, later: Callable[[str], None]
) -> None:
    later("CREATE TABLE later (id integer);")
    assert names(await migrate(place.url)) == [*SHIPPED, LATER]
    later("CREATE TABLE later (id integer, name text);")
    for attempt in (migrate(place.url), migrate(place.url, dry_run=True), place.open()):
        with pytest.raises(StoreOutdated, match=LATER):
            await attempt


async def test_a_migration_that_fails_leaves_nothing_of_itself(
    place: Place, later: Callable[[str], None]
) -> None:
    await migrate(place.url)
    later("CREATE TABLE half (id integer);\nINSERT INTO nowhere VALUES (1);")
    with pytest.raises(Exception, match=r"(?i)nowhere|UndefinedTable"):
        await migrate(place.url)
    assert names(await migrate(place.url, dry_run=True)) == [LATER]
    later("CREATE TABLE half (id integer);")
    assert names(await migrate(place.url)) == [LATER]


async def test_the_version_before_runs_beside_the_one_after(
    place: Place, later: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """During a roll-out the old program meets tables that it doesn't know."""
    with monkeypatch.context() as newer:
        later("CREATE TABLE later (id integer);")
        await migrate(place.url)
        newer.undo()
    store: Store = await place.open("manual")
    async with store.writing() as db:
        await facts.put(db, "colour", "green")


def test_the_tables_are_the_same_in_both_databases(postgres_server: Postgres, tmp_path: Path) -> None:
    """The same tables with the same columns in the same order, the same ones required."""
    url = postgres_server.make_database()
    asyncio.run(migrate(url))
    asyncio.run(migrate(f"sqlite:{tmp_path}/x.db"))
    told = postgres_server.sql(
        "SELECT table_name, column_name, is_nullable = 'NO' FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position",
        url.partition("?")[0].rpartition("/")[2],
    )
    theirs = [tuple(line.split("|")) for line in told.splitlines()]
    ours = []
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        for (table,) in tables.fetchall():
            if not table.startswith("sqlite_"):
                for _, column, _, required, _, key in connection.execute(f"PRAGMA table_info({table})"):
                    ours.append((table, column, "t" if required or key else "f"))
    assert ours == theirs
