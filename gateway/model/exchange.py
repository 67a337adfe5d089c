"""One request as the policies see it: its head, its route, who asks, and notes for the way back."""

from typing import Any

from gateway.model.verdict import Refuse


class Exchange:
    """One request and its reply. Made per request, so: few assignments, the rest are class-level defaults."""

    method: bytes
    path: bytes  # the canonical path; decisions, logs and the forwarded target all use it
    query: bytes = b""  # with its "?", byte for byte as it came; takes part in no decision
    host: bytes  # as sent, checked to be a host with an optional port
    noted: dict[bytes, bytes]  # the headers some policy asked for: lower-case name -> value (joined by ", ")
    client: bytes  # the client's address after the walk through trusted proxies, as text
    secure: bool = False  # https, as the client sees it
    version: int = 1  # 1 for HTTP/1.1, 0 for HTTP/1.0
    request_id: bytes = b""
    content_length: int | None = None  # None when chunked; 0 without a body
    upgrade: bytes = b""  # lower-case protocol of an Upgrade this route offers, else empty
    cookie: bytes = b""  # all Cookie lines joined by "; "
    authorization: bytes = b""

    route: Any = None  # edge.routes.Route
    params: tuple[bytes, ...] = ()  # values of {name} and the rest of /**, in order
    identity: Any = None  # model.identity.Identity from issue "Identity" on
    body_limit: int = 0
    request_add: bytes = b""  # header lines for the upstream, added by policies for this request
    reply_add: bytes = b""  # header lines for the client, added by policies for this request
    refused: Refuse | None = None  # the verdict that ended it; or, in report mode, would have
    reports: tuple[tuple[str, str], ...] = ()  # report mode: (policy, code) that would have refused

    def navigates(self) -> bool:
        """Whether a browser is navigating here: then people read the reply, not programs."""
        mode = self.noted.get(b"sec-fetch-mode")
        if mode is not None:
            return mode == b"navigate"
        return self.method == b"GET" and b"text/html" in self.noted.get(b"accept", b"")
