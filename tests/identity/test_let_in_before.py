"""T28: a call that was let in before its caller was signed out, or lost a right, writes nothing after it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.identity import actors, sessions
from gateway.identity.table import endpoints
from gateway.store import roles
from gateway.store.database import Database
from tests.identity.house import PASSWORD, Actor
from tests.identity.rig import Answer, Rig
from tests.kit.database import everything

Asked = tuple[str, str, Any]


async def admins_calls(rig: Rig, root: Actor, ada: Actor) -> list[Asked]:
    """Every call by which an admin changes something, each with something to change."""
    await root.ask("POST", "/admin/roles", {"name": "editor"})
    invite = (await root.ask("POST", "/admin/invites")).body["id"]
    user = f"/admin/users/{ada.id}"
    calls: list[Asked] = [
        ("DELETE", user, None), ("PUT", f"{user}/roles", {"roles": ["editor"]}),
        ("POST", f"{user}/lock", {}), ("POST", f"{user}/unlock", None), ("DELETE", f"{user}/sessions", None),
        ("PATCH", f"{user}/meta", {"protected": {"a": 1}}), ("POST", f"{user}/password-reset", None),
        ("POST", "/admin/invites", {}), ("DELETE", f"/admin/invites/{invite}", None),
        ("POST", "/admin/roles", {"name": "new"}), ("PUT", "/admin/roles/editor", {"permissions": ["a"]}),
        ("DELETE", "/admin/roles/editor", None),
        ("DELETE", f"/admin/sessions/{ada.told['session_id']}", None), ("POST", "/admin/keys/rotate", None),
    ]  # fmt: skip
    writing = [each for each in endpoints(rig.context.settings)[0] if each.who == "fresh admin"]
    assert len(calls) == len(writing)
    return calls


async def late(
    rig: Rig, who: Actor, calls: Sequence[Asked], meanwhile: Callable[[Database], Awaitable[Any]]
) -> list[Answer]:
    """What the calls answer when all have been let in, and `meanwhile` is committed before they go on."""

    def resolved() -> int:
        samples = rig.context.store.samples()
        return sum(sum(each.counts) for each in samples if each.labels == ("session_with_user",))

    wanted = resolved() + len(calls)
    async with rig.context.store.writing() as db:
        await actors.one_at_a_time(db)
        await rig.rows.locked(db, who.told["session_id"])
        begun = [asyncio.create_task(who.ask(*call)) for call in calls]
        async with asyncio.timeout(20):
            while resolved() < wanted:
                await asyncio.sleep(0.01)
        await asyncio.wait(begun, timeout=0.1)
        assert not any(task.done() for task in begun)
        await meanwhile(db)
    return await asyncio.gather(*begun)


async def kept(rig: Rig, *without: str) -> dict[str, list[str]]:
    found = await asyncio.to_thread(everything, rig.context.settings.database_url)
    without += ("sqlite_sequence",)
    return {name: sorted(text.splitlines()) for name, text in found.items() if name not in without}


async def test_T28_an_admin_who_was_signed_out_meanwhile_changes_nothing(
    rig: Rig, root: Actor, ada: Actor
) -> None:
    calls = await admins_calls(rig, root, ada)
    held = await rig.session(root.told["session_id"])
    before = await kept(rig, "sessions", "revocations", "facts")

    async def sign_out(db: Database) -> None:
        await sessions.end(rig.context, db, held, "test")

    answers = await late(rig, root, calls, sign_out)
    assert {(each.status, each.code) for each in answers} == {(401, "invalid_token")}
    assert await kept(rig, "sessions", "revocations", "facts") == before
    assert await rig.good(ada.bearer)


async def test_T28_an_admin_who_is_none_any_more_changes_nothing(rig: Rig, root: Actor, ada: Actor) -> None:
    calls = await admins_calls(rig, root, ada)
    before = await kept(rig, "user_roles", "facts")

    async def take_it_away(db: Database) -> None:
        await roles.withdraw(db, root.id, "admin")

    answers = await late(rig, root, calls, take_it_away)
    assert {(each.status, each.code) for each in answers} == {(403, "insufficient_scope")}
    assert all('scope="postern:admin"' in each.headers["WWW-Authenticate"] for each in answers)
    assert await kept(rig, "user_roles", "facts") == before
    assert (await ada.ask("GET", "/me")).body["roles"] == ["user"]


async def test_T28_an_owner_who_was_signed_out_meanwhile_changes_nothing(rig: Rig, ada: Actor) -> None:
    held = await rig.session(ada.told["session_id"])
    before = await kept(rig, "sessions", "revocations", "facts")

    async def sign_out(db: Database) -> None:
        await sessions.end(rig.context, db, held, "test")

    calls: list[Asked] = [("PATCH", "/me", {"first_name": "thief"}), ("DELETE", "/me", None)]
    answers = await late(rig, ada, calls, sign_out)
    assert {(each.status, each.code) for each in answers} == {(401, "invalid_token")}
    assert await kept(rig, "sessions", "revocations", "facts") == before


async def test_two_admins_who_act_on_each_other_wait_in_no_ring(rig: Rig, root: Actor, ada: Actor) -> None:
    """Each holds the lock of its own session, and wants those of the other's."""
    await root.ask("PUT", f"/admin/users/{ada.id}/roles", {"roles": ["admin"]})
    for _ in range(5):
        own = [(root, ada), (ada, root)]
        answers = await asyncio.gather(
            *(by.ask("PATCH", f"/admin/users/{of.id}/meta", {"protected": {"x": 1}}) for by, of in own * 3),
            *(by.ask("DELETE", f"/admin/users/{of.id}/sessions") for by, of in own),
            *(by.ask("DELETE", "/sessions") for by, _ in own),
        )
        assert {each.status for each in answers} <= {200, 401}
        for actor in (root, ada):
            name = "root" if actor is root else "ada"
            answer = await rig.api("POST", "/login", {"username": name, "password": PASSWORD})
            actor.told, actor.bearer = answer.body, answer.body["access_token"]
