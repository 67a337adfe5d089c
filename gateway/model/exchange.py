"""One request as the policies see it: its head, its route, who asks, and notes for the way back."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.model.faults import Fault
from gateway.model.headers import find
from gateway.model.identity import Identified, Identity
from gateway.model.verdict import Refuse

_NOTHING: Mapping[bytes, bytes] = MappingProxyType({})


class Exchange:
    """One request and its reply. One is made per request, so: slots, which are quick to set and to read."""

    # set seldom, so not in every request: these are looked up here until then
    refused: Refuse | None = None  # the verdict that ended it; or, in report mode, would have
    verdicts: tuple[tuple[str, str], ...] = ()  # (policy, code) that refused, or would have
    endless: bool = False  # an event stream: silence is no fault
    picked: Any = None  # the server whose turn it is, to be dialled
    failed: Fault | None = None  # why the gateway itself answered, or broke off
    forward_auth: bool = False  # another proxy asks: it takes the verdict, and no cookie
    told: bytes = b""  # of who called a built-in route, as JSON text for the log
    why: str = ""  # what the log says beyond the fault's code
    rewritten: bytes = b""  # the path towards the upstream, on routes that rewrite

    __slots__ = (
        "__dict__",
        "attempts", "authorization", "began", "body_limit", "bytes_in", "bytes_out", "client",
        "content_length", "cookie", "credential", "flags", "forwarded", "forwarded_host", "host",
        "lines", "method", "noted", "path", "query", "rare", "replied",
        "reply_add", "request_add", "request_id", "route", "secure", "sent",
        "server", "status", "trace_id", "traceparent", "tried", "upgrade",
        "version", "who",
    )  # fmt: skip

    def __init__(
        self,
        began: float = 0.0,  # monotonic seconds
        client: bytes = b"",  # the client's address after the walk through trusted proxies, as text
        route: Any = None,  # edge.routes.Route
        secure: bool = False,  # https, as the client sees it
        forwarded: bytes = b"",  # the X-Forwarded-* lines, up to the value of X-Forwarded-Host
        request_id: bytes = b"",
        trace_id: bytes = b"",
        traceparent: bytes = b"",
    ) -> None:
        self.began = began
        self.client = client
        self.route = route
        self.secure = secure
        self.forwarded = forwarded
        self.request_id = request_id
        self.trace_id = trace_id
        self.traceparent = traceparent
        # what the client asks for
        self.method = b"-"
        self.path = b"-"  # the canonical path; decisions, logs and the forwarded target all use it
        self.query = b""  # with its "?", byte for byte as it came; takes part in no decision
        self.host = b""  # as sent, checked to be a host with an optional port
        # the headers some policy asked for: lower-case name -> value (several are joined by ", ")
        self.noted: Mapping[bytes, bytes] = _NOTHING
        self.version = 1  # 1 for HTTP/1.1, 0 for HTTP/1.0
        self.content_length: int | None = None  # None when chunked; 0 without a body
        self.upgrade = b""  # lower-case protocol of an Upgrade this route offers, else empty
        self.cookie = b""  # all Cookie lines joined by "; "
        self.authorization = b""
        # what policies find out and decide
        self.body_limit = 0
        self.request_add = b""  # header lines for the upstream, added by policies for this request
        self.reply_add = b""  # header lines for the client, added by policies for this request
        # kept by the edge for the log and for the way back
        self.status = 0
        self.flags = 0  # bits of model.headers, over the whole head
        self.lines = b""  # header lines for the upstream, each ended by CRLF
        self.forwarded_host = b""
        self.attempts = 0  # sendings upstream
        self.tried: tuple[Any, ...] = ()  # servers that failed for this request
        self.sent = 0.0  # when the request went upstream
        self.replied = 0.0  # when the head of the reply came
        self.server = b"null"  # where it went, as JSON text
        self.bytes_in = 0
        self.bytes_out = 0
        self.who: Identified | None = None  # set by authenticate
        self.credential = b""  # what they proved it with
        self.rare = False  # something is to be said in the log beyond the usual fields

    @property
    def identity(self) -> Identity | None:
        """Who asks; None for the anonymous."""
        return self.who.identity if self.who is not None else None

    def answer_with(self, *lines: bytes) -> None:
        """Add header lines to the reply, whoever makes it. It is for one client then: nobody may keep it."""
        self.reply_add += b"".join(line + b"\r\n" for line in lines)
        if b"\r\nCache-Control: no-store\r\n" not in b"\r\n" + self.reply_add:
            self.reply_add += b"Cache-Control: no-store\r\n"

    def note(self, why: str) -> None:
        """Tell the log, not the client, more about what went wrong."""
        self.why = why
        self.rare = True

    def objected(self, policy: str, code: str) -> None:
        """Tell the log, and who counts, that a policy refused, or in report mode would have."""
        if (policy, code) not in self.verdicts:
            self.verdicts += ((policy, code),)
            self.rare = True

    def navigates(self) -> bool:
        """Whether a browser is navigating here: then people read the reply, not programs."""
        mode = self.header(b"sec-fetch-mode")
        if mode is not None:
            return mode == b"navigate"
        return self.method == b"GET" and b"text/html" in (self.header(b"accept") or b"")

    def header(self, name: bytes) -> bytes | None:
        """The value of a request header by its lower-case name; what is asked often is better noted."""
        value = self.noted.get(name)
        if value is not None:
            return value
        if name in (b"authorization", b"cookie"):  # never among the lines
            return (self.authorization if name == b"authorization" else self.cookie) or None
        return find(self.lines, name)
