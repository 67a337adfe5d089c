"""SQLite: one writer under a lock, statements on the event loop, commits in a thread; reads beside it."""

import asyncio
import datetime
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from gateway.store.faults import Conflict, Missing, NotStorable, StoreFault, StoreOutdated, StoreUnavailable
from gateway.store.fields import public_field
from gateway.store.migrating import APPLIED, TABLE, Migration, known, pending, statements_of
from gateway.store.statements import Statement, Values

WAIT = 5.0  # seconds for the write lock: of this process, and of another one such as the command line
OPENING = 30.0  # for another process that migrates
_RETRY = (0.001, 0.05)  # seconds between attempts: first, longest

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_UNIQUE = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
_PASSING = _BUSY | {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH,
}  # fmt: skip
_FOREIGN = (sqlite3.Error, UnicodeError, OverflowError)

T = TypeVar("T")


class SqliteLink:
    """Statements take microseconds, a hop to a thread would take a hundred: so they run where they are."""

    __slots__ = ("_clock", "_connection")

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock

    async def time(self) -> int:
        return milliseconds(self._clock)

    async def fetch(self, statement: Statement, values: Values) -> list[Any]:
        def attempt() -> list[Any]:
            return self._connection.execute(statement.sql, values).fetchall()

        return await _patiently(attempt)

    async def run(self, statement: Statement, values: Values) -> int:
        try:
            return self._connection.execute(statement.sql, values).rowcount
        except _FOREIGN as error:
            raise fault_of(error) from None

    async def many(self, statement: Statement, values: Sequence[Values]) -> None:
        try:
            self._connection.executemany(statement.sql, values)
        except _FOREIGN as error:
            raise fault_of(error) from None


class Sqlite:
    """The file, with one connection for writing and one for reading."""

    def __init__(
        self, writer: sqlite3.Connection, reader: sqlite3.Connection, clock: Callable[[], float]
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "sqlite")  # starts with the first commit
        self._links = SqliteLink(writer, clock), SqliteLink(reader, clock)

    @classmethod
    async def open(cls, path: str, clock: Callable[[], float]) -> Self:
        def opened() -> tuple[sqlite3.Connection, sqlite3.Connection]:
            _prepare(Path(path))
            writer = _connect(path, clock)
            try:
                _apply(writer)
                reader = _connect(path, clock)
                reader.execute("PRAGMA query_only = ON")
                for each in (writer, reader):
                    each.execute("PRAGMA busy_timeout = 0")  # waiting is done by the event loop
            except BaseException:
                writer.close()
                raise
            return writer, reader

        try:
            return cls(*await asyncio.to_thread(opened), clock)
        except (sqlite3.Error, OSError) as error:
            raise _unopened(path, error) from None

    @classmethod
    async def migrate(cls, path: str, clock: Callable[[], float], dry_run: bool) -> list[Migration]:
        def migrated() -> list[Migration]:
            if dry_run and not Path(path).exists():
                return known("sqlite")
            _prepare(Path(path))
            with closing(_connect(path, clock)) as connection:
                return _pending(connection) if dry_run else _apply(connection)

        try:
            return await asyncio.to_thread(migrated)
        except (sqlite3.Error, OSError) as error:
            raise _unopened(path, error) from None

    async def close(self) -> None:
        """Waits for the unit that writes, if there is one, but not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT):
                await self._lock.acquire()
        self._thread.shutdown()  # after a commit that it may be at
        self._reader.close()
        self._writer.close()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[SqliteLink]:
        yield self._links[1]

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[SqliteLink]:
        try:
            async with asyncio.timeout(WAIT):
                await self._lock.acquire()
        except TimeoutError:
            raise StoreUnavailable("the database is busy: too many writes are waiting") from None
        try:
            await _patiently(lambda: self._writer.execute("BEGIN IMMEDIATE"))
            before = self._writer.total_changes
            try:
                yield self._links[0]
                if self._writer.total_changes != before:
                    await self._commit()
            finally:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
        finally:
            self._lock.release()

    async def _commit(self) -> None:
        """In a thread, since it waits for the disk. Whoever cancels this waits too: until then the
        connection is the thread's."""
        loop = asyncio.get_running_loop()
        done = loop.run_in_executor(self._thread, self._writer.execute, "COMMIT")
        cancelled: asyncio.CancelledError | None = None
        while not done.done():
            try:
                await asyncio.wait([done])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        if failure := done.exception():
            raise fault_of(failure) from None


def milliseconds(clock: Callable[[], float]) -> int:
    return int(clock() * 1000)


async def _patiently(attempt: Callable[[], T]) -> T:
    """Another process may have the lock for a while."""
    loop = asyncio.get_running_loop()
    until, (delay, longest) = loop.time() + WAIT, _RETRY
    while True:
        try:
            return attempt()
        except _FOREIGN as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY or loop.time() > until:
                raise fault_of(error) from None
        await asyncio.sleep(delay)
        delay = min(longest, delay * 2)


def fault_of(error: BaseException) -> StoreFault:
    """The same in our words; SQLite's own never hold a value."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _UNIQUE:
        return Conflict(public_field(str(error).rpartition(": ")[2].partition(",")[0].replace(".", "_")))
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return Missing("a row that this one refers to does not exist")
    if isinstance(error, UnicodeError | OverflowError | sqlite3.DataError):
        return NotStorable("a value can't be kept in any column")
    if code & 0xFF in _BUSY:
        return StoreUnavailable("another process has been writing to the database for too long")
    if code & 0xFF in _PASSING:
        return StoreUnavailable(f"the database file can't be used just now: {error}")
    if isinstance(error, sqlite3.OperationalError) and "no such" in str(error):
        return StoreOutdated(f"the database is not this program's: {error}")
    return StoreFault(f"{type(error).__name__}: {error}")


def _unopened(path: str, error: sqlite3.Error | OSError) -> StoreFault:
    reason = error.strerror if isinstance(error, OSError) else error
    return StoreUnavailable(
        f"{path} can't be opened: {reason}; it must be a SQLite database, or a new file in a folder of ours"
    )


def _prepare(path: Path) -> None:
    """Nobody else may read the file, nor what SQLite puts beside it, which gets the file's own mode. A folder
    that was there before is its owner's affair."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            if each.exists() and stat.S_IMODE(each.stat().st_mode) & 0o077:
                each.chmod(0o600)


def _connect(path: str, clock: Callable[[], float]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=OPENING, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise OSError(0, "it lies where SQLite can't keep a write-ahead log; choose a local disk")
        connection.execute("PRAGMA synchronous = FULL")  # NORMAL would lose the last commits with the power
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.create_function("postern_now", 0, lambda: milliseconds(clock))
        connection.create_function("postern_timestamp", 1, _timestamp, deterministic=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _timestamp(at: int) -> str:
    """As AccessPass keeps times."""
    return datetime.datetime.fromtimestamp(at // 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _pending(connection: sqlite3.Connection) -> list[Migration]:
    [there] = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE name = 'postern_migrations'"
    ).fetchone()
    return pending(known("sqlite"), connection.execute(APPLIED) if there else ())


def _apply(connection: sqlite3.Connection) -> list[Migration]:
    """All of them or none."""
    if not _pending(connection):
        return []
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(TABLE)
        wanted = _pending(connection)  # another process may have been quicker
        for each in wanted:
            for statement in statements_of(each.sql):
                connection.execute(statement)
            connection.execute(
                "INSERT INTO postern_migrations VALUES (?, ?, ?, postern_now())",
                (each.number, each.name, each.checksum),
            )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return wanted
