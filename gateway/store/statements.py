"""The queries of sql/*.sql as one database takes them, each with a count of how long it took."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
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
    queries = aiosql.from_path(_FOLDER, _DRIVERS[kind])
    orders = getattr(queries.driver_adapter, "var_sorted", {})
    found = {}
    for name in queries.available_queries:
        if not name.endswith("_cursor"):  # aiosql's second form of each
            sql = getattr(queries, name).sql
            found[name] = Statement(name, sql, tuple(orders.get(name, ())))
    return found


def samples(statements: Mapping[str, Statement]) -> Iterator[Sample]:
    for each in statements.values():
        if any(each.counts):
            yield Sample(_METRIC, (each.name,), 0.0, tuple(each.counts), each.total)
