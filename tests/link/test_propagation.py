"""News from the log to every edge and back: what is acknowledged, and what is promised of the rest (T41)."""

import asyncio
import math
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.identity import propagation
from gateway.identity.edge_book import FileBook, Noted, book_beside
from gateway.link.client import LEASE
from tests.link.house import TOKEN_TTL, House, Raw, until


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who are not there are not waited for a second long."""
    monkeypatch.setattr(propagation, "SETTLE", 0.1)


@pytest.fixture
def poller_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests look themselves."""
    monkeypatch.setattr(propagation, "POLL", 3600.0)


async def welcomed(house: House, name: str, serve_stale: float = 10.0) -> Raw:
    raw = await Raw.hello(house.path, name, serve_stale)
    assert (await raw.hear())["t"] == "welcome"
    return raw


async def answers_pings(raw: Raw) -> bool:
    """Asks; a question after it tells when it was not answered."""
    raw.say({"t": "ping", "id": 1}, {"t": "resolve", "id": 2, "kind": "bearer", "credential": "c"})
    while (message := await raw.hear())["t"] == "push":
        pass
    if message["t"] == "pong":
        assert (await raw.hear())["t"] == "resolved"
        return True
    return False


# The log


async def test_without_edges_everything_is_settled(house: House) -> None:
    settled = await house.propagation.settle([house.rows.write()])
    assert (settled.edges, settled.acknowledged, settled.pending) == (0, 0, ())
    assert await house.propagation.settle([]) == settled


async def test_it_begins_at_the_end_of_the_log(folder: Path) -> None:
    house = House(folder)
    for number in range(5):
        house.rows.write(f"old{number}")
    await house.start()
    edge = await house.edge()
    house.rows.write("new")
    await house.propagation.look()
    await until(lambda: edge.pushes)
    assert [(push.n, push.session) for push in edge.pushes] == [(1, "new")]
    await house.close()


async def test_sequences_that_commit_out_of_order_are_each_told_once(house: House) -> None:
    edge = await house.edge()
    for sequences in ((1, 3), (), (2,), (7, 5), (4,), (6,)):
        for sequence in sequences:
            house.rows.commit(sequence, f"s{sequence}")
        await house.propagation.look()
    await until(lambda: len(edge.pushes) == 7)
    assert [push.session for push in edge.pushes] == ["s1", "s3", "s2", "s5", "s7", "s4", "s6"]
    assert [push.n for push in edge.pushes] == list(range(1, 8))


async def test_one_that_was_in_flight_when_it_began_is_told(folder: Path) -> None:
    house = House(folder)
    house.rows.commit(10)
    await house.start()
    edge = await house.edge()
    house.rows.commit(9, "in flight")
    assert (await house.propagation.settle([9])).pending == ()
    assert [push.session for push in edge.pushes] == ["in flight"]
    await house.close()


async def test_what_it_remembers_of_the_log_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "WINDOW", 10)
    monkeypatch.setattr(propagation, "REMEMBERED", 20)
    edge = await house.edge()
    for _ in range(20):
        for _ in range(5):
            house.rows.write()
        await house.propagation.look()
    await until(lambda: len(edge.pushes) == 100)
    assert len(house.propagation._numbers) == 20


async def test_t41_what_was_committed_and_never_rung_is_told_by_the_poll(house: House) -> None:
    """A crash between commit and ring; another process that wrote."""
    edge = await house.edge()
    house.rows.write()
    await until(lambda: edge.pushes)


# Settling


async def test_parallel_calls_settle_each(house: House) -> None:
    edges = [await house.edge(f"worker-{number}") for number in range(3)]
    results = await asyncio.gather(*(house.propagation.settle([house.rows.write()]) for _ in range(50)))
    assert {(result.edges, result.acknowledged) for result in results} == {(3, 3)}
    assert [len(edge.pushes) for edge in edges] == [50, 50, 50]
    assert len(house.durations) == 50
    p50, p99 = house.propagation.percentiles()
    assert 0.0 < p50 <= p99 <= max(house.durations)


async def test_an_edge_that_is_silent_is_named_with_its_moment(house: House, hasty: None) -> None:
    await house.edge("worker-1")
    raw = await welcomed(house, "worker-2", serve_stale=30.0)
    heard_by = house.clock.wall()
    settled = await house.propagation.settle([house.rows.write()])
    assert (settled.edges, settled.acknowledged) == (2, 1)
    [pending] = settled.pending
    assert pending.edge == "worker-2"
    assert pending.safe_at_ms <= math.ceil((heard_by + LEASE + 30.0) * 1000)
    assert pending.safe_at_ms > (heard_by + LEASE + 30.0 - 5.0) * 1000  # it was heard from just now
    raw.close()


async def test_a_moment_that_was_named_is_not_moved(house: House, hasty: None) -> None:
    """An edge that lives but does not acknowledge: its heartbeats get no answer, so its lease ends."""
    raw = await welcomed(house, "worker-1")
    assert await answers_pings(raw)
    [first] = (await house.propagation.settle([house.rows.write()])).pending
    house.clock.moved += 1.0
    assert not await answers_pings(raw)
    [again] = (await house.propagation.settle([1])).pending
    assert abs(again.safe_at_ms - first.safe_at_ms) <= 1  # rounded up
    raw.say({"t": "ack", "n": 1})
    assert await answers_pings(raw)
    assert (await house.propagation.settle([1])).pending == ()


async def test_until_expiry_means_the_life_of_a_token(house: House, hasty: None) -> None:
    raw = await welcomed(house, "worker-1", serve_stale=-1)
    [pending] = (await house.propagation.settle([house.rows.write()])).pending
    earliest, latest = (house.clock.wall() + LEASE + TOKEN_TTL - 5.0, house.clock.wall() + LEASE + TOKEN_TTL)
    assert earliest * 1000 < pending.safe_at_ms <= math.ceil(latest * 1000)
    raw.close()


async def test_another_life_of_tokens_is_told_to_all_edges(house: House) -> None:
    """The moment of `until_expiry` is counted by it: nothing of before may stay cached."""
    edge = await house.edge(serve_stale=-1)
    assert edge.link.token_ttl == TOKEN_TTL
    house.propagation.token_ttl = TOKEN_TTL  # the same
    assert edge.link.up
    house.propagation.token_ttl = 60.0
    await until(lambda: edge.link.token_ttl == 60.0)
    assert edge.link.epoch == 2


# Edges that go


async def test_an_edge_that_leaves_in_the_middle_counts_until_its_moment(house: House, hasty: None) -> None:
    raw = await welcomed(house, "worker-1", serve_stale=10.0)
    settling = asyncio.ensure_future(house.propagation.settle([house.rows.write()]))
    assert (await raw.hear())["t"] == "push"
    raw.close()
    [pending] = (await settling).pending
    assert pending.edge == "worker-1"
    [later] = (await house.propagation.settle([house.rows.write()])).pending  # it may use it still
    assert abs(later.safe_at_ms - pending.safe_at_ms) <= 1
    house.clock.moved += LEASE + 10.0
    settled = await house.propagation.settle([house.rows.write()])
    assert (settled.edges, settled.pending) == (0, ())


async def test_an_edge_that_acknowledged_and_left_is_not_waited_for(house: House, hasty: None) -> None:
    raw = await welcomed(house, "worker-1")
    sequence = house.rows.write()
    settling = asyncio.ensure_future(house.propagation.settle([sequence]))
    await raw.hear()
    raw.say({"t": "ack", "n": 1})
    raw.close()
    assert (await settling).pending == ()
    await until(lambda: not house.propagation.edges()[0].connected)
    assert (await house.propagation.settle([sequence])).pending == ()


async def test_an_edge_that_came_back_and_holds_nothing_is_not_waited_for(house: House) -> None:
    edge = await house.edge()
    connection = edge.link._connection
    assert connection is not None
    connection.transport.abort()
    await until(lambda: edge.link.epoch == 2)
    settled = await house.propagation.settle([house.rows.write()])
    assert (settled.edges, settled.acknowledged) == (1, 1)


EDGE = """
import socket, sys
from gateway.link import frames
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
hello = {"t": "hello", "versions": [1], "edge": "worker-1", "pid": 1, "serve_stale": -1.0}
sock.sendall(frames.encode(hello))
sock.recv(1000)
sys.stdin.read()
"""


async def test_an_edge_whose_process_has_died_uses_nothing(house: House, hasty: None) -> None:
    child = subprocess.Popen([sys.executable, "-c", EDGE, house.path], stdin=subprocess.PIPE)
    try:
        await until(lambda: house.propagation.edges(), within=20.0)
        assert len((await house.propagation.settle([house.rows.write()])).pending) == 1
    finally:
        child.kill()
        child.communicate()
    settled = await house.propagation.settle([house.rows.write()])
    assert (settled.edges, settled.pending) == (0, ())


# A log that can't be read


async def test_who_cant_read_the_log_renews_no_lease(poller_off: None, house: House) -> None:
    raw = await welcomed(house, "worker-1")
    assert await answers_pings(raw)
    house.rows.broken = True
    with pytest.raises(ConnectionError):
        await house.propagation.look()
    assert await answers_pings(raw)
    house.clock.moved += propagation.READABLE
    assert not await answers_pings(raw)
    assert await (await Raw.hello(house.path, "worker-2")).is_closed()  # a welcome would be a lease
    house.rows.broken = False
    await house.propagation.look()
    assert await answers_pings(raw)


async def test_what_was_committed_but_cant_be_told_keeps_all_leases_from_growing(
    poller_off: None, house: House, hasty: None
) -> None:
    raw = await welcomed(house, "worker-1")
    house.rows.broken = True
    sequence = house.rows.write()
    settled = await house.propagation.settle([sequence])
    assert [pending.edge for pending in settled.pending] == ["worker-1"]
    assert not await answers_pings(raw)
    house.rows.broken = False
    await house.propagation.look()
    assert not await answers_pings(raw)  # told now, and not acknowledged yet
    raw.say({"t": "ack", "n": 1})
    assert await answers_pings(raw)
    assert (await house.propagation.settle([sequence])).pending == ()


async def test_if_the_log_lacks_what_was_written_all_edges_begin_afresh(
    poller_off: None, house: House, hasty: None
) -> None:
    edge = await house.edge()
    assert len((await house.propagation.settle([77])).pending) == 1
    await house.propagation.look()
    await until(lambda: edge.link.epoch == 2)
    await until(lambda: len(house.propagation.edges()) == 1)
    assert edge.pushes == []
    assert (await house.propagation.settle([house.rows.write()])).pending == ()


async def test_a_start_without_the_log_fails(folder: Path) -> None:
    house = House(folder)
    house.rows.broken = True
    with pytest.raises(ConnectionError):
        await house.propagation.start()
    house.sock.close()


# A restart of the service


async def test_t41_a_restart_does_not_forget_the_edges(folder: Path, hasty: None) -> None:
    """Until it is back, an edge goes on with what it has: the next service counts it from the start."""
    house = House(folder, book=FileBook(folder / "link.sock.edges"))
    await house.start()
    raw = await welcomed(house, "worker-1", serve_stale=10.0)
    edge = await house.edge("worker-2")
    await house.stop()
    house.make()
    await house.propagation.start()  # nobody has dialled it yet
    began = house.clock.wall()
    settled = await house.propagation.settle([house.rows.write()])
    assert {pending.edge for pending in settled.pending} == {"worker-1", "worker-2"}
    assert all(pending.safe_at_ms <= math.ceil((began + LEASE + 10.0) * 1000) for pending in settled.pending)
    await house.server.start()
    await until(lambda: edge.link.epoch == 2)
    settled = await house.propagation.settle([house.rows.write()])
    assert [pending.edge for pending in settled.pending] == ["worker-1"]
    house.clock.moved += LEASE + 10.0
    settled = await house.propagation.settle([house.rows.write()])
    assert (settled.edges, settled.pending) == (1, ())
    raw.close()
    await house.close()


def test_the_book_is_beside_the_socket_and_for_its_owner_only(folder: Path) -> None:
    house = House(folder)
    book = book_beside(house.sock)
    assert book.read() == []
    book.write([Noted("worker-1", 7, 0, 10.0)])
    assert book_beside(house.sock).read() == [Noted("worker-1", 7, 0, 10.0)]
    assert [path.name for path in folder.iterdir() if path.name != "link.sock"] == ["link.sock.edges"]
    assert (folder / "link.sock.edges").stat().st_mode & 0o777 == 0o600
    house.sock.close()


def test_a_book_that_cant_be_read_counts_whatever_there_was(folder: Path) -> None:
    path = folder / "edges"
    path.write_bytes(b"{")
    assert FileBook(path).read() == [Noted("unknown", 0, 0, -1.0)]


# What is seen of it


async def test_the_status_names_each_edge_with_its_lag(house: House, hasty: None) -> None:
    raw = await welcomed(house, "worker-1")
    assert [(state.name, state.connected, state.lag) for state in house.propagation.edges()] == [
        ("worker-1", True, 0.0)
    ]
    await house.propagation.settle([house.rows.write()])
    house.clock.moved += 5.0
    [state] = house.propagation.edges()
    assert state.lag >= 5.0
    raw.close()
    await until(lambda: not house.propagation.edges()[0].connected)
