"""gateway.link.frames: whole messages out of any pieces, and nothing but BadFrame out of garbage."""

import socket
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.link.frames import MAX_FRAME, BadFrame, FrameReader, Message, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
messages = st.dictionaries(st.text(), values, max_size=4)


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@given(st.lists(messages, max_size=4), st.lists(st.integers(0, 400), max_size=8))
def test_messages_arrive_whole_and_in_order_however_they_are_cut(
    sent: list[Message], cuts: list[int]
) -> None:
    stream = b"".join(map(encode, sent))
    reader = FrameReader()
    got: list[Message] = []
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for start, end in zip(edges, edges[1:], strict=False):
        got += reader.feed(stream[start:end])
    assert got == sent


def test_a_message_is_given_with_its_last_byte_and_not_before() -> None:
    data = encode({"t": "collect", "id": 1})
    reader = FrameReader()
    for at in range(len(data) - 1):
        assert reader.feed(data[at : at + 1]) == []
    assert reader.feed(data[-1:]) == [{"t": "collect", "id": 1}]
    assert reader.feed(data) == [{"t": "collect", "id": 1}]


def test_an_empty_read_is_no_message() -> None:
    assert FrameReader().feed(b"") == []


def test_bytes_stay_bytes_and_text_stays_text() -> None:
    [message] = FrameReader().feed(encode({"snapshot": b"\x00\xff", "error": "caf\u00e9"}))
    assert message == {"snapshot": b"\x00\xff", "error": "caf\u00e9"}


def test_a_frame_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    data = encode({"a": b"x" * 100})
    assert FrameReader(len(data) - 4).feed(data) == [{"a": b"x" * 100}]
    with pytest.raises(BadFrame, match="bytes"):
        FrameReader(len(data) - 5).feed(data)


@pytest.mark.parametrize("length", [MAX_FRAME + 1, 0xFFFFFFFF])
def test_t39_a_huge_frame_is_refused_by_its_length_alone(length: int) -> None:
    with pytest.raises(BadFrame, match=str(length)):
        FrameReader().feed(struct.pack(">I", length))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80\x80",
        b"\xc0",
        b"\x01",
        b"\x90",
        b"\x81\x01\x01",
        b"\x81\xa1a",
        b"\x81\xa1\xff\x01",
        b"\x81\xa1a\xa1\xff",
        b"\x81\xa1a\xdf\xff\xff\xff\xff",
        b"\x81\xa1a\xdd\xff\xff\xff\xff",
        b"\x81\xa1a\xc1",
        b"\x81\xa1a" + b"\x91" * 100_000 + b"\x01",
        b"GET / HTTP/1.1",
    ],
)
def test_t39_garbage_of_a_right_length_is_a_bad_frame(body: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameReader().feed(frame(body))


def test_http_on_the_socket_is_a_bad_frame() -> None:
    with pytest.raises(BadFrame):
        FrameReader().feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


@given(st.binary(max_size=64))
def test_t39_any_bytes_raise_nothing_but_bad_frame(body: bytes) -> None:
    try:
        [message] = FrameReader().feed(frame(body))
    except BadFrame:
        return
    assert isinstance(message, dict)


@given(st.binary(max_size=12))
def test_t39_any_value_in_a_message_raises_nothing_but_bad_frame(value: bytes) -> None:
    try:
        [message] = FrameReader().feed(frame(b"\x81\xa1a" + value))
    except BadFrame:
        return
    assert list(message) == ["a"]


def test_many_messages_in_one_read() -> None:
    sent: list[Message] = [{"t": "ready", "n": number} for number in range(20_000)]
    assert FrameReader().feed(b"".join(map(encode, sent))) == sent


def test_a_message_larger_than_the_sockets_buffer_crosses_it() -> None:
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        sent: dict[str, Any] = {"t": "start", "snapshot": b"s" * 1_000_000}
        waiting = memoryview(encode(sent))
        reader = FrameReader()
        here.setblocking(False)
        got: list[Message] = []
        while not got:
            if waiting:
                waiting = waiting[here.send(waiting[:65536]) :]
            got += reader.feed(there.recv(65536))
        assert got == [sent]


def test_what_no_message_can_hold_is_said_by_the_sender() -> None:
    with pytest.raises((TypeError, msgspec.MsgspecError)):
        encode({"t": object()})
