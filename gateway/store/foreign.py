"""Reads a table of another system's PostgreSQL database, row by row, without holding it all."""

import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from gateway.store.postgres import fault_of

_AHEAD = 1000
_CONNECT = 10.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
_FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError)


def is_table(name: str) -> bool:
    """A table's name, with its schema or without: nothing else goes into the query."""
    return _NAME.fullmatch(name) is not None


async def rows(url: str, table: str) -> AsyncIterator[dict[str, Any]]:
    """As they were when it began. Raises StoreFaults only."""
    if not is_table(table):
        raise ValueError("this is no table's name")
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT)
    except _FOREIGN as error:
        raise fault_of(error) from None
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            async for row in connection.cursor(f"SELECT * FROM {table}", prefetch=_AHEAD):
                yield dict(row)
    except _FOREIGN as error:
        raise fault_of(error) from None
    finally:
        await connection.close(timeout=_CONNECT)
