"""Moving in: AccessPass's table and CSV files, with what can't come and why; twice is as once."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import bcrypt
import pytest

from gateway.identity.importing.moving import Mover, Report
from gateway.store import accounts, foreign
from gateway.store.database import Store
from gateway.store.faults import StoreFault
from tests.identity.rig import Rig
from tests.kit.postgres import Postgres

OLD = "the old password"
HASH = bcrypt.hashpw(OLD.encode(), bcrypt.gensalt(4)).decode()
# as its documentation has it
ACCESS_PASS = """CREATE TABLE users (id bigserial PRIMARY KEY, user_id varchar(255), username varchar(20),
    meta jsonb, email varchar(255), password_hash varchar(255), successful_login_attempts integer,
    confirm_id varchar(255), password_reset_key varchar(255), password_reset_expire integer,
    confirmed boolean, inserted_at timestamp NOT NULL, updated_at timestamp NOT NULL);
CREATE UNIQUE INDEX ON users (email); CREATE UNIQUE INDEX ON users (user_id);
CREATE UNIQUE INDEX ON users (username)"""


def row(name: str, **more: Any) -> dict[str, Any]:
    return {
        "user_id": f"id-{name}", "username": name, "email": f"{name}@example.org", "password_hash": HASH,
        "confirmed": True, "meta": '{"city": "Bonn"}', "successful_login_attempts": 3,
        "confirm_id": "a plain key", "password_reset_key": "another",
    } | more  # fmt: skip


async def given(*rows: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    for each in rows:
        yield each


async def move(store: Store, *rows: Mapping[str, Any], dry: bool = False) -> Report:
    return await Mover(store, dry=dry, progress=lambda report: None).move(given(*rows), "a test")


async def test_a_user_signs_in_with_the_old_password_and_the_hash_becomes_ours(rig: Rig) -> None:
    report = await move(rig.context.store, row("ann"))
    assert (report.read, report.imported, report.refused) == (1, 1, [])
    async with rig.context.store.reading() as db:
        user = await accounts.by_identifier(db, "ann")
    assert user is not None
    assert (user.user_id, user.confirmed, user.successful_login_attempts) == ("id-ann", True, 3)
    assert json.loads(user.meta) == {"city": "Bonn"} and user.protected == "{}"
    assert user.email_proved_at == user.created_at
    wrong = await rig.call("POST", "/api/auth/login", {"username": "ann", "password": "another password"})
    assert wrong.status == 401
    right = await rig.call("POST", "/api/auth/login", {"email": "Ann@Example.org", "password": OLD})
    assert right.status == 200 and right.body["user"]["roles"] == ["user"]
    async with rig.context.store.reading() as db:
        later = await accounts.by_identifier(db, "ann")
    assert later is not None and later.password_hash is not None
    assert later.password_hash.startswith("$argon2id$")
    again = await rig.call("POST", "/api/auth/login", {"username": "ANN", "password": OLD})
    assert again.status == 200


async def test_what_can_t_come_is_told_row_by_row(rig: Rig) -> None:
    report = await move(
        rig.context.store,
        row("ann"),
        row("bob", email="ANN@example.org"),
        row("Ann", user_id="x1", email="x1@example.org"),
        row("a@b", user_id="x2", email="x2@example.org"),
        row("carl", email="no address"),
        row("dora", user_id="id-ann"),
        row("emil", user_id="a b"),
        row("emil", user_id="x:y"),
        row("fritz", password_hash="plain text"),
        row("gina", meta="[1]"),
        row("hans", username=None, user_id=None, confirmed=None, meta=None, password_hash=None),
    )
    assert (report.read, report.imported, report.already) == (11, 4, 0)
    told = [(each.row, each.taken) for each in report.refused]
    assert told == [(2, False), (3, False), (4, False), (5, False), (6, False), (7, False), (8, False),
                    (9, True), (10, True)]  # fmt: skip
    assert "case makes no difference" in report.refused[0].why
    async with rig.context.store.reading() as db:
        found = {user.email_key: user for user in await accounts.page(db)}
    assert set(found) == {f"{name}@example.org" for name in ("ann", "fritz", "gina", "hans")}
    assert found["fritz@example.org"].password_hash is None
    assert found["gina@example.org"].meta == "{}"
    assert not found["hans@example.org"].confirmed and len(found["hans@example.org"].user_id) == 36


async def test_run_again_it_goes_on_and_changes_nothing(rig: Rig) -> None:
    store = rig.context.store
    dry = await move(store, row("ann"), row("bob"), dry=True)
    assert dry.imported == 2
    async with store.reading() as db:
        assert await accounts.count(db) == 0
    await move(store, row("ann"))
    again = await move(store, row("ann", username="other"), row("bob"))
    assert (again.imported, again.already, again.refused) == (1, 1, [])
    async with store.reading() as db:
        assert [user.username for user in await accounts.page(db)] == ["ann", "bob"]


async def test_somebody_who_registers_meanwhile_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    store = rig.context.store
    mover = Mover(store, dry=False, progress=lambda report: None)

    async def rows() -> AsyncIterator[Mapping[str, Any]]:
        yield row("ann")
        async with store.writing() as db:  # after the import has looked who is here
            await accounts.insert(
                db, accounts.User("theirs", "bob@example.org", "bob@example.org", db.now, db.now)
            )
        yield row("bob")

    report = await mover.move(rows(), "a test")
    assert report.imported == 1
    assert [(each.who, each.why) for each in report.refused] == [
        ("id-bob", "its address or user name was taken meanwhile")
    ]


# From its own database, by the command


@pytest.fixture
async def access_pass(postgres_server: Postgres) -> AsyncIterator[str]:
    url = postgres_server.make_database()
    connection = await asyncpg.connect(url)
    await connection.execute(ACCESS_PASS)
    await connection.close()
    yield url
    postgres_server.drop_database(url)


async def fill(url: str, users: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        """INSERT INTO users (user_id, username, meta, email, password_hash, successful_login_attempts,
             confirm_id, confirmed, inserted_at, updated_at)
           SELECT 'id-' || n, 'user' || n, '{"n": 1}', 'user' || n || '@example.org', $1, 0, 'key' || n, true,
             now(), now() FROM generate_series(1, $2::int) AS n""",
        HASH, users,
    )  # fmt: skip
    await connection.close()


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "routes.yaml").write_text(
        "version: 1\nupstreams: {app: http://127.0.0.1:9}\n"
        "routes: [{name: a, match: {path: /**}, upstream: app}]\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli.app", "import", *words],
        cwd=folder, capture_output=True, text=True, timeout=300,
        env={"PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip


async def test_the_command_reads_the_live_table(access_pass: str, tmp_path: Path) -> None:
    await fill(access_pass, 25)
    dry = command(tmp_path, "accesspass", access_pass, "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    assert json.loads(dry.stdout) == {
        "dry_run": True,
        "read": 25,
        "imported": 25,
        "already": 0,
        "refused": [],
    }
    done = command(tmp_path, "accesspass", access_pass)
    assert "25 rows: 25 taken in, 0 here already, 0 refused" in done.stdout
    again = json.loads(command(tmp_path, "accesspass", access_pass, "--json").stdout)
    assert (again["imported"], again["already"]) == (0, 25)
    wrong = command(tmp_path, "accesspass", access_pass, "--table", "users; DROP TABLE users")
    assert wrong.returncode == 2
    missing = command(tmp_path, "accesspass", access_pass, "--table", "people")
    assert missing.returncode == 1 and "can't be used" in missing.stderr


def test_the_command_reads_csv_and_reports(tmp_path: Path) -> None:
    users = tmp_path / "users.csv"
    with users.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(
            file, ("email", "username", "password_hash", "confirmed", "meta", "shoe_size")
        )
        writer.writeheader()
        for name in ("ann", "bob"):
            known = {key: row(name)[key] for key in ("email", "username", "password_hash", "meta")}
            writer.writerow(known | {"confirmed": "t", "shoe_size": 40})
        writer.writerow({"email": "nobody"})
    done = command(tmp_path, "csv", str(users), "--report", "report.csv")
    assert done.returncode == 1  # one was refused
    assert "3 rows: 2 taken in, 0 here already, 1 refused" in done.stdout
    lines = list(csv.DictReader((tmp_path / "report.csv").open()))
    assert [(line["row"], line["who"], line["taken"]) for line in lines] == [("3", "nobody", "no")]
    (tmp_path / "other.csv").write_text("name\nann\n")
    assert "no column email" in command(tmp_path, "csv", "other.csv").stderr
    assert command(tmp_path, "csv", "not-there.csv").returncode == 2


async def test_a_foreign_database_that_is_away_is_told_as_such() -> None:
    with pytest.raises(StoreFault):
        async for _ in foreign.rows("postgresql://127.0.0.1:1/x", "users"):
            pass


@pytest.mark.hard
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_100_000_users_move_in(
    kind: str, access_pass: str, tmp_path: Path, postgres_server: Postgres
) -> None:
    """Under a minute is the aim; the time is told, not asserted."""
    await fill(access_pass, 100_000)
    url = f"sqlite:{tmp_path}/postern.db" if kind == "sqlite" else postgres_server.make_database()
    store = await Store.open(url, "auto")
    began = time.perf_counter()
    report = await Mover(store, dry=False, progress=lambda report: None).move(
        foreign.rows(access_pass, "users"), "a test"
    )
    print(f"\n{kind}: 100,000 users in {time.perf_counter() - began:.1f} s")
    assert (report.imported, report.refused) == (100_000, [])
    async with store.reading() as db:
        assert await accounts.count(db) == 100_000
    await store.close()
