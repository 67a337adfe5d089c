"""Which requests a route stands for: patterns made comparable, the built-in routes, and ties."""

import re
from collections.abc import Iterator
from urllib.parse import quote

from gateway.config.schema_identity import AccessPass, Identity
from gateway.model.paths import (
    DOUBLE_ENCODING,
    EMPTY_SEGMENTS,
    ENCODED_SLASH,
    PARAMETERS,
    Ambiguous,
    canonical,
    compared,
)

OPT_INS = {
    "encoded_slash": ENCODED_SLASH,
    "parameters": PARAMETERS,
    "double_encoding": DOUBLE_ENCODING,
    "empty_segments": EMPTY_SEGMENTS,
}
_AS_THEY_ARE = "/%{}*;:@!$&'()+,=~"
_PARAM = re.compile(r"\{([^{}/]*)\}")


def params(pattern: str) -> list[str]:
    return _PARAM.findall(pattern)


def without_params(path: str) -> str:
    """A path that stands for the pattern: canonical exactly when the pattern is."""
    return _PARAM.sub("x", path.removesuffix("/**") or "/")


def spelled(pattern: str, opt_ins: int) -> str:
    """The pattern with its literal segments in canonical spelling; raises paths.Ambiguous."""
    canonical(without_params(pattern).encode(), opt_ins)
    parts = re.split(r"(\{[^{}/]*\})", pattern)
    return "".join(part if part.startswith("{") else _literal(part, opt_ins) for part in parts)


def _literal(part: str, opt_ins: int) -> str:
    if not part:
        return ""
    slash = "" if part.startswith("/") else "/"
    return canonical((slash + part).encode(), opt_ins | EMPTY_SEGMENTS).decode()[len(slash) :]


def why_not(pattern: str, opt_ins: int, ambiguous: Ambiguous) -> str:
    """What is wrong with the pattern's path, and what would let it through."""
    if not pattern.isascii():
        return f"write {quote(pattern, safe=_AS_THEY_ARE)}"
    reason = ambiguous.reason[0].lower() + ambiguous.reason[1:].rstrip(".")
    for name, bit in OPT_INS.items():
        try:
            spelled(pattern, opt_ins | bit)
        except Ambiguous:
            continue
        return f"{reason}, or allow it with paths: {{{name}: true}}"
    return reason


def with_head(methods: list[str] | None) -> list[str]:
    """GET brings HEAD: RFC 9110 section 9.3.2 has them answer alike. Empty for all methods."""
    named = list(methods or ())
    if "GET" in named and "HEAD" not in named:
        named.insert(named.index("GET") + 1, "HEAD")
    return named


def normal(pattern: str) -> str:
    """Without the final slash, which makes no difference."""
    return pattern.rstrip("/") or "/"


def shape(pattern: str) -> str:
    """Patterns of one shape match the same paths."""
    rest = "/**" if pattern.endswith("/**") else ""
    body = _PARAM.sub("{}", normal(pattern.removesuffix("/**")))
    # A literal * can only come from %2A, and must not look like the end of a pattern.
    return compared(body.encode()).decode().replace("*", "%2A").rstrip("/") + rest or "/"


def built_in(identity: Identity) -> Iterator[tuple[str, str]]:
    """Name and pattern of each route that goes to the identity service."""
    if "api" in identity.serve:
        yield "identity:api", f"{identity.prefix}/**"
        yield "identity:resource", "/.well-known/oauth-protected-resource"
    if "pages" in identity.serve:
        yield "identity:pages", "/auth/**"
    if "jwks" in identity.serve:
        yield "identity:jwks", "/.well-known/jwks.json"
    accesspass = identity.compat.accesspass
    if accesspass:
        prefix = accesspass.prefix if isinstance(accesspass, AccessPass) else AccessPass().prefix
        yield "identity:accesspass", f"{prefix}/**"


def redefines(pattern: str, built_in_pattern: str) -> bool:
    """Whether the pattern lies wholly inside the built-in one."""
    own = shape(pattern).removesuffix("/**").split("/")
    if not built_in_pattern.endswith("/**"):
        return shape(pattern) == built_in_pattern
    place = built_in_pattern.removesuffix("/**").split("/")
    return own[: len(place)] == place
