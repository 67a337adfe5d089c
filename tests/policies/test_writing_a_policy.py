"""The example of docs/writing-a-policy.md does what the page says."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.model.policy import merge
from gateway.model.verdict import Refuse, Reply
from tests.policies.made import build, exchange, header

PAGE = Path(__file__).resolve().parents[2] / "docs/writing-a-policy.md"


@pytest.fixture(scope="module")
def agents() -> Any:
    [example] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, str(PAGE), "exec"), names)
    return names["Agents"]


def test_it_hides_from_whom_the_settings_name(agents: Any) -> None:
    policy = build(agents, {"hide_from": ["Crawler"]})
    refused = policy.on_request(exchange(noted={b"user-agent": b"crawler/2.0"}))
    assert isinstance(refused, Refuse)
    assert refused.fault.status == 404
    assert policy.on_request(exchange(noted={b"user-agent": b"Mozilla/5.0 crawler/2.0"})) is None
    assert policy.on_request(exchange()) is None


def test_its_effects_and_its_way_back(agents: Any) -> None:
    policy = build(agents, {"hide_from": ["Crawler"]})
    assert header(merge([policy.effects()]).reply_add, b"vary") == b"User-Agent"
    reply = Reply(200, [(b"X-A", b"1")])
    policy.on_response(exchange(began=0.0), reply)
    assert [name for name, _ in reply.headers] == [b"X-A", b"Server-Timing"]


def test_its_settings_are_checked(agents: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match="at least one agent"):
        build(agents, {"hide_from": []})
