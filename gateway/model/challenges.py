"""WWW-Authenticate as the edge writes it: RFC 6750, and RFC 9470 for who has to prove anew who they are."""


def bearer(realm: str, error: str = "", **more: str) -> tuple[tuple[bytes, bytes], ...]:
    """The header's line; `error` only when a credential came (RFC 6750 section 3.1)."""
    given = {"realm": realm} | ({"error": error} if error else {}) | more
    value = b"Bearer " + b", ".join(name.encode() + b"=" + quoted(text) for name, text in given.items())
    return ((b"WWW-Authenticate", value),)


def quoted(text: str) -> bytes:
    """An RFC 9110 quoted-string; what can't stand in one is left out."""
    plain = "".join(letter for letter in text if " " <= letter <= "~")
    return b'"' + plain.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
