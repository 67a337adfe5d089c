"""The policy response_headers: what the client is told besides the upstream's own headers."""

import msgspec
import pytest

from policies.response_headers import ResponseHeaders
from tests.policies.made import build


def test_set_replaces_add_joins_and_remove_drops() -> None:
    effects = build(
        ResponseHeaders, {"set": {"X-Made-By": "us"}, "add": {"Link": "</a>; rel=next"}, "remove": ["Server"]}
    ).effects()
    assert effects.reply_drop == {b"x-made-by", b"server"}
    assert effects.reply_add == b"X-Made-By: us\r\nLink: </a>; rel=next\r\n"
    assert (effects.request_drop, effects.request_add) == (frozenset(), b"")


@pytest.mark.parametrize(
    "name", ["Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "X-User-Id"]
)
@pytest.mark.parametrize("how", ["set", "add", "remove"])
def test_names_of_the_gateway_are_not_for_settings(name: str, how: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="gateway"):
        build(ResponseHeaders, {how: [name] if how == "remove" else {name: "x"}})


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x=1", "a\nb", "\x7f", "\u2028"])
def test_a_value_is_one_line(value: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="visible ASCII"):
        build(ResponseHeaders, {"set": {"X-A": value}})
