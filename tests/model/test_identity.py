"""What a backend is told: visible ASCII on lines of our own, decoded in one way only (T22, T45)."""

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model.identity import PROTECTED_META, PUBLIC_META, STANDARD, Identity, header_block

# What a person, an admin or a foreign issuer may have put into a text; JSON holds no half characters.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
WORDS = st.lists(WORD, max_size=4).map(tuple)
META = st.dictionaries(st.sampled_from(["tier", "plan", "X", "roles"]) | WORD, TEXT, max_size=4)
IDENTITIES = st.builds(
    Identity, id=TEXT, name=TEXT, email=TEXT, email_verified=st.booleans(), roles=WORDS, permissions=WORDS,
    session=TEXT, level=st.integers(1, 2), methods=WORDS, protected=META, public=META,
    kind=st.sampled_from(["user", "service", "external"]),
)  # fmt: skip
FORWARDED = ("tier", "plan", "X", "roles")
NASTY = "a\r\nX-User-Roles: admin\0\x7f\x85\u2028 %0d%0a,☃🦦"


def told(identity: Identity, **more: Any) -> dict[str, str]:
    """The lines as a backend sees them; each name once."""
    block = header_block(identity, **more)
    assert not block or block.endswith(b"\r\n")
    lines = block.decode("ascii").split("\r\n")[:-1]
    said = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    assert len({name.lower() for name in said}) == len(lines)
    return said


@given(IDENTITIES)
@example(
    Identity(id=NASTY, name=NASTY, email=NASTY, roles=(NASTY,), session=NASTY, protected={"tier": NASTY})
)
def test_T22_nothing_but_visible_ascii_and_our_own_line_ends(identity: Identity) -> None:
    block = header_block(identity, forward_meta=FORWARDED)
    for line in block.split(b"\r\n")[:-1]:
        name, colon, value = line.partition(b": ")
        assert colon and all(0x21 <= byte <= 0x7E for byte in name + value)
    assert block.count(b"\r") == block.count(b"\n") == block.count(b"\r\n")


@given(IDENTITIES)
@example(Identity(id="100%", name="%0d%41", roles=("a,b", "c%2Cd"), permissions=("x", ",", ",,")))
def test_decoding_gives_back_what_was_told(identity: Identity) -> None:
    """A text: percent-decode. A list: split at the commas, then percent-decode each."""
    said = told(identity, forward_meta=FORWARDED)
    for claim in ("name", "email", "session", "kind"):
        assert unquote(said[STANDARD[claim]], errors="strict") == getattr(identity, claim)
    assert unquote(said["X-User-Id"], errors="strict") == identity.id
    for claim in ("roles", "permissions", "methods"):
        line = said[STANDARD[claim]]
        items = tuple(unquote(item, errors="strict") for item in line.split(",")) if line else ()
        assert items == getattr(identity, claim)
    assert said["X-User-Email-Verified"] == ("true" if identity.email_verified else "false")
    assert said["X-User-Level"] == str(identity.level)


@given(IDENTITIES, IDENTITIES)
def test_two_identities_never_say_the_same(one: Identity, other: Identity) -> None:
    def spoken(identity: Identity) -> list[Any]:
        of_meta = [(identity.protected.get(key), identity.public.get(key)) for key in FORWARDED]
        return [*(getattr(identity, "id" if claim == "user_id" else claim) for claim in STANDARD), *of_meta]

    same = header_block(one, forward_meta=FORWARDED) == header_block(other, forward_meta=FORWARDED)
    assert same == (spoken(one) == spoken(other))


@given(IDENTITIES)
def test_every_standard_line_is_always_there(identity: Identity) -> None:
    """Also empty ones: a backend, or a proxy that copies them, never sees an older or forged one."""
    assert list(told(identity)) == list(STANDARD.values())


@given(IDENTITIES, st.lists(st.sampled_from(FORWARDED), unique=True))
def test_T45_meta_is_told_only_when_listed_and_by_its_own_prefix(identity: Identity, keys: list[str]) -> None:
    said = told(identity, forward_meta=keys)
    extra = {name: unquote(value) for name, value in said.items() if name not in STANDARD.values()}
    protected = {PROTECTED_META + key: identity.protected[key] for key in keys if key in identity.protected}
    public = {PUBLIC_META + key: identity.public[key] for key in keys if key in identity.public}
    assert extra == {**protected, **public}


def test_T45_public_meta_never_looks_protected() -> None:
    mine = {
        "tier": "pro", "roles": "admin", "Roles": "admin", "X\r\nX-User-Roles": "admin", "%0d": "x",
        "../Meta-tier": "pro", "Meta-tier": "pro",
    }  # fmt: skip
    said = told(
        Identity(id="1", public=mine, roles=("user,admin",)), forward_meta=["tier", "roles", "Meta-tier"]
    )
    assert said["X-User-Public-tier"] == "pro"
    assert said["X-User-Public-Meta-tier"] == "pro"
    assert not any(name.startswith(PROTECTED_META) for name in said)
    assert said["X-User-Roles"] == "user%2Cadmin"
    assert "X-User-Public-Roles" not in said


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("bob", "bob"), ("Bob O'Neil", "Bob%20O'Neil"), ("50%", "50%25"), ("a,b", "a,b"), ("é", "%C3%A9"),
        ("🦦", "%F0%9F%A6%A6"), ("a\tb", "a%09b"), ("\x7f", "%7F"), ("<\"'>;=", "<\"'>;="),
        ("${X}{{7*7}}", "${X}{{7*7}}"),
    ],
)  # fmt: skip
def test_a_text_is_told_as_documented(value: str, line: str) -> None:
    assert told(Identity(id="1", name=value))["X-User-Name"] == line


def test_a_deployments_own_names_replace_the_standard_ones() -> None:
    one = Identity(id="1", email="o@example.com", roles=("user",))
    own = {"user_id": "Remote-User", "roles": "Remote-Groups"}
    assert header_block(one, own) == b"Remote-User: 1\r\nRemote-Groups: user\r\n"
    assert header_block(one, {}) == header_block(one, STANDARD) == header_block(one)
