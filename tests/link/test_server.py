"""The service's end: who is let in, what is answered, and in what order (T39, T42)."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from gateway.link import frames, server
from gateway.link.client import MAX_QUESTION
from gateway.model import credentials
from tests.link.house import Edge, House, Raw, until

RESOLVE: frames.Message = {"t": "resolve", "id": 1, "kind": "bearer", "credential": "c"}


# T39: who and what is not let in


async def test_t39_a_stranger_is_told_nothing_and_held_nowhere(folder: Path) -> None:
    house = House(folder, uid=os.geteuid() + 1)  # for this service we are the stranger
    await house.start()
    raw = await Raw.hello(house.path)
    assert await raw.is_closed()
    await until(lambda: not house.server.connections)
    assert house.propagation.edges() == []
    assert house.answers.asked == []
    await house.close()


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\0\0\x04\xc1\xc1\xc1\xc1", b"\0\0\0\x01\x05", b"\0\0\0\x00"],
    ids=["http", "no msgpack", "no map", "empty"],
)
@pytest.mark.parametrize("welcome", [False, True], ids=["as a hello", "after the welcome"])
async def test_t39_garbage_ends_the_connection(house: House, data: bytes, welcome: bool) -> None:
    raw = await (Raw.hello if welcome else Raw.dial)(house.path)
    if welcome:
        assert (await raw.hear())["t"] == "welcome"
    raw.writer.write(data)
    assert await raw.is_closed()
    await until(lambda: not house.server.connections)
    assert not any(state.connected for state in house.propagation.edges())


async def test_t39_a_huge_frame_is_refused_before_it_is_held(house: House) -> None:
    raw = await Raw.hello(house.path)
    await raw.hear()
    raw.writer.write((MAX_QUESTION + 1).to_bytes(4, "big"))  # only its length
    assert await raw.is_closed()


async def test_t39_no_hello_in_time_ends_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HELLO_WITHIN", 0.05)
    raw = await Raw.dial(house.path)
    assert await raw.is_closed()
    await until(lambda: not house.server.connections)


@pytest.mark.parametrize(
    "hello",
    [
        {"versions": [2, 3]}, {"versions": []}, {"versions": "1"}, {"edge": "a\nb"}, {"edge": ""},
        {"edge": "x" * 65}, {"pid": "1"}, {"serve_stale": -2.0}, {"serve_stale": float("nan")},
        {"serve_stale": float("inf")},
    ],
)  # fmt: skip
async def test_t39_a_hello_that_cant_be_is_refused(house: House, hello: frames.Message) -> None:
    raw = await Raw.hello(house.path, **hello)
    assert await raw.is_closed()
    assert house.propagation.edges() == []


async def test_t39_whatever_comes_before_the_hello_is_not_answered(house: House) -> None:
    raw = await Raw.dial(house.path)
    raw.say(RESOLVE)
    assert await raw.is_closed()
    assert house.answers.asked == []


async def test_t39_a_second_hello_ends_it(house: House) -> None:
    raw = await Raw.hello(house.path)
    await raw.hear()
    raw.say({"t": "hello", "versions": [1], "edge": "other", "pid": 1})
    assert await raw.is_closed()


async def test_t39_replayed_acknowledgements_count_for_nobody_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each that was told, over its own connection; none ahead of its time."""
    one, other = await Raw.hello(house.path, "one"), await Raw.hello(house.path, "other")
    for raw in (one, other):
        await raw.hear()
        raw.say({"t": "ack", "n": 1}, {"t": "ping", "id": 1})  # ahead of its time
        assert (await raw.hear())["t"] == "pong"
    settling = asyncio.ensure_future(house.propagation.settle([house.rows.write()]))
    push = await one.hear()
    one.say(*[{"t": "ack", "n": push["n"]}] * 3, RESOLVE)
    assert (await one.hear())["t"] == "resolved"
    assert not settling.done()
    settled = await settling
    assert (settled.edges, settled.acknowledged) == (2, 1)
    assert [pending.edge for pending in settled.pending] == ["other"]


# Versions


async def test_neighbouring_versions_understand_each_other(house: House) -> None:
    raw = await Raw.hello(house.path, versions=[1, 2], colour="new")
    assert await raw.hear() == {"t": "welcome", "version": 1, "n": 0, "token_ttl": 900.0}
    raw.say({"t": "news of tomorrow", "n": 1}, {**RESOLVE, "colour": "new"})
    assert (await raw.hear())["outcome"] == "identified"


async def test_each_edge_has_a_name_of_its_own(house: House) -> None:
    raws = [await Raw.hello(house.path, "worker-1") for _ in range(3)]
    for raw in raws:
        await raw.hear()
    assert [state.name for state in house.propagation.edges()] == ["worker-1", "worker-1-2", "worker-1-3"]


# Questions


async def test_questions_are_answered_with_what_was_known_before_the_first_read(house: House) -> None:
    raw = await Raw.hello(house.path)
    await raw.hear()

    async def news_come_meanwhile() -> None:
        house.rows.write()
        await house.propagation.look()

    house.answers.before = news_come_meanwhile
    raw.say({**RESOLVE, "id": 7, "address": "192.0.2.1", "agent": "a", "stream": True})
    assert (await raw.hear())["t"] == "push"
    answer = await raw.hear()
    assert (answer["t"], answer["id"], answer["as_of"]) == ("resolved", 7, 0)
    assert house.answers.asked == [("bearer", "c", "192.0.2.1", "a", True)]


async def test_renewals_are_answered(house: House) -> None:
    raw = await Raw.hello(house.path)
    await raw.hear()
    raw.say({"t": "renew", "id": 3, "credential": "c", "bearer": True, "address": "192.0.2.1", "agent": "a"})
    assert await raw.hear() == {
        "t": "renewed", "id": 3, "as_of": 0, "outcome": "renewed", "set_cookie": "c",
        "access_token": None, "expires_in": None,
    }  # fmt: skip
    assert house.answers.asked == [("c", True, "192.0.2.1", "a")]


async def test_one_edge_has_so_many_questions_at_once_and_no_more(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "AT_ONCE", 4)
    monkeypatch.setattr(server, "WAITING", 8)
    gate = asyncio.Event()

    async def wait_at_the_gate() -> None:
        await gate.wait()

    house.answers.before = wait_at_the_gate
    raw = await Raw.hello(house.path)
    await raw.hear()
    raw.say(*({**RESOLVE, "id": number} for number in range(15)))
    refused = [await raw.hear() for _ in range(3)]
    assert [(each["id"], each["outcome"]) for each in refused] == [(n, "unavailable") for n in (12, 13, 14)]
    gate.set()
    answered = [await raw.hear() for _ in range(12)]
    assert {each["id"] for each in answered} == set(range(12))
    assert house.answers.most_at_once == 4


async def test_a_question_that_takes_too_long_is_unavailable(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER_WITHIN", 0.05)

    async def never() -> None:
        await asyncio.Event().wait()

    house.answers.before = never
    raw = await Raw.hello(house.path)
    await raw.hear()
    raw.say(RESOLVE)
    assert (await raw.hear())["outcome"] == "unavailable"


async def test_a_crash_is_unavailable_and_its_token_is_not_logged(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    token = credentials.new(credentials.ACCESS)

    async def crash() -> None:
        raise ValueError(f"no such thing: {token}")

    house.answers.before = crash
    raw = await Raw.hello(house.path)
    await raw.hear()
    raw.say(RESOLVE)
    assert (await raw.hear())["outcome"] == "unavailable"
    assert "no such thing: psa_" in caplog.text
    assert token not in caplog.text


async def test_what_an_edge_asked_ends_with_its_connection(house: House) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    house.answers.before = never
    raw = await Raw.hello(house.path)
    await raw.hear()
    raw.say(*({**RESOLVE, "id": number} for number in range(100)))
    await until(lambda: house.answers.at_once == server.AT_ONCE)
    raw.close()
    await until(lambda: house.answers.at_once == 0, within=server.ANSWER_WITHIN / 2)
    assert len(house.answers.asked) == server.AT_ONCE  # those that waited never began


async def test_an_edge_that_does_not_read_is_let_go(house: House, caplog: pytest.LogCaptureFixture) -> None:
    raw = await Raw.hello(house.path)
    await raw.hear()
    raw.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    big = "c" * 60_000  # comes back as the session
    for number in range(40):
        raw.say({**RESOLVE, "id": number, "credential": big})
    await until(lambda: not any(state.connected for state in house.propagation.edges()))
    assert "does not read" in caplog.text


# Order


async def test_a_pong_stands_behind_all_news(house: House) -> None:
    raw = await Raw.hello(house.path)
    await raw.hear()
    for number in range(50):
        house.rows.write(f"s{number}")
    looking = asyncio.ensure_future(house.propagation.look())
    raw.say({"t": "ping", "id": 9})
    await looking
    raw.say({"t": "ping", "id": 10})
    heard = [await raw.hear() for _ in range(52)]
    known = 0
    for message in heard:
        if message["t"] == "push":
            assert message["n"] == known + 1
            known += 1
        else:
            assert (message["t"], message["n"]) == ("pong", known)
    assert heard[-1] == {"t": "pong", "id": 10, "n": 50}


# Touch


async def test_t42_a_link_keeps_alive_only_sessions_that_it_resolved(house: House) -> None:
    one, other = await Raw.hello(house.path, "one"), await Raw.hello(house.path, "other")
    for raw, credential in ((one, "s1"), (other, "s2")):
        await raw.hear()
        raw.say({**RESOLVE, "credential": credential})
        await raw.hear()
    one.say({"t": "touch", "sessions": [["s1", 1.5], ["s2", 0.0], ["s3", 0.0]]})
    await until(lambda: house.answers.touched)
    assert house.answers.touched == [("s1", 1.5)]


# The end


async def test_the_end_of_a_service_leaves_its_socket_to_the_next(house: House) -> None:
    edge: Edge = await house.edge()
    await house.stop()
    assert Path(house.path).exists()
    await until(lambda: not edge.link.up)
    house.make()
    await house.start()
    await until(lambda: edge.link.up)
    assert edge.events == ["up", "down", "up"]
