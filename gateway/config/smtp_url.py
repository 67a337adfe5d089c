"""The URL of a mail server: where it is, who signs in there, and whether it has to speak TLS."""

from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

_LOCAL = ("localhost", "127.0.0.1", "::1")


class Server(msgspec.Struct, frozen=True):
    """Where and how, as an SMTP URL says it."""

    host: str
    port: int
    user: str
    password: str
    implicit: bool  # TLS from the first byte (smtps)
    starttls: bool | None  # None: if it is offered

    def __repr__(self) -> str:
        return f"Server({self.host!r}, {self.port})"


def server_of(url: str) -> Server:
    """smtp[s]://[user:password@]host[:port][?tls=required|offered|off]; ValueError for what is none."""
    parts = urlsplit(url)
    words = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("write smtp://user:password@host:587")
    if set(words) - {"tls"} or len(words.get("tls", [""])) > 1:
        raise ValueError("after the ? may stand tls=required, tls=offered or tls=off")
    implicit = parts.scheme == "smtps"
    tls = words.get("tls", [""])[0]
    if tls not in ("", "required", "offered", "off") or (implicit and tls not in ("", "required")):
        raise ValueError("tls is required, offered or off; smtps has it from the first byte")
    user = unquote(parts.username or "")
    if user and tls in ("offered", "off") and parts.hostname not in _LOCAL:
        raise ValueError("a password is sent over TLS only")
    wanted = {"required": True, "offered": None, "off": False}
    starttls = wanted[tls] if tls else (True if user and parts.hostname not in _LOCAL else None)
    return Server(
        parts.hostname, parts.port or (465 if implicit else 587 if user else 25), user,
        unquote(parts.password or ""), implicit, False if implicit else starttls,
    )  # fmt: skip
