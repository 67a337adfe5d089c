"""One's own account: profile, password, proof, trail, deletion; and accounts made for somebody."""

import pytest

from gateway.identity import accounts
from gateway.identity.web import Refused
from tests.identity.house import ALL_KNOW, NEW, PASSWORD, SAME, WRONG, login, news, register, trail
from tests.identity.rig import Rig, cookie_of


async def test_me_shows_and_changes_the_profile_and_every_edge_is_told(rig: Rig) -> None:
    told = (await register(rig)).body
    bearer, user_id = told["access_token"], told["user"]["user_id"]
    change = {"first_name": "Ada", "username": "Countess", "meta": {"a": 1, "b": 2}}
    answer = await rig.api("PATCH", "/me", change, bearer=bearer)
    assert answer.status == 200 and answer.body["propagated"] == ALL_KNOW
    answer = await rig.api("PATCH", "/me", {"meta": {"a": None}, "email": "x@y.test"}, bearer=bearer)
    me = (await rig.api("GET", "/me", bearer=bearer)).body
    assert (me["first_name"], me["username"], me["meta"]) == ("Ada", "Countess", {"b": 2})
    assert me["email"] == "ada@example.test"
    assert await news(rig) == [("changed", "", user_id)] * 2


async def test_a_profile_takes_no_name_of_another_and_nothing_too_large(rig: Rig) -> None:
    await register(rig, "eve")
    bearer = (await register(rig)).body["access_token"]
    taken = await rig.api("PATCH", "/me", {"username": "EVE"}, bearer=bearer)
    assert taken.code == "username_taken"
    for number in range(49):
        change = {"meta": {str(number): "x" * 100}}
        assert (await rig.api("PATCH", "/me", change, bearer=bearer)).status == 200
    large = await rig.api("PATCH", "/me", {"meta": {"more": "x" * 5000}}, bearer=bearer)
    assert large.status == 422 and list(large.body["errors"]) == ["meta"]


async def test_deleting_needs_a_fresh_proof_and_ends_everything(rig: Rig) -> None:
    told = (await register(rig)).body
    await rig.clock.move(901)
    bearer = (await rig.refresh(told["refresh_token"])).body["access_token"]
    stale = await rig.api("DELETE", "/me", bearer=bearer)
    assert (stale.status, stale.code) == (401, "insufficient_user_authentication")
    proof = await rig.api("POST", "/reauth", {"password": PASSWORD}, bearer=bearer)
    assert (proof.status, proof.body["fresh_for"]) == (200, 900)
    assert (await rig.api("DELETE", "/me", bearer=bearer)).body == {"propagated": ALL_KNOW}
    assert not await rig.good(bearer)
    assert (await login(rig)).code == "invalid_credentials"
    assert ("revoked", "", told["user"]["user_id"]) in await news(rig)
    assert (await trail(rig))[-2:] == ["user.deleted", "login.failed"]
    await register(rig)  # the address is free again


# Passwords


async def test_reauth_tells_the_edges_and_a_wrong_password_proves_nothing(rig: Rig) -> None:
    told = (await register(rig)).body
    bearer = told["access_token"]
    await rig.clock.move(800)
    wrong = await rig.api("POST", "/reauth", {"password": WRONG}, bearer=bearer)
    assert (wrong.status, wrong.code) == (401, "invalid_credentials")
    assert (await rig.session(told["session_id"])).proved_at == rig.clock.now - 800_000
    assert (await rig.api("POST", "/reauth", {"password": PASSWORD}, bearer=bearer)).status == 200
    assert (await rig.session(told["session_id"])).proved_at == rig.clock.now
    assert await news(rig) == [("changed", told["session_id"], "")]


async def test_T28_a_new_password_ends_every_session_and_opens_one(rig: Rig) -> None:
    first = (await register(rig)).body
    second = (await login(rig)).body
    body = {"current_password": PASSWORD, "new_password": NEW}
    answer = await rig.api("POST", "/password/change", body, bearer=second["access_token"])
    assert answer.status == 200 and answer.body["propagated"] == ALL_KNOW
    for old in (first, second):
        assert not await rig.good(old["access_token"])
        assert (await rig.refresh(old["refresh_token"])).code == "invalid_refresh_token"
    assert await rig.good(answer.body["access_token"])
    assert (await login(rig)).code == "invalid_credentials"
    assert (await login(rig, password=NEW)).status == 200
    assert await news(rig) == [("revoked", "", first["user"]["user_id"])]
    assert "password.changed" in await trail(rig)


async def test_a_session_in_a_cookie_goes_on_in_a_cookie(rig: Rig) -> None:
    await register(rig)
    body = {"username": "ada", "password": PASSWORD, "cookie": True}
    signed = await rig.api("POST", "/login", body, headers=SAME)
    change = {"current_password": PASSWORD, "new_password": NEW}
    old = cookie_of(signed.headers["Set-Cookie"])
    answer = await rig.api("POST", "/password/change", change, cookie=old, headers=SAME)
    assert answer.status == 200 and "access_token" not in answer.body
    new = cookie_of(answer.headers["Set-Cookie"])
    assert (await rig.api("GET", "/me", cookie=new)).status == 200
    assert (await rig.api("GET", "/me", cookie=old)).status == 401


async def test_a_password_change_wants_the_current_one_and_a_good_new_one(rig: Rig) -> None:
    bearer = (await register(rig)).body["access_token"]
    wrong = {"current_password": WRONG, "new_password": NEW}
    assert (await rig.api("POST", "/password/change", wrong, bearer=bearer)).code == "invalid_credentials"
    weak = {"current_password": PASSWORD, "new_password": "short"}
    answer = await rig.api("POST", "/password/change", weak, bearer=bearer)
    assert answer.status == 422 and list(answer.body["errors"]) == ["new_password"]
    assert await rig.good(bearer)


# The trail, and accounts made for somebody


async def test_events_are_ones_own_newest_first_page_by_page(rig: Rig) -> None:
    await register(rig, "eve")
    bearer = (await register(rig)).body["access_token"]
    await login(rig, password=WRONG, address="198.51.100.9")
    first = (await rig.api("GET", "/events?limit=2", bearer=bearer)).body
    assert [each["event"] for each in first["events"]] == ["login.failed", "session.created"]
    assert first["events"][0]["address"] == "198.51.100.9"
    rest = (await rig.api("GET", f"/events?limit=2&before={first['next']}", bearer=bearer)).body
    assert [each["event"] for each in rest["events"]] == ["user.registered"] and rest["next"] is None
    assert (await rig.api("GET", "/events?limit=0", bearer=bearer)).status == 422


async def test_an_account_made_for_somebody_is_confirmed_and_has_its_roles(rig: Rig) -> None:
    made = await accounts.add_user(rig.context, "Root@Example.test", "root", PASSWORD, ["admin"])
    assert made.user.confirmed and made.rights.roles == ("admin", "user")
    assert (await login(rig, "root")).body["user"]["permissions"] == ["postern:admin"]
    assert (await accounts.find(rig.context, "ROOT@example.test")).user.user_id == made.user.user_id
    for email, name, password, roles, field in [
        ("no", "abc", PASSWORD, [], "email"), ("a@b.test", "-", PASSWORD, [], "username"),
        ("a@b.test", None, "short", [], "password"), ("a@b.test", None, PASSWORD, ["king"], "roles"),
    ]:  # fmt: skip
        with pytest.raises(Refused) as refused:
            await accounts.add_user(rig.context, email, name, password, roles)
        assert refused.value.errors and list(refused.value.errors) == [field]
    with pytest.raises(Refused) as refused:
        await accounts.add_user(rig.context, "root@example.test", None, PASSWORD)
    assert refused.value.fault.code == "email_taken"
