"""The policy bind: where a session is used from, and by which program, against where it was signed in."""

from collections.abc import Awaitable
from typing import Any

import pytest

from gateway.model.identity import Identified
from gateway.model.verdict import Refuse
from policies.bind import Bind
from tests.policies.made import Nobody, build, exchange, header, who

HOME = "192.0.2.7"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
UPDATED = FIREFOX.replace("128.0", "141.0")
CHROME = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36"
BOTH = {"address": "prefix", "agent": "family"}


class Told(Nobody):
    """Identities that is told of mismatches, and says at once, or later, whether it knows."""

    def __init__(self, known: bool = True, later: bool = False) -> None:
        super().__init__()
        self.told: list[tuple[tuple[str, ...], str]] = []
        self._known, self._later = known, later

    def mismatched(self, what: tuple[str, ...], act: str, exchange: Any) -> bool | Awaitable[bool]:  # type: ignore[override]
        self.told.append((what, act))
        return self._in_time() if self._later else self._known

    async def _in_time(self) -> bool:
        return self._known


def asking(client: str = HOME, agent: str | None = FIREFOX, **identity: Any) -> Any:
    noted = {} if agent is None else {b"user-agent": agent.encode()}
    signed_in = who(**({"address": HOME, "agent": FIREFOX} | identity))
    return exchange(who=signed_in, client=client.encode(), noted=noted)


def judge(settings: dict[str, Any], asked: Any, told: Told | None = None, **ports: Any) -> Any:
    return build(Bind, settings, identities=told or Told(), **ports).on_request(asked)


@pytest.mark.parametrize(
    ("settings", "client", "agent", "differs"),
    [
        ({"address": "exact"}, HOME, CHROME, ()),
        ({"address": "exact"}, "192.0.2.8", FIREFOX, ("address",)),
        ({"address": "prefix"}, "192.0.2.8", CHROME, ()),
        ({"address": "prefix"}, "198.51.100.1", FIREFOX, ("address",)),
        ({"address": "prefix"}, "2001:db8::1", FIREFOX, ("address",)),
        ({"agent": "exact"}, "198.51.100.1", FIREFOX, ()),
        ({"agent": "exact"}, HOME, UPDATED, ("agent",)),
        ({"agent": "family"}, "198.51.100.1", UPDATED, ()),
        ({"agent": "family"}, HOME, CHROME, ("agent",)),
        ({"agent": "family"}, HOME, None, ("agent",)),
        (BOTH, "192.0.2.200", UPDATED, ()),
        (BOTH, "198.51.100.1", CHROME, ("address", "agent")),
        (BOTH, "unix", FIREFOX, ("address",)),
    ],
)
@pytest.mark.parametrize("act", ["log", "step_up", "strict"])
def test_what_differs_is_told_and_done_about_as_it_says(
    settings: dict[str, Any], client: str, agent: str | None, differs: tuple[str, ...], act: str
) -> None:
    told = Told()
    verdict = judge({**settings, "on_mismatch": act}, asking(client, agent), told)
    assert told.told == ([(differs, act)] if differs else [])
    if not differs or act == "log":
        assert verdict is None
    else:
        assert isinstance(verdict, Refuse)
        assert (verdict.fault.status, verdict.fault.code) == (401, "binding_changed")


def test_the_refusal_says_what_differs_and_what_to_do() -> None:
    step_up = judge({**BOTH, "on_mismatch": "step_up"}, asking("198.51.100.1"))
    assert "another address" in step_up.detail and "POST /reauth" in step_up.detail
    assert challenge(step_up) == b'Bearer realm="postern", error="insufficient_user_authentication"'
    strict = judge({**BOTH, "on_mismatch": "strict"}, asking(agent="curl/8"))
    assert "another program" in strict.detail and "session has ended" in strict.detail
    assert challenge(strict) == b'Bearer realm="postern", error="invalid_token"'


def challenge(refuse: Refuse) -> bytes | None:
    return header(
        b"".join(name + b": " + value + b"\r\n" for name, value in refuse.headers), b"www-authenticate"
    )


async def test_strict_waits_and_what_cannot_be_known_is_no_yes() -> None:
    for known, code in ((True, "binding_changed"), (False, "identity_unavailable")):
        verdict = judge({**BOTH, "on_mismatch": "strict"}, asking("198.51.100.1"), Told(known, later=True))
        outcome = await verdict
        assert outcome.fault.code == code
    assert dict(outcome.headers)[b"Retry-After"] == b"1"


async def test_log_and_step_up_do_not_depend_on_being_told() -> None:
    for later in (False, True):
        for act, code in (("log", ""), ("step_up", "binding_changed")):
            verdict = judge({**BOTH, "on_mismatch": act}, asking("198.51.100.1"), Told(False, later))
            outcome = await verdict if later else verdict
            assert (outcome.fault.code if outcome else "") == code


def test_a_second_address_of_the_session_is_as_good() -> None:
    settings = {"address": "prefix", "on_mismatch": "step_up"}
    both = {"other_address": "2001:db8:7::1"}
    assert judge(settings, asking("2001:db8:7::99", **both)) is None
    assert judge(settings, asking(HOME, **both)) is None
    assert judge(settings, asking("2001:db8:8::1", **both)).fault.code == "binding_changed"


@pytest.mark.parametrize(
    "nobody", [{"session": ""}, {"session": "", "kind": "external"}, {"session": "", "api_key": "k1"}]
)
def test_what_has_no_session_is_not_bound(nobody: dict[str, Any]) -> None:
    told = Told()
    asked = asking("198.51.100.1", CHROME)
    asked.who = who(**nobody)
    assert judge({**BOTH, "on_mismatch": "strict"}, asked, told) is None
    assert told.told == []
    assert judge({**BOTH, "on_mismatch": "strict"}, exchange(who=None), told) is None


def test_a_session_without_an_address_is_nobodys() -> None:
    """It was not signed in through an edge: whoever comes first must not get it."""
    strict = {"address": "prefix", "on_mismatch": "step_up"}
    assert judge(strict, asking(HOME, address="")).fault.code == "binding_changed"
    assert judge(strict, asking("unix", address="unix")) is None
    assert judge(strict, asking(HOME, address="unix")).fault.code == "binding_changed"


def test_where_a_route_only_reports_no_session_is_ended() -> None:
    told = Told()
    verdict = judge({**BOTH, "on_mismatch": "strict"}, asking("198.51.100.1"), told, report=True)
    assert told.told == [(("address",), "log")]
    assert verdict.fault.code == "binding_changed"  # which the chain writes down, and lets go on


def test_what_passed_is_remembered_with_the_place_it_came_from() -> None:
    """And only for the route's own bind: another one compares otherwise."""
    lax, strict = (
        build(Bind, {"address": mode, "on_mismatch": "step_up"}, identities=Told())
        for mode in ("prefix", "exact")
    )
    asked = asking("192.0.2.99")
    signed_in: Identified = asked.who
    assert lax.on_request(asked) is None and lax.on_request(asked) is None
    assert signed_in.placed == (lax, b"192.0.2.99", FIREFOX.encode())
    assert strict.on_request(asked).fault.code == "binding_changed"
    elsewhere = exchange(who=signed_in, client=b"198.51.100.1", noted=asked.noted)
    assert lax.on_request(elsewhere).fault.code == "binding_changed"
    assert lax.on_request(asked) is None


def test_the_log_says_why() -> None:
    asked = asking("198.51.100.1", CHROME)
    judge(BOTH, asked)
    assert asked.rare and asked.why == "another address and another program than at sign-in"


def test_an_agent_that_is_no_utf8_or_very_long_is_compared_as_it_was_kept() -> None:
    odd, long = "curl/8 \xe9", "curl/8 " + "x" * 400
    for sent, kept in ((odd.encode("latin-1"), "curl/8 \ufffd"), (long.encode(), long[:300])):
        asked = exchange(who=who(agent=kept), noted={b"user-agent": sent})
        assert judge({"agent": "exact", "on_mismatch": "step_up"}, asked) is None
