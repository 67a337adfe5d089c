"""Header names: what becomes of each, in every spelling, and the cutting of our own credentials."""

import re
from typing import Any

from gateway.model.credentials import JWT_STARTS

is_request_id = re.compile(rb"[A-Za-z0-9._-]{8,128}").fullmatch

# What becomes of a request header: bits, so that a whole head is summed up in one int.
PASS = 0  # goes to the upstream as it came
DROP = 1
NOTED = 2  # kept under its lower-case name for the gateway's own reading; passed on only with PASSED
PASSED = 4
UNDERSCORE = 8
SINGLE = 16  # a second one makes the request ambiguous
DOUBLED = 32  # set by the reader when a SINGLE one came twice
CREDENTIAL = 64  # X-Api-Key and `header:NAME` of accept: passed on unless it carries a credential of ours
# names that need a look after the head is read
LENGTH = 1 << 8
CODING = 1 << 9
CONNECTION = 1 << 10
UPGRADE = 1 << 11
EXPECT = 1 << 12
FORWARDED = 1 << 13
TRACE = 1 << 14
COOKIE = 1 << 15
H2C = 1 << 16
REQUEST_ID = 1 << 17
DROPPABLE = 1 << 21  # some route takes it away
REMEMBERED = 1 << 20  # whole lines of it recur and are no secret
AUTHORIZATION = 1 << 18
OURS = 1 << 22  # instead of AUTHORIZATION: it is "Bearer " and an access token of ours, to look at
TOLD = 1 << 25  # of authorization and cookie: some policy wants to find it in exchange.noted

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization "
    b"te trailer transfer-encoding upgrade".split()
)
FRAMING = frozenset(b"content-length transfer-encoding host expect".split())

_NAMED: dict[bytes, int] = {
    b"host": NOTED | SINGLE | REMEMBERED,
    b"content-length": NOTED | SINGLE | LENGTH,
    b"transfer-encoding": NOTED | CODING,
    b"connection": NOTED | CONNECTION | REMEMBERED,
    b"upgrade": NOTED | UPGRADE,
    b"expect": NOTED | EXPECT,
    b"http2-settings": H2C | DROP,
    b"authorization": NOTED | SINGLE | AUTHORIZATION,
    b"cookie": NOTED | COOKIE,
    b"x-forwarded-for": NOTED | FORWARDED,
    b"x-forwarded-proto": NOTED | FORWARDED,
    b"x-forwarded-host": NOTED | FORWARDED,
    b"x-forwarded-port": NOTED | FORWARDED,
    b"forwarded": NOTED | FORWARDED,
    b"x-request-id": NOTED | REQUEST_ID,
    b"traceparent": NOTED | TRACE,
    b"user-agent": NOTED | PASSED | REMEMBERED,
    b"x-api-key": NOTED | CREDENTIAL,
}
_FORGEABLE = frozenset(
    b"x-user remote-user remote-groups remote-email remote-name x-real-ip proxy x-rewrite-url "
    b"x-http-method-override x-http-method x-method-override".split()
)
_FORGEABLE_PREFIXES = (
    b"x-user-", b"x-forwarded-", b"x-auth-request-", b"x-remote-", b"x-authentik-", b"x-original-",
    b"x-envoy-",
)  # fmt: skip
_RECURRING = frozenset(b"origin accept sec-fetch-mode sec-fetch-site access-control-request-method".split())
_NOT_PLAIN = re.compile(rb"[^a-z0-9]")
LONGEST_REMEMBERED = 64
MOST_REMEMBERED = 4096


def folded(name: bytes) -> bytes:
    """All spellings that a backend could take for one name (WSGI, CGI and PHP fold them) become one."""
    return _NOT_PLAIN.sub(b"-", name.lower())


class RequestNames:
    """What becomes of each request header of one configuration; every spelling is judged once and
    remembered."""

    __slots__ = ("_droppable", "_extra", "_forgeable", "_told", "refuse_underscores", "remembered")

    def __init__(
        self,
        *,
        reads: frozenset[bytes] = frozenset(),
        identity_names: frozenset[bytes] = frozenset(),
        credential_names: frozenset[bytes] = frozenset(),
        droppable: frozenset[bytes] = frozenset(),
        refuse_underscores: bool = False,
    ) -> None:
        self._forgeable = _FORGEABLE | {folded(name) for name in identity_names}
        self._extra = dict.fromkeys(credential_names, NOTED | CREDENTIAL)
        for name in reads:
            self._extra.setdefault(name, NOTED | PASSED | (REMEMBERED if name in _RECURRING else 0))
        self._told = reads & {b"authorization", b"cookie"}
        self._droppable = droppable
        self.refuse_underscores = refuse_underscores
        self.remembered: dict[bytes, int] = {}

    def judge(self, name: bytes) -> int:
        """Called for a spelling not seen before; the reader looks into `remembered` first."""
        kind = self._judge(name)
        if name.lower() in self._droppable:
            kind |= DROPPABLE | (0 if kind else PASSED)
        if len(name) <= LONGEST_REMEMBERED and len(self.remembered) < MOST_REMEMBERED:
            self.remembered[name] = kind
        return kind

    def _judge(self, name: bytes) -> int:
        if b"_" in name:
            return UNDERSCORE | DROP
        lower = name.lower()
        kind = _NAMED.get(lower)
        if kind is not None:
            return kind | TOLD if lower in self._told else kind
        if lower in HOP_BY_HOP:
            return DROP
        spelling = folded(lower)
        if spelling in self._forgeable or spelling.startswith(_FORGEABLE_PREFIXES):
            return DROP
        return self._extra.get(lower, PASS)


# What becomes of a reply's header.
SET_COOKIE = 1 << 19
KEPT = 1 << 23  # Connection: keep-alive, and nothing else
_REPLY_NAMED: dict[bytes, int] = {
    b"content-length": NOTED | PASSED | LENGTH,
    b"transfer-encoding": NOTED | CODING,
    b"connection": NOTED | CONNECTION,
    b"upgrade": NOTED | UPGRADE,
    b"set-cookie": SET_COOKIE,
}
_REPLY_OURS = (b"x-access-token", b"x-accel-")


class ReplyNames:
    """What becomes of each header of an upstream's reply on one route."""

    __slots__ = ("drop", "memory", "ours", "remembered")

    def __init__(
        self, drop: frozenset[bytes] = frozenset(), memory: Any = None, *, ours: bool = False
    ) -> None:
        self.drop = drop
        self.ours = ours  # the identity service's, which may set our cookie
        self.memory = memory  # edge.memory.Memory: what was said of whole lines
        self.remembered: dict[bytes, int] = {}

    def judge(self, name: bytes) -> int:
        kind = self._judge(name.lower())
        if len(name) <= LONGEST_REMEMBERED and len(self.remembered) < MOST_REMEMBERED:
            self.remembered[name] = kind
        return kind

    def _judge(self, lower: bytes) -> int:
        kind = _REPLY_NAMED.get(lower)
        if kind is not None:
            return (
                DROP if lower in self.drop and not kind & (LENGTH | CODING | CONNECTION | UPGRADE) else kind
            )
        if lower in HOP_BY_HOP or lower in self.drop or lower == b"x-request-id":
            return DROP
        return DROP if lower.startswith(_REPLY_OURS) and not self.ours else PASS


OUR_COOKIES = (
    b"__Host-postern", b"__Secure-postern", b"postern", b"__Host-postern-device", b"postern-device",
)  # fmt: skip
_OUR_COOKIES_FOLDED = frozenset(name.lower() for name in OUR_COOKIES)
_OUR_TOKENS = (b"psa_", b"psr_", b"psk_", *(start.encode() for start in JWT_STARTS))


def is_our_token(value: bytes) -> bool:
    """Whether a header's value is, or its bearer token is, a credential that this gateway's identity
    issues."""
    if value[:6].lower() == b"bearer":
        value = value[6:].lstrip(b" \t,")
    return value.startswith(_OUR_TOKENS)


def without_our_cookies(cookie: bytes) -> bytes:
    """The Cookie line less our cookies' pairs; the other pairs byte for byte."""
    if cookie.find(b"postern") < 0:
        return cookie
    kept = [
        pair
        for pair in cookie.split(b";")
        if pair.find(b"postern") < 0 or pair.partition(b"=")[0].strip() not in OUR_COOKIES
    ]
    return b";".join(kept).strip(b" ;")


def cleared(cookie: bytes) -> bytes:
    """The line that makes a browser forget our session cookie of that name."""
    secure = b"" if cookie == b"postern" else b"; Secure"
    return b"Set-Cookie: %b=; Path=/; Max-Age=0; HttpOnly%b; SameSite=Lax" % (cookie, secure)


def sets_our_cookie(value: bytes) -> bool:
    """Whether a Set-Cookie line of the upstream would set, or toss, a cookie of ours."""
    value = value.lower()
    if b"postern" not in value:
        return False
    name, _, rest = value.partition(b";")[0].partition(b"=")
    # a browser may send a nameless cookie back so that its value reads as name and value (RFC 6265bis section
    # 5.4)
    return (name.strip() or rest.partition(b"=")[0].strip()) in _OUR_COOKIES_FOLDED


_USUAL_TOKENS = frozenset({b"", b"close", b"keep-alive", b"upgrade"})


# Several header lines are one block, in which each is ended by CRLF.


def without_nominated(lines: bytes, connection: bytes) -> bytes:
    """The lines less those that the Connection header, in lower case, names as hop-by-hop (RFC 9110 section
    7.6.1)."""
    names = frozenset(token.strip() for token in connection.split(b",")) - _USUAL_TOKENS - FRAMING
    return dropped(lines, names) if names else lines


def find(lines: bytes, name: bytes) -> bytes | None:
    """The value of the first line of that lower-case name: for what is looked at seldom."""
    for line in lines.split(b"\r\n"):
        found, _, value = line.partition(b":")
        if found.lower() == name:
            return value.strip()
    return None


def dropped(lines: bytes, names: frozenset[bytes]) -> bytes:
    """The header lines less those of the given lower-case names."""
    left = [line for line in lines.split(b"\r\n") if line.partition(b":")[0].lower() not in names]
    return b"\r\n".join(left)
