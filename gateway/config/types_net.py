"""Addresses, hosts, URLs of servers and methods, as values of routes.yaml."""

import ipaddress
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from gateway.config.faults import NotRight, did_you_mean, shown
from gateway.config.snapshot import Listen, Server
from gateway.config.types import parsed, text

# The methods that llhttp knows, less CONNECT: a route for another one could never match.
METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "COPY", "LOCK", "MKCOL",
    "MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK", "BIND", "REBIND", "UNBIND", "ACL", "REPORT",
    "MKACTIVITY", "CHECKOUT", "MERGE", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE", "PURGE",
    "MKCALENDAR", "LINK", "UNLINK", "SOURCE", "QUERY",
)  # fmt: skip

_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_LISTEN = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):([0-9]{1,5})")


def port(value: str, whole: Any) -> int:
    if not 1 <= int(value) <= 65535:
        raise NotRight(f"{shown(whole)} has no valid port", "a port is a number from 1 to 65535")
    return int(value)


def is_host(host: str) -> bool:
    """A DNS name, an IPv4 address or a bracketed IPv6 one."""
    if host.startswith("["):
        return is_address(host[1:-1], 6)
    if re.fullmatch(r"[0-9.]+", host):
        return is_address(host, 4)
    return len(host) <= 253 and bool(_HOST_NAME.fullmatch(host))


def is_address(value: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(value).version == version and "%" not in value
    except ValueError:
        return False


def listen(value: Any) -> Listen:
    if isinstance(value, int) and not isinstance(value, bool):
        raise NotRight(
            f"{value} is not an address to listen on", f"did you mean 127.0.0.1:{value} or 0.0.0.0:{value}?"
        )
    whole = text(value, "an address to listen on")
    if whole.startswith("unix:"):
        return Listen(path=unix_path(whole[5:], value))
    found = _LISTEN.fullmatch(whole)
    if not found:
        raise NotRight(
            f"{shown(value)} is not an address to listen on", "write host:port, [v6]:port or unix:PATH"
        )
    host = found[1]
    if host in ("", "*"):
        raise NotRight(f"{shown(value)} names no host", f"did you mean 0.0.0.0:{found[2]} (all addresses)?")
    if not is_host(host):
        raise NotRight(
            f"{shown(value)} is not an address to listen on", "write host:port, [v6]:port or unix:PATH"
        )
    return Listen(host.strip("[]").lower(), port(found[2], value))


def unix_path(path: str, whole: Any) -> str:
    if not path or not path.isprintable():
        raise NotRight(f"{shown(whole)} names no socket", "write unix:PATH")
    if len(path.encode()) > 107:
        raise NotRight(f"{shown(whole)} is too long for a Unix socket", "107 bytes at most")
    return path


Address = Annotated[Listen, parsed(listen, type="string", title="address")]


def server(value: Any) -> Server:
    """`http://host:port`, `https://host:port` or `unix:PATH`."""
    wrong_url = "write http://host:port, https://host:port or unix:PATH"
    if not isinstance(value, str):
        raise NotRight(f"{shown(value)} is not the URL of a server", wrong_url)
    whole = str(value)
    if whole.startswith("unix:"):
        return Server(whole, path=unix_path(whole[5:], value))
    try:
        url = urlsplit(whole)
        number = url.port
    except ValueError:
        raise NotRight(f"{shown(value)} is not the URL of a server", wrong_url) from None
    if url.scheme not in ("http", "https"):
        guess = (
            f"did you mean http://{whole}?" if "://" not in whole and _LISTEN.fullmatch(whole) else wrong_url
        )
        raise NotRight(f"{shown(value)} is not the URL of a server", guess)
    if "@" in url.netloc:
        raise NotRight(
            "a server's URL can't hold credentials",
            "set them with request_headers: {set: {Authorization: …}}",
        )
    host = url.netloc.rpartition(":")[0] if number is not None else url.netloc
    if not is_host(host) or url.netloc.endswith(":") or number == 0 or not whole.isascii():
        raise NotRight(f"{shown(value)} is not the URL of a server", wrong_url)
    if url.path not in ("", "/") or "?" in whole or "#" in whole:
        raise NotRight(
            f"{shown(value)} has a path", "a server is a host and a port; change paths with a route's rewrite"
        )
    secure = url.scheme == "https"
    name = f"{url.scheme}://{url.netloc.lower()}"
    return Server(name, host.strip("[]").lower(), number or (443 if secure else 80), secure=secure)


ServerUrl = Annotated[Server, parsed(server, type="string", title="server")]


def network(value: Any) -> str:
    whole = text(value, "an address or network")
    if whole == "unix":
        return whole
    try:
        return str(ipaddress.ip_network(whole))
    except ValueError:
        pass
    try:
        near = f"did you mean {ipaddress.ip_network(whole, strict=False)}?"
    except ValueError:
        near = "write one like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32; unix means every peer on a Unix socket"
    raise NotRight(f"{shown(value)} is not an address or network", near)


Network = Annotated[str, parsed(network, type="string", title="address or network")]


def method(value: Any) -> str:
    word = text(value, "a method").upper()
    if word == "CONNECT":
        raise NotRight("CONNECT is not offered by the gateway", "remove it")
    if word not in METHODS:
        raise NotRight(
            f"{shown(value)} is not a method", did_you_mean(word, METHODS, "leave methods out for all")
        )
    return word


Method = Annotated[str, parsed(method, type="string", title="method")]


def host_pattern(value: Any) -> str:
    word = text(value, "a host")
    bare = word[2:] if word.startswith("*.") else word
    if ":" in bare and not bare.startswith("["):
        raise NotRight(f"{shown(value)} has a port or a scheme", "a host is compared without them")
    if not bare.isascii():
        raise NotRight(f"{shown(value)} is not ASCII", "write the host in its xn-- form")
    if not is_host(bare) or (word is not bare and not _HOST_NAME.fullmatch(bare)):
        raise NotRight(f"{shown(value)} is not a host", 'write one like api.example.com or "*.example.com"')
    return word.lower().removesuffix(".")


HostPattern = Annotated[str, parsed(host_pattern, type="string", title="host")]
