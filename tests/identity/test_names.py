"""User names, addresses and meta: one spelling each, and no two mailboxes with one key (T34)."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import names
from gateway.identity.names import BadName


@pytest.mark.parametrize("name", ["bob", "Bob.B-1_x", "a" * 20, "..."])
def test_a_username_is_3_to_20_letters_digits_dots_dashes_underscores(name: str) -> None:
    assert names.username(name) == name


@pytest.mark.parametrize(
    "name", ["", "ab", "a" * 21, "a b c", "bob@x", "bób", "ＢＯＢ", "bob\n", "b%0d", "боб"]
)
def test_other_usernames_are_refused(name: str) -> None:
    with pytest.raises(BadName, match="letters"):
        names.username(name)


def test_usernames_are_one_without_case() -> None:
    assert names.username_key("BoB") == names.username_key("bob")


@pytest.mark.parametrize(
    ("written", "address", "key"),
    [
        ("Bob@Example.COM", "Bob@example.com", "bob@example.com"),
        (" bob+tag@example.com ", "bob+tag@example.com", "bob+tag@example.com"),
        ("o'neil@a-b.example", "o'neil@a-b.example", "o'neil@a-b.example"),
        ("bob@BÜCHER.example", "bob@xn--bcher-kva.example", "bob@xn--bcher-kva.example"),
        ("bob@xn--bcher-kva.example", "bob@xn--bcher-kva.example", "bob@xn--bcher-kva.example"),
        ("bob@bu\u0308cher.example", "bob@xn--bcher-kva.example", "bob@xn--bcher-kva.example"),
        ("bob@straße.example", "bob@xn--strae-oqa.example", "bob@xn--strae-oqa.example"),
        ("JOSE\u0301@example.com", "JOSÉ@example.com", "josé@example.com"),
        ("用户@例子.example", "用户@xn--fsqu00a.example", "用户@xn--fsqu00a.example"),
    ],
)
def test_an_address_has_one_spelling_and_a_key_without_case(written: str, address: str, key: str) -> None:
    assert names.email(written) == names.Email(address, key)


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "bob", "bob@", "@example.com", "bob@example", "bob@.com", "bob@a..com", "bob@-a.com",
        "bob@a-.com", "bob@127.0.0.1", "bob@[127.0.0.1]", "a b@example.com", "a@b@example.com",
        '"bob"@example.com', ".bob@example.com", "bob.@example.com", "bo..b@example.com",
        "bob@example.com\r\nBcc: x@y.com", "bob\0@example.com", "bob@exa\u200dmple.com", "bob@ex\u3002com",
        "bob@xn--.com", "bob@xn--abc.com", "bob@ab--cd.com", "bob@xn--bcher-kvaaa999.com",
        "\ud800@example.com",
        "bob@\ud800.com", "a" * 65 + "@example.com", "bob@" + "a" * 64 + ".com",
        "bob@" + ".".join(["a" * 60] * 5), "bob@xn--BCHER-KVA\u00e9.com", "bob@example.com,x@y.com",
        "<bob@example.com>", "bob@xn--strasse-.com", "bob@\u0301a.com",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        names.email(text)


@pytest.mark.parametrize(
    ("plain", "twin"),
    [
        ("mike@example.com", "mi\u212ae@example.com"),  # the Kelvin sign
        ("mike@example.com", "m\u0131ke@example.com"),  # the i without a dot
        ("mike@example.com", "ｍｉｋｅ@example.com"),
        ("mike@example.com", "mike@examp\u2113e.com"),  # the script l
        ("fish@example.com", "\ufb01sh@example.com"),  # the ligature fi
        ("strasse@example.com", "straße@example.com"),
        ("bob@strasse.de", "bob@straße.de"),
        ("bob@strasse.de", "bob@ſtrasse.de"),
        ("ssa@example.com", "ſſa@example.com"),
        ("mike@example.com", "mіke@example.com"),  # Cyrillic
        ("iris@example.com", "İris@example.com"),
        ("mike@example.com", "mi\u00adke@example.com"),  # the soft hyphen
        ("mike@example.com", "mike\u200b@example.com"),
        ("1@example.com", "\u00b9@example.com"),
        ("bob@example.com", "bob@example\uff0ecom"),
    ],
)
def test_T34_a_twin_is_another_address_or_none_or_read_as_the_plain_one(plain: str, twin: str) -> None:
    """Nothing is ever written to the twin's mailbox on behalf of the plain address."""
    try:
        found = names.email(twin)
    except BadName:
        return
    if found.key == names.email(plain).key:
        assert found.address.isascii() and found.address.lower() == plain
    else:
        assert not found.address.isascii() or "xn--" in found.address


def test_T34_two_addresses_that_are_kept_apart_have_different_keys() -> None:
    for one, other in [("straße@a.de", "strasse@a.de"), ("b@straße.de", "b@strasse.de")]:
        assert names.email(one).key != names.email(other).key
    for one, other in [("mıke@a.de", "mike@a.de"), ("mіke@a.de", "mike@a.de"), ("ς@a.de", "σ@a.de")]:
        assert names.email(one).key != names.email(other).key


def test_what_is_typed_to_sign_in_is_read_like_what_was_registered() -> None:
    assert names.identifier("Bob") == names.username_key("bOB")
    assert names.identifier(" BOB@Bücher.example") == names.email("bob@xn--bcher-kva.example").key
    assert names.identifier("a@b@c") == "a@b@c"  # no account has it


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_accepted_address_is_ascii_or_composed_and_reads_itself_back(local: str, host: str) -> None:
    try:
        found = names.email(f"{local}@{host}.example")
    except BadName:
        return
    assert names.email(found.address) == found
    assert names.email(found.key).key == found.key
    assert unicodedata.is_normalized("NFKC", found.key)
    assert not any(unicodedata.category(letter).startswith(("C", "Z")) for letter in found.address)


def test_email_domains_are_compared_as_whole_domains() -> None:
    allowed = ["Example.com", "bücher.example"]
    assert names.allowed_domain(names.email("a@example.com"), allowed)
    assert names.allowed_domain(names.email("a@xn--bcher-kva.example"), allowed)
    assert not names.allowed_domain(names.email("a@sub.example.com"), allowed)
    assert not names.allowed_domain(names.email("a@evil-example.com"), allowed)
    assert names.allowed_domain(names.email("a@any.where"), [])


def test_T22_a_name_may_hold_any_letters_but_no_control_characters() -> None:
    assert names.person("  Zoë 🦄 {{7*7}} ${HOME} {env.SECRET} ") == "Zoë 🦄 {{7*7}} ${HOME} {env.SECRET}"
    for bad in ("a\r\nb", "a\0", "a\x7fb", "a\u2028b", "\ud800", "x" * 101):
        with pytest.raises(BadName):
            names.person(bad)


def test_T35_the_reserved_keys_of_meta_are_dropped() -> None:
    given = {"public": {"a": 1}, "protected": {"tier": "pro"}, "colour": "blue"}
    assert names.public_meta(given) == {"colour": "blue"}


@pytest.mark.parametrize(
    "bad",
    [
        {"a": "\0"}, {"a": "\ud800"}, {"\ud800": 1}, {"": 1}, {"k" * 65: 1}, {"a": "x" * 9000},
        {str(number): number for number in range(51)}, {"a": [[[[[[1]]]]]]}, {"a": float("inf")},
        {"a": float("nan")}, {"a": 2**63}, {"a": {"b\0": 1}},
    ],
)  # fmt: skip
def test_meta_has_bounds(bad: dict[str, object]) -> None:
    with pytest.raises(BadName):
        names.meta(bad)


def test_null_takes_a_key_of_meta_away() -> None:
    assert names.merged({"a": 1, "b": 2}, {"a": None, "c": 3}) == {"b": 2, "c": 3}
