"""Hooks of the operator's own: asked at registration and at resolving; what fails lets nobody by."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.identity import hooks as module
from gateway.identity import resolving
from gateway.identity.hooks import BadHook, HookFailed, Hooks, Registration, Subject
from tests.identity.rig import Rig

PASSWORD = "a password of Ann's own, 27"
SUBJECT = Subject("u1", "ann@example.org", "ann", ("user",), {"plan": "free"})


class House:
    """One hook that does what the test says."""

    def __init__(self) -> None:
        self.asked: list[Registration] = []
        self.reason: Any = None
        self.fault: Exception | None = None

    def on_register(self, registration: Registration) -> Any:
        self.asked.append(registration)
        if self.fault is not None:
            raise self.fault
        return self.reason


class Claims:
    def __init__(self, given: Any) -> None:
        self.given = given

    async def claims(self, subject: Subject) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given(subject) if callable(self.given) else self.given


@pytest.fixture
async def house(rig: Rig) -> AsyncIterator[House]:
    made = House()
    rig.context.hooks = Hooks([("house", made)])
    yield made


async def register(rig: Rig, **more: Any) -> Any:
    body = {"email": "Ann@Example.org", "username": "ann", "password": PASSWORD} | more
    return await rig.call("POST", "/api/auth/register", body)


async def test_a_hook_is_told_who_registers_and_may_refuse(rig: Rig, house: House) -> None:
    house.reason = "Only on Mondays."
    answer = await register(rig, meta={"city": "Bonn"})
    assert (answer.status, answer.code) == (403, "registration_refused")
    assert answer.body["detail"] == "Only on Mondays."
    [asked] = house.asked
    assert (asked.email, asked.username, asked.meta, asked.invited) == (
        "Ann@example.org", "ann", {"city": "Bonn"}, False,
    )  # fmt: skip
    assert not hasattr(asked, "password") and PASSWORD not in repr(asked)
    house.reason = None
    assert (await register(rig)).status == 201


@pytest.mark.parametrize("reason", [False, 0, ["no"], b"no"])
async def test_what_is_no_answer_is_no_yes(rig: Rig, house: House, reason: Any) -> None:
    house.reason = reason
    answer = await register(rig)
    assert (answer.status, answer.code) == (503, "hook_failed")


async def test_t18_a_hook_that_raises_or_hangs_lets_nobody_by(
    rig: Rig, house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house.fault = ValueError("with ann@example.org in it")
    answer = await register(rig)
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "hook_failed", "5")
    assert "ann@example.org" not in caplog.text + str([each.__dict__ for each in caplog.records])
    monkeypatch.setattr(module, "WITHIN", 0.05)

    class Slow:
        async def on_register(self, registration: Registration) -> None:
            await asyncio.Event().wait()

    rig.context.hooks = Hooks([("slow", Slow())])
    assert (await register(rig)).code == "hook_failed"
    rig.context.hooks = Hooks()
    assert (await register(rig)).status == 201


async def test_the_same_is_said_whether_the_address_is_taken(rig: Rig, house: House) -> None:
    assert (await register(rig)).status == 201
    house.reason = "Not today."
    taken, free = await register(rig), await register(rig, email="bob@example.org", username="bob")
    assert taken.body["detail"] == free.body["detail"] and taken.status == free.status == 403


async def test_claims_are_added_to_protected_meta_and_replace_none(rig: Rig) -> None:
    answer = await register(rig)
    rig.context.hooks = Hooks([("b", Claims({"tier": "gold", "n": 3})), ("a", Claims({"tier": "silver"}))])
    found = await resolving.resolve(rig.context, "bearer", answer.body["access_token"], "", "", False)
    assert found["identity"].protected == {"tier": "silver", "n": "3"}
    assert await rig.context.hooks.claims(SUBJECT) == {"tier": "silver", "n": "3"}
    assert await Hooks([("a", Claims({"plan": "gold"}))]).claims(SUBJECT) == {}
    assert await Hooks([("a", Claims(None))]).claims(SUBJECT) == {}


@pytest.mark.parametrize("given", [ValueError("x"), "text", 5, {"x" * 65: "v"}, {"a": "\0"}])
async def test_claims_that_fail_leave_nobody_known(rig: Rig, given: Any) -> None:
    answer = await register(rig)
    rig.context.hooks = Hooks([("broken", Claims(given))])
    with pytest.raises(HookFailed):
        await rig.context.hooks.claims(SUBJECT)
    found = await resolving.resolve(rig.context, "bearer", answer.body["access_token"], "", "", False)
    assert found == {"outcome": "unavailable"}


def test_one_that_does_nothing_is_told() -> None:
    with pytest.raises(BadHook, match="neither on_register nor claims"):
        Hooks([("idle", object())])


def package(folder: Path, code: str, name: str = "house_hooks") -> None:
    """An installed package with an entry point."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[postern.hooks]\nhouse = {name}:Hook\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("class Hook:\n    def on_register(self, r): return 'no'\n", "['house']"),
        ("class Hook:\n    pass\n", "neither on_register nor claims"),
        ("import nothing_such\n", "failed to load: ModuleNotFoundError"),
        ("class Hook:\n    def __init__(self): raise RuntimeError('hush')\n", "failed to load: RuntimeError"),
    ],
)
def test_hooks_are_those_of_installed_packages(tmp_path: Path, code: str, said: str) -> None:
    package(tmp_path, code)
    script = (
        "from gateway.identity.hooks import load, BadHook\n"
        "try: print([name for name, _ in load()._by_kind['on_register']])\n"
        "except BadHook as fault: print(fault)"
    )
    path = ":".join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"PYTHONPATH": path}, timeout=60
    )
    assert said in done.stdout and "hush" not in done.stdout + done.stderr
