"""The shapes of our tokens: one spelling for each value, typos cost no look-up, none is left in a log."""

import base64
import hashlib
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.model import credentials
from gateway.model.credentials import KINDS, base62, opened, plausible, redacted, shaped, unbase62

LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
KIND = st.sampled_from(KINDS)
PAYLOAD = st.binary(min_size=16, max_size=100)


@given(st.binary(max_size=credentials.LONGEST))
def test_base62_comes_back(data: bytes) -> None:
    text = base62(data)
    assert unbase62(text, len(data)) == data
    assert set(text) <= set(LETTERS)


@given(st.integers(0, 40), st.data())
def test_a_value_has_one_length_and_one_spelling(size: int, data: st.DataObject) -> None:
    """Whatever can be read is exactly what would have been written."""
    text = data.draw(st.text(LETTERS, min_size=len(base62(bytes(size))), max_size=len(base62(bytes(size)))))
    value = unbase62(text, size)
    assert value is None or base62(value) == text


@given(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=40))
def test_longer_values_have_longer_texts_and_the_order_is_kept(one: bytes, other: bytes) -> None:
    assume(one != other)
    assert base62(one) != base62(other)
    if len(one) == len(other):
        assert (one < other) == (base62(one) < base62(other))
    else:
        assert (len(one) < len(other)) == (len(base62(one)) < len(base62(other)))


@pytest.mark.parametrize(
    "text", ["", "0", "00", "0000", "ZZZ", "zzz", "-00", " 00", "0_0", "٠٠٠", "００1", "00\n"]
)
def test_what_was_never_written_is_not_read(text: str) -> None:
    """Two bytes are three letters, at most H31 (65,535)."""
    assert unbase62(text, 2) is None
    assert unbase62("H31", 2) == b"\xff\xff"
    assert unbase62("H32", 2) is None


def test_what_is_too_long_is_not_written_short() -> None:
    with pytest.raises(ValueError, match="128"):
        base62(bytes(credentials.LONGEST + 1))
    assert unbase62("", credentials.LONGEST + 1) is None


@given(KIND, PAYLOAD)
def test_a_token_opens_as_its_kind_alone(kind: str, payload: bytes) -> None:
    token = shaped(kind, payload)
    assert opened(token, kind) == payload
    assert plausible(token)
    for other in set(KINDS) - {kind}:
        assert opened(token, other) is None
        assert opened(other + token[4:], other) is None, "the checksum covers the prefix"


@given(KIND, PAYLOAD, st.data())
def test_any_changed_character_is_found(kind: str, payload: bytes, data: st.DataObject) -> None:
    token = shaped(kind, payload)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.one_of(st.sampled_from(LETTERS), st.characters()))
    assume(letter != token[place])
    changed = token[:place] + letter + token[place + 1 :]
    assert not plausible(changed)
    assert opened(changed, kind) is None


@given(KIND, PAYLOAD, st.data())
def test_swapped_lost_and_doubled_characters_are_found(
    kind: str, payload: bytes, data: st.DataObject
) -> None:
    token = shaped(kind, payload)
    place = data.draw(st.integers(4, len(token) - 2))
    swapped = token[:place] + token[place + 1] + token[place] + token[place + 2 :]
    assert swapped == token or not plausible(swapped)
    assert not plausible(token[:place] + token[place + 1 :])
    assert not plausible(token[:place] + token[place] + token[place:])


@given(KIND, PAYLOAD, st.sampled_from(["", " ", "\n", "\r\n", "=", "A", "\0", "\u200b"]))
def test_nothing_may_stand_around_a_token(kind: str, payload: bytes, more: str) -> None:
    token = shaped(kind, payload)
    assert plausible(token + more) == plausible(more + token) == (more == "")


@given(st.text(max_size=250))
def test_any_text_is_opened_or_is_nothing(text: str) -> None:
    for each in (text, *(kind + text for kind in KINDS)):
        assert not plausible(each)


@given(PAYLOAD)
def test_a_kind_that_is_none_of_ours_is_not_plausible(payload: bytes) -> None:
    assert not plausible(shaped("psz_", payload))
    assert opened(shaped("psz_", payload), "psz_") == payload


@pytest.mark.parametrize("kind", KINDS)
def test_random_tokens_have_256_bits_and_are_kept_as_their_hash(kind: str) -> None:
    token, other = credentials.new(kind), credentials.new(kind)
    payload = opened(token, kind)
    assert payload is not None and len(payload) == 32
    assert token != other and len(token) == len(other)
    assert credentials.stored(token) == hashlib.sha256(token.encode()).digest()


def test_ids_are_16_random_bytes() -> None:
    one, other = credentials.new_id(), credentials.new_id()
    assert one != other and len(one) == 22
    found = credentials.id_bytes(one)
    assert found is not None and base62(found) == one
    assert credentials.id_bytes(one[:-1]) is None
    assert credentials.id_bytes("z" * 22) is None


def test_our_jwts_begin_as_written() -> None:
    for start, algorithm in zip(credentials.JWT_STARTS, ("EdDSA", "ES256"), strict=True):
        head = f'{{"typ":"at+jwt","alg":"{algorithm}","kid":"{credentials.JWT_KEY}'.encode()
        assert base64.urlsafe_b64encode(head).decode() == start


AROUND = st.sampled_from(["", " ", "Bearer ", "%3D", "=", "_", "x", "9", "é", '"', "\n", "psa_", "eyJ"])


@given(KIND, PAYLOAD, AROUND, AROUND)
def test_T25_no_token_is_left_in_a_text(kind: str, payload: bytes, before: str, after: str) -> None:
    token = shaped(kind, payload)
    told = redacted(f"{before}{token}{after} and {token}")
    assert token not in told and token[4:24] not in told
    assert kind in told


@given(
    st.binary(min_size=20), st.binary(min_size=1), st.binary(), st.sampled_from(["", " ", "%3D", "_", "x"])
)
def test_T25_no_jwt_is_left_in_a_text(head: bytes, body: bytes, proof: bytes, before: str) -> None:
    parts = (base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in (b'{"typ' + head, body, proof))
    token = ".".join(parts)
    told = redacted(f"{before}{token}")
    assert token not in told and token[3:] not in told
    assert told.endswith("jwt:…")


@given(st.text())
def test_other_text_is_left_alone(text: str) -> None:
    assume("ps" not in text and "eyJ" not in text)
    assert redacted(text) == text
    assert redacted(redacted(text)) == redacted(text)
