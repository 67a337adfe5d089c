"""The identity service inside the test: real store, real HTTP on a Unix socket, a clock that tests move."""

import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg  # type: ignore[import-untyped]
import msgspec
from aiohttp import web

from gateway.config.service import Service
from gateway.identity import assembly, openapi, sessions
from gateway.identity.app import make_app
from gateway.identity.context import Context
from gateway.identity.runner import Runner
from gateway.identity.sessions import OpenedSession
from gateway.identity.table import endpoints
from gateway.identity.web import Asker, Endpoint
from gateway.store import accounts, roles
from gateway.store import sessions as session_rows
from gateway.store.accounts import User

BEGAN = 1_800_000_000_000  # milliseconds; the clock stands still unless a test moves it
ADDRESS = "203.0.113.7"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
CURL = "curl/8.7.1"
SECRET = "a-master-secret-for-tests-0123456789-abcdef"
MANY = (1_000_000, 60)
SETTINGS = Service(
    secrets=(SECRET,),
    base_url="https://gate.test",
    limits=dict.fromkeys(("login", "register", "refresh", "mail", "mail_account"), MANY),
)


class Clock:
    """The database's clock."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.now = BEGAN

    def __call__(self) -> float:
        return self.now / 1000

    async def move(self, seconds: float) -> None:
        self.now += int(seconds * 1000)
        await self.set()

    async def set(self) -> None:
        if self._url.startswith("sqlite:"):
            return
        connection = await asyncpg.connect(self._url, timeout=10)
        try:
            await connection.execute(
                "CREATE OR REPLACE FUNCTION postern_now() RETURNS bigint LANGUAGE sql VOLATILE AS "
                f"$$ SELECT {self.now}::bigint $$"
            )
        finally:
            await connection.close(timeout=5)


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: Any
    body: Any  # decoded JSON; None when there is none

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))


class Rig:
    """A service, and what tests do to it."""

    accounts, roles, rows = accounts, roles, session_rows

    def __init__(self, context: Context, clock: Clock, http: aiohttp.ClientSession) -> None:
        self.context = context
        self.clock = clock
        self._http = http
        self.documented = documented(context.settings)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        bearer: str = "",
        cookie: str = "",
        agent: str = FIREFOX,
        address: str = ADDRESS,
        headers: dict[str, str] | None = None,
        data: bytes | AsyncIterator[bytes] | None = None,
    ) -> Answer:
        """One call as the edge forwards it; whatever is answered must stand in the document."""
        sent = {
            "X-Forwarded-For": address, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "gate.test",
            "X-Request-Id": "test-request", "User-Agent": agent,
        }  # fmt: skip
        if bearer:
            sent["Authorization"] = f"Bearer {bearer}"
        if cookie:
            sent["Cookie"] = f"{self.context.settings.cookie.name}={cookie}"
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = msgspec.json.encode(body)
        sent.update(headers or {})
        async with self._http.request(
            method, f"http://gate{path}", data=data, headers=sent, allow_redirects=False
        ) as response:
            text = await response.read()
            answer = Answer(response.status, response.headers, msgspec.json.decode(text) if text else None)
        self.documented(method, path, answer)
        return answer

    async def api(self, method: str, path: str, body: Any = None, **how: Any) -> Answer:
        return await self.call(method, self.context.settings.prefix + path, body, **how)

    async def user(self, name: str = "ada", **more: Any) -> User:
        async with self.context.store.writing() as db:
            user = User(
                user_id=str(uuid.uuid4()), username=name, username_key=name, email=f"{name}@example.test",
                email_key=f"{name}@example.test", password_changed_at=db.now, created_at=db.now, **more,
            )  # fmt: skip
            return await accounts.insert(db, user)

    async def open(self, user: User, agent: str = FIREFOX, **how: Any) -> OpenedSession:
        """A session of the user, as a sign-in opens it."""
        asker = Asker(ADDRESS, agent)
        async with self.context.store.writing() as db:
            return await sessions.open_session(self.context, db, user, asker, **how)

    async def signed_in(self, name: str = "ada", **how: Any) -> OpenedSession:
        return await self.open(await self.user(name), **how)

    async def session(self, session_id: str) -> Any:
        """The row as it is now."""
        async with self.context.store.reading() as db:
            return await session_rows.by_id(db, session_id)

    async def touch(self, seen: Sequence[tuple[str, float]]) -> None:
        await sessions.touch(self.context, seen)

    async def refresh(self, token: str, **how: Any) -> Answer:
        return await self.api("POST", "/refresh", {"refresh_token": token}, **how)

    async def good(self, access: str) -> bool:
        """Whether an access token opens anything."""
        answer = await self.api("POST", "/validate", {"token": access})
        return bool(answer.body["valid"])

    def count(self, name: str, *labels: str) -> float:
        found = [
            each for each in self.context.counters.samples() if (each.name, each.labels) == (name, labels)
        ]
        return found[0].value if found else 0.0


def cookie_of(line: str) -> str:
    """The value in a Set-Cookie line."""
    return line.partition("=")[2].partition(";")[0]


def documented(settings: Service) -> Callable[[str, str, Answer], None]:
    """A check that a call's path, status and kind of body stand in the OpenAPI document."""
    own = msgspec.structs.replace(settings, database_url="", data="")
    document = _document(msgspec.msgpack.encode(own))

    def check(method: str, path: str, answer: Answer) -> None:
        operation = _operation(document, method, path.partition("?")[0])
        if operation is None:
            assert answer.status in (200, 403, 404, 405, 500), (method, path, answer.status)
            return
        told = operation["responses"].get(str(answer.status))
        assert told is not None, f"{method} {path}: {answer.status} is not documented"
        if answer.status == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer "), (method, path)
        if method != "HEAD" and answer.body is not None:
            kind = answer.headers["Content-Type"].partition(";")[0]
            assert kind in told["content"], (method, path, kind)

    return check


@cache
def _document(settings: bytes) -> dict[str, Any]:
    """Made once for equal settings: it takes longer than a whole test."""
    document: dict[str, Any] = {}
    read = msgspec.msgpack.decode(settings, type=Service)
    api, keys = endpoints(read)
    openapi.fill(document, read, [(read.prefix, api), ("", keys)])
    return document


def _operation(document: dict[str, Any], method: str, path: str) -> Any:
    method = "get" if method == "HEAD" else method.lower()
    words = path.split("/")
    for pattern, operations in document["paths"].items():
        parts = pattern.split("/")
        if len(parts) == len(words) and all(
            part == word or part.startswith("{") for part, word in zip(parts, words, strict=True)
        ):
            return operations.get(method)
    return None


@asynccontextmanager
async def running(
    url: str, settings: Service = SETTINGS, more: Sequence[Endpoint] = ()
) -> AsyncIterator[Rig]:
    """A service over this database, which may be empty; with more calls than it has."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="postern-"))
        settings = msgspec.structs.replace(settings, database_url=url, data=folder)
        clock = Clock(url)
        context = await assembly.assemble(settings, clock)
        stack.push_async_callback(assembly.dismantle, context)
        await clock.set()
        http = await stack.enter_async_context(_client(context, Path(folder) / "http.sock", more))
        yield Rig(context, clock, http)


@asynccontextmanager
async def _client(
    context: Context, path: Path, more: Sequence[Endpoint]
) -> AsyncIterator[aiohttp.ClientSession]:
    api, keys = endpoints(context.settings)
    runner = Runner(make_app(context, [*api, *more], keys), auto_decompress=False)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    connector = aiohttp.UnixConnector(path=str(path), limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session
    await runner.cleanup()
