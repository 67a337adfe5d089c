"""Replies made by the gateway: problem+json for programs, a page for people; and any reply's head."""

import html
import time
from functools import lru_cache
from http import HTTPStatus

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import Fault
from gateway.model.verdict import Reply

STATUS_LINES: dict[int, bytes] = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, _known.phrase.encode())
    if (_known := next((known for known in HTTPStatus if known.value == status), None)) is not None
    else b"HTTP/1.1 %d \r\n" % status
    for status in range(100, 600)
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODYLESS = frozenset({204, 304})

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:12vh auto;padding:0 1em;color:#222}}
h1{{font-size:1.4em}}code{{color:#666}}</style></head>
<body><h1>{title}</h1><p>{detail}</p><p><code>{status} {code} · {request_id}</code></p></body></html>
"""
_encode = msgspec.json.Encoder().encode


def of_fault(
    exchange: Exchange, fault: Fault, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Reply:
    """The reply that tells what went wrong: RFC 9457 for programs, HTML when a browser navigates."""
    request_id = exchange.request_id.decode("ascii")
    detail = detail or fault.detail
    problem = {
        "type": "about:blank",
        "title": fault.title,
        "status": fault.status,
        "code": fault.code,
        "detail": detail,
        "request_id": request_id,
    }
    if exchange.navigates():
        page = _PAGE.format(
            **{key: html.escape(str(value)) for key, value in problem.items() if key != "type"}
        )
        made = [(b"Content-Type", b"text/html; charset=utf-8"), (b"Cache-Control", b"no-store")]
        return Reply(fault.status, [*made, *headers], page.encode())
    if not detail:
        del problem["detail"]
    made = [(b"Content-Type", b"application/problem+json"), (b"Cache-Control", b"no-store")]
    return Reply(fault.status, [*made, *headers], _encode(problem) + b"\n")


def http_date() -> bytes:
    return _date_of(int(time.time()))


@lru_cache(maxsize=1)
def _date_of(second: int) -> bytes:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second)).encode()


def to_bytes(exchange: Exchange, reply: Reply, *, keep: bool, bodyless: bool) -> bytes:
    """The whole reply as it goes to the client; HEAD gets the head of what GET would have got."""
    parts = [STATUS_LINES[reply.status], b"Date: ", http_date(), b"\r\n"]
    for name, value in reply.headers:
        parts += (name, b": ", value, b"\r\n")
    if reply.status not in BODYLESS:
        parts.append(b"Content-Length: %d\r\n" % len(reply.body))
    parts += (exchange.route.reply_add, exchange.reply_add, b"X-Request-Id: ", exchange.request_id, b"\r\n")
    parts.append(connection_line(exchange, keep=keep))
    parts.append(b"\r\n")
    if not bodyless and reply.status not in BODYLESS:
        parts.append(reply.body)
    return b"".join(parts)


def connection_line(exchange: Exchange, *, keep: bool) -> bytes:
    if not keep:
        return b"Connection: close\r\n"
    return b"" if exchange.version else b"Connection: keep-alive\r\n"
