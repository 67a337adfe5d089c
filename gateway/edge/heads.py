"""Reading heads, one complete request or reply head at a time; llhttp (httptools) judges the header lines.

Most lines of a head have come before: what was said of a line is remembered, so that only new ones are
judged; those of letters, digits and visible ASCII, which nobody reads differently, by a pattern, all others
by llhttp. What concerns a whole head (framing, doubles, counts) is judged here each time. A head of nothing
but such lines is remembered whole, less its first line and its bearer. llhttp has no pause, no position and
no limits: it never sees more than one line; whoever calls found the head's end.
"""

import re
from typing import Protocol

import httptools

from gateway.edge.memory import Entry, Heads, Memory
from gateway.model import faults, headers
from gateway.model.exchange import Exchange
from gateway.model.faults import Fault
from gateway.model.headers import (
    CODING,
    CONNECTION,
    CREDENTIAL,
    DOUBLED,
    DROP,
    EXPECT,
    H2C,
    KEPT,
    LENGTH,
    NOTED,
    PASS,
    PASSED,
    REMEMBERED,
    SET_COOKIE,
    SINGLE,
    UNDERSCORE,
    UPGRADE,
    ReplyNames,
)

RequestHead = tuple[int, dict[bytes, bytes], list[bytes]]  # flags, noted, the lines that pass
# minor, status, flags, length, dated, noted, the lines that pass
ReplyHead = tuple[int, int, int, int | None, bool, dict[bytes, bytes], list[bytes]]
PLAIN: Entry = (PASS, b"", b"")  # the usual: passed on as it is
_DROPPED: Entry = (DROP, b"", b"")

_method_name = re.compile(rb"[A-Z-]{1,32}").fullmatch
_ordinary = re.compile(rb"([A-Za-z0-9-]+): ?([\x20-\x7e]*)").fullmatch
_authorization = re.compile(rb"[Aa]uthorization: ([\x21-\x7e]+(?: [\x21-\x7e]+)?)").fullmatch
_VERSIONS = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
_BEARER = b"\r\nAuthorization: Bearer "
_SCHEME = len(_BEARER) - len(b"Bearer ")
_is_bearer = re.compile(rb"Bearer [\x21-\x7e]+").fullmatch
_RARE = UPGRADE | CODING | LENGTH | EXPECT | H2C | UNDERSCORE | DOUBLED


class BadLine(Exception):
    """llhttp does not take this for a header line."""


class _LineJudge:
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
        "_authorization", "_count", "_heads", "_judge", "_memory", "_methods", "_names", "_target_bytes",
        "target",
    )  # fmt: skip

    def __init__(self, names: Names, header_count: int, target_bytes: int) -> None:
        self._names = names
        self._memory = Memory()
        self._heads: Heads[RequestHead] = Heads()  # less their first line and their bearer
        self._methods = {b"CONNECT"}
        self._judge = _LineJudge(httptools.HttpRequestParser, b"GET / HTTP/1.1")
        self._authorization = names.judge(b"authorization")
        self._count = header_count
        self._target_bytes = target_bytes

    def read(self, head: bytes, exchange: Exchange) -> Fault | None:
        """Read one whole head into the exchange; the target stays here, not yet canonical.

        A fault means: this client can't be understood; reply and close.
        """
        end = head.find(b"\r\n")
        words = head[:end].split(b" ")
        if len(words) != 3:
            return faults.BAD_REQUEST
        method, target, version = words
        minor = _VERSIONS.get(version)
        if minor is None or not target or (method not in self._methods and not self._is_method(method)):
            return faults.BAD_REQUEST
        if len(target) > self._target_bytes:
            return faults.TARGET_TOO_LONG
        self.target = target
        exchange.method = method
        exchange.version = minor
        exchange.content_length = 0
        heads = self._heads
        if not heads.looks():
            return self._read_lines(head, end, exchange, None)
        at = head.find(_BEARER, end)
        if at < 0:
            bearer, rest = b"", head[end:]
        else:
            stop = head.find(b"\r\n", at + 2)
            bearer, rest = head[at + _SCHEME : stop], head[end:at] + head[stop:]
            if not _is_bearer(bearer):
                return self._read_lines(head, end, exchange, None)
        known = heads.get(rest)
        if known is None:
            return self._read_lines(head, end, exchange, rest)
        exchange.flags, noted, lines = known
        exchange.lines = lines.copy()
        if bearer:
            exchange.flags |= self._authorization
            noted = {**noted, b"authorization": bearer}
        exchange.noted = noted
        return None

    def _read_lines(self, head: bytes, end: int, exchange: Exchange, rest: bytes | None) -> Fault | None:
        """Line by line; remembered as `rest`, if it may be."""
        lines = head[end + 2 :].split(b"\r\n")
        lines.pop()
        lines.pop()
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
                found = _authorization(line)  # new nearly each time: worth a pattern of its own
                if found is not None:
                    entry = (self._authorization, b"authorization", found[1])
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
        exchange.noted = noted
        exchange.lines = passed
        exchange.flags = flags
        if flags & _RARE:
            return self._judge_whole(exchange, flags, noted)
        if rest is not None and len(lines) < self._count:
            self._remember(rest, flags, noted, passed)
        return None

    def _remember(self, rest: bytes, flags: int, noted: dict[bytes, bytes], passed: list[bytes]) -> None:
        """The head less its bearer, if that was all of its authorization."""
        without = {name: value for name, value in noted.items() if name != b"authorization"}
        has = b"\r\nauthorization:" in rest.lower()
        if not has:
            self._heads.add(rest, (flags & ~self._authorization, without, passed.copy()))

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


class BadReply(Exception):
    """The upstream's reply can't be understood: 502, and the connection is never used again."""


class ReplyReader:
    """Reads reply heads; after `read` its fields hold the head's parts until the next one."""

    __slots__ = (
        "_judge", "_recurs", "_starts", "dated", "flags", "length", "lines", "minor", "noted", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self._judge = _LineJudge(httptools.HttpResponseParser, b"HTTP/1.1 200 OK")
        self._starts: dict[bytes, tuple[int, int]] = {}  # status lines
        self._recurs = True
        self.length: int | None = None

    def read(self, head: bytes, names: ReplyNames) -> None:
        """Read one whole head, interim ones too; raises BadReply."""
        heads: Heads[ReplyHead] = names.memory.heads
        self._recurs = heads.looks()
        known = heads.get(head) if self._recurs else None
        if known is not None:
            self.minor, self.status, self.flags, self.length, self.dated, self.noted, lines = known
            self.lines = lines.copy()
            return
        self._read_lines(head, names)
        if self._recurs:
            said = self.minor, self.status, self.flags, self.length, self.dated, self.noted
            heads.add(head, (*said, self.lines.copy()))

    def _read_lines(self, head: bytes, names: ReplyNames) -> None:
        lines = head.split(b"\r\n")
        lines.pop()
        lines.pop()
        start = lines.pop(0)
        self.minor, self.status = self._starts.get(start) or self._start(start)
        noted: dict[bytes, bytes] = {}
        self.noted = noted
        passed: list[bytes] = []
        self.lines = passed
        self.length = None
        flags = 0
        memory: Memory = names.memory
        for line, entry in zip(lines, map(memory.young.get, lines), strict=False):
            if entry is PLAIN:
                passed.append(line)
                continue
            if entry is None:
                entry = memory.again(line) or self._new(line, names, memory)
                if entry is PLAIN:
                    passed.append(line)
                    continue
            kind, name, value = entry
            flags |= kind
            if kind & PASSED:
                passed.append(line)
            if kind & NOTED:
                noted[name] = noted[name] + b", " + value if name in noted else value
        self.flags = flags
        self.dated = b"\nDate: " in head or b"\ndate: " in head  # as nearly all write it; else look closer
        if flags & CODING and (noted[b"transfer-encoding"] != b"chunked" or flags & LENGTH or not self.minor):
            raise BadReply("bad Transfer-Encoding")
        if flags & LENGTH:
            digits = noted[b"content-length"]
            if not digits.isdigit() or len(digits) > 18:
                raise BadReply("bad Content-Length")
            self.length = int(digits)

    def _new(self, line: bytes, names: ReplyNames, memory: Memory) -> Entry:
        judge = self._judge
        try:
            judge.ask(line)
        except BadLine as error:
            raise BadReply(str(error)) from None
        name, value = judge.name, judge.value
        kind = names.remembered.get(name)
        if kind is None:
            kind = names.judge(name)
        if kind & SET_COOKIE:  # never remembered: cookies differ, and are secrets
            self._recurs = False
            return _DROPPED if headers.sets_our_cookie(value) and not names.ours else PLAIN
        if kind & CONNECTION and value.strip(b" \t").lower() == b"keep-alive":
            kind = DROP | KEPT
        entry = (kind, name.lower(), value.strip(b" \t")) if kind else PLAIN
        memory.add(line, entry)
        return entry

    def _start(self, line: bytes) -> tuple[int, int]:
        if line[8:9] != b" " or line[12:13] not in (b" ", b"") or b"\r" in line or b"\n" in line:
            raise BadReply("bad status line")
        minor, status = _VERSIONS.get(line[:8]), line[9:12]
        if minor is None or not status.isdigit() or not b"100" <= status <= b"599":
            raise BadReply("bad status line")
        if len(self._starts) < 256 and len(line) < 64:
            self._starts[line] = (minor, int(status))
        return minor, int(status)
