"""The wheel holds the queries and the migrations; every query is used, and none is unknown."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gateway.store.statements import load

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


def test_no_name_of_a_database_driver_stands_above_the_store() -> None:
    """Habit 8: foreign exceptions stop at the adapter."""
    others = [path for path in (ROOT / "gateway").rglob("*.py") if STORE not in path.parents]
    found = [path.name for path in others if re.search(r"\b(asyncpg|sqlite3|aiosql)\.", path.read_text())]
    assert found == []
