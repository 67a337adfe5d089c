"""Reading the heads of replies, one whole head at a time: as strictly as those of requests (heads.py)."""

import httptools

from gateway.edge.heads import PLAIN, VERSIONS, BadLine, LineJudge
from gateway.edge.memory import Entry, Heads, Memory
from gateway.edge.replies import BODYLESS, STATUS_LINES
from gateway.model import headers
from gateway.model.headers import (
    CODING,
    CONNECTION,
    DROP,
    KEPT,
    LENGTH,
    NOTED,
    PASSED,
    SET_COOKIE,
    ReplyNames,
    dropped,
    find,
    without_nominated,
)

LENGTH_NAME = frozenset({b"content-length"})
_DROPPED: Entry = (DROP, b"", b"")


class BadReply(Exception):
    """The upstream's reply can't be understood: 502, and the connection is never used again."""


class ReplyHead:
    """What was said of one."""

    __slots__ = ("dated", "flags", "length", "lines", "minor", "noted", "opening", "status", "usual")

    def __init__(
        self, minor: int, status: int, flags: int, noted: dict[bytes, bytes], lines: bytes, *, dated: bool
    ) -> None:
        self.minor = minor  # of its version: 1 or 0
        self.status = status
        self.flags = flags
        self.noted = noted
        self.lines = lines  # those that pass, each ended by CRLF
        self.dated = dated
        self.length: int | None = None
        if flags & CODING and (noted[b"transfer-encoding"] != b"chunked" or flags & LENGTH or not minor):
            raise BadReply("bad Transfer-Encoding")
        if flags & LENGTH:
            digits = noted[b"content-length"]
            if not digits.isdigit() or len(digits) > 18:
                raise BadReply("bad Content-Length")
            self.length = int(digits)
        # after which, in answer to all but HEAD and upgrades, a body of that length comes on a connection
        # that stays
        self.usual = (
            self.length is not None
            and bool(minor)
            and not flags & (CONNECTION | CODING)
            and status not in BODYLESS
        )
        self.opening = STATUS_LINES[status] + lines if self.usual else b""

    def interim_lines(self) -> bytes:
        """Of a reply 1xx, which has no body and so no length (RFC 9110 section 8.6)."""
        lines = dropped(self.lines, LENGTH_NAME) if self.flags & LENGTH else self.lines
        if self.flags & CONNECTION:
            lines = without_nominated(lines, self.noted[b"connection"].lower())
        return lines


class ReplyReader:
    """Reads reply heads."""

    __slots__ = ("_judge", "_recurs", "_starts")

    def __init__(self) -> None:
        self._judge = LineJudge(httptools.HttpResponseParser, b"HTTP/1.1 200 OK")
        self._starts: dict[bytes, tuple[int, int]] = {}  # status lines
        self._recurs = True

    def read(self, head: bytes, names: ReplyNames) -> ReplyHead:
        """One whole head, interim ones too, without the empty line at its end; raises BadReply."""
        heads: Heads[ReplyHead] = names.memory.heads
        if heads.pause:
            heads.pause -= 1
            return self._read_lines(head, names)
        known = heads.young.get(head) or heads.again(head)
        if known is not None:
            heads.misses = 0
            return known
        self._recurs = True
        read = self._read_lines(head, names)
        if self._recurs:
            heads.add(head, read)
        return read

    def _read_lines(self, head: bytes, names: ReplyNames) -> ReplyHead:
        lines = head.split(b"\r\n")
        start = lines.pop(0)
        minor, status = self._starts.get(start) or self._start(start)
        noted: dict[bytes, bytes] = {}
        passed: list[bytes] = []
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
        passed.append(b"")  # so that, joined, they end as a line does
        block = b"\r\n".join(passed)
        dated = b"\nDate: " in head or b"\ndate: " in head or find(block, b"date") is not None
        return ReplyHead(minor, status, flags, noted, block, dated=dated)

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
        minor, status = VERSIONS.get(line[:8]), line[9:12]
        if minor is None or not status.isdigit() or not b"100" <= status <= b"599":
            raise BadReply("bad status line")
        if len(self._starts) < 256 and len(line) < 64:
            self._starts[line] = (minor, int(status))
        return minor, int(status)
