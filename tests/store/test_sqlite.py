"""SQLite's own: who may read the file, and what happens while another process writes."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import get_ident

import pytest

from gateway.store import facts, sqlite
from gateway.store.database import Store, migrate
from gateway.store.faults import StoreUnavailable
from tests.store.places import Place

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO facts VALUES ('held', 'by another')")
print("held", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@pytest.fixture
def new_place(tmp_path: Path) -> Place:
    return Place(f"sqlite:{tmp_path}/data/postern.db")


@contextmanager
def another_process_writing(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """It holds the write lock until it is told to commit: a line, or the end of its input."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    try:
        yield other
    finally:
        other.communicate(timeout=20)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def put(store: Store, value: str) -> None:
    async with store.writing() as db:
        await facts.put(db, "colour", value)


async def test_nobody_else_can_read_the_file_or_what_lies_beside_it(store: Store, place: Place) -> None:
    await put(store, "green")
    assert mode(place.path.parent) == 0o700
    beside = sorted(place.path.parent.iterdir())
    assert [each.name for each in beside] == ["postern.db", "postern.db-shm", "postern.db-wal"]
    assert {mode(each) for each in beside} == {0o600}


async def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """The folder is left alone: it may be anybody's."""
    tmp_path.chmod(0o755)
    path = tmp_path / "postern.db"
    path.touch(0o644)
    await migrate(f"sqlite:{path}")
    assert (mode(path), mode(tmp_path)) == (0o600, 0o755)


async def test_commits_survive_the_loss_of_power(store: Store, place: Place) -> None:
    """WAL with synchronous FULL: each commit is on the disk before it is answered."""
    with closing(sqlite3.connect(place.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    writer: sqlite3.Connection = store._backend._writer  # type: ignore[attr-defined]
    assert writer.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_a_write_waits_while_another_process_writes(store: Store, place: Place) -> None:
    with another_process_writing(place.path) as other:
        writing = asyncio.create_task(put(store, "green"))
        done, _ = await asyncio.wait([writing], timeout=0.1)
        assert not done
        async with store.reading() as db:  # nobody who only reads waits
            assert await facts.get(db, "held") is None
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
        await writing
    async with store.reading() as db:
        assert await facts.get(db, "colour") == "green"
        assert await facts.get(db, "held") == "by another"


async def test_a_write_does_not_wait_for_ever(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAIT", 0.2)
    with another_process_writing(place.path):
        first, second = await asyncio.gather(put(store, "1"), put(store, "2"), return_exceptions=True)
        assert isinstance(first, StoreUnavailable)
        assert isinstance(second, StoreUnavailable)
    await put(store, "green")


async def test_a_write_does_not_wait_for_ever_behind_another_unit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "WAIT", 0.1)
    async with store.writing():
        with pytest.raises(StoreUnavailable):
            await put(store, "green")


async def test_the_event_loop_goes_on_while_a_commit_waits_for_the_disk(store: Store) -> None:
    """The commit is made in another thread than the statements."""
    threads = set()
    store._backend._writer.set_trace_callback(  # type: ignore[attr-defined]
        lambda sql: threads.add((sql.split()[0], get_ident()))
    )
    await put(store, "green")
    here = get_ident()
    assert ("INSERT", here) in threads
    assert "COMMIT" in {sql for sql, thread in threads if thread != here}
    threads.clear()
    async with store.writing() as db:
        await facts.get(db, "colour")
    assert {thread for _, thread in threads} == {here}, "without a change there is nothing to wait for"


async def test_what_is_no_database_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Dear diary, " * 100)
    (tmp_path / "file").touch()
    for path in (tmp_path / "notes.txt", tmp_path / "file" / "x.db", tmp_path):
        with pytest.raises(StoreUnavailable, match=str(path)):
            await Store.open(f"sqlite:{path}")


async def test_a_full_disk_is_told_and_nothing_half_written(store: Store, place: Place) -> None:
    await put(store, "green")
    writer: sqlite3.Connection = store._backend._writer  # type: ignore[attr-defined]
    [pages] = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreUnavailable):
        async with store.writing() as db:
            await facts.put(db, "colour", "blue")
            await facts.put(db, "large", "x" * 100_000)
    async with store.reading() as db:
        assert await facts.get(db, "colour") == "green"
    await put(store, "red")
