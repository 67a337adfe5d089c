"""PostgreSQL: a pool of connections, each query prepared once on each."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import asyncpg  # type: ignore[import-untyped]

from gateway.store.faults import Conflict, Missing, NotStorable, StoreFault, StoreOutdated, StoreUnavailable
from gateway.store.fields import public_field
from gateway.store.migrating import APPLIED, TABLE, Migration, known, needed, pending
from gateway.store.statements import Statement, Values

CONNECTIONS = 10
CONNECT = 5.0  # seconds
WAIT = 5.0  # for a free connection
QUERY = 10.0
_MIGRATION_LOCK = 0x706F737465726E  # "postern"
_SETTINGS = {
    "application_name": "postern",
    "lock_timeout": "5s",
    # What a transaction keeps locked while its owner does nothing is given back.
    "idle_in_transaction_session_timeout": "15s",
    "jit": "off",
}

_FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, UnicodeError)
# Classes of SQLSTATE, and single ones, after which asking again may help.
_PASSING = ("08", "25006", "25P03", "25P04", "28", "3D", "40", "53", "55", "57", "58", "0A000")
_OUTDATED = ("42P01", "42703", "42883")


class PostgresLink:
    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def time(self) -> int:
        try:
            return int(await self._connection.fetchval("SELECT postern_now()"))
        except _FOREIGN as error:
            raise fault_of(error) from None

    async def fetch(self, statement: Statement, values: Values) -> list[Any]:
        try:
            found = await self._connection.fetch(statement.sql, *statement.in_order(values))
        except _FOREIGN as error:
            raise fault_of(error) from None
        return list(map(tuple, found))

    async def run(self, statement: Statement, values: Values) -> int:
        try:
            tag = await self._connection.execute(statement.sql, *statement.in_order(values))
        except _FOREIGN as error:
            raise fault_of(error) from None
        return int(tag.rpartition(" ")[2])  # INSERT 0 1, UPDATE 3

    async def many(self, statement: Statement, values: Sequence[Values]) -> None:
        try:
            await self._connection.executemany(statement.sql, [statement.in_order(each) for each in values])
        except _FOREIGN as error:
            raise fault_of(error) from None


class Postgres:
    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    async def open(cls, url: str, auto: bool) -> Self:
        try:
            pool = await asyncpg.create_pool(
                url, min_size=1, max_size=CONNECTIONS, timeout=CONNECT, command_timeout=QUERY,
                reset=_unchanged, server_settings=_SETTINGS,
            )  # fmt: skip
        except (*_FOREIGN, ValueError) as error:
            raise fault_of(error) from None
        store = cls(pool)
        try:
            if wanted := await store._wanted():
                if not auto:
                    raise needed(wanted)
                await cls.migrate(url, dry_run=False)
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    async def migrate(cls, url: str, dry_run: bool) -> list[Migration]:
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT, command_timeout=600.0)
            try:
                wanted = await _pending(connection)
                return wanted if dry_run or not wanted else await _apply(connection)
            finally:
                await connection.close(timeout=CONNECT)
        except (*_FOREIGN, ValueError) as error:
            raise fault_of(error) from None

    async def _wanted(self) -> list[Migration]:
        connection = await self._acquire()
        try:
            return await _pending(connection)
        except _FOREIGN as error:
            raise fault_of(error) from None
        finally:
            await self._release(connection)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CONNECT):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[PostgresLink]:
        connection = await self._acquire()
        try:
            yield PostgresLink(connection)
        finally:
            await self._release(connection)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[PostgresLink]:
        connection = await self._acquire()
        try:
            transaction = connection.transaction(isolation="read_committed")
            await _translated(transaction.start())
            try:
                yield PostgresLink(connection)
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            await _translated(transaction.commit())
        finally:
            await self._release(connection)

    async def _acquire(self) -> Any:
        try:
            return await self._pool.acquire(timeout=WAIT)
        except TimeoutError:
            raise StoreUnavailable("no connection to the database became free in time") from None
        except _FOREIGN as error:
            raise fault_of(error) from None

    async def _release(self, connection: Any) -> None:
        """The unit is over, whatever this comes to: a connection that can't be given back is thrown away."""
        with suppress(*_FOREIGN):
            await self._pool.release(connection, timeout=WAIT)


async def _translated(step: Any) -> None:
    try:
        await step
    except _FOREIGN as error:
        raise fault_of(error) from None


async def _roll_back(connection: Any, transaction: Any) -> None:
    """A connection that can't even do this is not used again; the server then rolls back by itself."""
    try:
        async with asyncio.timeout(WAIT):
            await transaction.rollback()
    except BaseException as error:
        with suppress(asyncpg.InterfaceError):  # it may be gone already
            connection.terminate()
        if not isinstance(error, _FOREIGN):
            raise


async def _unchanged(connection: Any) -> None:
    """Units of work leave nothing behind that the pool would have to reset: a way to the server saved."""


def fault_of(error: BaseException) -> StoreFault:
    """The same in our words. PostgreSQL's own may hold values of the row, so only its code is kept."""
    state = getattr(error, "sqlstate", None) or ""
    if state == "23505":
        return Conflict(public_field(getattr(error, "constraint_name", "") or ""))
    if state == "23503":
        return Missing("a row that this one refers to does not exist")
    if state.startswith("22") or (not state and isinstance(error, ValueError)):
        return NotStorable("a value can't be kept in any column")
    name = type(error).__name__
    if state.startswith(_OUTDATED):
        return StoreOutdated(f"the database's tables are not this program's ({name}): run `postern migrate`")
    if not state or state.startswith(_PASSING):
        return StoreUnavailable(f"the database can't be reached or is busy ({name})")
    return StoreFault(f"the database refused ({name}, {state})")


async def _pending(connection: Any) -> list[Migration]:
    there = await connection.fetchval("SELECT to_regclass('postern_migrations')::text")
    return pending(known("postgres"), await connection.fetch(APPLIED) if there else ())


async def _apply(connection: Any) -> list[Migration]:
    """All of them or none; of several replicas one does it, the others wait and find it done."""
    async with connection.transaction():
        await connection.execute("SET LOCAL lock_timeout = '60s'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        await connection.execute(TABLE)
        wanted = await _pending(connection)
        for each in wanted:
            await connection.execute(each.sql)
            await connection.execute(
                "INSERT INTO postern_migrations VALUES ($1, $2, $3, postern_now())",
                each.number, each.name, each.checksum,
            )  # fmt: skip
    return wanted
