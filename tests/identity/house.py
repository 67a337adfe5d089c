"""A house for the tests of accounts: a service with cheap passwords, and what people do in it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from gateway.config.service import Password
from gateway.identity import accounts
from gateway.store import events, revocations
from tests.identity.rig import SETTINGS, Answer, Rig, running

PASSWORD, WRONG = "a long enough password", "wrong password, and long"
NEW = "another long password"
SAME = {"Sec-Fetch-Site": "same-origin"}
ALL_KNOW = {"edges": 0, "acknowledged": 0}


@asynccontextmanager
async def house(database: str, **settings: Any) -> AsyncIterator[Rig]:
    cheap = Password(memory=64 * 1024, time=1)
    async with running(database, msgspec.structs.replace(SETTINGS, **{"password": cheap, **settings})) as rig:
        yield rig


async def register(rig: Rig, name: str = "ada", status: int = 201, **more: Any) -> Answer:
    body = {"email": f"{name}@example.test", "password": PASSWORD, "username": name, **more}
    answer = await rig.api("POST", "/register", body)
    assert answer.status == status, answer.body
    return answer


async def login(rig: Rig, name: str = "ada", password: str = PASSWORD, **how: Any) -> Answer:
    field = "email" if "@" in name else "username"
    return await rig.api("POST", "/login", {field: name, "password": password}, **how)


async def trail(rig: Rig) -> list[str]:
    """The events, oldest first."""
    async with rig.context.store.reading() as db:
        return [each.event for each in reversed(await events.page(db))]


async def news(rig: Rig) -> list[tuple[str, str, str]]:
    async with rig.context.store.reading() as db:
        return [(each.kind, each.session, each.user) for each in await revocations.after(db, 0, 0)]


def told(answer: Answer) -> tuple[int, Any, dict[str, str]]:
    """All that an answer says, less what is of the moment."""
    own = ("date", "content-length")
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in own}
    return answer.status, answer.body, headers


class Work:
    """What a call costs."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    async def of(self, call: Callable[[], Awaitable[Answer]]) -> tuple[Answer, int, int]:
        """The answer, calls of argon2, queries."""
        argon, queries = self._so_far()
        answer = await call()
        argon_after, queries_after = self._so_far()
        return answer, argon_after - argon, queries_after - queries

    def _so_far(self) -> tuple[int, int]:
        samples = self._rig.context.store.samples()
        # the log of revocations is read each second, whatever is called
        queries = sum(sum(sample.counts) for sample in samples if sample.labels != ("revocations_after",))
        return self._rig.context.passwords.calls, queries


class Actor:
    """Somebody who is signed in."""

    def __init__(self, rig: Rig, user_id: str, told: dict[str, Any]) -> None:
        self._rig, self.id, self.told = rig, user_id, told
        self.bearer: str = told["access_token"]

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        return await self._rig.api(method, path, body, bearer=self.bearer)


async def signed_in(rig: Rig, name: str, *roles: str) -> Actor:
    known = await accounts.add_user(rig.context, f"{name}@example.test", name, PASSWORD, roles)
    answer = await rig.api("POST", "/login", {"username": name, "password": PASSWORD})
    assert answer.status == 200, answer.body
    return Actor(rig, known.user.user_id, answer.body)
