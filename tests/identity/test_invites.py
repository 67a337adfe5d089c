"""Invites: used once, by whom they are for, before they expire (T29)."""

import asyncio
from typing import Any, Literal

import msgspec
import pytest

from gateway.identity import accounts
from gateway.identity import roles as role_acts
from gateway.identity.actors import OPERATOR
from tests.identity.house import PASSWORD, Actor
from tests.identity.postbox import Postbox
from tests.identity.rig import Answer, Rig


async def test_an_invite_lets_one_in_with_its_roles(rig: Rig, root: Actor) -> None:
    await role_acts.make(rig.context, "editor", ["a:read"], OPERATOR)
    made = await root.ask("POST", "/admin/invites", {"roles": ["editor"], "expires_in": 3600})
    assert made.status == 201 and made.body["invite"].startswith("psi_")
    (listed,) = (await root.ask("GET", "/admin/invites")).body["invites"]
    assert listed["id"] == made.body["id"] and listed["by"] == root.id and "invite" not in listed
    rig.context.settings = msgspec.structs.replace(rig.context.settings, registration="invite")
    body = {"email": "x0@example.test", "password": PASSWORD}
    assert (await rig.api("POST", "/register", body)).code == "invalid_key"
    body["invite"] = made.body["invite"]
    tries = [{**body, "email": f"x{number}@example.test"} for number in range(8)]
    answers = await asyncio.gather(*(rig.api("POST", "/register", each) for each in tries))
    assert sorted(each.status for each in answers) == [201] + [400] * 7  # T29
    (taken,) = [each.body["user"] for each in answers if each.status == 201]
    assert taken["roles"] == ["editor", "user"]
    assert (await root.ask("GET", "/admin/invites")).body["invites"] == []


async def test_an_invite_may_be_for_one_address_expires_and_can_be_withdrawn(rig: Rig, root: Actor) -> None:
    async def invited(**terms: Any) -> Any:
        return (await root.ask("POST", "/admin/invites", terms)).body

    async def used(invite: str, email: str) -> Answer:
        return await rig.api("POST", "/register", {"email": email, "password": PASSWORD, "invite": invite})

    named = await invited(email="Bob@Example.test")
    assert (await used(named["invite"], "eve@example.test")).code == "invalid_key"
    assert (await used(named["invite"], "bob@EXAMPLE.test")).status == 201
    gone = await invited()
    assert (await root.ask("DELETE", f"/admin/invites/{gone['id']}")).status == 204
    assert (await root.ask("DELETE", f"/admin/invites/{gone['id']}")).status == 404
    assert (await used(gone["invite"], "eve@example.test")).code == "invalid_key"
    late = await invited(expires_in=60)
    await rig.clock.move(61)
    assert (await used(late["invite"], "eve@example.test")).code == "invalid_key"
    wrong = await root.ask("POST", "/admin/invites", {"email": "no", "roles": ["user"]})
    assert wrong.status == 422 and list(wrong.body["errors"]) == ["email"]
    unknown = await root.ask("POST", "/admin/invites", {"roles": ["king"]})
    assert unknown.status == 422 and list(unknown.body["errors"]) == ["roles"]


async def test_who_is_invited_by_address_is_written_to(rig: Rig, root: Actor) -> None:
    box = Postbox(rig)
    await root.ask("POST", "/admin/invites", {"roles": ["admin"]})
    assert await box.letters() == []
    invite = (await root.ask("POST", "/admin/invites", {"email": "Bob@Example.test"})).body["invite"]
    [letter] = await box.letters()
    assert (letter["name"], letter["to"], letter["user_name"]) == ("invite", "Bob@example.test", "")
    assert letter["values"]["link"] == f"/auth/register?invite={invite}"
    wrong = await root.ask("POST", "/admin/invites", {"email": "eve@example.test", "roles": ["king"]})
    assert wrong.status == 422 and await box.letters() == []


async def test_invites_are_listed_page_by_page_and_every_one_can_be_withdrawn(rig: Rig, root: Actor) -> None:
    """However many there are; some were made in the same millisecond."""
    made = []
    for number in range(7):
        await rig.clock.move(number % 2)
        made.append((await root.ask("POST", "/admin/invites", {})).body["id"])
    seen, query = [], "?limit=3"
    while query:
        page = (await root.ask("GET", f"/admin/invites{query}")).body
        assert len(page["invites"]) <= 3
        seen += page["invites"]
        query = f"?limit=3&after={page['next']}" if page["next"] else ""
    assert sorted(each["id"] for each in seen) == sorted(made)
    times = [each["created_at"] for each in seen]
    assert times == sorted(times, reverse=True)
    gone = seen[1]["id"]
    assert (await root.ask("DELETE", f"/admin/invites/{gone}")).status == 204
    left = (await root.ask("GET", "/admin/invites")).body
    assert [each["id"] for each in left["invites"]] == [each["id"] for each in seen if each["id"] != gone]
    assert left["next"] is None


async def test_the_page_after_an_invite_that_was_withdrawn_is_the_same(rig: Rig, root: Actor) -> None:
    for _ in range(4):
        await root.ask("POST", "/admin/invites", {})
    first = (await root.ask("GET", "/admin/invites?limit=2")).body
    second = (await root.ask("GET", f"/admin/invites?limit=2&after={first['next']}")).body
    await root.ask("DELETE", f"/admin/invites/{first['invites'][-1]['id']}")
    assert (await root.ask("GET", f"/admin/invites?limit=2&after={first['next']}")).body == second


async def test_what_is_no_place_in_the_list_and_no_id_is_told(rig: Rig, root: Actor) -> None:
    made = (await root.ask("POST", "/admin/invites", {})).body["id"]
    for after in ("x", made, f"1.{made[:-1]}", f"9999999999999999999.{made}", f"1.{made}%0a"):
        wrong = await root.ask("GET", f"/admin/invites?after={after}")
        assert wrong.status == 422 and list(wrong.body["errors"]) == ["after"], after
    for other in (made[:-1], made + "0", made.upper(), made[:-2] + "zz", "%25", "x" * 300):
        assert (await root.ask("DELETE", f"/admin/invites/{other}")).status == 404, other
    assert len((await root.ask("GET", "/admin/invites")).body["invites"]) == 1


@pytest.mark.parametrize("confirmation", ["optional", "required"])
async def test_a_role_that_is_deleted_while_somebody_registers_is_left_out(
    rig: Rig, root: Actor, confirmation: Literal["optional", "required"]
) -> None:
    await role_acts.make(rig.context, "editor", ["a:read"], OPERATOR)
    invite = (await root.ask("POST", "/admin/invites", {"roles": ["editor"]})).body["invite"]
    rig.context.settings = msgspec.structs.replace(rig.context.settings, confirmation=confirmation)
    body = {"email": "new@example.test", "password": PASSWORD, "invite": invite}
    async with rig.context.store.writing() as db:
        await rig.roles.delete(db, "editor")
        registering = asyncio.create_task(rig.api("POST", "/register", body))
        await asyncio.wait([registering], timeout=0.3)
        assert not registering.done()
    assert (await registering).status == (201 if confirmation == "optional" else 202)
    found = await accounts.find(rig.context, "new@example.test")
    assert found.rights.roles == ("user",)


async def test_a_registration_that_fails_leaves_its_invite_good(rig: Rig, root: Actor, ada: Actor) -> None:
    invite = (await root.ask("POST", "/admin/invites", {})).body["invite"]
    body = {"email": "ada@example.test", "password": PASSWORD, "invite": invite}
    assert (await rig.api("POST", "/register", body)).code == "email_taken"
    assert (await rig.api("POST", "/register", {**body, "email": "new@example.test"})).status == 201
