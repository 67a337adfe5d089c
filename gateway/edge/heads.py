"""Reading heads: one complete request or reply head at a time through llhttp, judged where llhttp is lenient.

llhttp (httptools) has no pause, no position and no limits, so it never sees more than one head: whoever feeds it has
found the head's end. One reader serves all connections of a worker, because a head is read in one call.
"""

import httptools

from gateway.model import faults, headers
from gateway.model.faults import Fault
from gateway.model.headers import (
    CODING,
    CONNECTION,
    CREDENTIAL,
    DOUBLED,
    EXPECT,
    H2C,
    LENGTH,
    NOTED,
    PASSED,
    SET_COOKIE,
    SINGLE,
    UNDERSCORE,
    UPGRADE,
    RequestNames,
)

_VERSIONS = {b"HTTP/1.1": 1, b"HTTP/1.0": 0}
_RENEW = LENGTH | CODING | CONNECTION | UPGRADE | H2C
_RARE = CODING | LENGTH | EXPECT | H2C | UNDERSCORE | DOUBLED


class RequestReader:
    """Reads request heads; after `read` its fields hold the head's parts until the next one."""

    __slots__ = (
        "_count", "_parser", "_target_bytes", "flags", "length", "lines", "method", "minor", "names", "noted", "target",
    )  # fmt: skip

    def __init__(self, names: RequestNames, header_count: int, target_bytes: int) -> None:
        self.names = names
        self._count = header_count + 2  # the request line and the empty line end in CRLF too
        self._target_bytes = target_bytes
        self._renew()

    def _renew(self) -> None:
        self._parser = httptools.HttpRequestParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = self.names.remembered.get(name)
        if kind is None:
            kind = self.names.judge(name)
        if not kind:
            self.lines += (name, b": ", value, b"\r\n")
            return
        self.flags |= kind
        if kind & NOTED:
            if kind & PASSED or (kind & CREDENTIAL and not headers.is_our_token(value)):
                self.lines += (name, b": ", value, b"\r\n")
            name = name.lower()
            noted = self.noted
            if name in noted:
                if kind & SINGLE:
                    self.flags |= DOUBLED
                value = noted[name] + (b"; " if name == b"cookie" else b", ") + value
            noted[name] = value

    def read(self, head: bytes) -> Fault | None:
        """Read one whole head. A fault means: this client can't be understood; reply and close."""
        words = head[: head.find(b"\r\n")].split(b" ")
        if len(words) != 3:
            return faults.BAD_REQUEST
        self.method, self.target, version = words
        minor = _VERSIONS.get(version)
        if minor is None:
            return faults.BAD_REQUEST
        self.minor = minor
        if len(self.target) > self._target_bytes:
            return faults.TARGET_TOO_LONG
        if head.count(b"\r\n") > self._count:
            return faults.HEADERS_TOO_LARGE
        self.lines: list[bytes] = []
        self.noted: dict[bytes, bytes] = {}
        self.flags = 0
        self.length: int | None = 0
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self._renew()
            return faults.BAD_REQUEST
        flags = self.flags
        if flags & _RENEW or not minor:
            self._renew()
        return self._judge(flags) if flags & _RARE else None

    def _judge(self, flags: int) -> Fault | None:
        noted = self.noted
        if flags & DOUBLED:
            if b", " in noted.get(b"host", b""):
                return faults.BAD_HOST
            return (
                faults.DUPLICATE_CREDENTIAL
                if b", " in noted.get(b"authorization", b"")
                else faults.BAD_FRAMING
            )
        if flags & H2C:
            return faults.BAD_UPGRADE
        if flags & UNDERSCORE and self.names.refuse_underscores:
            return faults.REFUSED_HEADER
        if flags & (LENGTH | CODING):
            if flags & UPGRADE:  # llhttp would report it complete without its body: smuggling by upgrade
                return faults.BAD_UPGRADE
            if flags & CODING:
                if flags & LENGTH or not self.minor or noted[b"transfer-encoding"] != b"chunked":
                    return faults.BAD_FRAMING
                self.length = None
            else:
                digits = noted[b"content-length"].rstrip(b" \t")
                if not digits.isdigit() or len(digits) > 18:
                    return faults.BAD_FRAMING
                self.length = int(digits)
        if flags & EXPECT and noted[b"expect"].strip().lower() != b"100-continue":
            return faults.EXPECTATION_FAILED
        return None


class BadReply(Exception):
    """The upstream's reply can't be understood: 502, and the connection is never used again."""


class ReplyReader:
    """Reads reply heads; like RequestReader, its fields are good until the next call."""

    __slots__ = ("_parser", "_remembered", "_names", "flags", "length", "lines", "minor", "noted", "status")

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        # a parser that reads a reply without its body (HEAD, or the body is counted by us) would wait for it
        self._parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        kind = self._remembered.get(name)
        if kind is None:
            kind = self._names.judge(name)
        if not kind:
            self.lines += (name, b": ", value, b"\r\n")
            return
        self.flags |= kind
        if kind & PASSED or (kind & SET_COOKIE and not headers.sets_our_cookie(value)):
            self.lines += (name, b": ", value, b"\r\n")
        if kind & NOTED:
            name = name.lower()
            noted = self.noted
            noted[name] = noted[name] + b", " + value if name in noted else value

    def read(self, head: bytes, names: headers.ReplyNames) -> None:
        """Read one whole head, interim ones too; raises BadReply."""
        if head[:5] != b"HTTP/" or head[8:9] != b" " or head[12:13] not in (b" ", b"\r"):
            raise BadReply("bad status line")
        minor, status = _VERSIONS.get(head[:8]), head[9:12]
        if minor is None or not status.isdigit() or not b"100" <= status <= b"599":
            raise BadReply("bad status line")
        self.minor, self.status = minor, int(status)
        self._names, self._remembered = names, names.remembered
        self.lines: list[bytes] = []
        self.noted: dict[bytes, bytes] = {}
        self.flags = 0
        self.length: int | None = None
        try:
            self._parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            self._renew()
            raise BadReply(str(error)) from None
        self._renew()
        flags = self.flags
        if flags & CODING and (self.noted[b"transfer-encoding"] != b"chunked" or flags & LENGTH or not minor):
            raise BadReply("bad Transfer-Encoding")
        if flags & LENGTH:
            digits = self.noted[b"content-length"].rstrip(b" \t")
            if not digits.isdigit() or len(digits) > 18:
                raise BadReply("bad Content-Length")
            self.length = int(digits)
