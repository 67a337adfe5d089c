"""Administration: who may, what each act does, that it is told to the edges and written down."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.identity import accounts, purge
from gateway.identity.actors import OPERATOR
from gateway.identity.table import endpoints
from gateway.identity.web import Refused
from gateway.model import credentials
from gateway.store import events, onetime
from tests.identity.house import ALL_KNOW, NEW, PASSWORD, Actor, news, signed_in
from tests.identity.rig import ADDRESS, FIREFOX, Rig

DAY = 86_400
DONE = {"propagated": ALL_KNOW}


async def last_event(rig: Rig) -> events.Event:
    async with rig.context.store.reading() as db:
        return (await events.page(db, most=1))[0]


# Who may

LOOKING = ["/admin/users", "/admin/roles", "/admin/invites", "/admin/sessions", "/admin/events"]
WRITING: list[tuple[str, str, Any]] = [
    ("DELETE", "/admin/users/x", None), ("PUT", "/admin/users/x/roles", {"roles": []}),
    ("POST", "/admin/users/x/lock", {}), ("POST", "/admin/users/x/unlock", None),
    ("DELETE", "/admin/users/x/sessions", None), ("PATCH", "/admin/users/x/meta", {}),
    ("POST", "/admin/users/x/password-reset", None), ("POST", "/admin/invites", {}),
    ("DELETE", "/admin/invites/x", None), ("POST", "/admin/roles", {"name": "x"}),
    ("PUT", "/admin/roles/x", {"permissions": []}), ("DELETE", "/admin/roles/x", None),
    ("DELETE", "/admin/sessions/x", None), ("POST", "/admin/keys/rotate", None),
]  # fmt: skip


async def test_only_who_has_the_permission_may_and_only_fresh_to_write(
    rig: Rig, root: Actor, ada: Actor
) -> None:
    every = [("GET", path, None) for path in LOOKING] + [("GET", "/admin/users/x", None), *WRITING]
    for method, path, body in every:
        nobody = await rig.api(method, path, body)
        assert (nobody.status, nobody.code) == (401, "credential_missing"), path
        user = await ada.ask(method, path, body)
        assert (user.status, user.code) == (403, "insufficient_scope"), path
    await rig.clock.move(901)
    root.bearer = (await rig.refresh(root.told["refresh_token"])).body["access_token"]
    for path in LOOKING:
        assert (await root.ask("GET", path)).status == 200
    for method, path, body in WRITING:
        stale = await root.ask(method, path, body)
        assert (stale.status, stale.code) == (401, "insufficient_user_authentication"), path
    assert (await root.ask("POST", "/reauth", {"password": PASSWORD})).status == 200
    for method, path, body in WRITING:
        assert (await root.ask(method, path, body)).status in (200, 201, 404), path


async def test_every_call_for_admins_asks_for_it(rig: Rig) -> None:
    """No line of the table was forgotten above."""
    api, _ = endpoints(rig.context.settings)
    listed = {(method, path.replace("/x", "/{}")) for method, path, _ in WRITING}
    for each in api:
        if each.path.startswith("/admin"):
            assert each.who == ("admin" if each.method == "GET" else "fresh admin"), each.path
            if each.method != "GET":
                words = ["{}" if word.startswith("{") else word for word in each.path.split("/")]
                assert (each.method, "/".join(words)) in listed


# Users


async def test_users_are_searched_page_by_page(rig: Rig, root: Actor) -> None:
    for number in range(5):
        await rig.user(f"user{number}")
    first = (await root.ask("GET", "/admin/users?limit=4")).body
    assert [each["username"] for each in first["users"]] == ["root", "user0", "user1", "user2"]
    rest = (await root.ask("GET", f"/admin/users?limit=4&after={first['next']}")).body
    assert [each["username"] for each in rest["users"]] == ["user3", "user4"] and rest["next"] is None
    found = (await root.ask("GET", "/admin/users?search=USER3@")).body["users"]
    assert [each["email"] for each in found] == ["user3@example.test"]
    assert (await root.ask("GET", "/admin/users?search=%25")).body["users"] == []
    assert (await root.ask("GET", "/admin/users?limit=1000")).status == 422


async def test_one_user_is_shown_whole_but_for_the_hash(root: Actor, ada: Actor) -> None:
    shown = await root.ask("GET", f"/admin/users/{ada.id}")
    assert (shown.body["roles"], shown.body["locked"], shown.body["has_password"]) == (["user"], False, True)
    assert "argon2" not in msgspec.json.encode(shown.body).decode()
    assert (await root.ask("GET", "/admin/users/nobody")).status == 404


async def test_T28_roles_are_changed_and_every_edge_looks_again(rig: Rig, root: Actor, ada: Actor) -> None:
    answer = await root.ask("PUT", f"/admin/users/{ada.id}/roles", {"roles": ["admin"]})
    assert (answer.status, answer.body) == (200, DONE)
    assert (await news(rig))[-1] == ("changed", "", ada.id)
    event = await last_event(rig)
    assert (event.event, event.user_id, event.actor) == ("user.roles_changed", ada.id, root.id)
    assert msgspec.json.decode(event.data) == {"given": ["admin"], "taken": ["user"]}
    assert (await ada.ask("GET", "/admin/users")).status == 200  # with the same token
    unknown = await root.ask("PUT", f"/admin/users/{ada.id}/roles", {"roles": ["king"]})
    assert unknown.status == 422 and list(unknown.body["errors"]) == ["roles"]
    assert (await root.ask("PUT", f"/admin/users/{ada.id}/roles", {"roles": []})).status == 200
    assert (await ada.ask("GET", "/admin/users")).status == 403
    before, written = await news(rig), await last_event(rig)
    await root.ask("PUT", f"/admin/users/{ada.id}/roles", {"roles": []})
    # nothing changed; but only the edges can say that they know of what changed before
    assert await news(rig) == [*before, ("changed", "", ada.id)] and await last_event(rig) == written


async def test_T28_a_locked_user_has_no_session_and_can_t_sign_in(rig: Rig, root: Actor, ada: Actor) -> None:
    answer = await root.ask("POST", f"/admin/users/{ada.id}/lock", {"why": "left the house"})
    assert (answer.status, answer.body) == (200, DONE)
    assert not await rig.good(ada.bearer)
    assert (await rig.refresh(ada.told["refresh_token"])).code == "invalid_refresh_token"
    right = await rig.api("POST", "/login", {"username": "ada", "password": PASSWORD})
    assert (right.status, right.code) == (401, "invalid_credentials")
    assert (await news(rig))[-1] == ("revoked", "", ada.id)
    shown = (await root.ask("GET", f"/admin/users/{ada.id}")).body
    assert (shown["locked"], shown["locked_why"]) == (True, "left the house")
    assert (await root.ask("POST", f"/admin/users/{ada.id}/unlock")).body["locked"] is False
    assert (await rig.api("POST", "/login", {"username": "ada", "password": PASSWORD})).status == 200
    assert not await rig.good(ada.bearer)  # what ended stays ended


async def test_sessions_of_one_user_and_of_all(rig: Rig, root: Actor, ada: Actor) -> None:
    mine = (await root.ask("GET", f"/admin/users/{ada.id}/sessions")).body["sessions"]
    assert [each["session_id"] for each in mine] == [ada.told["session_id"]]
    every = (await root.ask("GET", "/admin/sessions?limit=1")).body
    rest = (await root.ask("GET", f"/admin/sessions?limit=1&after={every['next']}")).body
    users = [each["user_id"] for each in every["sessions"] + rest["sessions"]]
    assert sorted(users) == sorted([root.id, ada.id])
    gone = await root.ask("DELETE", f"/admin/sessions/{ada.told['session_id']}")
    assert (gone.status, gone.body) == (200, DONE)
    assert not await rig.good(ada.bearer)
    assert (await news(rig))[-1] == ("revoked", ada.told["session_id"], "")
    assert (await root.ask("DELETE", f"/admin/sessions/{ada.told['session_id']}")).status == 404
    assert (await root.ask("DELETE", f"/admin/users/{ada.id}/sessions")).status == 200
    assert (await last_event(rig)).actor == root.id


async def test_protected_meta_is_the_admins_and_public_stays_apart(rig: Rig, root: Actor, ada: Actor) -> None:
    path = f"/admin/users/{ada.id}/meta"
    change = {"protected": {"tier": "pro", "old": 1}, "public": {"colour": "blue"}}
    assert (await root.ask("PATCH", path, change)).body == DONE
    assert (await root.ask("PATCH", path, {"protected": {"old": None}})).status == 200
    shown = (await root.ask("GET", f"/admin/users/{ada.id}")).body
    assert (shown["protected"], shown["meta"]) == ({"tier": "pro"}, {"colour": "blue"})
    assert (await root.ask("PATCH", path, {"protected": {"tier": None}})).status == 200
    assert (await root.ask("GET", f"/admin/users/{ada.id}")).body["protected"] == {}
    me = (await ada.ask("GET", "/me")).body
    assert me["meta"] == {"colour": "blue"} and "protected" not in me
    assert (await news(rig))[-1] == ("changed", "", ada.id)
    wrong = await root.ask("PATCH", path, {"protected": {"x" * 65: 1}})
    assert wrong.status == 422 and list(wrong.body["errors"]) == ["protected"]


async def test_a_reset_ends_all_and_its_key_sets_a_password_once(rig: Rig, root: Actor, ada: Actor) -> None:
    made = await root.ask("POST", f"/admin/users/{ada.id}/password-reset")
    assert made.status == 200 and made.body["key"].startswith("psp_") and made.body["expires_in"] == 3600
    assert not await rig.good(ada.bearer)
    assert (await rig.api("POST", "/login", {"username": "ada", "password": PASSWORD})).status == 401
    weak = await rig.api("POST", "/password/reset", {"key": made.body["key"], "new_password": "short"})
    assert weak.status == 422
    tries = [
        rig.api("POST", "/password/reset", {"key": made.body["key"], "new_password": NEW}) for _ in range(5)
    ]
    statuses = sorted(each.status for each in await asyncio.gather(*tries))
    assert statuses == [200, 400, 400, 400, 400]  # T29
    assert (await rig.api("POST", "/login", {"username": "ada", "password": NEW})).status == 200
    async with rig.context.store.reading() as db:
        assert made.body["key"] not in repr(await events.page(db))


async def test_a_reset_key_expires_and_is_nothing_else(rig: Rig, root: Actor, ada: Actor) -> None:
    """T30: each key opens what it was made for."""
    key = (await root.ask("POST", f"/admin/users/{ada.id}/password-reset")).body["key"]
    invite = (await root.ask("POST", "/admin/invites", {})).body["invite"]
    for other in (invite, root.bearer, ada.told["refresh_token"], "psp_nonsense", credentials.new("psp_")):
        refused = await rig.api("POST", "/password/reset", {"key": other, "new_password": PASSWORD})
        assert (refused.status, refused.code) == (400, "invalid_key")
    body = {"email": "x@example.test", "password": PASSWORD, "invite": key}
    assert (await rig.api("POST", "/register", body)).code == "invalid_key"
    await rig.clock.move(3601)
    late = await rig.api("POST", "/password/reset", {"key": key, "new_password": PASSWORD})
    assert late.code == "invalid_key"


async def test_a_newer_reset_key_voids_the_older(rig: Rig, root: Actor, ada: Actor) -> None:
    first, second = [
        (await root.ask("POST", f"/admin/users/{ada.id}/password-reset")).body["key"] for _ in range(2)
    ]
    for key, status in ((first, 400), (second, 200)):
        answer = await rig.api("POST", "/password/reset", {"key": key, "new_password": PASSWORD})
        assert answer.status == status


async def test_a_deleted_user_is_gone_and_its_sessions_too(rig: Rig, root: Actor, ada: Actor) -> None:
    assert (await root.ask("DELETE", f"/admin/users/{ada.id}")).body == DONE
    assert not await rig.good(ada.bearer)
    assert (await news(rig))[-1] == ("revoked", "", ada.id)
    assert (await root.ask("GET", f"/admin/users/{ada.id}")).status == 404
    trail = (await root.ask("GET", f"/admin/events?user={ada.id}")).body["events"]
    assert trail[0]["event"] == "user.deleted" and trail[0]["actor"] == root.id


# The last admin


async def test_the_last_admin_stays_one(rig: Rig, root: Actor) -> None:
    acts = [
        ("DELETE", "/me", None), ("DELETE", f"/admin/users/{root.id}", None),
        ("POST", f"/admin/users/{root.id}/lock", {}),
        ("PUT", f"/admin/users/{root.id}/roles", {"roles": ["user"]}),
        ("PUT", "/admin/roles/admin", {"permissions": ["other"]}),
        ("POST", f"/admin/users/{root.id}/password-reset", None),
    ]  # fmt: skip
    for method, path, body in acts:
        refused = await root.ask(method, path, body)
        assert (refused.status, refused.code) == (409, "last_admin"), path
    assert (await root.ask("GET", "/admin/users")).status == 200
    assert await news(rig) == []
    locked = await signed_in(rig, "locked", "admin")
    assert (await root.ask("POST", f"/admin/users/{locked.id}/lock", {})).status == 200
    assert (await root.ask("DELETE", "/me")).code == "last_admin"  # a locked one is none
    without = await signed_in(rig, "without", "admin")
    assert (await root.ask("POST", f"/admin/users/{without.id}/password-reset")).status == 200
    assert (await root.ask("DELETE", "/me")).code == "last_admin"  # nor is one who has no password
    await signed_in(rig, "other", "admin")
    assert (await root.ask("DELETE", "/me")).status == 200


async def test_where_addresses_are_confirmed_who_is_not_is_no_last_admin(rig: Rig, root: Actor) -> None:
    for confirmed in (False, True):
        user = await rig.user(f"c{confirmed}".lower(), password_hash="$argon2id$", confirmed=confirmed)
        await root.ask("PUT", f"/admin/users/{user.user_id}/roles", {"roles": ["admin"]})
        settings = rig.context.settings
        rig.context.settings = msgspec.structs.replace(settings, confirmation="required")
        gone = await root.ask("DELETE", "/me")
        rig.context.settings = settings
        assert (gone.status, gone.code) == ((200, "") if confirmed else (409, "last_admin"))


async def test_where_there_are_no_passwords_an_admin_needs_none(rig: Rig, root: Actor) -> None:
    known = await accounts.add_user(rig.context, "other@example.test", "other", None, ["admin"])
    assert (await root.ask("DELETE", "/me")).code == "last_admin"
    off = msgspec.structs.replace(rig.context.settings.password, on=False)
    rig.context.settings = msgspec.structs.replace(rig.context.settings, password=off)
    assert (await root.ask("DELETE", f"/admin/users/{known.user.user_id}")).status == 200
    assert (await root.ask("DELETE", "/me")).code == "last_admin"


async def test_of_two_admins_who_remove_each_other_one_is_left(rig: Rig, root: Actor) -> None:
    other = await signed_in(rig, "other", "admin")
    answers = await asyncio.gather(
        accounts.delete(rig.context, other.id, OPERATOR),
        accounts.delete(rig.context, root.id, OPERATOR),
        return_exceptions=True,
    )
    (refused,) = [each for each in answers if isinstance(each, BaseException)]
    assert isinstance(refused, Refused) and refused.fault.code == "last_admin"


# Roles


async def test_a_role_is_made_changed_and_deleted_and_all_its_users_with_it(
    rig: Rig, root: Actor, ada: Actor
) -> None:
    made = await root.ask("POST", "/admin/roles", {"name": "editor", "permissions": ["b:write", "a:read"]})
    assert made.status == 201 and made.body["permissions"] == ["a:read", "b:write"]
    assert (await root.ask("POST", "/admin/roles", {"name": "editor"})).code == "role_taken"
    await root.ask("PUT", f"/admin/users/{ada.id}/roles", {"roles": ["editor"]})
    assert (await ada.ask("GET", "/me")).body["permissions"] == ["a:read", "b:write"]
    changed = await root.ask("PUT", "/admin/roles/editor", {"permissions": ["postern:admin"]})
    assert changed.body == DONE and (await news(rig))[-1] == ("changed", "", "")
    assert (await ada.ask("GET", "/admin/users")).status == 200
    assert (await root.ask("DELETE", "/admin/roles/editor")).status == 200
    assert (await ada.ask("GET", "/me")).body["roles"] == []
    assert (await root.ask("DELETE", "/admin/roles/editor")).status == 404
    assert (await root.ask("PUT", "/admin/roles/editor", {"permissions": []})).status == 404
    names = [each["name"] for each in (await root.ask("GET", "/admin/roles")).body["roles"]]
    assert names == ["admin", "user"]
    for shipped in names:
        assert (await root.ask("DELETE", f"/admin/roles/{shipped}")).code == "shipped_role"


@pytest.mark.parametrize("name", ["", "a,b", "a b", "-a", "a\nb", "x" * 65, "Ａ", "admin,user"])
async def test_T45_no_name_of_a_role_is_two(rig: Rig, root: Actor, name: str) -> None:
    assert (await root.ask("POST", "/admin/roles", {"name": name})).status == 422
    permissions = {"name": "fine", "permissions": [name or ","]}
    assert (await root.ask("POST", "/admin/roles", permissions)).status == (201 if len(name) == 65 else 422)


async def test_a_role_that_is_deleted_while_it_is_given_is_told(rig: Rig, root: Actor, ada: Actor) -> None:
    await root.ask("POST", "/admin/roles", {"name": "editor"})
    async with rig.context.store.writing() as db:
        await rig.roles.delete(db, "editor")  # by no act of ours, which would wait for its turn
        giving = asyncio.create_task(root.ask("PUT", f"/admin/users/{ada.id}/roles", {"roles": ["editor"]}))
        await asyncio.wait([giving], timeout=0.3)
        assert not giving.done()
    answer = await giving
    sqlite = rig.context.settings.database_url.startswith("sqlite:")  # writers wait, and see what is left
    assert (answer.status, answer.code) == ((422, "invalid_fields") if sqlite else (409, "gone_meanwhile"))
    assert (await ada.ask("GET", "/me")).body["roles"] == ["user"]


# The trail, keys, the purge


async def test_the_trail_is_filtered_by_user_and_event(root: Actor, ada: Actor) -> None:
    trail = (await root.ask("GET", f"/admin/events?user={ada.id}&event=session.created")).body["events"]
    assert [(each["event"], each["user_id"]) for each in trail] == [("session.created", ada.id)]
    every = (await root.ask("GET", "/admin/events?event=session.created")).body["events"]
    assert [each["user_id"] for each in every] == [ada.id, root.id]


async def test_a_user_sees_what_an_admin_did_but_not_from_where(rig: Rig, root: Actor, ada: Actor) -> None:
    path, body = f"/admin/users/{ada.id}/meta", {"protected": {"plan": "gold"}}
    await rig.api("PATCH", path, body, bearer=root.bearer, address="198.51.100.9", agent="the boss's browser")
    await ada.ask("PATCH", "/me", {"first_name": "Ada"})
    own = (await ada.ask("GET", "/events")).body["events"]
    assert [(each["event"], each["actor"], each["address"], each["agent"]) for each in own] == [
        ("user.changed", ada.id, ADDRESS, FIREFOX), ("user.meta_changed", root.id, "", ""),
        ("session.created", ada.id, ADDRESS, FIREFOX), ("user.registered", "command line", "", ""),
    ]  # fmt: skip
    whole = (await root.ask("GET", f"/admin/events?user={ada.id}&event=user.meta_changed")).body["events"]
    assert [(each["address"], each["agent"]) for each in whole] == [("198.51.100.9", "the boss's browser")]


async def test_rotating_keys_makes_a_new_one(rig: Rig, root: Actor) -> None:
    answer = await root.ask("POST", "/admin/keys/rotate")
    assert answer.status == 200 and answer.body["kid"].startswith("psj_k")
    event = await last_event(rig)
    assert (event.event, msgspec.json.decode(event.data)) == ("keys.rotated", {"kid": answer.body["kid"]})


async def test_the_purge_takes_what_is_old_and_nothing_else(rig: Rig, root: Actor, ada: Actor) -> None:
    invite = (await root.ask("POST", "/admin/invites", {"expires_in": 90 * DAY})).body["id"]
    await root.ask("POST", "/admin/invites", {"expires_in": 60})
    await ada.ask("POST", "/logout")
    assert await purge.purge(rig.context) == purge.Purged(0, 0, 0, 0, 0, 0)
    await rig.clock.move(31 * DAY)
    ended = await purge.purge(rig.context)
    assert (ended.keys, ended.events, ended.revocations) == (1, 0, 1)
    assert ended.sessions >= 1 and await rig.session(ada.told["session_id"]) is None
    async with rig.context.store.reading() as db:
        (kept,) = await onetime.good_of(db, credentials.INVITE)
    assert kept.hash.hex().startswith(invite)
    await rig.clock.move(340 * DAY)
    assert (await purge.purge(rig.context)).events > 0
    async with rig.context.store.reading() as db:
        assert await events.page(db) == []
