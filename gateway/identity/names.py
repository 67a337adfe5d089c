"""What people call themselves: one spelling of each user name and address, the bounds of names and meta."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

SHORTEST_USERNAME, LONGEST_USERNAME = 3, 20
LONGEST_NAME = 100
LONGEST_EMAIL, _LONGEST_LOCAL, _LONGEST_LABEL = 254, 64, 63  # octets: RFC 5321 section 4.5.3.1, RFC 1035
META_KEYS, META_BYTES, _META_KEY, _META_DEPTH = 50, 8192, 64, 5
RESERVED = ("public", "protected")  # of meta: nobody reaches the protected map through the public one

# ASCII only: two user names that look alike in one script are the same without case, and none mixes scripts.
_USERNAME = re.compile(r"[A-Za-z0-9._-]{3,20}")
_LOCAL_ASCII = frozenset("!#$%&'*+-/=?^_`{|}~.")  # RFC 5321's dot-atom, besides letters and digits
_WORDS = frozenset(("Ll", "Lu", "Lo", "Lm", "Mn", "Mc", "Nd"))  # RFC 5892 section 2.1
_NO_DOMAIN = "After the @ of an e-mail address, write a domain, such as example.com."
_LDH = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


class Email(msgspec.Struct, frozen=True):
    """An address as it is written to (its domain in ASCII), and the key by which it is compared."""

    address: str
    key: str


class BadName(Exception):
    """This can't be a name here; the text says why, for the person."""


def username(text: str) -> str:
    """The user name, or BadName."""
    if not _USERNAME.fullmatch(text):
        raise BadName(
            f"Use {SHORTEST_USERNAME} to {LONGEST_USERNAME} letters from a to z, digits, and any of . _ -"
        )
    return text


def username_key(text: str) -> str:
    return text.lower()


def email(text: str) -> Email:
    """The address and its key, or BadName.

    What was typed is read by NFKC, so a full-width letter or the Kelvin sign is the plain letter, and only
    that plain address is kept and ever written to: the mailbox of a look-alike gets nothing. Addresses that
    stay different have different keys: case is taken away letter by letter, since full case folding would
    make one of ß and ss.
    """
    local, at, host = unicodedata.normalize("NFKC", text.strip()).rpartition("@")
    if not at or not local:
        raise BadName("Write an e-mail address, such as name@example.com.")
    local, host = _local(local), domain(host)
    address = f"{local}@{host}"
    if len(local.encode()) > _LONGEST_LOCAL or len(address.encode()) > LONGEST_EMAIL:
        raise BadName("This e-mail address is too long.")
    return Email(address, f"{_lower(local)}@{host}")


def identifier(text: str) -> str:
    """The key of an address or a user name as somebody types it to sign in; nothing tells what is none."""
    if "@" not in text:
        return username_key(text)
    try:
        return email(text).key
    except BadName:
        return text


def allowed_domain(address: Email, domains: Iterable[str]) -> bool:
    """Whether the address is of one of these domains, exactly; of any when none is given."""
    listed = list(domains)
    return not listed or address.address.rpartition("@")[2] in {domain(each) for each in listed}


def person(text: str) -> str:
    """A first or last name, or BadName. What it holds is text and never read as anything else."""
    name = unicodedata.normalize("NFC", text).strip()
    if len(name) > LONGEST_NAME:
        raise BadName(f"Use at most {LONGEST_NAME} characters.")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        raise BadName("Use no line breaks or control characters.")
    return name


def public_meta(given: Mapping[str, Any]) -> dict[str, Any]:
    """The user's own map without the reserved keys, or BadName."""
    return meta({key: value for key, value in given.items() if key not in RESERVED})


def meta(given: Mapping[str, Any]) -> dict[str, Any]:
    """A map of public or protected meta within its bounds, or BadName."""
    if len(given) > META_KEYS:
        raise BadName(f"Use at most {META_KEYS} keys.")
    for key, value in given.items():
        if not 1 <= len(key) <= _META_KEY:
            raise BadName(f"A key has 1 to {_META_KEY} characters.")
        _storable(key, 0)
        _storable(value, 1)
    if len(msgspec.json.encode(given)) > META_BYTES:
        raise BadName(f"Use at most {META_BYTES} bytes of JSON.")
    return dict(given)


def merged(old: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The map after a change: a key with null is taken away (RFC 7396, one level deep)."""
    return {key: value for key, value in {**old, **change}.items() if value is not None}


def _storable(value: Any, depth: int) -> None:
    if depth > _META_DEPTH:
        raise BadName(f"Nest at most {_META_DEPTH} levels.")
    if isinstance(value, str):
        if not _storable_text(value):
            raise BadName("Use characters that can be written as text.")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            _storable(key, depth)
            _storable(each, depth + 1)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _storable(each, depth + 1)
    elif isinstance(value, float) and value - value != 0:
        raise BadName("Use numbers that JSON has.")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise BadName("Use numbers of at most 64 bits.")


def _storable_text(text: str) -> bool:
    """PostgreSQL keeps no NUL in text, and half a surrogate can't be written at all."""
    return "\0" not in text and not any(unicodedata.category(letter) == "Cs" for letter in text)


def _local(text: str) -> str:
    for letter in text:
        plain = letter.isascii() and (letter.isalnum() or letter in _LOCAL_ASCII)
        if not plain and (letter.isascii() or not _is_word(letter)):
            raise BadName("Before the @ of an e-mail address, use letters, digits, and marks such as . _ - +")
    if text.startswith(".") or text.endswith(".") or ".." in text:
        raise BadName("In an e-mail address dots stand between letters.")
    return text


def searched(text: str) -> str:
    """Part of an address or a user name, in the spelling of keys."""
    return _lower(unicodedata.normalize("NFKC", text.strip()))


def domain(text: str) -> str:
    """A domain in ASCII, by IDNA 2008's rules for what a label may hold (RFC 5891, 5892), or BadName.

    The standard library's own `idna` codec is IDNA 2003, which makes one domain of straße.de and strasse.de;
    today they have different owners.
    """
    labels = [_label(_lower(label)) for label in unicodedata.normalize("NFKC", text).split(".")]
    if len(labels) < 2:
        raise BadName("After the @ of an e-mail address, write a whole domain, such as example.com.")
    if labels[-1].isdigit():
        raise BadName("After the @ of an e-mail address, write a domain, not a number.")
    return ".".join(labels)


def _label(label: str) -> str:
    written = label
    if label.startswith("xn--"):
        label = _from_punycode(label[4:])
    elif label[2:4] == "--":
        raise BadName(_NO_DOMAIN)
    if label.isascii():
        encoded = label
        good = _LDH.fullmatch(label) is not None
    else:
        encoded = "xn--" + label.encode("punycode").decode() if _storable_text(label) else ""
        words = all(letter in "-0123456789" or _is_word(letter) for letter in label)
        good = words and "-" not in (label[0], label[-1]) and unicodedata.category(label[0])[0] != "M"
    # One spelling each: an encoded label must be what we would have written.
    if not good or len(encoded) > _LONGEST_LABEL or (written.startswith("xn--") and encoded != written):
        raise BadName(_NO_DOMAIN)
    return encoded


def _from_punycode(text: str) -> str:
    try:
        label = text.encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        raise BadName(_NO_DOMAIN) from None
    if label.isascii() or _lower(label) != label or unicodedata.normalize("NFKC", label) != label:
        raise BadName(_NO_DOMAIN)
    return label


def _is_word(letter: str) -> bool:
    """RFC 5892 section 2.1: a letter, digit or mark; in domains not in upper case, which is gone by then."""
    return unicodedata.category(letter) in _WORDS


def _lower(text: str) -> str:
    """Letter by letter, so that what a letter becomes doesn't hang on its neighbours."""
    return unicodedata.normalize("NFC", "".join(letter.lower() for letter in text))
