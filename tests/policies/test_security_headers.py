"""The policy security_headers: the standard set, or exactly one's own."""

import msgspec
import pytest

from policies.security_headers import STANDARD, SecurityHeaders
from tests.policies.made import build, header


def test_the_standard_set_is_on_every_reply() -> None:
    effects = build(SecurityHeaders, {}, tls=True).effects()
    for name, value in STANDARD.items():
        assert header(effects.reply_add, name.lower().encode()) == value.encode()
    assert effects.reply_drop == {name.lower().encode() for name in STANDARD} - {b"content-security-policy"}


def test_hsts_is_said_over_tls_only() -> None:
    """RFC 6797 section 7.2; and what a TLS proxy's backend says of it is then not ours to drop."""
    effects = build(SecurityHeaders, {"headers": "standard"}, tls=False).effects()
    assert header(effects.reply_add, b"strict-transport-security") is None
    assert b"strict-transport-security" not in effects.reply_drop


def test_the_upstreams_content_security_policy_stays_beside_ours() -> None:
    effects = build(SecurityHeaders, {}).effects()
    assert header(effects.reply_add, b"content-security-policy") == b"frame-ancestors 'none'"
    assert b"content-security-policy" not in effects.reply_drop


def test_a_map_is_exactly_these() -> None:
    own = {"X-Frame-Options": "SAMEORIGIN", "Strict-Transport-Security": "max-age=60"}
    effects = build(SecurityHeaders, {"headers": own}, tls=True).effects()
    assert effects.reply_add == b"X-Frame-Options: SAMEORIGIN\r\nStrict-Transport-Security: max-age=60\r\n"
    assert effects.reply_drop == {b"x-frame-options", b"strict-transport-security"}
    plain = build(SecurityHeaders, {"headers": own}, tls=False).effects()
    assert plain.reply_add == b"X-Frame-Options: SAMEORIGIN\r\n"


@pytest.mark.parametrize(
    "headers", ["strict", {"X-A": "a\r\nb"}, {"Connection": "close"}, {"a b": "c"}, {"X-A": 1}]
)
def test_what_is_no_header_is_a_fault(headers: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        build(SecurityHeaders, {"headers": headers})
