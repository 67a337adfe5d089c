"""The policy body_limit: refused at once by Content-Length, else left to the edge's count."""

import msgspec
import pytest

from gateway.model.verdict import Refuse
from policies.body_limit import BodyLimit
from tests.policies.made import build, exchange


@pytest.mark.parametrize("length", [0, 1, 100, None])
def test_a_body_within_the_limit_or_of_unknown_length_goes_on(length: int | None) -> None:
    asked = exchange(b"POST", content_length=length)
    assert build(BodyLimit, {"limit": 100}).on_request(asked) is None
    assert asked.body_limit == 100


@pytest.mark.parametrize("length", [101, 10**15])
def test_a_body_stated_too_large_is_refused_before_it_comes(length: int) -> None:
    asked = exchange(b"POST", content_length=length, body_limit=10**9)
    refused = build(BodyLimit, {"limit": 100}).on_request(asked)
    assert isinstance(refused, Refuse)
    assert (refused.fault.code, refused.fault.status) == ("body_too_large", 413)
    assert "100 bytes" in refused.detail


def test_a_route_can_raise_the_gateways_limit() -> None:
    asked = exchange(b"POST", content_length=500, body_limit=100)
    assert build(BodyLimit, {"limit": 1000}).on_request(asked) is None
    assert asked.body_limit == 1000


@pytest.mark.parametrize("settings", [{}, {"limit": -1}, {"limit": "50MiB"}, {"limit": 1, "more": 2}])
def test_a_limit_is_a_number_of_bytes(settings: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        build(BodyLimit, settings)
