"""What `postern explain` is told of credentials, users and counts: as edges are, and nothing is noted."""

from typing import Any

import msgspec
import pytest

from gateway.identity import sessions
from gateway.identity.acts import ACTS
from gateway.identity.assembly import LinkService
from gateway.identity.control_client import ActRefused
from gateway.identity.resolving import resolve
from gateway.identity.web import Asker
from gateway.link.questions import Lease
from gateway.model.identity import Identity
from tests.identity.rig import ADDRESS, CURL, FIREFOX, Rig, cookie_of

RULE = {"id": 1, "rule": "shop/each", "key": "u:1", "want": 1, "limits": [(2, 60)]}


async def looked_at(rig: Rig, credential: str, kind: str = "bearer") -> dict[str, Any]:
    given = {"kind": kind, "credential": credential, "address": ADDRESS, "agent": FIREFOX}
    return await ACTS["explain.credential"](rig.context, given)


async def test_a_credential_that_is_looked_at_has_not_been_presented(rig: Rig) -> None:
    user = await rig.user()
    opened = await rig.open(user, cookie=True, bearer=True)
    row = await rig.session(opened.session.session_id)
    assert opened.access_token and opened.set_cookie
    for kind, credential in (("bearer", opened.access_token), ("cookie", cookie_of(opened.set_cookie))):
        told = await looked_at(rig, credential, kind)
        assert told["outcome"] == "identified"
        assert await rig.session(row.session_id) == row
        assert told == await resolve(rig.context, kind, credential, ADDRESS, FIREFOX, False)
        assert await rig.session(row.session_id) != row  # for an edge it has
        row = await rig.session(row.session_id)


@pytest.mark.parametrize(
    ("kind", "which", "why"),
    [
        ("bearer", "refresh", "refresh token: it is of no use here"),
        ("cookie", "access", "access token: it is of no use here"),
        ("bearer", "nonsense", "unknown: this is no token of Postern's"),
        ("bearer", "typo", "access token: a typo"),
    ],
)
async def test_of_a_bad_one_it_is_told_why(rig: Rig, kind: str, which: str, why: str) -> None:
    opened = await rig.signed_in()
    access = opened.access_token
    typo = access[:-1] + ("A" if access[-1] != "A" else "B")
    given = {"refresh": opened.refresh_token, "access": access, "nonsense": "nonsense", "typo": typo}
    told = await looked_at(rig, given[which], kind)
    assert (told["outcome"], told["why"]) == ("bad", why)


async def test_one_that_was_ended_says_so(rig: Rig) -> None:
    opened = await rig.signed_in()
    await ACTS["sessions.revoke"](rig.context, {"session": opened.session.session_id})
    told = await looked_at(rig, opened.access_token)
    assert told["why"] == "access token: its session has ended: revoked"


async def test_a_user_is_told_as_after_a_sign_in_from_there(rig: Rig) -> None:
    user = await rig.user(protected='{"plan": "pro"}', confirmed=True)
    real = await rig.open(user, CURL)
    expected = await resolve(rig.context, "bearer", real.access_token, ADDRESS, CURL, False)
    for who in (user.user_id, "ada", "ada@example.test"):
        given = {"who": who, "address": ADDRESS, "agent": CURL}
        told = await ACTS["explain.user"](rig.context, given)
        identity = told["identity"]
        assert isinstance(identity, Identity) and identity.session == "made-up"
        named = msgspec.structs.replace(identity, session=real.session.session_id)
        assert told | {"identity": named} == expected
    async with rig.context.store.reading() as db:
        assert [row.session_id for row in await rig.rows.page(db)] == [real.session.session_id]


async def test_who_could_not_sign_in_is_nobody(rig: Rig) -> None:
    user = await rig.user()
    rig.context.settings = msgspec.structs.replace(rig.context.settings, confirmation="required")
    told = await ACTS["explain.user"](rig.context, {"who": "ada"})
    assert told == {"outcome": "bad", "why": "this user can't sign in: its address is not confirmed"}
    await ACTS["users.lock"](rig.context, {"who": user.user_id})
    told = await ACTS["explain.user"](rig.context, {"who": "ada"})
    assert told["why"] == "this user can't sign in: the account is locked"
    with pytest.raises(ActRefused, match="nobody here is 'eve'"):
        await ACTS["explain.user"](rig.context, {"who": "eve"})


async def test_a_count_is_looked_at_and_not_added_to(rig: Rig) -> None:
    rig.context.leasing = None
    with pytest.raises(ActRefused, match="no service runs here"):
        await ACTS["explain.count"](rig.context, RULE)
    service = LinkService(rig.context)
    for left in (2, 1, 0):
        for _ in range(3):
            told = await ACTS["explain.count"](rig.context, RULE)
            assert (told["granted"], told["remaining"]) == (0, left)
        await service.lease(msgspec.convert(RULE, Lease))


async def test_what_is_no_question_is_refused(rig: Rig) -> None:
    for name in ("explain.credential", "explain.user", "explain.count"):
        with pytest.raises(ActRefused, match="asked for something else"):
            await ACTS[name](rig.context, {"unknown": 1})


async def test_a_session_of_a_user_and_a_made_up_one_begin_alike(rig: Rig) -> None:
    """explain makes none by rules of its own."""
    user = await rig.user()
    opened = await rig.open(user)
    made = sessions.new_session(
        rig.context, user.user_id, Asker(ADDRESS, FIREFOX), rig.clock.now, ("pwd",), 1, False
    )
    own = {"session_id": "", "salt": b""}
    assert msgspec.structs.replace(made, **own) == msgspec.structs.replace(opened.session, **own)
