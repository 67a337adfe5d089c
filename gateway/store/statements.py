"""The queries of sql/*.sql as one database takes them, each with a count of how long it took."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import aiosql

from gateway.model.metrics import IDENTITY_METRICS, Sample

Kind = Literal["sqlite", "postgresql"]
Values = Mapping[str, Any]

_METRIC = "store_query_duration_seconds"
_BUCKETS = IDENTITY_METRICS[_METRIC].buckets
_FOLDER = Path(__file__).parent / "sql"
_DRIVERS: dict[Kind, str] = {"sqlite": "sqlite3", "postgresql": "asyncpg"}
_TELLS_TIME = "postern_now() AS now"
# `-- {session} = session_id, …`, over several lines of comment: the columns of a struct, in its order
_COLUMNS = re.compile(r"^-- \{(\w+)\} = (\w+(?:,\s+(?:-- +)?\w+)*)$", re.MULTILINE)
_USE = re.compile(r"\{(:?)(\w+)(?: of (\w+))?\}")


class Statement:
    """One query. `order` lists its parameters as $1, $2, … stand for them in PostgreSQL's text."""

    __slots__ = ("counts", "name", "order", "sql", "tells_time", "total", "writes")

    def __init__(self, name: str, sql: str, order: tuple[str, ...]) -> None:
        self.name = name
        self.sql = sql
        self.order = order
        self.writes = not sql.lstrip().startswith("SELECT")
        self.tells_time = _TELLS_TIME in sql  # its rows begin with the time
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0

    def took(self, seconds: float) -> None:
        self.counts[bisect_left(_BUCKETS, seconds)] += 1
        self.total += seconds

    def in_order(self, values: Values) -> list[Any]:
        return [values[name] for name in self.order]


def load(kind: Kind) -> dict[str, Statement]:
    """All queries, by name: one set of files for both databases."""
    return {name: Statement(name, sql, order) for name, sql, order in _read(kind)}


@cache
def _read(kind: Kind) -> list[tuple[str, str, tuple[str, ...]]]:
    """The name, the text and the parameters of each."""
    texts = [path.read_text("utf-8") for path in sorted(_FOLDER.glob("*.sql"))]
    columns = {name: re.findall(r"\w+", told) for text in texts for name, told in _COLUMNS.findall(text)}
    found = []
    for text in texts:
        queries = aiosql.from_str(with_columns(text, columns), _DRIVERS[kind])
        orders = getattr(queries.driver_adapter, "var_sorted", {})
        for name in queries.available_queries:
            if not name.endswith("_cursor"):  # aiosql's second form of each
                sql = getattr(queries, name).sql
                found.append((name, sql, tuple(orders.get(name, ()))))
    return found


def with_columns(text: str, columns: Mapping[str, list[str]]) -> str:
    """Each list of columns in its places: {session} as it is, {session of s} as s.session_id, …, and
    {:session} as :session_id, …"""

    def listed(use: re.Match[str]) -> str:
        colon, name, table = use.groups()
        before = colon or (f"{table}." if table else "")
        return ", ".join(f"{before}{column}" for column in columns[name])

    return _USE.sub(listed, _COLUMNS.sub("", text))


def samples(statements: Mapping[str, Statement]) -> Iterator[Sample]:
    for each in statements.values():
        if any(each.counts):
            yield Sample(_METRIC, (each.name,), 0.0, tuple(each.counts), each.total)
