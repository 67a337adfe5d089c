"""Copies of SQLite made while the gateway runs, as docs/security.md says, are whole databases."""

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import Person, register


def test_another_gateway_goes_on_from_a_backup_with_the_same_secret(
    sqlite_house: IdentityWorld, tmp_path: Path
) -> None:
    before = [register(sqlite_house) for _ in range(3)]
    ended = register(sqlite_house)
    assert ended.ask("POST", "/logout").status == 200
    copy = tmp_path / "copy.db"
    back_up(sqlite_house, copy)
    newer = before[0]
    kept = newer.refresh
    newer.renewed()
    later = register(sqlite_house)

    secret = {"POSTERN_SECRET": sqlite_house.gateway.env["POSTERN_SECRET"]}
    with run_identity_gateway(url=f"sqlite:{copy}", workers=1, env=secret) as other:
        for person in before:
            there = Person(other, person.email, person.password, access=person.access, refresh=person.refresh)
            own = there.get("/app/x")
            if person is newer:  # its token is newer than the backup: rule 5 of rotation
                assert (own.status, own.code) == (401, "invalid_token")
                assert (there.renew().status, there.renew(kept).status) == (400, 400)
                assert there.sign_in().get("/app/x").status == 200
            else:
                assert own.status == 200 and other.seen.value(b"x-user-email").decode() == person.email
                assert there.renewed().get("/app/x").status == 200
        for gone in (ended, later):
            there = Person(other, gone.email, gone.password, access=gone.access)
            assert there.get("/app/x").status == 401
        assert there.call("POST", "/login", {"email": later.email, "password": later.password}).status == 401


def back_up(world: IdentityWorld, copy: Path) -> None:
    """By SQLite's own backup, page by page, with somebody writing all the while."""
    written, over = threading.Event(), threading.Event()

    def write() -> None:
        writer = register(world)
        while not over.is_set():
            writer.renewed()
            written.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert written.wait(30)
        path = os.path.join(world.gateway.env["POSTERN_DATA"], "postern.db")
        with closing(sqlite3.connect(path, timeout=30)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target, pages=10, sleep=0.001)
            whole(target)
            source.execute("VACUUM INTO ?", (f"{copy}-2",))
        with closing(sqlite3.connect(f"{copy}-2")) as second:
            whole(second)
    finally:
        over.set()
        thread.join(30)


def whole(copy: sqlite3.Connection) -> None:
    assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert copy.execute("SELECT count(*) FROM users").fetchone() >= (5,)
