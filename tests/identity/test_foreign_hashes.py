"""Hashes of other systems: each kind compared as its own library does, none that would cost too much."""

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.security import generate_password_hash

from gateway.identity.foreign_hashes import Bcrypt, KeyDerivation, usable

PASSWORD = "lètmein"
# of Django's own tests
DJANGO = [
    "pbkdf2_sha256$720000$seasalt$eDupbcisD1UuIiou3hMuMu8oe/XwnpDw45r6AA5iv0E=",
    "scrypt$16384$seasalt$8$5$ECMIUp+LMxMSK8xB/IVyba+KYGTI7FTnet025q/1f/vBAVnnP3hdYqJuRi+mJn6ji6ze3Fbb7JEFPKGp"
    "uEf5vw==",
]
WERKZEUG = [
    generate_password_hash(PASSWORD, method)
    for method in ("pbkdf2:sha256:1000", "pbkdf2:sha512:10", "pbkdf2:sha1:10", "scrypt:1024:8:1")
]


@pytest.mark.parametrize("kept", [*DJANGO, *WERKZEUG], ids=lambda kept: kept.partition("$")[0])
def test_a_derived_hash_fits_its_password_only(kept: str) -> None:
    scheme = KeyDerivation()
    assert scheme.knows(kept) and usable(kept)
    assert scheme.compare(kept, PASSWORD.encode())
    assert not scheme.compare(kept, b"letmein")
    assert not scheme.compare(
        kept[:-4] + "AAA=" if kept.endswith("=") else kept[:-4] + "0000", PASSWORD.encode()
    )


@pytest.mark.parametrize("prefix", [b"2a", b"2b"])
def test_a_bcrypt_hash_fits_its_password_only(prefix: bytes) -> None:
    kept = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, prefix)).decode()
    for each in (kept, kept.replace(f"${prefix.decode()}$", "$2y$")):  # as PHP names the same
        assert Bcrypt().knows(each) and usable(each)
        assert Bcrypt().compare(each, PASSWORD.encode())
        assert not Bcrypt().compare(each, b"letmein")
        assert not Bcrypt().compare(each, b"\0" + PASSWORD.encode())


def test_bcrypt_reads_no_more_than_it_ever_did() -> None:
    long = b"x" * 100
    kept = bcrypt.hashpw(long[:72], bcrypt.gensalt(4)).decode()
    assert Bcrypt().compare(kept, long)


@pytest.mark.parametrize(
    "kept",
    [
        "$2b$15$" + "a" * 53, "$2b$31$" + "a" * 53, "$2b$03$" + "a" * 53, "$2x$04$" + "a" * 53,
        "$2b$04$short",
        "pbkdf2_sha256$99000000$s$eDupbcisD1UuIiou3hMuMu8oe/XwnpDw45r6AA5iv0E=", "pbkdf2_md5$1$s$AAAA",
        "pbkdf2:sha256:99000000$s$" + "00" * 32, "pbkdf2:sha256$s$" + "00" * 32, "pbkdf2_sha256$1$s$AAAA",
        "scrypt:1048576:8:1$s$" + "00" * 64, "scrypt:1000:8:1$s$" + "00" * 64,
        "scrypt:1024:8:99$s$" + "00" * 64,
        "scrypt:0:8:1$s$" + "00" * 64, "scrypt:-2:-8:1$s$" + "00" * 64, "scrypt$x$s$8$1$AAAA", "md5$s$00",
        "", "$", "!", "plain",
    ],
)  # fmt: skip
def test_what_costs_too_much_or_is_none_is_not_known(kept: str) -> None:
    assert not usable(kept)
    assert not KeyDerivation().compare(kept, b"x")


@given(st.text(max_size=80), st.binary(max_size=80))
def test_no_text_crashes_a_comparison(kept: str, password: bytes) -> None:
    assert not KeyDerivation().compare(kept, password)
    if Bcrypt().knows(kept):
        Bcrypt().compare(kept, password)
