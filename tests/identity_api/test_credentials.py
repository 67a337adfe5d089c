"""Which credential counts on which route, what is refused, and that none of ours reaches a backend."""

import pytest

from tests.kit.identity import IdentityWorld
from tests.kit.people import COOKIE, Person, new_address
from tests.kit.raw import Answer, exchange, request
from tests.kit.tokens import made_up


def challenge(answer: Answer) -> bytes:
    return answer.value(b"www-authenticate")


def test_without_one_it_is_401_and_no_error_is_told(house: IdentityWorld) -> None:
    """RFC 6750 section 3.1."""
    answer = house.get("/app/x")
    assert (answer.status, answer.code) == (401, "credential_missing")
    assert challenge(answer).startswith(b"Bearer realm=") and b"error" not in challenge(answer)
    assert house.upstream.requests == []


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(made_up("psa_", 46), id="made up"), "psa_x", "x", "psa_" + "0" * 66,
        "eyJhbGciOiJub25lIn0.e30.", "%00", "a" * 9000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["/app/x", "/optional/x"])
def test_a_bad_one_is_invalid_token_on_optional_routes_too(
    house: IdentityWorld, target: str, token: str
) -> None:
    answer = house.get(target, b"Authorization: Bearer " + token.encode(), source=new_address())
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert b'error="invalid_token"' in challenge(answer)
    assert house.upstream.requests == []


def test_optional_without_one_is_anonymous(house: IdentityWorld, person: Person) -> None:
    assert house.get("/optional/x").status == 200
    assert house.seen.values(b"x-user-id") == []
    assert person.get("/optional/x").status == 200
    assert house.seen.value(b"x-user-id").decode() == person.user_id


@pytest.mark.parametrize("target", ["/app/x", "/public/x", "/optional/x", "/bearers/x"])
def test_ours_never_reaches_the_backend(house: IdentityWorld, person: Person, target: str) -> None:
    """T07: a backend that logs, or is taken over, can't use it."""
    other = person.elsewhere(cookie=True)
    lines = [person.bearer]
    if target in ("/public/x", "/bearers/x"):
        lines += [b"Cookie: theme=dark; " + COOKIE.encode() + b"=" + other.cookie.encode() + b"; lang=en"]
    if target == "/public/x":
        lines += [b"X-Api-Key: " + made_up("psk_").encode()]
    assert house.get(target, *lines, source=person.address).status == 200
    assert house.ledger.leaks("what the upstream received", house.seen.raw.decode("latin-1")) == []
    if len(lines) > 1:
        cookies = b"; ".join(house.seen.values(b"cookie")).replace(b" ", b"")
        assert cookies == b"theme=dark;lang=en"


def test_a_jwt_of_ours_does_not_either(house: IdentityWorld, person: Person) -> None:
    """Its shape tells, also where this deployment gives opaque tokens."""
    jwt = (
        b"eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSIsImtpZCI6InBzal9rMTIzNDU2Nzg5MCJ9"
        b".eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
    )
    assert house.get("/public/x", b"Authorization: Bearer " + jwt).status == 200
    assert house.seen.values(b"authorization") == []


def test_others_bearers_pass_a_public_route(house: IdentityWorld) -> None:
    line = b"Authorization: Bearer somebody-else-s.token"
    assert house.get("/public/x", line).status == 200
    assert house.seen.value(b"authorization") == line.partition(b": ")[2]


def test_a_route_may_forward_it(house: IdentityWorld, person: Person) -> None:
    assert person.get("/forwarding/x").status == 200
    assert house.seen.value(b"authorization") == person.bearer.partition(b": ")[2]


def test_in_a_header_of_another_name(house: IdentityWorld, person: Person) -> None:
    line = b"Access-Token: " + person.access.encode()
    assert house.get("/named/x", line, source=person.address).status == 200
    assert house.seen.value(b"x-user-id").decode() == person.user_id
    assert house.seen.values(b"access-token") == []
    assert person.access.encode() not in house.seen.raw


def test_only_there_then(house: IdentityWorld, person: Person) -> None:
    assert person.get("/named/x").code in ("credential_missing", "invalid_token")
    line = b"Access-Token: " + person.access.encode()
    assert house.get("/bearers/x", line).code == "credential_missing"
    assert house.get("/named/x", line, line).status == 400
    bad = house.get("/named/x", b"Access-Token: " + made_up("psa_", 46).encode(), source=new_address())
    assert bad.code == "invalid_token"


def test_two_of_one_kind_are_400(house: IdentityWorld, person: Person) -> None:
    other = person.elsewhere(cookie=True)
    assert house.get("/app/x", person.bearer, person.bearer).status == 400
    twice = b"Cookie: %b=%b; %b=%b" % ((COOKIE.encode(), other.cookie.encode()) * 2)
    assert house.get("/app/x", twice).status == 400


def test_a_bad_bearer_beside_a_good_cookie_is_401(house: IdentityWorld, person: Person) -> None:
    other = person.elsewhere(cookie=True)
    bad = b"Authorization: Bearer " + made_up("psa_", 46).encode()
    assert other.get_by_cookie("/app/x", bad).code == "invalid_token"


def test_what_a_route_does_not_accept_is_no_credential_there(house: IdentityWorld, person: Person) -> None:
    other = person.elsewhere(cookie=True)
    assert other.get_by_cookie("/bearers/x").code == "credential_missing"
    assert person.get("/cookies/x").code in ("credential_missing", "invalid_token")
    assert other.get_by_cookie("/cookies/x").status == 200


def test_a_basic_scheme_is_the_backend_s_affair(house: IdentityWorld) -> None:
    line = b"Authorization: Basic dXNlcjpwYXNz"
    assert house.get("/optional/x", line).status == 200
    assert house.seen.value(b"authorization") == b"Basic dXNlcjpwYXNz"


@pytest.mark.parametrize(
    "navigation", [(b"Sec-Fetch-Mode: navigate",), (b"Accept: text/html,application/xhtml+xml",)]
)
def test_a_browser_is_led_to_the_sign_in_page(house: IdentityWorld, navigation: tuple[bytes, ...]) -> None:
    for target in ("/app/x?y=1", "/pages/x?y=1"):
        answer = house.get(target, *navigation)
        assert answer.status == 302
        assert answer.value(b"location").startswith(b"/auth/sign-in?return_to=/")
        assert answer.value(b"cache-control") == b"no-store"


def test_on_missing_redirect_leads_programs_too(house: IdentityWorld) -> None:
    assert house.get("/pages/x").status == 302
    assert house.get("/app/x").status == 401
    posted = house.send(request("/pages/x", method=b"POST", body=b"x"))
    assert posted.status == 303 and b"return_to" not in posted.value(b"location")


def test_the_next_request_of_a_connection_is_judged_by_itself(house: IdentityWorld, person: Person) -> None:
    """T17: nobody inherits what was asked before."""
    data = request("/optional/x", person.bearer) + request("/optional/x") + request("/app/x")
    talk = exchange(house.port, data, half_close=True)
    assert talk.statuses == [200, 200, 401]
    first, second = house.upstream.requests
    assert first.value(b"x-user-id").decode() == person.user_id
    assert second.values(b"x-user-id") == []
