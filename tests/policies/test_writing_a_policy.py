"""The example of docs/writing-a-policy.md does what the page says."""

import re
from importlib import import_module
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


def test_what_it_calls_stable_is_there() -> None:
    table = PAGE.read_text().partition("## What is stable")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(gateway\.model\.\w+)` \| (.*) \|$", table, re.M)
    assert len(rows) == 6
    for module, names in rows:
        found = import_module(module)
        for kind, members in re.findall(r"`(\w+)`(?:: ([^;]*))?", names.partition("; the faults")[0]):
            there = getattr(found, kind)
            values = there() if kind == "Exchange" else there
            assert [name for name in re.findall(r"`(\w+)`", members) if not hasattr(values, name)] == []
