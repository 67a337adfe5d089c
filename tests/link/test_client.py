"""The edge's end: leases, pings, pushes and answers, also over a link that delays or loses (T41)."""

import asyncio
from collections.abc import Awaitable
from functools import partial

import pytest

from gateway.link import client, frames
from gateway.link.client import LinkDown, Push
from tests.link.house import Clock, Edge, House, Relay, until


def reconnected(edge: Edge, epoch: int) -> bool:
    return edge.link.up and edge.link.epoch == epoch


# Questions


async def test_a_question_has_its_own_answer(house: House) -> None:
    edge = await house.edge()
    answers = await asyncio.gather(*(edge.ask(f"c{number}") for number in range(200)))
    assert [answer["identity"]["session"] for answer in answers] == [f"c{number}" for number in range(200)]


async def test_a_question_while_the_link_is_down_fails_at_once(house: House) -> None:
    edge = await house.edge()
    await house.stop()
    await until(lambda: not edge.link.up)
    with pytest.raises(LinkDown):
        await edge.ask()


async def test_an_answer_that_does_not_come_fails_in_time(house: House, relay: Relay) -> None:
    edge = await house.edge(path=relay.path)
    relay.lose = lambda message: message["t"] == "resolved"
    with pytest.raises(LinkDown):
        await edge.ask(timeout=0.05)


async def test_a_frozen_process_takes_no_answer_after_its_time(house: House, relay: Relay) -> None:
    """Its timers did not run; the clock tells."""
    clock = Clock()
    edge = await house.edge(path=relay.path, clock=clock)
    relay.hold = lambda message: message["t"] == "resolved"
    answer = edge.ask(timeout=5.0)
    await until(lambda: relay.held)
    clock.moved += 6.0
    relay.release()
    with pytest.raises(LinkDown):
        await answer


async def test_t41_an_answer_delayed_past_a_revoke_tells_its_age(house: House, relay: Relay) -> None:
    """Read before, delivered after: its `as_of` is older than the push that came first."""
    edge = await house.edge(path=relay.path)
    relay.lose = lambda message: message["t"] == "resolved"
    answer = edge.ask("s")
    await until(lambda: relay.count("resolved"))
    delayed = next(message for message in relay.seen if message["t"] == "resolved")
    settled = await house.propagation.settle([house.rows.write("s")])
    assert settled.pending == ()
    relay.inject(delayed)
    assert (await answer)["as_of"] < edge.pushes[0].n == edge.link.known


async def test_t41_an_answer_of_a_former_link_never_arrives(house: House, relay: Relay) -> None:
    edge = await house.edge(path=relay.path)
    relay.lose = lambda message: message["t"] == "resolved"
    answer = edge.ask("old")
    await until(lambda: relay.count("resolved"))
    old = next(message for message in relay.seen if message["t"] == "resolved")
    epoch = edge.link.epoch
    relay.cut()
    with pytest.raises(LinkDown):
        await answer
    await until(lambda: edge.link.up)
    assert edge.link.epoch == epoch + 1
    relay.lose = lambda message: False
    later = edge.ask("new")
    relay.inject(old)
    assert (await later)["identity"]["session"] == "new"


# Connecting


async def test_it_connects_as_soon_as_there_is_somebody(house: House) -> None:
    await house.stop()
    edge = asyncio.ensure_future(house.edge())
    house.make()
    await house.start()
    assert (await edge).link.up


async def test_it_reconnects_and_begins_afresh(house: House, relay: Relay) -> None:
    edge = await house.edge(path=relay.path)
    for epoch in (2, 3):
        await house.propagation.settle([house.rows.write()])
        relay.cut()
        await until(partial(reconnected, edge, epoch))
        assert edge.link.known == house.propagation.n
    states = house.propagation.edges()
    assert [state.connected for state in states if state.connected] == [True]
    await until(lambda: len(house.propagation.edges()) == 1)  # the former ones: it said that it holds nothing


async def test_a_welcome_is_acknowledged_when_all_is_looked_at_again(house: House, relay: Relay) -> None:
    """Streams of the former link are asked about: until that is done, it counts as it was."""
    edge = await house.edge(path=relay.path)
    looked = asyncio.Event()

    async def look() -> None:
        await looked.wait()

    edge.link._on_up = look
    relay.cut()
    await until(lambda: edge.link.epoch == 2)
    sequence = house.rows.write()
    settling = asyncio.ensure_future(house.propagation.settle([sequence]))
    await until(lambda: edge.pushes)
    assert len(house.propagation.edges()) == 2
    looked.set()
    settled = await settling
    assert (settled.edges, settled.acknowledged) == (1, 1)


async def test_a_lost_push_is_noticed(house: House, relay: Relay) -> None:
    """Whatever is missing: with nothing known, nothing is wrong."""
    edge = await house.edge(path=relay.path)
    relay.lose = lambda message: message["t"] == "push"
    house.rows.write()
    await house.propagation.look()
    await until(lambda: relay.count("push"))
    relay.lose = lambda message: False
    house.rows.write()
    await house.propagation.look()
    await until(lambda: edge.link.epoch == 2)
    assert edge.pushes == []
    assert edge.link.known == 2


async def test_another_hello_is_said_over_another_connection(house: House) -> None:
    edge = await house.edge(serve_stale=10.0)
    hello = {"edge": "worker-1", "pid": edge.pid, "serve_stale": 60.0}
    edge.link.reintroduce(hello)
    await until(lambda: edge.link.epoch == 2)
    edge.link.reintroduce(hello)  # nothing new
    assert edge.link.up
    [state] = [state for state in house.propagation.edges() if state.connected]
    assert state.name == "worker-1"


async def test_who_says_good_bye_is_not_waited_for(house: House) -> None:
    edge = await house.edge()
    edge.link.close()
    assert edge.events == ["up"]
    await until(lambda: house.propagation.edges() == [])
    settled = await house.propagation.settle([house.rows.write()])
    assert (settled.edges, settled.pending) == (0, ())


# News


async def test_an_acknowledgement_waits_for_what_the_push_began(house: House) -> None:
    edge = await house.edge()
    done: dict[int, asyncio.Event] = {1: asyncio.Event(), 2: asyncio.Event()}

    def handle(push: Push) -> Awaitable[None] | None:
        async def close_streams() -> None:
            await done[push.n].wait()

        return close_streams() if push.n in done else None

    edge.handle = handle
    settling = [asyncio.ensure_future(house.propagation.settle([house.rows.write()])) for _ in range(3)]
    assert (await settling[2]).pending == ()  # in order or not
    assert [task.done() for task in settling] == [False, False, True]
    done[2].set()
    assert (await settling[1]).pending == ()
    assert not settling[0].done()
    done[1].set()
    assert (await settling[0]).pending == ()


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
async def test_a_push_that_cant_be_applied_is_never_acknowledged(house: House, later: bool) -> None:
    """Nobody knows what is held then: begin afresh, and that is told instead."""
    edge = await house.edge()

    def fail(push: Push) -> Awaitable[None] | None:
        async def fail_later() -> None:
            raise ValueError("no")

        if later:
            return fail_later()
        raise ValueError("no")

    edge.handle = fail
    settled = await house.propagation.settle([house.rows.write()])
    assert settled.pending == ()
    assert edge.link.epoch == 2
    assert [event for event in edge.events if isinstance(event, str)] == ["up", "down", "up"]


# What can't be


async def test_what_is_not_of_the_protocol_ends_the_connection(house: House, relay: Relay) -> None:
    edge = await house.edge(path=relay.path)
    connection = edge.link._connection
    assert connection is not None
    connection.data_received(frames.encode({"t": "push", "n": "one"}))
    assert not edge.link.up
    await until(lambda: edge.link.epoch == 2)


async def test_nothing_is_taken_after_the_end(house: House) -> None:
    edge = await house.edge()

    def end(push: Push) -> None:
        edge.link.close()

    edge.handle = end
    connection = edge.link._connection
    assert connection is not None
    push = {"t": "push", "kind": "revoked", "session": "s"}
    connection.data_received(frames.encode({**push, "n": 1}) + frames.encode({**push, "n": 2}))
    assert [push.n for push in edge.pushes] == [1]
    assert not edge.link.up


async def test_what_was_begun_on_a_former_link_acknowledges_nothing_on_the_next(house: House) -> None:
    """A new service counts from one again: the old first is not the new first."""
    edge = await house.edge()
    gates = [asyncio.Event(), asyncio.Event()]

    async def wait(gate: asyncio.Event) -> None:
        await gate.wait()

    edge.handle = lambda push: wait(gates[edge.link.epoch - 1])
    house.rows.write()
    await house.propagation.look()
    await until(lambda: len(edge.pushes) == 1)
    await house.stop()
    house.make()
    await house.start()
    await until(lambda: edge.link.epoch == 2)
    settling = asyncio.ensure_future(house.propagation.settle([house.rows.write()]))
    await until(lambda: len(edge.pushes) == 2)
    gates[0].set()
    for _ in range(3):
        await edge.ask()  # behind whatever it acknowledged
    assert not settling.done()
    gates[1].set()
    assert (await settling).pending == ()


async def test_a_question_of_any_size_does_not_end_the_link_of_all(house: House) -> None:
    edge = await house.edge()
    with pytest.raises(LinkDown):
        await edge.ask("c" * client.MAX_QUESTION)
    assert (await edge.ask())["outcome"] == "identified"
    assert edge.link.epoch == 1


async def test_however_many_sessions_were_used_all_are_told(house: House) -> None:
    edge = await house.edge()
    names = [f"session-{number:020}" for number in range(3000)]
    await asyncio.gather(*(edge.ask(name) for name in names[:1000]))
    await asyncio.gather(*(edge.ask(name) for name in names[1000:2000]))
    await asyncio.gather(*(edge.ask(name) for name in names[2000:]))
    edge.link.touch((name, 1.0) for name in names)
    await until(lambda: len(house.answers.touched) == 3000)
    assert edge.link.epoch == 1
