"""The request to be explained: from the words of the command line to the bytes of its head."""

import re
from collections.abc import Sequence
from ipaddress import ip_address

import msgspec

from gateway.model.addresses import UNIX

_URL = re.compile(r"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
LOCAL = "127.0.0.1"


class BadQuestion(ValueError):
    """The words name no request; the text says which, and what would be right."""


class Asked(msgspec.Struct, frozen=True):
    """A request as a client would send it."""

    method: str
    target: str
    host: str
    lines: tuple[str, ...] = ()  # of the head, but for Host; as they were given
    address: str = LOCAL  # of the one who connects; UNIX: over a Unix socket

    def head(self) -> bytes:
        lines = (f"{self.method} {self.target} HTTP/1.1", f"Host: {self.host}", *self.lines, "", "")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")

    def value(self, name: str) -> str:
        """Of the first line of this name; empty when there is none."""
        found = (line.partition(":") for line in self.lines)
        return next((value.strip() for key, _, value in found if key.strip().lower() == name), "")


def asked(method: str, where: str, lines: Sequence[str], *, address: str, agent: str, host: str) -> Asked:
    """`host` is meant where neither the URL nor a line names one."""
    for words in (method, where, agent, *lines):
        if set(words) & set("\r\n\0"):
            raise BadQuestion("line breaks have no place in a request's words")
    if not method or " " in method:
        raise BadQuestion(f"{method!r} is no method: write GET, POST and so on")
    for line in lines:
        if ":" not in line:
            raise BadQuestion(f"{line!r} is no header: write 'Name: value'")
    url = _URL.fullmatch(where.partition("#")[0])
    if url is None and not where.startswith("/") and where != "*":
        raise BadQuestion(f"{where!r} is neither a URL nor a path, which begins with /")
    target = where if url is None else url[2] if url[2].startswith("/") else f"/{url[2]}"
    hosts = [line.partition(":")[2].strip() for line in lines if _is(line, "host")]
    own = [line for line in lines if not _is(line, "host")]
    if agent:
        if any(_is(line, "user-agent") for line in own):
            raise BadQuestion("the agent is named twice: by --agent and by a header")
        own.append(f"User-Agent: {agent}")
    own += [f"Host: {second}" for second in hosts[1:]]  # judged as what it is: refused
    return Asked(
        method, target, hosts[0] if hosts else url[1] if url is not None else host, tuple(own), _peer(address)
    )


def with_line(request: Asked, name: str, value: str) -> Asked:
    """The same with a header line of its own. One that is there already is not made two."""
    if name.lower() == "cookie" and request.value("cookie"):
        joined = [f"{line}; {value}" if _is(line, "cookie") else line for line in request.lines]
        return msgspec.structs.replace(request, lines=tuple(joined))
    if request.value(name.lower()):
        raise BadQuestion(f"{name} is given already: a request has one credential of a kind")
    return msgspec.structs.replace(request, lines=(*request.lines, f"{name}: {value}"))


def _is(line: str, name: str) -> bool:
    return line.partition(":")[0].lower() == name


def _peer(address: str) -> str:
    if address == UNIX:
        return address
    try:
        return str(ip_address(address))
    except ValueError:
        raise BadQuestion(f"{address!r} is no IP address") from None
