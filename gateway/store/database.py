"""The store: units of work over SQLite or PostgreSQL, with one way to use both."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal, Protocol, Self

from gateway.model.metrics import Sample
from gateway.store.faults import StoreFault
from gateway.store.migrating import Migration
from gateway.store.postgres import Postgres
from gateway.store.sqlite import Sqlite
from gateway.store.statements import Statement, Values, load, samples

Row = Sequence[Any]

_NO_TIME = "the time is not known before the first query of this unit: ask `await db.time()`"
_OVER = "this unit of work has failed before; nothing of it will be kept"


class Link(Protocol):
    """A connection while one unit of work has it. Raises StoreFaults only."""

    async def time(self) -> int: ...

    async def fetch(self, statement: Statement, values: Values) -> list[Any]: ...

    async def run(self, statement: Statement, values: Values) -> int: ...

    async def many(self, statement: Statement, values: Sequence[Values]) -> None: ...


class Backend(Protocol):
    def reading(self) -> AbstractAsyncContextManager[Link]: ...

    def writing(self) -> AbstractAsyncContextManager[Link]: ...

    async def close(self) -> None: ...


class Database:
    """The database as one unit of work sees it; what a function of the store takes first."""

    __slots__ = ("_failed", "_link", "_now", "_statements", "_writing", "happened", "revocations")

    def __init__(self, link: Link, statements: dict[str, Statement], writing: bool) -> None:
        self._link = link
        self._statements = statements
        self._writing = writing
        self._now: int | None = None
        self._failed = False
        self.revocations: list[int] = []  # sequences written in this unit; to be settled after it
        self.happened: list[Any] = []  # what this unit's end is to be told of; see Store.before_commit

    @property
    def now(self) -> int:
        """Milliseconds by the database's clock: when the unit began, or its last row lock was taken."""
        if self._now is None:
            raise RuntimeError(_NO_TIME)
        return self._now

    @property
    def failed(self) -> bool:
        return self._failed

    async def time(self) -> int:
        """`now`; asked of the database when no query has brought it along yet."""
        if self._now is None:
            with self._attempt():
                self._now = await self._link.time()
        return self._now

    async def rows(self, query: str, **values: Any) -> list[Row]:
        statement = self._statements[query]
        if not statement.tells_time:
            await self.time()
        with self._attempt(statement):
            found = await self._link.fetch(statement, values)
        if statement.tells_time:
            if not found:
                await self.time()
                return []
            self._now = found[0][0]
            return [row[1:] for row in found]
        return found

    async def one(self, query: str, **values: Any) -> Row | None:
        found = await self.rows(query, **values)
        return found[0] if found else None

    async def value(self, query: str, **values: Any) -> Any:
        found = await self.rows(query, **values)
        return found[0][0] if found else None

    async def run(self, query: str, **values: Any) -> int:
        """How many rows it touched."""
        await self.time()
        statement = self._statements[query]
        with self._attempt(statement):
            return await self._link.run(statement, values)

    async def many(self, query: str, each: Iterable[Values]) -> None:
        """The same query for each, in one go."""
        await self.time()
        statement = self._statements[query]
        with self._attempt(statement):
            await self._link.many(statement, list(each))

    def _attempt(self, statement: Statement | None = None) -> "_Attempt":
        if self._failed:
            raise StoreFault(_OVER)
        if statement is not None and statement.writes and not self._writing:
            raise RuntimeError(f"{statement.name} is not for a unit that only reads")
        return _Attempt(self, statement)


class _Attempt:
    """Takes the time of a query; a fault in it ends the unit, in SQLite as in PostgreSQL."""

    __slots__ = ("_began", "_database", "_statement")

    def __init__(self, database: Database, statement: Statement | None) -> None:
        self._database = database
        self._statement = statement

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._statement is not None:
            self._statement.took(time.perf_counter() - self._began)
        if kind is not None:
            self._database._failed = True


class Store:
    """One per process, opened once; gives a Database for each unit of work."""

    def __init__(self, backend: Backend, statements: dict[str, Statement]) -> None:
        self._backend = backend
        self._statements = statements
        # the last thing in a unit in which something happened: what it writes is kept with it, or not at all
        self.before_commit: Callable[[Database], Awaitable[None]] | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        migrate: Literal["auto", "manual"] = "auto",
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """`url`: sqlite:PATH or postgresql://…; `clock` is SQLite's, PostgreSQL has its own.

        Raises StoreUnavailable, or StoreOutdated when it needs migrations and `migrate` is manual; SQLite's
        are always done here.
        """
        if url.startswith("sqlite:"):
            return cls(await Sqlite.open(url.removeprefix("sqlite:"), clock), load("sqlite"))
        return cls(await Postgres.open(url, migrate == "auto"), load("postgresql"))

    async def close(self) -> None:
        await self._backend.close()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Database]:
        """For looking only: no lock, no transaction. The time comes with the first query."""
        async with self._backend.reading() as link:
            yield Database(link, self._statements, writing=False)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Database]:
        """One transaction: committed at the end, rolled back on any exception."""
        async with self.locking() as db:
            await db.time()
            yield db

    @asynccontextmanager
    async def locking(self) -> AsyncIterator[Database]:
        """`writing` for units that begin with a row's lock, which brings the time along: one way less."""
        async with self._backend.writing() as link:
            db = Database(link, self._statements, writing=True)
            yield db
            if db.happened and self.before_commit is not None and not db.failed:
                await self.before_commit(db)
            if db.failed:
                raise StoreFault(_OVER)

    def samples(self) -> Iterator[Sample]:
        """How long each query took, so far."""
        return samples(self._statements)


async def migrate(url: str, dry_run: bool = False, clock: Callable[[], float] = time.time) -> list[Migration]:
    """Bring the tables up to date; what was done, or with `dry_run` what would be."""
    if url.startswith("sqlite:"):
        return await Sqlite.migrate(url.removeprefix("sqlite:"), clock, dry_run)
    return await Postgres.migrate(url, dry_run)
