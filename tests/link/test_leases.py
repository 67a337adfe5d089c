"""How long the edge may use what it has: leases, heartbeats, and the ping that all share."""

import asyncio
from functools import partial

import pytest

from gateway.link import client
from gateway.link.client import LEASE, LinkDown, Push, now
from tests.link.house import Clock, Edge, House, Relay, until


def prolonged(edge: Edge, lease: float) -> bool:
    return edge.link.lease > lease


async def test_a_lease_counts_from_the_sending(house: House, relay: Relay) -> None:
    edge = await house.edge(path=relay.path)
    relay.hold = lambda message: message["t"] == "pong"
    asked_at = now()
    edge.link._ping()
    await until(lambda: relay.held)
    sent_before = now()
    await asyncio.sleep(0.1)  # the answer's way
    relay.release()
    await until(lambda: edge.link.lease >= asked_at + LEASE)
    assert edge.link.lease <= sent_before + LEASE
    assert edge.link.last_answer == edge.link.lease - LEASE


async def test_heartbeats_go_on_by_themselves(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BEAT", 0.02)
    edge = await house.edge()
    for _ in range(3):
        lease = edge.link.lease
        await until(partial(prolonged, edge, lease))


async def test_one_ping_for_all_who_ask(house: House, relay: Relay) -> None:
    clock = Clock()
    edge = await house.edge(path=relay.path, clock=clock)
    assert await edge.link.fresh()
    assert relay.count("ping") == 0  # heard from just now
    clock.moved += 2.0
    assert await asyncio.gather(*(edge.link.fresh() for _ in range(50))) == [True] * 50
    assert relay.count("ping") == 1
    assert edge.link.lease > clock() + 1.0


async def test_who_stops_waiting_for_a_ping_does_not_stop_others(house: House, relay: Relay) -> None:
    clock = Clock()
    edge = await house.edge(path=relay.path, clock=clock)
    relay.hold = lambda message: message["t"] == "pong"
    clock.moved += 2.0
    one, other = (asyncio.ensure_future(edge.link.fresh()) for _ in range(2))
    await until(lambda: relay.held)
    one.cancel()
    relay.release()
    assert await other


async def test_news_that_wait_are_applied_before_the_cache_is_called_fresh(
    house: House, relay: Relay
) -> None:
    clock = Clock()
    edge = await house.edge(path=relay.path, clock=clock)
    applied: list[int] = []

    async def apply(push: Push) -> None:
        applied.append(push.n)

    edge.handle = apply
    relay.hold = lambda message: message["t"] == "push"  # and what comes behind it
    for _ in range(100):
        house.rows.write()
    await house.propagation.look()
    clock.moved += 2.0
    asking = asyncio.ensure_future(edge.link.fresh())
    await until(lambda: relay.count("pong"))
    relay.release()
    assert await asking
    assert applied == list(range(1, 101))


async def test_a_ping_without_an_answer_means_down_until_it_comes(house: House, relay: Relay) -> None:
    clock = Clock()
    edge = await house.edge(path=relay.path, clock=clock)
    relay.hold = lambda message: message["t"] == "pong"
    clock.moved += 2.0
    assert not await edge.link.fresh()
    assert (edge.link.up, edge.events) == (False, ["up", "down"])
    pings = relay.count("ping")
    assert not any(await asyncio.gather(*(edge.link.fresh() for _ in range(20))))
    assert relay.count("ping") <= pings + 1  # at most a heartbeat
    with pytest.raises(LinkDown):
        await edge.ask()
    relay.release()
    await until(lambda: edge.link.up)
    assert edge.link.epoch == 1
    assert edge.events == ["up", "down"]  # on the same connection nothing was missed


async def test_a_service_that_is_silent_counts_as_down_though_nobody_asks(
    house: House, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "BEAT", 0.02)
    edge = await house.edge(path=relay.path)
    relay.lose = lambda message: message["t"] == "pong"
    await until(lambda: not edge.link.up)
    relay.lose = lambda message: False
    await until(lambda: edge.link.up)


async def test_a_pong_from_before_a_freeze_makes_nothing_fresh(house: House, relay: Relay) -> None:
    """What was revoked while this process was frozen may wait behind it: it asks once more."""
    clock = Clock()
    edge = await house.edge(path=relay.path, clock=clock)
    relay.hold = lambda message: message["t"] == "pong"
    clock.moved += 2.0
    asking = asyncio.ensure_future(edge.link.fresh())
    await until(lambda: relay.held)
    clock.moved += 10.0
    lease = edge.link.lease
    relay.release()
    assert await asking
    assert relay.count("ping") == 2
    assert edge.link.lease > lease + 10.0


async def test_a_pong_that_knows_more_means_that_news_were_lost(house: House, relay: Relay) -> None:
    clock = Clock()
    edge = await house.edge(path=relay.path, clock=clock)
    relay.lose = lambda message: message["t"] == "push"
    house.rows.write()
    await house.propagation.look()
    await until(lambda: relay.count("push"))
    clock.moved += 2.0
    assert not await edge.link.fresh()
    await until(lambda: edge.link.epoch == 2)
    assert edge.link.known == 1
