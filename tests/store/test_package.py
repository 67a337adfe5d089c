"""The wheel holds the queries and the migrations; every query is used, and none is unknown."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gateway.store.accounts import User
from gateway.store.sessions import Session
from gateway.store.statements import load, with_columns

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "gateway/store"


def test_the_wheel_holds_every_sql_file(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    [wheel] = tmp_path.glob("*.whl")
    ours = {str(path.relative_to(ROOT)) for path in STORE.rglob("*.sql")}
    assert len(ours) > 8
    assert ours <= set(zipfile.ZipFile(wheel).namelist())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_every_query_is_used_and_none_is_asked_that_is_not_there(kind: str) -> None:
    known = set(load(kind))  # type: ignore[arg-type]
    text = "\n".join(path.read_text() for path in STORE.glob("*.py"))
    asked = set(re.findall(r'(?:db\.(?:rows|one|value|run|many)\(\s*|query = )"(\w+)"', text))
    assert asked == known


@pytest.mark.parametrize(("query", "struct"), [("user_by_id", User), ("session_by_id", Session)])
def test_the_columns_of_a_struct_stand_in_its_order(query: str, struct: type[User] | type[Session]) -> None:
    sql = load("sqlite")[query].sql
    told = sql.removeprefix("SELECT ").removeprefix("postern_now() AS now, ").partition(" FROM ")[0]
    assert tuple(told.split(", ")) == struct.__struct_fields__


def test_a_list_of_columns_is_written_once() -> None:
    text = "-- {pair} = a,\n--     b\nSELECT {pair}, {pair of t} FROM t WHERE {:pair}"
    assert with_columns(text, {"pair": ["a", "b"]}) == "\nSELECT a, b, t.a, t.b FROM t WHERE :a, :b"


def test_no_name_of_a_database_driver_stands_above_the_store() -> None:
    """Habit 8: foreign exceptions stop at the adapter."""
    others = [path for path in (ROOT / "gateway").rglob("*.py") if STORE not in path.parents]
    found = [path.name for path in others if re.search(r"\b(asyncpg|sqlite3|aiosql)\.", path.read_text())]
    assert found == []
