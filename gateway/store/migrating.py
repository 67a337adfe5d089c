"""Migrations: numbered files, applied once in their order, never changed afterwards."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from gateway.store.faults import StoreOutdated

_FOLDER = Path(__file__).parent / "migrations"

# Both databases take these.
TABLE = """CREATE TABLE IF NOT EXISTS postern_migrations (
    number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at bigint NOT NULL
)"""
APPLIED = "SELECT number, checksum FROM postern_migrations"


class Migration(msgspec.Struct, frozen=True):
    number: int
    name: str  # of the file
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known(kind: Literal["sqlite", "postgres"]) -> list[Migration]:
    """Those that this program has."""
    files = sorted((_FOLDER / kind).glob("*.sql"))
    return [Migration(int(file.name[:4]), file.name, file.read_text("utf-8")) for file in files]


def pending(migrations: Iterable[Migration], applied: Iterable[Sequence[object]]) -> list[Migration]:
    """Those that are not applied yet. A later version's, which we don't know, are its own business: two
    versions run side by side while one follows the other."""
    done = {each[0]: each[1] for each in applied}
    for each in migrations:
        if done.get(each.number, each.checksum) != each.checksum:
            raise StoreOutdated(
                f"the database's migration {each.name} is not this program's: another build of Postern made "
                "it; use that build, or a new database"
            )
    return [each for each in migrations if each.number not in done]


def needed(migrations: Sequence[Migration]) -> StoreOutdated:
    names = ", ".join(each.name for each in migrations)
    return StoreOutdated(f"the database needs {names}: run `postern migrate`, or set identity.migrate: auto")


def statements_of(sql: str) -> Iterator[str]:
    """The single statements of a script; sqlite3's own way to run one would commit first."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
