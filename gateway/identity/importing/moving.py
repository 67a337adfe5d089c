"""Takes rows in, in batches that are kept at once: run again, it goes on where it stopped."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from gateway.identity.audit import COMMAND_LINE, USERS_IMPORTED, audit
from gateway.identity.importing.rows import Refusal, read
from gateway.identity.names import BadName
from gateway.store import accounts
from gateway.store.accounts import User
from gateway.store.database import Store

BATCH = 1000
ROLE = "user"


class Report(msgspec.Struct):
    """What became of the rows."""

    read: int = 0
    imported: int = 0
    already: int = 0  # the same user_id and address are here: from a run before this one
    refused: list[Refusal] = []


class Mover:
    """One import. With `dry` nothing is written."""

    def __init__(self, store: Store, *, dry: bool, progress: Callable[[Report], None]) -> None:
        self.report = Report(refused=[])
        self._store, self._dry, self._progress = store, dry, progress
        self._ids: dict[str, str] = {}  # user_id -> key of the address
        self._emails: set[str] = set()
        self._usernames: set[str] = set()
        self._batch: list[User] = []
        self._rows: dict[str, int] = {}  # user_id -> its row, of those of this run

    async def move(self, rows: AsyncIterator[Mapping[str, Any]], source: str) -> Report:
        """All of them; `source` stands in the audit trail."""
        await self._learn()
        async with self._store.reading() as db:
            now = await db.time()
        async for row in rows:
            self.report.read += 1
            self._take(row, now)
            if len(self._batch) == BATCH:
                await self._keep()
        await self._keep()
        if not self._dry and self.report.imported:
            await self._look_again()
            async with self._store.writing() as db:
                await audit(db, USERS_IMPORTED, actor=COMMAND_LINE, users=self.report.imported, source=source)
        return self.report

    async def _learn(self) -> None:
        """Who is here already."""
        after = 0
        while True:
            async with self._store.reading() as db:
                found = await accounts.keys_after(db, after, BATCH * 10)
            for each in found:
                self._ids[each.user_id] = each.email_key
                self._emails.add(each.email_key)
                if each.username_key:
                    self._usernames.add(each.username_key)
            if not found:
                return
            after = found[-1].id

    def _take(self, row: Mapping[str, Any], now: int) -> None:
        who = str(row.get("user_id") or row.get("email") or row.get("username") or "")
        try:
            taken = read(row, now)
        except BadName as fault:
            self._refuse(who, str(fault))
            return
        user = taken.user
        known = self._ids.get(user.user_id)
        if known == user.email_key:
            self.report.already += 1
            return
        clash = self._clash(user, known)
        if clash:
            self._refuse(who, clash)
            return
        self._ids[user.user_id] = user.email_key
        self._emails.add(user.email_key)
        if user.username_key:
            self._usernames.add(user.username_key)
        self._rows[user.user_id] = self.report.read
        self.report.refused += [Refusal(self.report.read, who, why, taken=True) for why in taken.left]
        self._batch.append(user)

    def _clash(self, user: User, known: str | None) -> str:
        if known is not None:
            return "another user here has this user_id"
        if user.email_key in self._emails:
            return "another user has this address (case makes no difference)"
        if user.username_key in self._usernames:
            return "another user has this user name (case makes no difference)"
        return ""

    def _refuse(self, who: str, why: str) -> None:
        self.report.refused.append(Refusal(self.report.read, who, why))

    async def _keep(self) -> None:
        batch, self._batch = self._batch, []
        if batch and not self._dry:
            async with self._store.writing() as db:
                await accounts.insert_new(db, batch, ROLE, COMMAND_LINE)
        self.report.imported += len(batch)
        self._progress(self.report)

    async def _look_again(self) -> None:
        """Somebody may have registered one of these addresses or names meanwhile: that one stays."""
        here: set[str] = set()
        after = 0
        while True:
            async with self._store.reading() as db:
                found = await accounts.keys_after(db, after, BATCH * 10)
            here.update(each.user_id for each in found)
            if not found:
                break
            after = found[-1].id
        for user_id, row in self._rows.items():
            if user_id not in here:
                self.report.imported -= 1
                self.report.refused.append(
                    Refusal(row, user_id, "its address or user name was taken meanwhile")
                )
