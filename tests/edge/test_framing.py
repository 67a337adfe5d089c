"""The chunked coding: however its bytes are cut, the same payload and rest; broken coding never passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.framing import LAST_CHUNK, BadChunk, ChunkDecoder, as_chunk

PIECES = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
CUTS = st.lists(st.integers(1, 30), max_size=20)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    parts = []
    for size in cuts:
        parts.append(data[:size])
        data = data[size:]
    return [part for part in [*parts, data] if part]


def decode(parts: list[bytes], overhead: int = 1000) -> tuple[bytes, bytes, bool]:
    decoder = ChunkDecoder(overhead)
    payload = rest = b""
    for part in parts:
        if decoder.done:
            rest += part
            continue
        more, rest = decoder.feed(part)
        payload += more
    return payload, rest, decoder.done


@given(PIECES, CUTS, st.sampled_from([b"", b";x=1", b" ;a", b'; n="v"']), st.binary(max_size=20))
def test_every_cut_gives_the_same(
    pieces: list[bytes], cuts: list[int], extension: bytes, after: bytes
) -> None:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    parts = cut(body + b"0\r\nTrailer: x\r\n\r\n" + after, cuts)
    assert decode(parts) == (b"".join(pieces), after, True)


@given(PIECES)
def test_what_is_made_is_understood(pieces: list[bytes]) -> None:
    body = b"".join(map(as_chunk, pieces)) + LAST_CHUNK
    assert decode([body]) == (b"".join(pieces), b"", True)


@pytest.mark.parametrize(
    "body",
    [
        b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"-1\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n", b"\r\n", b"g\r\n", b"5\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5\r\nhell\r\n0\r\n\r\n",
        b"1000000000000000000\r\n", b"5;\x00\r\nhello\r\n", b"0\r\nno colon\r\n\r\n", b"0\r\n: x\r\n\r\n",
        b"0\r\nA: \x01\r\n\r\n", b"0\r\n A: x\r\n\r\n",
    ],
)  # fmt: skip
def test_broken_coding_is_refused(body: bytes) -> None:
    for parts in ([body], [body[at : at + 1] for at in range(len(body))]):
        with pytest.raises(BadChunk):
            decode(parts)


def test_extensions_and_trailers_are_bounded_over_the_whole_body() -> None:
    many = b"".join(b"1;" + b"x" * 60 + b"\r\na\r\n" for _ in range(20))
    with pytest.raises(BadChunk):
        decode([many])
    with pytest.raises(BadChunk):
        decode([b"0\r\n" + b"A: b\r\n" * 300])
    with pytest.raises(BadChunk):
        decode([b"1;" + b"x" * 9000])


def test_an_end_is_not_guessed() -> None:
    assert decode([b"5\r\nhello\r\n0\r\n"]) == (b"hello", b"", False)
    assert decode([b"5\r\nhello"]) == (b"hello", b"", False)
