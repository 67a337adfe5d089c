"""The databases under an identity service, as an operator sees them: made, read whole, their clock moved."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg  # type: ignore[import-untyped]


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """What a query gives, whatever database it is."""
    if url.startswith("sqlite:"):
        path = url.removeprefix("sqlite:")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()
    return [tuple(row) for row in asyncio.run(_fetch(url, query))]


def execute(url: str, statement: str) -> None:
    """A statement of PostgreSQL."""
    asyncio.run(_execute(url, statement))


async def _fetch(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return list(await connection.fetch(query, timeout=30))
    finally:
        await connection.close(timeout=5)


async def _whole(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every table of PostgreSQL, over one connection."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {
            name: [tuple(row) for row in await connection.fetch(f'SELECT * FROM "{name}"', timeout=30)]
            for (name,) in tables
        }
    finally:
        await connection.close(timeout=5)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement, timeout=30)
    finally:
        await connection.close(timeout=5)


def everything(url: str) -> dict[str, str]:
    """Every row of every table, as text."""
    if url.startswith("sqlite:"):
        names = [name for (name,) in rows(url, "SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: _shown(rows(url, f'SELECT * FROM "{name}"')) for name in names}
    return {name: _shown(found) for name, found in asyncio.run(_whole(url)).items()}


def _shown(rows: list[tuple[Any, ...]]) -> str:
    return "\n".join(map(repr, rows))


def log_of(url: str) -> str:
    """What PostgreSQL has logged; SQLite logs nothing."""
    folder = parse_qs(urlsplit(url).query).get("host", [""])[0]
    return (Path(folder) / "log").read_text(errors="replace") if folder else ""


def move_clock(url: str, seconds: float) -> None:
    """Let the database's clock go by so much; it is PostgreSQL's, and only this database's."""
    execute(
        url,
        "CREATE OR REPLACE FUNCTION postern_now() RETURNS bigint LANGUAGE sql VOLATILE AS "
        "$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint + "
        f"{int(seconds * 1000)} $$",
    )
