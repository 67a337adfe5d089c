"""The rehearsal by itself: what it needs not, what it can't know, and how it chooses."""

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.config.snapshot import (
    Identity,
    Listen,
    Route,
    Server,
    Snapshot,
    Tls,
    Upstream,
    UpstreamTls,
)
from gateway.explaining import knowledge
from gateway.explaining.asked import Asked, BadQuestion
from gateway.explaining.explain import explain
from gateway.explaining.explanation import Explanation
from gateway.explaining.knowledge import CantKnow, Nobody, Somebody
from gateway.link.questions import Lease
from tests.explaining.agreeing import verdicts, why

REQUIRED = {"authenticate": {"mode": "required"}}
IDENTIFIED = {"outcome": "identified", "identity": {"id": "u1", "session": "s1"}, "expires_in": 60.0}
NOBODY = Nobody("nobody is asked")


class Teller:
    """Knows one bearer; answers late, if it is told to."""

    def __init__(self, patience: float = 0.0, left: int | None = 5) -> None:
        self.patience, self.left = patience, left
        self.asked: list[str] = []

    def look(self, kind: str, credential: str, address: str, agent: str) -> dict[str, Any]:
        self.asked.append(credential)
        time.sleep(self.patience)
        return IDENTIFIED if credential == "good" else {"outcome": "bad", "why": "it is bad"}

    def count(self, question: Lease) -> dict[str, Any]:
        assert question.want == 0
        self.asked.append(question.key)
        if self.left is None:
            raise CantKnow("nobody counts")
        told = {"outcome": "leased", "granted": 0, "remaining": self.left, "nearest": 0, "reset_in": 7.0}
        return {**told, "spend_within": 7.0, "ask_again_in": 9.0, "edges": 2}


def snapshot(*routes: Route, servers: tuple[Server, ...] = (), **more: Any) -> Snapshot:
    found = servers or (Server("http://127.0.0.1:1", "127.0.0.1", 1),)
    upstream = Upstream("app", found, **more.pop("upstream", {}))
    return Snapshot("hash", upstreams=(upstream,), routes=routes, **more)


def route(**more: Any) -> Route:
    return Route("app", "/**", upstream="app", **{"policies": {}, **more})


async def passes(made: Snapshot, *lines: str, **more: Any) -> Explanation:
    told = await explain(made, Asked("GET", "/x", "here.test", lines, **more), NOBODY)
    assert told.outcome == "passes", told
    return told


SERVERS = (Server("http://127.0.0.1:1", "127.0.0.1", 1), Server("http://127.0.0.1:2", "127.0.0.1", 2))
NAMED = (Server("http://app.test:1", "app.test", 1), Server("http://other.test:2", "other.test", 2))


async def test_a_hash_chooses_the_same_server_each_time() -> None:
    made = snapshot(route(), servers=SERVERS, upstream={"balance": "hash_ip"})
    chosen = {}
    for number in range(20):
        address = f"192.0.2.{number}"
        tried = [await passes(made, address=address) for _ in range(2)]
        assert tried[0].upstream == tried[1].upstream and tried[0].upstream is not None
        chosen[address] = tried[0].upstream.server
    assert set(chosen.values()) == {server.name for server in SERVERS}


@pytest.mark.parametrize(("servers", "balance"), [(SERVERS, "least_requests"), (NAMED, "hash_ip")])
async def test_what_only_shows_when_it_is_sent_is_left_open(servers: Any, balance: str) -> None:
    """Names are not looked up: to which of its addresses a hash leads can't be said."""
    told = await passes(snapshot(route(), servers=servers, upstream={"balance": balance}))
    assert told.upstream is not None and told.upstream.server is None
    assert told.upstream.servers == [server.name for server in servers]


async def test_a_host_name_is_not_looked_up() -> None:
    told = await passes(snapshot(route(), servers=NAMED[:1], upstream={"host": "upstream"}))
    assert told.upstream is not None and told.upstream.server == "http://app.test:1"
    assert told.head is not None and "Host: app.test:1" in told.head


async def test_keys_and_certificates_need_not_be_readable() -> None:
    server = Server("https://127.0.0.1:1", "127.0.0.1", 1, secure=True)
    tls = UpstreamTls(ca="/not/here", cert="/not/here", key="/not/here")
    made = snapshot(route(), servers=(server,), upstream={"tls": tls}, tls=Tls("/not/here", "/not/here"))
    told = await passes(made)
    assert told.head is not None and "X-Forwarded-Proto: https" in told.head


async def test_a_client_over_a_unix_socket_has_no_address() -> None:
    made = snapshot(route(), listen=(Listen(path="/run/postern.sock"),))
    told = await passes(made, address="unix")
    assert told.head is not None and not [line for line in told.head if line.startswith("X-Forwarded-For")]


async def test_a_folder_for_temporary_files_may_have_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    await passes(snapshot(route()))


async def test_an_upgrade_shows_the_head_and_what_the_101_gets() -> None:
    made = snapshot(route(policies={"response_headers": {"set": {"X-Served-By": "kit"}}}))
    told = await passes(made, "Connection: Upgrade", "Upgrade: websocket")
    assert told.head is not None and told.head[-2:] == ["Connection: Upgrade", "Upgrade: websocket"]
    assert told.added_to_reply is not None and "X-Served-By: kit" in told.added_to_reply


async def test_what_is_known_late_is_known_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy waits for a few seconds only: then the request is rehearsed again, and nobody asked twice."""
    monkeypatch.setattr(knowledge, "_LOOK_WITHIN", 0.01)
    teller = Teller(patience=0.2)
    asked = Asked("GET", "/x", "here.test")
    told = await explain(snapshot(route(policies=REQUIRED)), asked, teller, token="good")
    assert told.outcome == "passes" and told.user == "u1" and teller.asked == ["good"]
    never = await explain(snapshot(route(policies=REQUIRED)), asked, NOBODY, token="good")
    assert never.outcome == "unknown" and verdicts(never)["authenticate"] == "unknown"
    assert why(never, "authenticate") == "nobody is asked" and never.reply is None and never.head is None


async def test_of_a_bad_token_the_reason_is_told_to_whoever_explains() -> None:
    made = snapshot(route(policies=REQUIRED))
    told = await explain(made, Asked("GET", "/x", "here.test"), Teller(), token="stale")
    assert told.refusal is not None and told.refusal.code == "invalid_token" and told.reply is not None
    assert "it is bad" in why(told, "authenticate") and "it is bad" not in told.reply.body


async def test_unknown_is_not_refused_in_report_mode_but_told() -> None:
    made = snapshot(route(policies=REQUIRED, mode="report"))
    told = await explain(made, Asked("GET", "/x", "here.test"), NOBODY, token="good")
    assert told.outcome == "passes" and verdicts(told)["authenticate"] == "unknown"


LIMIT = {"rules": [{"limits": {"default": [[10, 60]]}, "key": ["ip"]}]}


@pytest.mark.parametrize(
    ("left", "outcome", "said", "line"),
    [
        (5, "passes", "5 left", "r=4"),
        (1, "passes", "1 left", "r=0"),
        (0, "refused", "0 left", "r=0"),
        (None, "passes", "how many are left is not known here", "r=9"),
    ],
)
async def test_a_limit_is_looked_at(left: int | None, outcome: str, said: str, line: str) -> None:
    made = snapshot(route(policies={"rate_limit": LIMIT}))
    teller = Teller(left=left)
    told = await explain(made, Asked("GET", "/x", "here.test"), teller)
    assert told.outcome == outcome and said in why(told, "rate_limit") and teller.asked == ["127.0.0.1"]
    headers = told.added_to_reply or (told.reply.headers if told.reply is not None else [])
    assert [text for text in headers if text.startswith("RateLimit: ") and line in text]


async def test_a_cookie_whose_time_has_come_is_not_renewed() -> None:
    policies = {"authenticate": {"mode": "required", "accept": ["cookie"]}}
    made = snapshot(route(policies=policies), identity=Identity(cookie_names=("postern",)))
    due = Somebody({**IDENTIFIED, "renew_in": 0.0})
    told = await explain(made, Asked("GET", "/x", "here.test"), NOBODY, somebody=due)
    assert told.outcome == "passes" and told.added_to_reply is not None
    assert "its cookie is due" in why(told, "authenticate")
    assert not [line for line in told.added_to_reply if line.startswith("Set-Cookie")]


class Renewing(Teller):
    """A bearer that has only expired, beside the good cookie of its session."""

    def look(self, kind: str, credential: str, address: str, agent: str) -> dict[str, Any]:
        return IDENTIFIED if kind == "cookie" else {"outcome": "bad", "session": "s1"}


async def test_a_fresh_token_that_the_reply_would_bring_is_told_and_not_made() -> None:
    identity = Identity(cookie_names=("postern",), renewal=True)
    made = snapshot(route(policies=REQUIRED), identity=identity)
    lines = ("Authorization: Bearer expired", "Cookie: postern=good")
    told = await explain(made, Asked("GET", "/x", "here.test", lines), Renewing())
    assert told.outcome == "passes" and told.user == "u1"
    assert "the reply would bring a fresh access token; none is made here" in why(told, "authenticate")


async def test_a_route_that_takes_no_token_refuses_a_second_credential_at_once() -> None:
    made = snapshot(route(policies=REQUIRED))
    asked = Asked("GET", "/x", "here.test", ("Authorization: Basic x",))
    with pytest.raises(BadQuestion, match="one credential of a kind"):
        await explain(made, asked, NOBODY, token="good")


async def test_settings_that_may_be_secret_are_hidden() -> None:
    policies = {"request_headers": {"set": {"X-Upstream-Token": "opensesame", "X-Tenant": "acme"}}}
    told = await passes(snapshot(route(policies=policies)))
    assert (
        told.head is not None and "X-Upstream-Token: (hidden)" in told.head and "X-Tenant: acme" in told.head
    )
    assert "opensesame" not in repr(told)
    assert why(told, "request_headers") == "sets on the request: X-Upstream-Token, X-Tenant"
