"""Tokens of a session: derived, the same whenever asked again, proved only by their session and purpose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from gateway.identity import secrets, tokens
from gateway.identity.secrets import Secrets
from gateway.identity.tokens import Parts, Tokens
from gateway.model import credentials
from gateway.model.credentials import ACCESS, COOKIE, KINDS, REFRESH

MASTER = Secrets([secrets.make()])
TOKENS = Tokens(MASTER)
SALT = bytes(range(16))
SESSION = credentials.new_id()
UNTIL = 1_700_000_000_000

GENERATIONS = st.integers(0, 2**32 - 1)
SALTS = st.binary(min_size=16, max_size=16)
IDS = st.binary(min_size=16, max_size=16).map(credentials.base62)


def one_of_each(master: Tokens = TOKENS, key_id: str = MASTER.newest) -> dict[str, str]:
    return {
        ACCESS: master.access(SESSION, SALT, key_id, 7, UNTIL),
        REFRESH: master.refresh(SESSION, SALT, key_id, 7),
        COOKIE: master.cookie(SESSION, SALT, key_id, 7),
    }


def parts_of(text: str) -> Parts:
    parts = tokens.read(text)
    assert parts is not None
    return parts


@given(IDS, SALTS, GENERATIONS, st.integers(0, 2**48 - 1))
def test_a_token_says_whose_it_is_and_proves_it(
    session: str, salt: bytes, generation: int, until: int
) -> None:
    made = TOKENS.access(session, salt, MASTER.newest, generation, until)
    parts = parts_of(made)
    assert (parts.kind, parts.key_id, parts.session) == (ACCESS, MASTER.newest, session)
    assert (parts.generation, parts.expires) == (generation, until)
    assert TOKENS.proved(parts, salt)
    for kind, other in ((REFRESH, TOKENS.refresh), (COOKIE, TOKENS.cookie)):
        parts = parts_of(other(session, salt, MASTER.newest, generation))
        assert (parts.kind, parts.session, parts.generation, parts.expires) == (kind, session, generation, 0)
        assert TOKENS.proved(parts, salt)


def test_asked_twice_the_bytes_are_the_same() -> None:
    assert one_of_each() == one_of_each()


def test_a_token_that_was_made_before_is_still_the_same() -> None:
    """What is out there must be proved by every later version."""
    fixed = Secrets(["a master secret of the tests, 0123456789"])
    session = credentials.base62(bytes(16))
    assert fixed.newest == "cda6efcf"
    assert (
        Tokens(fixed).access(session, bytes(16), fixed.newest, 1, UNTIL)
        == "psa_1gTrNfPSCTMZ8dguRIZawhpOamQIuPQvNJK4OEUVksRGv55ymZTy6L0rURqVz5sKr6Mi"
    )
    assert (
        Tokens(fixed).refresh(session, bytes(16), fixed.newest, 1)
        == "psr_1J2sJKExXsvAYJYfRbiC5aq4RCeBc27ixrokpOQYSyb2SDScI7CA25bRDZhf"
    )
    assert (
        Tokens(fixed).cookie(session, bytes(16), fixed.newest, 1)
        == "pss_1J2sJKExXsvAYJYfRbiC5aq4RCeBc27ixwIMFtJNe2zeoHHJmoJ1FfbBYn6F"
    )


def test_each_generation_session_and_salt_has_its_own() -> None:
    made = {
        TOKENS.refresh(session, salt, MASTER.newest, generation)
        for session in (SESSION, credentials.new_id())
        for salt in (SALT, bytes(16))
        for generation in (0, 1, 2)
    }
    assert len(made) == 12


@pytest.mark.parametrize("kind", [ACCESS, REFRESH, COOKIE])
def test_another_salt_or_another_secret_proves_nothing(kind: str) -> None:
    parts = parts_of(one_of_each()[kind])
    assert not TOKENS.proved(parts, bytes(16))
    assert not Tokens(Secrets([secrets.make()])).proved(parts, SALT)


@pytest.mark.parametrize("kind", [ACCESS, REFRESH, COOKIE])
def test_no_bit_can_be_changed(kind: str) -> None:
    """With the checksum made right again, as somebody would who tries."""
    data = credentials.opened(one_of_each()[kind], kind)
    assert data is not None
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert not TOKENS.proved(parts_of(credentials.shaped(kind, bytes(changed))), SALT)


def test_T30_a_token_of_one_purpose_is_none_of_another() -> None:
    """The same bytes under another prefix: of another length, or without a proof."""
    for kind, text in one_of_each().items():
        payload = credentials.opened(text, kind)
        assert payload is not None
        for other in set(KINDS) - {kind}:
            parts = tokens.read(credentials.shaped(other, payload))
            assert parts is None or not TOKENS.proved(parts, SALT)


def test_an_older_secret_still_proves_what_it_made() -> None:
    old, new = secrets.make(), secrets.make()
    before = Secrets([old])
    made = one_of_each(Tokens(before), before.newest)
    both = Secrets([new, old])
    assert one_of_each(Tokens(both), before.newest) == made
    assert all(Tokens(both).proved(parts_of(text), SALT) for text in made.values())
    assert not any(Tokens(Secrets([new])).proved(parts_of(text), SALT) for text in made.values())


def test_nothing_is_made_with_a_secret_that_is_not_there() -> None:
    with pytest.raises(LookupError, match="00000000"):
        TOKENS.refresh(SESSION, SALT, "00000000", 1)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {ACCESS, REFRESH, COOKIE}))
def test_random_tokens_are_not_read_here(kind: str) -> None:
    assert tokens.read(credentials.new(kind)) is None


@given(st.text())
def test_any_text_is_read_or_is_nothing(text: str) -> None:
    for each in (text, ACCESS + text, REFRESH + text, COOKIE + text):
        assert tokens.read(each) is None


def test_T25_parts_do_not_show_the_token() -> None:
    for text in one_of_each().values():
        parts = parts_of(text)
        for shown in (repr(parts), str(parts), pretty_repr(parts)):
            assert SESSION in shown
            assert repr(parts.mac) not in shown
            assert text[4:20] not in shown
