"""Reading request heads, one whole head at a time; llhttp (httptools) judges the header lines.

Most lines of a head have come before: what was said of a line is remembered, so that only new ones are
judged; those of letters, digits and visible ASCII, which nobody reads differently, by a pattern, all others
by llhttp. What concerns a whole head (framing, doubles, counts) is judged here each time. A head of nothing
but such lines is remembered whole, less its first line and its bearer or cookies. llhttp has no pause, no
position and no limits: it never sees more than one line; whoever calls found the head's end.
"""

import re
from typing import Protocol

import httptools

from gateway.edge.memory import Entry, Heads, Memory
from gateway.model import faults, headers
from gateway.model.exchange import Exchange
from gateway.model.faults import Fault
from gateway.model.headers import (
    AUTHORIZATION,
    CODING,
    CONNECTION,
    COOKIE,
    CREDENTIAL,
    DOUBLED,
    EXPECT,
    H2C,
    LENGTH,
    NOTED,
    OURS,
    PASS,
    PASSED,
    REMEMBERED,
    SINGLE,
    TOLD,
    UNDERSCORE,
    UPGRADE,
)
from gateway.model.paths import valid_host

RequestHead = tuple[int, dict[bytes, bytes], bytes, bytes]  # flags, noted, the lines that pass, the host
PLAIN: Entry = (PASS, b"", b"")  # the usual: passed on as it is

_method_name = re.compile(rb"[A-Z-]{1,32}").fullmatch
_ordinary = re.compile(rb"([A-Za-z0-9-]+): ?([\x20-\x7e]*)").fullmatch
_cookies = rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?"
_is_cookies = re.compile(_cookies).fullmatch
_secret = re.compile(
    rb"[Aa]uthorization: ([\x21-\x7e]+(?: [\x21-\x7e]+)?)|[Cc]ookie: (" + _cookies + rb")"
).fullmatch
_is_bearer = re.compile(rb"Bearer [\x21-\x7e]+").fullmatch
VERSIONS = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
_AUTHORIZATION = b"\r\nAuthorization: "
_COOKIE = b"\r\nCookie: "
_OUR_BEARER = b"Bearer psa_"
_SECRETS = frozenset({b"authorization", b"cookie"})
_RARE = UPGRADE | CODING | LENGTH | EXPECT | H2C | UNDERSCORE | DOUBLED


class BadLine(Exception):
    """llhttp does not take this for a header line."""


class LineJudge:
    """Asks llhttp about one line."""

    __slots__ = ("_before", "_kind", "_parser", "name", "value")

    def __init__(self, kind: type, start_line: bytes) -> None:
        self._kind = kind
        self._before = start_line + b"\r\n"

    def on_header(self, name: bytes, value: bytes) -> None:
        self.name, self.value = name, value

    def ask(self, line: bytes) -> None:
        """Sets name and value, or raises BadLine."""
        found = _ordinary(line)
        if found is not None:
            self.name, self.value = found.groups()
            return
        self.name = b""
        try:
            # a parser of its own: this line may be one that makes llhttp wait for a body, or for the end
            self._kind(self).feed_data(b"%b%b\r\n\r\n" % (self._before, line))
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise BadLine(str(error)) from None
        if not self.name:
            raise BadLine("not a header line")


class Names(Protocol):
    """What becomes of each header of a request: model.headers, and model.originals."""

    refuse_underscores: bool
    remembered: dict[bytes, int]

    def judge(self, name: bytes) -> int: ...


class RequestReader:
    """Reads request heads."""

    __slots__ = (
        "_authorization", "_cookie", "_count", "_heads", "_judge", "_memory", "_methods", "_names", "_ours",
        "_target_bytes", "target",
    )  # fmt: skip

    def __init__(self, names: Names, header_count: int, target_bytes: int) -> None:
        self._names = names
        self._memory = Memory()
        self._heads: Heads[RequestHead] = Heads()  # less their first line and their bearer or cookies
        self._methods = {b"CONNECT"}
        self._judge = LineJudge(httptools.HttpRequestParser, b"GET / HTTP/1.1")
        self._authorization = names.judge(b"authorization")
        self._ours = self._authorization & ~AUTHORIZATION | OURS
        self._cookie = names.judge(b"cookie")
        self._count = header_count
        self._target_bytes = target_bytes

    def read(self, head: bytes, exchange: Exchange) -> Fault | None:
        """Read one whole head into the exchange; the target stays here, not yet canonical.

        A fault means: this client can't be understood; reply and close.
        """
        before, mark, after = head.partition(_AUTHORIZATION)
        first, _, rest = before.partition(b"\r\n")
        try:
            method, target, version = first.split(b" ")
        except ValueError:
            return faults.BAD_REQUEST
        if version != b"HTTP/1.1":
            if version != b"HTTP/1.0":
                return faults.BAD_REQUEST
            exchange.version = 0
        if not target or (method not in self._methods and not self._is_method(method)):
            return faults.BAD_REQUEST
        if len(target) > self._target_bytes:
            return faults.TARGET_TOO_LONG
        self.target = target
        exchange.method = method
        exchange.content_length = 0
        heads = self._heads
        if heads.pause:
            heads.pause -= 1
            return self._read_lines(head, exchange, None)
        kind = 0
        if mark:
            value, _, after = after.partition(b"\r\n")
            if value[:11] == _OUR_BEARER and value[11:].isalnum():
                kind = self._ours
            elif _is_bearer(value):
                kind = self._authorization
            else:
                return self._read_lines(head, exchange, None)
            exchange.authorization = value
            rest += b"\r\n" + after
        else:
            before, mark, after = rest.partition(_COOKIE)
            if mark:
                value, _, after = after.partition(b"\r\n")
                if not _is_cookies(value):
                    return self._read_lines(head, exchange, None)
                kind = self._cookie
                exchange.cookie = value
                rest = before + b"\r\n" + after
        known = heads.young.get(rest) or heads.again(rest)
        if known is None:
            return self._read_lines(head, exchange, rest)
        heads.misses = 0
        flags, exchange.noted, exchange.lines, exchange.host = known
        exchange.flags = flags | kind
        if kind & TOLD:
            name = b"cookie" if kind & COOKIE else b"authorization"
            exchange.noted = {**exchange.noted, name: value}
        return None

    def _read_lines(self, head: bytes, exchange: Exchange, rest: bytes | None) -> Fault | None:
        """Line by line; remembered as `rest`, if it may be."""
        lines = head.split(b"\r\n")[1:-2]
        if len(lines) > self._count:
            return faults.HEADERS_TOO_LARGE
        noted: dict[bytes, bytes] = {}
        passed: list[bytes] = []
        flags = 0
        for line, entry in zip(lines, map(self._memory.young.get, lines), strict=False):
            if entry is PLAIN:
                passed.append(line)
                continue
            if entry is None:
                found = _secret(line)  # new nearly each time: worth a pattern of its own
                if found is not None:
                    bearer, cookies = found.groups()
                    if cookies is None:
                        entry = (self._authorization, b"authorization", bearer)
                    else:
                        entry = (self._cookie, b"cookie", cookies)
                else:
                    try:
                        entry = self._memory.again(line) or self._new(line)
                    except BadLine:
                        return faults.BAD_REQUEST
                    if entry is PLAIN:
                        passed.append(line)
                        continue
                    if entry[0] & (NOTED | REMEMBERED) == NOTED:
                        rest = None  # a secret, or what each request has of its own
            kind, name, value = entry
            flags |= kind
            if kind & PASSED:
                passed.append(line)
            if name in noted:
                if kind & SINGLE:
                    flags |= DOUBLED
                value = noted[name] + (b"; " if name == b"cookie" else b", ") + value
            if name:
                noted[name] = value
        passed.append(b"")  # so that, joined, they end as a line does
        exchange.lines = b"\r\n".join(passed)
        return self._summed_up(exchange, flags, noted, rest if len(lines) < self._count else None)

    def _summed_up(
        self, exchange: Exchange, flags: int, noted: dict[bytes, bytes], rest: bytes | None
    ) -> Fault | None:
        """What all lines together say."""
        host = noted.get(b"host", b"")
        exchange.host = host if valid_host(host) else b""
        exchange.cookie = noted.get(b"cookie", b"")
        exchange.authorization = noted.get(b"authorization", b"")
        if exchange.authorization[:11] == _OUR_BEARER and exchange.authorization[11:].isalnum():
            flags = flags & ~AUTHORIZATION | OURS
        exchange.flags = flags
        fault = self._judge_whole(exchange, flags, noted) if flags & _RARE else None
        if not self._authorization & TOLD:
            noted.pop(b"authorization", None)
        if not self._cookie & TOLD:
            noted.pop(b"cookie", None)
        exchange.noted = noted
        if rest is not None and not flags & _RARE:
            self._remember(rest, exchange)
        return fault

    def _remember(self, rest: bytes, exchange: Exchange) -> None:
        """The head less its bearer or cookies, if these were all of its secrets."""
        names = b"\r\n" + rest.lower()
        if b"\r\nauthorization:" not in names and b"\r\ncookie:" not in names:
            noted = {name: value for name, value in exchange.noted.items() if name not in _SECRETS}
            flags = exchange.flags & ~(AUTHORIZATION | OURS | COOKIE)
            self._heads.add(rest, (flags, noted, exchange.lines, exchange.host))

    def _new(self, line: bytes) -> Entry:
        """A line not seen lately."""
        judge = self._judge
        judge.ask(line)
        name, value = judge.name, judge.value
        kind = self._names.remembered.get(name)
        if kind is None:
            kind = self._names.judge(name)
        if kind & CREDENTIAL and not headers.is_our_token(value.strip(b" \t")):
            kind |= PASSED
        if kind & CONNECTION and value.strip(b" \t").lower() == b"keep-alive":
            kind &= ~CONNECTION  # says nothing on 1.1; on 1.0 it is looked for
        if not kind:
            entry = PLAIN
        elif kind & NOTED:
            entry = (kind, name.lower(), value if kind & CODING else value.strip(b" \t"))
        else:
            entry = (kind, b"", b"")
        if not kind & NOTED or kind & REMEMBERED:  # never what differs each time, or is a secret
            self._memory.add(line, entry)
        return entry

    def knows(self, method: bytes) -> bool:
        """Whether it is a method."""
        return method in self._methods or self._is_method(method)

    def _is_method(self, method: bytes) -> bool:
        """Whether llhttp knows it; those few are remembered."""
        if not _method_name(method) or method == b"PRI":  # which is HTTP/2's
            return False
        try:
            httptools.HttpRequestParser(self).feed_data(b"%b / HTTP/1.1\r\n\r\n" % method)
        except httptools.HttpParserError:
            return False
        self._methods.add(method)
        return True

    def _judge_whole(self, exchange: Exchange, flags: int, noted: dict[bytes, bytes]) -> Fault | None:
        if flags & DOUBLED:
            if b", " in noted.get(b"host", b""):
                return faults.BAD_HOST
            return (
                faults.DUPLICATE_CREDENTIAL
                if b", " in noted.get(b"authorization", b"")
                else faults.BAD_FRAMING
            )
        if flags & H2C or (flags & UPGRADE and b"h2c" in noted[b"upgrade"].lower()):
            return faults.BAD_UPGRADE
        if flags & UNDERSCORE and self._names.refuse_underscores:
            return faults.REFUSED_HEADER
        if flags & (LENGTH | CODING):
            if flags & UPGRADE:  # llhttp would report it complete without its body: smuggling by upgrade
                return faults.BAD_UPGRADE
            if flags & CODING:
                if flags & LENGTH or not exchange.version or noted[b"transfer-encoding"] != b"chunked":
                    return faults.BAD_FRAMING
                exchange.content_length = None
            else:
                digits = noted[b"content-length"]
                if not digits.isdigit() or len(digits) > 18:
                    return faults.BAD_FRAMING
                exchange.content_length = int(digits)
        if flags & EXPECT and noted[b"expect"].lower() != b"100-continue":
            return faults.EXPECTATION_FAILED
        return None
