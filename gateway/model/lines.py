"""Header lines written by people in routes.yaml: checked once, at load, and bytes from then on."""

import re
from collections.abc import Mapping

from gateway.model.headers import DROP, FRAMING, HOP_BY_HOP, RequestNames

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_WRITTEN_BY_THE_EDGE = frozenset({b"x-request-id", b"forwarded", b"traceparent"})
_NAMES = RequestNames()


def token(text: str, what: str = "header name") -> bytes:
    """A header's name or a method, as bytes."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{text!r} is not a {what}")
    return text.encode()


def free_name(name: str) -> bytes:
    """The lower-case name of a header that a route's settings may change."""
    lower = token(name).lower()
    if lower in HOP_BY_HOP or lower in FRAMING:
        raise ValueError(f"{name} belongs to the connection; the gateway alone sets it")
    if b"_" in lower:
        raise ValueError(f"{name} has an underscore; the gateway passes on no such header")
    if lower in _WRITTEN_BY_THE_EDGE or _NAMES.judge(lower) & DROP or lower.startswith(b"x-forwarded-"):
        raise ValueError(f"{name} is a name that backends trust; the gateway alone sets it")
    return lower


def line(name: str, value: str) -> bytes:
    """One header line with its CRLF."""
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} may hold only visible ASCII, spaces and tabs")
    return token(name) + b": " + value.strip().encode() + b"\r\n"


def lines(headers: Mapping[str, str]) -> bytes:
    return b"".join(line(name, value) for name, value in headers.items())
