"""What a plugin says of a request, and the lines it adds, held against what may go out."""

import re
from typing import Any

from gateway.model.faults import Fault
from gateway.model.headers import FRAMING, HOP_BY_HOP
from gateway.model.verdict import Answer, Outcome, Refuse, Reply

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_OF_THE_CONNECTION = FRAMING | HOP_BY_HOP
_BODYLESS = frozenset({204, 304})


class Unsound(Exception):
    """It can't go out: the request fails, as it does when a policy raises."""


def sound(verdict: Any) -> Outcome:
    """The verdict, if it is one, and fit to be sent."""
    if verdict is None:
        return None
    if isinstance(verdict, Refuse):
        _check_fault(verdict.fault)
        _check_headers(verdict.headers)
        if not isinstance(verdict.detail, str):
            raise Unsound("a refusal's detail is text")
        return verdict
    if isinstance(verdict, Answer):
        if verdict.instead_of is not None:
            _check_fault(verdict.instead_of)
        _check_reply(verdict.reply)
        _check_headers(verdict.reply.headers)
        return verdict
    raise Unsound(f"{type(verdict).__name__} is no verdict")


def frame(reply: Reply) -> tuple[bool, list[tuple[bytes, bytes]]]:
    """How the reply ends: nobody may change that once its body is on its way."""
    return reply.status in _BODYLESS, [
        (name, value) for name, value in reply.headers if name.lower() in _OF_THE_CONNECTION
    ]


def check_changed(reply: Reply, before: tuple[bool, list[tuple[bytes, bytes]]]) -> None:
    """Of a reply that a plugin has had in its hands."""
    _check_reply(reply)
    if frame(reply) != before:
        raise Unsound("how a reply ends was changed: its length, its connection, or a status without body")
    _check_headers([each for each in reply.headers if each[0].lower() not in _OF_THE_CONNECTION])


def check_lines(block: Any) -> None:
    """Whole header lines, each with its CRLF, that do not belong to the connection."""
    if not isinstance(block, bytes):
        raise Unsound(f"header lines are bytes, not {type(block).__name__}")
    *lines, rest = block.split(b"\r\n")
    if rest:
        raise Unsound("a header line ends with CRLF")
    if not all(b":" in line for line in lines):
        raise Unsound("a header line has a name, a colon and a value")
    _check_headers([line.partition(b":")[::2] for line in lines])


def _check_fault(fault: Any) -> None:
    if not (isinstance(fault, Fault) and isinstance(fault.status, int) and 400 <= fault.status <= 599):
        raise Unsound("a refusal has a fault of a status from 400 to 599")
    if not (isinstance(fault.code, str) and _CODE.fullmatch(fault.code)):
        raise Unsound("a fault's code is a lower-case word")


def _check_reply(reply: Any) -> None:
    if not (isinstance(reply, Reply) and isinstance(reply.status, int) and 200 <= reply.status <= 599):
        raise Unsound("a reply has a status from 200 to 599")
    if not isinstance(reply.body, bytes):
        raise Unsound("a reply's body is bytes")


def _check_headers(headers: Any) -> None:
    for name, value in headers:
        if not (_TOKEN.fullmatch(name) and _VALUE.fullmatch(value)):
            raise Unsound("a header's name or value has bytes that it can't have")
        if name.lower() in _OF_THE_CONNECTION:
            raise Unsound(f"{name.decode()} belongs to the connection; the gateway alone sets it")
