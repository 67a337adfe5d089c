"""The policy require: who is known must also be somebody."""

from typing import Any

import pytest

from gateway.model.identity import Identified, Identity
from gateway.model.verdict import Refuse
from policies.require import Require, grants
from tests.policies.made import build, exchange, who

PERSON: dict[str, Any] = {
    "roles": ("user", "clerk"),
    "permissions": ("orders:*", "stock:read"),
    "confirmed": True,
}


class Clock:
    now = 5000.0

    def __call__(self) -> float:
        return self.now


def judge(settings: dict[str, Any], **person: Any) -> str:
    verdict = build(Require, settings).on_request(exchange(who=who(**({**PERSON} | person))))
    return verdict.fault.code if isinstance(verdict, Refuse) else "pass" if verdict is None else "waits"


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        (["clerk"], "pass"),
        (["boss", "clerk"], "pass"),
        (["boss"], "insufficient_scope"),
        (["Clerk"], "insufficient_scope"),
        (["user,clerk"], "insufficient_scope"),
    ],
)
def test_any_of_the_roles_is_enough(roles: list[str], said: str) -> None:
    assert judge({"roles": roles}) == said


@pytest.mark.parametrize(
    ("permissions", "said"),
    [
        (["orders:read"], "pass"),
        (["orders:read", "stock:read"], "pass"),
        (["orders:items:read"], "pass"),
        (["orders:read", "stock:write"], "insufficient_scope"),
        (["stock:read:all"], "insufficient_scope"),
        (["orders"], "insufficient_scope"),
        (["ordersx:read"], "insufficient_scope"),
        (["users:read"], "insufficient_scope"),
    ],
)
def test_all_of_the_permissions_are_needed(permissions: list[str], said: str) -> None:
    assert judge({"permissions": permissions}) == said


def test_a_wildcard_is_held_not_required_and_stands_behind_a_name() -> None:
    assert grants("orders:items:read") == {"orders:items:read", "orders:items:*", "orders:*"}
    assert judge({"permissions": ["orders:read"]}, permissions=("*",)) == "insufficient_scope"
    assert judge({"permissions": ["orders:read"]}, permissions=("ord*", "*:read")) == "insufficient_scope"
    assert judge({"permissions": ["orders:*"]}, permissions=("orders:read",)) == "insufficient_scope"


def test_level_2_is_a_second_factor() -> None:
    assert judge({"level": 2}, level=2) == "pass"
    assert judge({"level": 2}, level=1) == "insufficient_user_authentication"
    assert judge({"level": 1, "roles": ["clerk"]}, level=1) == "pass"


def test_fresh_is_the_age_of_the_last_proof() -> None:
    clock = Clock()
    require = build(Require, {"fresh": 900.0}, clock=clock)
    person = Identified(Identity("u1", session="s1"), "bearer", proved_at=5000.0 - 900.0)
    asked = exchange(who=person)
    assert require.on_request(asked) is None and require.on_request(asked) is None
    clock.now += 0.5
    assert require.on_request(asked).fault.code == "insufficient_user_authentication"
    person.proved_at = clock.now
    assert require.on_request(asked) is None


def test_of_its_people_another_issuer_says_when_they_proved_to_be_there() -> None:
    clock = Clock()
    person = Identified(Identity("corporate:u1", kind="external"), "bearer", proved_at=clock.now - 60.0)
    for fresh, said in ((61.0, ""), (59.0, "insufficient_user_authentication")):
        verdict = build(Require, {"fresh": fresh}, clock=clock).on_request(exchange(who=person))
        assert (verdict.fault.code if verdict else "") == said


@pytest.mark.parametrize("other", [{"api_key": "k1"}, {"kind": "service"}])
def test_a_key_is_never_fresh(other: dict[str, Any]) -> None:
    """Nobody knows when its owner was last there: it is not just now."""
    clock = Clock()
    for fresh in (900.0, 1e9):
        person = Identified(Identity("u1", **other), "bearer", proved_at=clock.now)
        verdict = build(Require, {"fresh": fresh}, clock=clock).on_request(exchange(who=person))
        assert verdict.fault.code == "insufficient_user_authentication"


def test_an_address_can_have_to_be_confirmed() -> None:
    assert judge({"confirmed": True}) == "pass"
    assert judge({"confirmed": True}, confirmed=False, email_verified=True) == "insufficient_scope"
    assert judge({"confirmed": False, "roles": ["clerk"]}, confirmed=False) == "pass"


@pytest.mark.parametrize(
    ("protected", "said"),
    [
        ({"plan": "pro", "seats": "5", "trial": "false"}, "pass"),
        ({"plan": "pro", "seats": "5", "trial": "false", "more": "x"}, "pass"),
        ({"plan": "pro", "seats": "5"}, "insufficient_scope"),
        ({"plan": "Pro", "seats": "5", "trial": "false"}, "insufficient_scope"),
        ({"plan": "pro", "seats": "5.0", "trial": "false"}, "insufficient_scope"),
        ({}, "insufficient_scope"),
    ],
)
def test_protected_meta_is_equal_as_text(protected: dict[str, str], said: str) -> None:
    assert judge({"meta": {"plan": "pro", "seats": "5", "trial": "false"}}, protected=protected) == said


def test_t45_public_meta_never_counts() -> None:
    assert judge({"meta": {"plan": "pro"}}, public={"plan": "pro"}) == "insufficient_scope"
    assert judge({"meta": {"plan": "pro"}}, public={"plan": "pro"}, protected={"plan": "free"}) != "pass"
    assert judge({"roles": ["boss"]}, public={"roles": "boss"}, protected={"roles": "boss"}) != "pass"
    assert judge({"roles": ["boss"]}, roles=("clerk,boss",)) == "insufficient_scope"


def test_who_is_nobody_is_asked_for_a_credential() -> None:
    verdict = build(Require, {"roles": ["clerk"]}).on_request(exchange(who=None))
    assert verdict.fault.code == "credential_missing"
    assert dict(verdict.headers) == {b"WWW-Authenticate": b'Bearer realm="postern"'}


def test_what_another_proof_would_not_help_with_comes_first() -> None:
    everything = {"roles": ["boss"], "level": 2, "fresh": 1.0}
    assert judge(everything) == "insufficient_scope"
    assert judge({**everything, "roles": ["clerk"]}) == "insufficient_user_authentication"


@pytest.mark.parametrize(
    ("settings", "challenge", "words"),
    [
        ({"roles": ["boss", "chief"]}, b'error="insufficient_scope"', "boss, chief"),
        (
            {"permissions": ["users:read", "users:write"]},
            b'error="insufficient_scope", scope="users:read users:write"',
            "users:read, users:write",
        ),
        ({"meta": {"plan": "pro"}}, b'error="insufficient_scope"', "plan"),
        ({"confirmed": True}, b'error="insufficient_scope"', "Confirm"),
        ({"level": 2}, b'error="insufficient_user_authentication", acr_values="2"', "second factor"),
        ({"fresh": 900.0}, b'error="insufficient_user_authentication", max_age="900"', "POST /reauth"),
        (
            {"level": 2, "fresh": 900.0},
            b'error="insufficient_user_authentication", acr_values="2", max_age="900"',
            "second factor",
        ),
    ],
)
def test_the_refusal_says_what_is_wanted(settings: dict[str, Any], challenge: bytes, words: str) -> None:
    verdict = build(Require, settings).on_request(exchange(who=who(level=1, confirmed=False)))
    assert dict(verdict.headers)[b"WWW-Authenticate"] == b'Bearer realm="postern", ' + challenge
    assert words in verdict.detail
    assert verdict.fault.status == (401 if b"authentication" in challenge else 403)


def test_who_has_passed_is_not_looked_at_again_and_only_by_the_same() -> None:
    clerks, bosses = (build(Require, {"roles": [role]}) for role in ("clerk", "boss"))
    person = who(**PERSON)
    asked = exchange(who=person)
    assert clerks.on_request(asked) is None
    assert person.passed is clerks
    assert bosses.on_request(asked).fault.code == "insufficient_scope"
    assert person.passed is clerks and clerks.on_request(asked) is None
    assert clerks.on_request(exchange(who=who(roles=("user",)))).fault.code == "insufficient_scope"


def test_it_is_asked_again_when_who_somebody_is_has_changed() -> None:
    assert Require.lasting


@pytest.mark.parametrize("nothing", [{}, {"level": 1}, {"confirmed": False}, {"meta": {}}])
def test_it_requires_something(nothing: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="asks for nothing"):
        build(Require, nothing)
