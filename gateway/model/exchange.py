"""One request as the policies see it: its head, its route, who asks, and notes for the way back."""

from typing import Any

import msgspec

from gateway.model.faults import Fault
from gateway.model.verdict import Refuse


class Exchange(msgspec.Struct, gc=False):
    """One request and its reply, made in one call. It never refers back to who holds it, so the collector of
    cycles need not know of it."""

    began: float = 0.0  # monotonic seconds
    client: bytes = b""  # the client's address after the walk through trusted proxies, as text
    route: Any = None  # edge.routes.Route
    secure: bool = False  # https, as the client sees it
    forwarded: bytes = b""  # the X-Forwarded-* lines, up to the value of X-Forwarded-Host
    request_id: bytes = b""
    trace_id: bytes = b""
    traceparent: bytes = b""

    method: bytes = b"-"
    path: bytes = b"-"  # the canonical path; decisions, logs and the forwarded target all use it
    query: bytes = b""  # with its "?", byte for byte as it came; takes part in no decision
    host: bytes = b""  # as sent, checked to be a host with an optional port
    noted: dict[
        bytes, bytes
    ] = {}  # the headers some policy asked for: lower-case name -> value (joined by ", ")
    version: int = 1  # 1 for HTTP/1.1, 0 for HTTP/1.0
    content_length: int | None = None  # None when chunked; 0 without a body
    upgrade: bytes = b""  # lower-case protocol of an Upgrade this route offers, else empty
    cookie: bytes = b""  # all Cookie lines joined by "; "
    authorization: bytes = b""

    identity: Any = None  # model.identity.Identity from issue "Identity" on
    body_limit: int = 0
    request_add: bytes = b""  # header lines for the upstream, added by policies for this request
    reply_add: bytes = b""  # header lines for the client, added by policies for this request
    refused: Refuse | None = None  # the verdict that ended it; or, in report mode, would have
    reports: tuple[tuple[str, str], ...] = ()  # report mode: (policy, code) that would have refused

    # kept by the edge for the log and for the way back
    status: int = 0
    flags: int = 0  # bits of model.headers, over the whole head
    lines: list[bytes] = []  # header lines for the upstream, without CRLF
    forwarded_host: bytes = b""
    rewritten: bytes = b""  # the path towards the upstream, on routes that rewrite
    endless: bool = False  # an event stream: silence is no fault
    attempts: int = 0  # sendings upstream
    picked: Any = None  # the server whose turn it is, to be dialled
    tried: tuple[Any, ...] = ()  # servers that failed for this request
    sent: float = 0.0  # when the request went upstream
    replied: float = 0.0  # when the head of the reply came
    server: bytes = b"null"  # where it went, as JSON text
    bytes_in: int = 0
    bytes_out: int = 0
    failed: Fault | None = None  # why the gateway itself answered, or broke off
    why: str = ""  # what the log says beyond the fault's code
    rare: bool = False  # something is to be said in the log beyond the usual fields

    def note(self, why: str) -> None:
        """Tell the log, not the client, more about what went wrong."""
        self.why = why
        self.rare = True

    def navigates(self) -> bool:
        """Whether a browser is navigating here: then people read the reply, not programs."""
        mode = self.noted.get(b"sec-fetch-mode")
        if mode is not None:
            return mode == b"navigate"
        return self.method == b"GET" and b"text/html" in self.noted.get(b"accept", b"")
