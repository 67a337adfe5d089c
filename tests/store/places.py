"""A place to keep things, for one test: a database of either kind, with a clock that can be set."""

import time
from pathlib import Path
from typing import Literal

from gateway.store.accounts import User
from gateway.store.database import Store
from gateway.store.sessions import Session
from tests.kit.postgres import Postgres, name_in

DAY = 86_400_000


class Place:
    """`url` of an empty, migrated database; stores opened here are closed with it."""

    def __init__(self, url: str, server: Postgres | None = None) -> None:
        self.url = url
        self._server = server
        self._set: int | None = None
        self._opened: list[Store] = []

    @property
    def sqlite(self) -> bool:
        return self._server is None

    @property
    def path(self) -> Path:
        """Of SQLite's file."""
        assert self.sqlite
        return Path(self.url.removeprefix("sqlite:"))

    async def open(self, migrate: Literal["auto", "manual"] = "auto") -> Store:
        store = await Store.open(self.url, migrate, self._clock)
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for each in self._opened:
            await each.close()
        if self._server is not None:
            self._server.drop_database(self.url)

    def set_clock(self, milliseconds: int) -> None:
        """The database's time is this until it is set again."""
        self._set = milliseconds
        if self._server is not None:
            self.sql(
                "CREATE OR REPLACE FUNCTION postern_now() RETURNS bigint LANGUAGE sql VOLATILE "
                f"AS $$ SELECT {milliseconds}::bigint $$"
            )

    def sql(self, text: str) -> str:
        """Said to PostgreSQL from outside."""
        assert self._server is not None
        return self._server.sql(text, name_in(self.url))

    def _clock(self) -> float:
        return time.time() if self._set is None else self._set / 1000


def user(name: str = "ann") -> User:
    return User(
        user_id=f"id-of-{name}", email=f"{name.title()}@example.org", email_key=f"{name}@example.org",
        password_changed_at=1000, created_at=1000, username=name.title(), username_key=name,
        password_hash="$argon2id$…",
    )  # fmt: skip


def session(name: str = "s1", of: str = "ann", idle_until: int = 2**53) -> Session:
    return Session(
        session_id=name, user_id=f"id-of-{of}", salt=b"0123456789abcdef", key_id="00aa00bb", generation=1,
        min_generation=1, rotated_at=1000, access_until=2000, cookie_generation=1, cookie_rotated_at=1000,
        family="firefox", address="192.0.2.1", agent="Firefox", proved_at=1000, created_at=1000,
        last_seen_at=1000, idle_until=idle_until, absolute_until=0,
    )  # fmt: skip
