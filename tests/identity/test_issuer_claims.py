"""T22 and T45 with claims of other issuers: each header is there once, and says just what they say."""

import math
from typing import Any
from urllib.parse import unquote

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.service import Issuer
from gateway.identity.issuers import Bad, checked, identity_of
from gateway.model.identity import STANDARD, Identity, header_block

NOW = 1_800_000_000.0
ISSUER = Issuer(
    "https://sso.example.com", ("orders",), ("ES256",), groups="realm.roles",
    roles={"staff": "clerk", "a,b": "boss", "admin\r\n": "admin"},
)  # fmt: skip
WORDS = st.text(max_size=40) | st.sampled_from(
    ["admin", "a,b", "x\r\nX-User-Roles: admin", "%0d%0a", "\0", "😀", "tier=pro", " ", "é", "a%2Cb", "staff"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([
    "sub", "email", "email_verified", "preferred_username", "groups", "roles", "permissions", "auth_time",
    "level", "session", "kind", "meta", "protected", "plan", "name", "confirmed",
])  # fmt: skip
CLAIMS = st.dictionaries(NAMES | WORDS, JSON, max_size=6)
GROUPS = st.lists(WORDS | JSON, max_size=4)


def lines(block: bytes) -> dict[str, str]:
    assert block.endswith(b"\r\n")
    found = [line.split(": ", 1) for line in block.decode("ascii").removesuffix("\r\n").split("\r\n")]
    assert len({name for name, _ in found}) == len(found)
    return dict(found)


@given(CLAIMS, WORDS | JSON, GROUPS)
def test_T22_T45_claims_become_headers_that_say_just_what_they_say(
    claims: dict[str, Any], sub: Any, groups: list[Any]
) -> None:
    claims = claims | {"sub": sub, "realm": {"roles": groups}}
    try:
        found = identity_of("corporate", ISSUER, claims, NOW)
    except Bad:
        assert not isinstance(sub, str) or not 0 < len(sub) <= 255 or "auth_time" in claims
        return
    told = lines(header_block(msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Identity)))
    assert set(told) == set(STANDARD.values())
    for value in told.values():
        assert all("!" <= letter <= "~" for letter in value)
    assert unquote(told["X-User-Id"]) == f"corporate:{sub}"
    for claim, name in (("email", "X-User-Email"), ("preferred_username", "X-User-Name")):
        said = claims.get(claim)
        assert unquote(told[name]) == (said if isinstance(said, str) else "")
    verified = claims.get("email_verified") is True and bool(told["X-User-Email"])
    assert told["X-User-Email-Verified"] == ("true" if verified else "false")
    wanted = {ISSUER.roles[each] for each in groups if isinstance(each, str) and each in ISSUER.roles}
    assert {unquote(each) for each in told["X-User-Roles"].split(",") if each} == wanted
    assert (told["X-User-Kind"], told["X-User-Level"]) == ("external", "1")
    assert told["X-User-Permissions"] == told["X-User-Session"] == told["X-User-Methods"] == ""
    assert not found.protected and not found.public


@given(st.dictionaries(st.sampled_from(["aud", "exp", "nbf", "iat", "azp", "typ", "token_use"]), JSON))
def test_T24_no_claims_are_good_by_accident(claims: dict[str, Any]) -> None:
    """Whatever is believed is for us, has an end that is to come, and has begun."""
    try:
        until = checked(claims, ISSUER, NOW)
    except Bad:
        return
    audience = claims["aud"]
    assert "orders" in (audience if isinstance(audience, list) else [audience])
    assert math.isfinite(until) and until > NOW
    assert claims.get("nbf", 0) <= NOW + 30 and claims.get("iat", 0) <= NOW + 30
