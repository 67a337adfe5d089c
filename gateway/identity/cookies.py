"""Our cookies as they are set and cleared (RFC 6265bis): which name, which attributes."""

import msgspec

from gateway.config.service import Cookie


def of_device(cookie: Cookie) -> Cookie:
    """The cookie by which a browser is known again, beside this one of sessions: of one host, always."""
    name = "__Host-postern-device" if cookie.secure else "postern-device"
    return msgspec.structs.replace(cookie, name=name, domain="")


def set_cookie(cookie: Cookie, value: str, max_age: float) -> str:
    """A whole Set-Cookie value; `max_age` in seconds."""
    return f"{cookie.name}={value}; Max-Age={max(0, int(max_age))}{_attributes(cookie)}"


def clear_cookie(cookie: Cookie) -> str:
    return f"{cookie.name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT{_attributes(cookie)}"


def _attributes(cookie: Cookie) -> str:
    domain = f"; Domain={cookie.domain}" if cookie.domain else ""
    secure = "; Secure" if cookie.secure else ""
    return f"; Path=/{domain}; HttpOnly{secure}; SameSite=Lax"


def found(cookie: Cookie, header: str) -> list[str]:
    """The values that a Cookie header gives for our name; two of them are one too many."""
    values = []
    for pair in header.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals and name == cookie.name:
            values.append(value)
    return values
