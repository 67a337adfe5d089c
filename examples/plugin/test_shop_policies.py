"""The shop's policies by themselves: with made requests, and a clock that is moved."""

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

import msgspec
import pytest
from shop_policies.maintenance import Maintenance
from shop_policies.quota import Billing, Quota

from gateway.model.exchange import Exchange
from gateway.model.identity import Identified, Identity
from gateway.model.policy import Ports
from gateway.model.verdict import Outcome, Refuse, Verdict

BILLING = {"billing": "http://127.0.0.1:5001/quota"}
NO_PORTS = Ports(identities=cast(Any, None))  # neither policy asks the gateway for anything


def request(client: bytes = b"192.0.2.7", user: str = "") -> Exchange:
    made = Exchange(client=client)
    if user:
        made.who = Identified(Identity(user, "s1"), "bearer", b"")
    return made


def outcome(verdict: Verdict) -> Outcome:
    async def wait(waiting: Awaitable[Outcome]) -> Outcome:
        return await waiting

    return asyncio.run(wait(verdict)) if isinstance(verdict, Awaitable) else verdict


def maintenance(**settings: Any) -> Maintenance:
    return Maintenance(msgspec.convert(settings, Maintenance.Settings), NO_PORTS)


def test_maintenance_refuses_all_but_those_who_work() -> None:
    policy = maintenance(let_in=["10.0.0.0/8", "2001:db8::1"], retry_after=60)
    for client in (b"10.1.2.3", b"2001:db8::1"):
        assert policy.on_request(request(client)) is None
    for client in (b"192.0.2.7", b"2001:db8::2", b"unix"):
        refused = policy.on_request(request(client))
        assert refused is not None and refused.fault.status == 503
        assert refused.headers == ((b"Retry-After", b"60"),)


@pytest.mark.parametrize("wrong", [{"let_in": ["10.0.0.0/33"]}, {"retry_after": 0}, {"until": "noon"}])
def test_maintenance_checks_its_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        maintenance(**wrong)


class Asked:
    """A billing that knows some users, and counts the questions."""

    def __init__(self, **left: int) -> None:
        self.left, self.questions = left, 0
        self.now = 0.0

    async def ask(self, user: str) -> int:
        self.questions += 1
        if user not in self.left:
            raise ConnectionRefusedError
        return self.left[user]

    def quota(self, **settings: Any) -> Quota:
        read = msgspec.convert(BILLING | settings, Quota.Settings)
        return Quota(read, NO_PORTS, self.ask, lambda: self.now)


def test_quota_asks_once_and_again_when_its_answer_is_old() -> None:
    billing = Asked(anna=7)
    policy = billing.quota(remember=5)
    for now, questions in ((0.0, 1), (5.0, 1), (5.1, 2)):
        billing.now = now
        exchange = request(user="anna")
        assert outcome(policy.on_request(exchange)) is None
        assert exchange.request_add == b"X-Quota-Left: 7\r\n"
        assert billing.questions == questions


def test_quota_refuses_who_has_nothing_left_and_whom_it_can_not_ask_about() -> None:
    policy = Asked(bert=0).quota()
    for user, status in (("bert", 402), ("carl", 503)):
        refused = outcome(policy.on_request(request(user=user)))
        assert isinstance(refused, Refuse) and refused.fault.status == status
    assert policy.on_request(request()) is None


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        (b'HTTP/1.0 200 OK\r\n\r\n{"left": 3}', 3),
        (b'HTTP/1.0 500 Oh\r\n\r\n{"left": 3}', None),
        (b"HTTP/1.0 200 OK\r\n\r\n[]", None),
        (b"HTTP/1.0 200 OK\r\n\r\nnothing", None),
        (b"", None),
    ],
)
def test_billing_is_asked_over_http(reply: bytes, left: int | None) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        writer.close()

    async def ask() -> int:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await Billing(f"http://127.0.0.1:{port}/quota", 5.0).left("a/../b")

    if left is None:
        with pytest.raises(ValueError):
            asyncio.run(ask())
    else:
        assert asyncio.run(ask()) == left
    assert asked[0].startswith(b"GET /quota/a%2F..%2Fb HTTP/1.0\r\n")
