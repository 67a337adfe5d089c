"""T15, T17, T18 of rate limits: whose count is spent, and what happens when nobody can be asked."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import new_address, register
from tests.kit.raw import Answer, request
from tests.kit.workers import one_each
from tests.processes.supervised import until

PROXY = "127.0.0.9"  # trusted
ROUTES = """
service: kit
trusted_proxies: [127.0.0.9/32, 10.0.0.0/8]
upstreams: {app: {servers: ["URL"]}}
defaults: {policies: {authenticate: none}}
routes:
  - {name: free, match: {path: /free}, answer: {status: 200}}
  - {name: app, match: {path: /app/**}, upstream: app, policies: {authenticate: required}}
  - {name: address, match: {path: /address}, upstream: app, policies: {rate_limit: {limit: 4/day, key: ip}}}
  - name: users
    match: {path: /users}
    upstream: app
    policies: {authenticate: optional, rate_limit: {limit: 4/day}}
  - {name: local, match: {path: /local}, upstream: app, policies: {rate_limit: {limit: 8/day, key: ip}}}
  - name: deny
    match: {path: /deny}
    upstream: app
    policies: {rate_limit: {limit: 1000/day, key: ip, on_store_failure: deny}}
  - name: allow
    match: {path: /allow}
    upstream: app
    policies: {rate_limit: {limit: 2/day, key: ip, on_store_failure: allow}}
"""


@pytest.fixture(scope="module")
def kit() -> Iterator[IdentityWorld]:
    with run_identity_gateway(ROUTES, check=False) as world:
        yield world


def statuses(
    kit: IdentityWorld, chains: list[bytes], source: str = PROXY, path: str = "/address"
) -> list[int]:
    lines = [b"X-Forwarded-For: " + chain for chain in chains]
    return [kit.get(path, line, source=source).status for line in lines]


# T15: the address that counts


def test_T15_rotating_what_stands_left_of_the_client_changes_no_count(kit: IdentityWorld) -> None:
    client = new_address().encode()
    lefts = [b"", b"1.1.1.1, ", b"unknown, ", b"2001:db8::1, ", b"10.1.1.1, ", b"9.9.9.9, 8.8.8.8, "]
    assert statuses(kit, [left + client for left in lefts]) == [200] * 4 + [429] * 2


def test_T15_nobody_spends_what_is_another_addresss(kit: IdentityWorld) -> None:
    """By naming a victim as the client, from anywhere, or through the proxy."""
    victim, attacker = new_address().encode(), new_address()
    assert statuses(kit, [victim] * 6, source=attacker) == [200] * 4 + [429] * 2
    assert statuses(kit, [victim + b", " + new_address().encode() for _ in range(6)]) == [200] * 6
    forwarded = b"Forwarded: for=" + victim
    assert [kit.get("/address", forwarded, source=attacker).status for _ in range(2)] == [429] * 2
    assert statuses(kit, [victim] * 5) == [200] * 4 + [429]


def test_T15_v6_counts_by_its_network_and_mapped_v4_is_v4(kit: IdentityWorld) -> None:
    hosts = [b"2001:db8:15:1::%x" % number for number in range(1, 7)]
    assert statuses(kit, hosts) == [200] * 4 + [429] * 2
    assert statuses(kit, [b"2001:db8:15:2::1"]) == [200]
    client = new_address().encode()
    spelled = [client, b"::ffff:" + client, b"[::ffff:" + client + b"]:443", client + b":1234", client]
    assert statuses(kit, spelled) == [200] * 4 + [429]


def test_T17_a_count_by_user_is_of_the_user_of_each_request(kit: IdentityWorld) -> None:
    """Pipelined on one connection, mixed with anonymous ones and with invalid tokens."""
    one, two = register(kit), register(kit)
    address = new_address()
    with one_each(kit.gateway, "/free", address) as clients:
        client = next(iter(clients.values()))
        for turn in range(6):
            client.send(*(request("/users", *lines) for lines in ((one.bearer,), (two.bearer,), ())))
            replies = [client.reply() for _ in range(3)]
            assert [each.status for each in replies] == [200 if turn < 4 else 429] * 3, turn


# T18: nobody can be asked


@contextmanager
def frozen(kit: IdentityWorld) -> Iterator[None]:
    pid = kit.pid_of_identity()
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: kit.gateway.metrics()["postern_link_up"] == 0)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        until(lambda: kit.gateway.metrics()["postern_link_up"] == 2)


def by_turns(kit: IdentityWorld, path: str, times: int, address: str) -> list[Answer]:
    with one_each(kit.gateway, "/free", address) as clients:
        workers = list(clients.values())
        return [workers[each % 2].send(request(path)).reply() for each in range(times)]


def test_T18_while_nobody_can_be_asked_the_rule_decides(kit: IdentityWorld) -> None:
    address = new_address()
    with frozen(kit):
        local = by_turns(kit, "/local", 12, address)
        assert [each.status for each in local] == [200] * 8 + [429] * 4  # each worker its half
        assert local[-1].code == "rate_limited" and local[0].value(b"ratelimit").startswith(b'"local.1";r=3;')
        before = len(kit.upstream.on(b"/deny"))
        for denied in by_turns(kit, "/deny", 3, address):
            assert (denied.status, denied.code) == (503, "rate_limit_unavailable")
            assert int(denied.value(b"retry-after")) > 0 and denied.values(b"ratelimit") == []
        assert len(kit.upstream.on(b"/deny")) == before
        assert [each.status for each in by_turns(kit, "/allow", 5, address)] == [200] * 5
    until(lambda: by_turns(kit, "/deny", 2, address)[1].status == 200)
    assert [each.status for each in by_turns(kit, "/allow", 4, new_address())] == [200, 200, 429, 429]
    assert kit.gateway.metrics()['postern_rate_limit_total{result="denied",rule="kit/deny.1"}'] == 3


def test_T18_no_request_hangs_on_a_service_that_stops_in_its_midst(kit: IdentityWorld) -> None:
    """The moment before the link counts as down: who waits for units is answered all the same."""
    pid = kit.pid_of_identity()
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        replies = by_turns(kit, "/deny", 4, new_address())
        assert {each.status for each in replies} == {503} and time.monotonic() - began < 10
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: kit.gateway.metrics()["postern_link_up"] == 2)


def test_T18_a_killed_service_comes_back_and_counts(kit: IdentityWorld) -> None:
    person = register(kit)
    os.kill(kit.pid_of_identity(), signal.SIGKILL)
    until(lambda: kit.get("/app/x", person.bearer).status == 200)
    until(lambda: by_turns(kit, "/deny", 2, new_address())[1].status == 200)
    assert [each.status for each in by_turns(kit, "/address", 6, new_address())] == [200] * 4 + [429] * 2
