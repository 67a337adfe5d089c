"""Webhooks: signed, told once their cause is kept, again after failures, and only of what is wanted."""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from gateway.config.service import Webhook
from gateway.identity import audit
from gateway.identity import outbox as module
from gateway.identity.audit import audit as write
from gateway.identity.carrying import fit_out
from gateway.identity.outbox import PAUSES
from gateway.identity.webhooks import signature
from gateway.model.events import EVENTS
from gateway.store import outbox as rows
from tests.identity.rig import SETTINGS, Rig, running

SECRET = "a-secret-of-the-receiver-0123456789"


class Receiver:
    """Another program: keeps what it is told, answers what the test says."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        at, proof = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", request.headers["Postern-Signature"]).groups()  # type: ignore[union-attr]
        wanted = hmac.new(SECRET.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(wanted, proof)
        assert request.content_type == "application/json"
        self.told.append(msgspec.json.decode(body))
        status = self.answers.pop(0) if self.answers else 204
        return web.Response(status=status, headers={"Location": self.url} if status == 302 else {})

    def events(self) -> list[str]:
        return [each["event"] for each in self.told]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made.url = f"http://127.0.0.1:{port}/hook"
    yield made
    await runner.cleanup()


@pytest.fixture
async def rig(
    database: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Rig]:
    monkeypatch.setattr(module, "LOOKED_AT", 0.02)
    hooks = (Webhook(receiver.url, SECRET, ("session.*", "user.registered")),)
    settings = msgspec.structs.replace(SETTINGS, webhooks=hooks, data=str(tmp_path))
    async with running(database, settings) as rig:
        task = asyncio.create_task(rig.context.outbox.run())
        yield rig
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_sent(rig: Rig) -> None:
    async with asyncio.timeout(20):
        while True:
            async with rig.context.store.reading() as db:
                if not (await rows.count(db)).get("webhook"):
                    return
            await asyncio.sleep(0.01)


async def happen(rig: Rig, *events: str) -> None:
    async with rig.context.store.writing() as db:
        for event in events:
            await write(db, event, "u1", session="s1", why="a test")


def test_the_names_are_those_of_the_trail() -> None:
    named = {value for name, value in vars(audit).items() if name.isupper() and isinstance(value, str)}
    assert named - {audit.COMMAND_LINE} == set(EVENTS)


def test_the_page_names_every_event_and_its_code_knows_ours() -> None:
    page = (Path(__file__).parents[2] / "docs/webhooks.md").read_text()
    table = page.partition("## Events")[2]
    assert set(re.findall(r"`([a-z_]+\.[a-z_]+)`", table)) == set(EVENTS)
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    theirs: dict[str, Any] = {}
    exec(code, theirs)
    now = int(time.time())
    assert theirs["is_ours"](SECRET, signature(SECRET, now, b"body"), b"body")
    assert not theirs["is_ours"](SECRET, signature(SECRET, now, b"body"), b"another")
    assert not theirs["is_ours"](SECRET, signature("x" * 32, now, b"body"), b"body")
    assert not theirs["is_ours"](SECRET, signature(SECRET, now - 400, b"body"), b"body")


async def test_registering_tells_what_is_wanted_and_nothing_secret(rig: Rig, receiver: Receiver) -> None:
    body = {"email": "ann@example.org", "password": "a password of Ann's own, 27"}
    answer = await rig.call("POST", "/api/auth/register", body)
    assert answer.status == 201
    await until_sent(rig)
    assert sorted(receiver.events()) == ["session.created", "user.registered"]
    [told] = [each for each in receiver.told if each["event"] == "session.created"]
    assert told["user_id"] == answer.body["user"]["user_id"]
    assert told["session_id"] == answer.body["session_id"]
    assert told["address"] and told["at"].endswith("Z") and told["id"]
    text = msgspec.json.encode(receiver.told).decode()
    for secret in (answer.body["access_token"], answer.body["refresh_token"], body["password"]):
        assert secret not in text


async def test_what_was_rolled_back_is_not_told(rig: Rig, receiver: Receiver) -> None:
    with pytest.raises(ZeroDivisionError):
        async with rig.context.store.writing() as db:
            await write(db, "session.created", "lost")
            1 / 0  # noqa: B018
    await happen(rig, "login.failed", "session.revoked")
    await until_sent(rig)
    assert [(each["event"], each["user_id"]) for each in receiver.told] == [("session.revoked", "u1")]
    assert receiver.told[0]["data"] == {"why": "a test"}


@pytest.mark.parametrize("status", [500, 302, 404])
async def test_a_failure_is_tried_again_with_the_same_id(rig: Rig, receiver: Receiver, status: int) -> None:
    receiver.answers = [status, status]
    await happen(rig, "session.created")
    for attempt, pause in enumerate(PAUSES[:2], 1):
        async with asyncio.timeout(20):
            while len(receiver.told) < attempt:
                await asyncio.sleep(0.01)
            while True:
                async with rig.context.store.reading() as db:
                    [waiting] = await rows.waiting(db)
                if waiting.failure and waiting.due_at > rig.clock.now:
                    break
                await asyncio.sleep(0.01)
        assert str(status) in waiting.failure and "127.0.0.1" not in waiting.failure
        await rig.clock.move(pause)
    await until_sent(rig)
    assert len({each["id"] for each in receiver.told}) == 1
    assert len(receiver.told) == 3


async def test_one_that_wants_no_more_or_is_gone_is_not_asked_again(rig: Rig, receiver: Receiver) -> None:
    receiver.answers = [410]
    await happen(rig, "session.created")
    await until_sent(rig)
    assert len(receiver.told) == 1
    other = msgspec.structs.replace(rig.context.settings, webhooks=(Webhook("http://127.0.0.1:9/x", SECRET),))
    async with rig.context.store.writing() as db:
        await write(db, "session.created", "u1")
        fit_out(rig.context.outbox, rig.context.store, other)  # before it is sent
        rig.context.store.before_commit = None
        await rig.context.outbox.put(db, "webhook", "session.created", {"url": receiver.url, "told": {}})
    await until_sent(rig)
    assert len(receiver.told) == 1


async def test_without_webhooks_nothing_is_written(database: str) -> None:
    async with running(database) as rig:
        await happen(rig, "session.created")
        async with rig.context.store.reading() as db:
            assert await rows.count(db) == {}
