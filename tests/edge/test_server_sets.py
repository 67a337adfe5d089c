"""How an upstream's servers come and go: by DNS and by reload, without losing what is still good."""

import asyncio
import socket

import pytest

from gateway.config.snapshot import Server, UpstreamTls
from gateway.edge.servers import ServerState
from gateway.model.exchange import Exchange
from tests.edge.groups import CHECK, NAMED, at, fail, fixed, group, picked
from tests.edge.moved import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


# Names


def test_every_address_of_a_name_becomes_a_server(clock: Clock) -> None:
    named = group(clock, (NAMED, *fixed(1)))
    assert [server.name for server in named.servers] == ["http://10.0.0.1"]
    named.resolved(NAMED, [at(5), at(6), at(5)])
    assert [(server.name, server.address) for server in named.servers[1:]] == [
        ("http://app.test (10.0.0.5)", ("10.0.0.5", 80)),
        ("http://app.test (10.0.0.6)", ("10.0.0.6", 80)),
    ]
    assert picked(named) == set(named.servers)


def test_addresses_that_stay_keep_their_state_and_those_that_vanish_are_drained(clock: Clock) -> None:
    named = group(clock, (NAMED,))
    named.resolved(NAMED, [at(1), at(2)])
    stays, leaves = named.servers
    stays.active, leaves.active = 3, 4
    told: list[tuple[str, ServerState]] = []
    named.on_added.append(lambda server: told.append(("added", server)))
    named.on_removed.append(lambda server: told.append(("removed", server)))
    named.resolved(NAMED, [at(3), at(1)])
    assert named.servers[0] is stays and stays.active == 3 and not stays.gone
    assert leaves.gone and leaves not in picked(named)
    assert told == [("added", named.servers[1]), ("removed", leaves)]


def test_a_failed_look_up_keeps_the_old_addresses(clock: Clock) -> None:
    named = group(clock, (NAMED,))
    named.resolved(NAMED, [at(1)])
    before = list(named.servers)
    named.resolved(NAMED, None)
    assert named.servers == before and picked(named) == set(before)


def test_a_vanished_server_is_neither_ejected_nor_checked_any_more(clock: Clock) -> None:
    named = group(clock, (NAMED,), health=CHECK)
    named.resolved(NAMED, [at(1), at(2), at(3)])
    leaves = named.servers[0]
    named.resolved(NAMED, [at(2), at(3)])
    assert not fail(named, leaves, clock, 20)
    assert not any(named.checked(leaves, False) for _ in range(9))
    assert picked(named) == set(named.servers)


def test_an_ipv6_address_and_a_unix_socket_need_no_look_up(clock: Clock) -> None:
    both = group(
        clock, (Server("http://[::1]:8", host="::1", port=8), Server("unix:/run/a.sock", path="/run/a.sock"))
    )
    assert not both.resolving
    assert [(server.family, server.address) for server in both.servers] == [
        (socket.AF_INET6, ("::1", 8)),
        (socket.AF_UNIX, "/run/a.sock"),
    ]


async def test_requests_wait_for_the_first_look_up(clock: Clock) -> None:
    named = group(clock, (NAMED,), connect=30)
    assert named.resolving and named.pick(Exchange()) is None
    waiting = [asyncio.create_task(named.ready()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    named.resolved(NAMED, [at(1)])
    await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert not named.resolving and named.pick(Exchange()) is named.servers[0]


async def test_a_first_look_up_that_fails_ends_the_waiting(clock: Clock) -> None:
    other = Server("http://other.test", host="other.test", port=80)
    named = group(clock, (NAMED, other), connect=30)
    waiting = asyncio.create_task(named.ready())
    await asyncio.sleep(0)
    named.resolved(NAMED, None)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()  # the other name may still bring a server
    named.resolved(other, None)
    await asyncio.wait_for(waiting, 10)
    assert named.pick(Exchange()) is None


async def test_nobody_waits_longer_than_for_a_connection(clock: Clock) -> None:
    named = group(clock, (NAMED,), connect=0.01)
    await asyncio.wait_for(named.ready(), 10)
    assert named.resolving and named.pick(Exchange()) is None


# Reload


def test_a_reload_keeps_the_servers_that_are_the_same(clock: Clock) -> None:
    old = group(clock, fixed(3))
    for server in old.servers:
        server.idle.append("a connection")
    fail(old, old.servers[0], clock)
    gone: list[ServerState] = []
    old.on_removed.append(gone.append)
    one, two, _ = fixed(3)
    heavier = Server(two.name, host=two.host, port=two.port, weight=3)
    new = group(clock, (one, heavier, Server("http://10.0.0.9", host="10.0.0.9", port=80)))
    new.adopt(old)
    assert new.servers[:2] == old.servers[:2]
    assert new.servers[1].weight == 3 and new.servers[1].idle
    assert new.servers[2].name == "http://10.0.0.9" and not new.servers[2].idle
    assert gone == [old.servers[2]] and gone[0].gone
    assert picked(new) == set(new.servers[1:])  # the first is ejected still
    assert new.errors == {"connect": 3}
    clock.now += 11
    assert picked(new) == set(new.servers)


def test_a_reload_keeps_what_dns_said(clock: Clock) -> None:
    old = group(clock, (NAMED,))
    old.resolved(NAMED, [at(1), at(2)])
    renamed = Server("http://app.test:80", host="app.test", port=80)
    new = group(clock, (renamed,))
    assert new.resolving
    new.adopt(old)
    assert not new.resolving and new.servers == old.servers
    assert new.servers[0].name == "http://app.test:80 (10.0.0.1)"
    new.resolved(renamed, [at(2)])
    assert [server.address for server in new.servers] == [("10.0.0.2", 80)]


def test_connections_made_with_other_tls_settings_are_not_taken_over(clock: Clock) -> None:
    old = group(clock, fixed(2))
    new = group(clock, fixed(2), tls=UpstreamTls(server_name="other.test"))
    new.adopt(old)
    assert not set(new.servers) & set(old.servers)
    assert all(server.gone for server in old.servers)
    assert picked(new) == set(new.servers)


def test_without_checks_in_the_new_file_everybody_is_healthy(clock: Clock) -> None:
    old = group(clock, fixed(2), health=CHECK)
    for _ in range(3):
        old.checked(old.servers[0], False)
    new = group(clock, fixed(2))
    new.adopt(old)
    assert picked(new) == set(new.servers)
