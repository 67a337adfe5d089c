"""What is shown of headers: everything but credentials, whoever set them."""

import re

from gateway.admin_pages import HIDDEN, SECRET
from gateway.model.credentials import redacted

_ALWAYS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"})
_is_credential = re.compile(r"(?i:basic|bearer) [^\s=]+=*").fullmatch  # under whatever name
_NEVER = ("access-control-", "x-user-")  # named after credentials or tokens, but made of neither


def value_of(name: str, value: str) -> str:
    """A header's value as it may be shown; of Authorization the scheme, and of cookies the names, are left to
    see."""
    lower = name.lower()
    if lower == "cookie":
        return "; ".join(_pair(pair) for pair in value.split(";"))
    if lower in _ALWAYS:
        scheme = value.partition(" ")[0] if lower == "authorization" and " " in value else ""
        return f"{scheme} {HIDDEN}".strip()
    if _is_credential(value):
        return f"{value.partition(' ')[0]} {HIDDEN}"
    if SECRET.search(lower) and not lower.startswith(_NEVER):
        return HIDDEN
    return redacted(value)


def _pair(pair: str) -> str:
    name, equals, _ = pair.strip().partition("=")
    return f"{redacted(name)}={HIDDEN}" if equals else HIDDEN


def line(text: str) -> str:
    """A header line, likewise; a request line or status line only loses the tokens in it."""
    name, colon, value = text.partition(":")
    if not colon or " " in name:
        return redacted(text)
    bare = value.lstrip(" \t")
    return f"{name}:{value.removesuffix(bare)}{value_of(name, bare)}"
