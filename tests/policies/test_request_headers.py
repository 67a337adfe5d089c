"""The policy request_headers: what the upstream is told besides the client's own headers."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.request_headers import RequestHeaders
from tests.policies.made import build


def test_set_replaces_add_joins_and_remove_drops() -> None:
    effects = build(
        RequestHeaders, {"set": {"X-Tenant": "acme"}, "add": {"X-Trail": "gate"}, "remove": ["X-Debug"]}
    ).effects()
    assert effects.request_drop == {b"x-tenant", b"x-debug"}
    assert effects.request_add == b"X-Tenant: acme\r\nX-Trail: gate\r\n"
    assert (effects.reply_drop, effects.reply_add) == (frozenset(), b"")


def test_a_value_is_sent_as_it_stands() -> None:
    effects = build(RequestHeaders, {"set": {"X-Made": "{env.SECRET} ${X} {{7*7}}"}}).effects()
    assert effects.request_add == b"X-Made: {env.SECRET} ${X} {{7*7}}\r\n"


@pytest.mark.parametrize(
    "name",
    [
        "Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Keep-Alive", "Expect",
        "X-User-Id", "x-user-anything", "X-User", "Remote-User", "X-Forwarded-For", "X-Forwarded-User",
        "X-Auth-Request-Email", "X-Request-Id", "Forwarded", "traceparent", "X-Original-URL", "X_User_Id",
        "X-Real-IP", "Proxy",
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["set", "add", "remove"])
def test_names_of_the_gateway_are_not_for_settings(name: str, how: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="gateway"):
        build(RequestHeaders, {how: [name] if how == "remove" else {name: "x"}})


def test_an_underscore_is_named_as_the_fault() -> None:
    with pytest.raises(msgspec.ValidationError, match="underscore"):
        build(RequestHeaders, {"remove": ["X_Debug"]})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("X-Caf\u00e9", "x"),
        ("X-A", "a\r\nX-B: b"),
        ("X-A", "\0"),
        ("X-A", "\u00e9"),
    ],
)
@pytest.mark.parametrize("how", ["set", "add"])
def test_what_is_no_header_is_a_fault(name: str, value: str, how: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        build(RequestHeaders, {how: {name: value}})


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3))
def test_settings_either_make_exactly_their_lines_or_are_faults(headers: dict[str, str]) -> None:
    try:
        block = build(RequestHeaders, {"set": headers}).effects().request_add
    except msgspec.ValidationError:
        return
    lines = block.split(b"\r\n")
    assert lines.pop() == b""
    assert lines == [f"{name}: {value.strip()}".encode("ascii") for name, value in headers.items()]


@pytest.mark.parametrize("settings", [{"sets": {}}, {"set": {"X-A": 1}}, {"remove": "X-A"}])
def test_settings_of_another_shape_are_faults(settings: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        build(RequestHeaders, settings)
