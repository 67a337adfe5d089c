"""The plain listener beside a TLS one: answers every request with a redirect to https."""

import asyncio
import re
from http import HTTPStatus
from typing import cast

import msgspec

from gateway.model import faults
from gateway.model.faults import Fault
from gateway.model.paths import host_name, valid_host

_LONGEST_HEAD = 16 * 1024
_LINGER = 2.0
# origin-form of characters that no URL parser reads in two ways (RFC 3986: pchar, "/" and "?")
_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} (/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")


class Room:
    """How many connections may be open here at once."""

    __slots__ = ("left",)

    def __init__(self, left: int = 1000) -> None:
        self.left = left


class RedirectProtocol(asyncio.Protocol):
    """Reads one bounded head, answers, and closes when the client does: a body under way must not undo it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        https_port: int,
        timeout: float = 10.0,
        room: Room | None = None,
    ) -> None:
        self._loop = loop
        self._room = room or Room()
        self._port = b"" if https_port == 443 else b":%d" % https_port
        self._timeout = timeout
        self._head = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._timer = self._loop.call_later(self._timeout, self._give_up)
        self._room.left -= 1
        if self._room.left < 0:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n", 0, _LONGEST_HEAD)
        if end >= 0:
            self._answer(self._reply(self._head[:end]))
        elif len(self._head) >= _LONGEST_HEAD:
            self._answer(refusal(faults.HEADERS_TOO_LARGE))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self._room.left += 1

    def _reply(self, head: bytes) -> bytes:
        first, *lines = head.split(b"\r\n")
        request = _REQUEST_LINE.fullmatch(first)
        fields = [_FIELD.fullmatch(line) for line in lines]
        if request is None or not all(fields):
            return refusal(faults.BAD_REQUEST)
        hosts = [field[2] for field in fields if field is not None and field[1].lower() == b"host"]
        if len(hosts) != 1 or not valid_host(hosts[0]):
            return refusal(faults.BAD_HOST)
        return (
            b"HTTP/1.1 308 Permanent Redirect\r\nLocation: https://%b%b%b\r\n"
            b"Content-Length: 0\r\nConnection: close\r\n\r\n" % (host_name(hosts[0]), self._port, request[1])
        )

    def _answer(self, reply: bytes) -> None:
        self._answered = True
        self._head = b""
        self._transport.write(reply)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._timer.cancel()
        self._timer = self._loop.call_later(_LINGER, self._transport.abort)

    def _give_up(self) -> None:
        if self._head:
            self._answer(refusal(faults.REQUEST_TIMEOUT))
        else:
            self._transport.close()


def refusal(fault: Fault) -> bytes:
    """A whole reply for where no route, policy or request id is known yet; the connection closes after it."""
    body = msgspec.json.encode(
        {"type": "about:blank", "title": fault.title, "status": fault.status, "code": fault.code}
    )
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
        % (fault.status, HTTPStatus(fault.status).phrase.encode(), len(body), body)
    )
