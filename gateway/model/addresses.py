"""Who is asking: addresses as text, trusted proxies, and the walk through what they forwarded."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec

from gateway.model.paths import valid_host

UNIX = "unix"  # the address of a peer on a Unix socket; trusted only if trusted_proxies lists "unix"
MAX_HOPS = 32
_MAX_TEXT = 64  # "[v6]:port" is at most 53
_REMEMBERED = 4096

Network = IPv4Network | IPv6Network

_address_and_port = re.compile(
    r"([0-9.]+)(?::[0-9]{1,5})?|\[([0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9A-Fa-f:.]+)"
)
_digits = re.compile(rb"[0-9]{1,5}").fullmatch
# RFC 7239 section 4: pairs of a token and a token or quoted-string. ":" and "[]" outside quotes are not in
# its grammar, but proxies write them.
_forwarded_pair = re.compile(
    rb"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)="
    rb'(?:([!#$%&\'*+.^_`|~0-9A-Za-z:\[\]-]+)|"((?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\t\x20-\x7e])*)")'
    rb"[ \t]*([;,]|\Z)"
).match
_unescape = re.compile(rb"\\(.)").sub


class Origin(msgspec.Struct, frozen=True):
    """The request as its client sent it to the outermost trusted proxy; empty where no proxy said it."""

    client: str
    proto: bytes = b""  # http or https
    host: bytes = b""
    port: bytes = b""


def parse(text: bytes) -> str | None:
    """The address in `text` as normal text without port, or None; `::ffff:a.b.c.d` is a.b.c.d."""
    # Bounded before it is remembered: long garbage must not live on as a key.
    return _parse(text) if len(text) <= _MAX_TEXT else None


@lru_cache(_REMEMBERED)
def _parse(text: bytes) -> str | None:
    if not text.isascii():
        return None
    found = _address_and_port.fullmatch(text.decode().strip(" \t"))
    if found is None:
        return None
    try:
        return _normal(ip_address(found[1] or found[2] or found[3]))
    except ValueError:
        return None


def of_peer(peername: object) -> str:
    """The address of a connection from its `peername` (socket.getpeername); UNIX when it has none."""
    if not isinstance(peername, tuple):
        return UNIX
    return parse(str(peername[0]).partition("%")[0].encode()) or UNIX


def _normal(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


class TrustedProxies:
    """The peers that may say for whom they ask. A peer on a Unix socket is one only if "unix" is listed."""

    __slots__ = ("_networks", "_remembered", "_unix")

    def __init__(self, networks: Iterable[str]) -> None:
        listed = list(networks)
        self._unix = UNIX in listed
        self._networks = [_network(text) for text in listed if text != UNIX]
        self._remembered: dict[str, bool] = {}

    def contains(self, address: str) -> bool:
        if address == UNIX:
            return self._unix
        if not self._networks:
            return False
        known = self._remembered.get(address)
        if known is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            known = self._remembered[address] = self._look_up(address)
        return known

    def _look_up(self, address: str) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)


def _network(text: str) -> Network:
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def walk(peer: str, chain: list[bytes], trusted: TrustedProxies) -> str:
    """The client: the first untrusted address from the right, the peer being the rightmost.

    Only a trusted hop's word counts, so a hop that is no address ends the walk at the proxy that sent it, and
    so does the hop after MAX_HOPS.
    """
    return _walked(peer, chain, trusted)[0]


def _walked(peer: str, chain: list[bytes], trusted: TrustedProxies) -> tuple[str, int]:
    """The client, and how many hops were heard, counted from the right."""
    client, heard = peer, 0
    for hop in reversed(chain[-MAX_HOPS:]):
        if not trusted.contains(client):
            break
        heard += 1
        address = parse(hop)
        if address is None:
            break
        client = address
    return client, heard


def origin(
    peer: str,
    x_forwarded_for: bytes | None,
    forwarded: bytes | None,
    xf_proto: bytes | None,
    xf_host: bytes | None,
    xf_port: bytes | None,
    trusted: TrustedProxies,
) -> Origin:
    """What the trusted proxies say of the request; from an untrusted peer none of it counts.

    Headers that came several times are joined by commas. X-Forwarded-For decides the client when it is there.
    Forwarded (RFC 7239) is then heard, for what no X-Forwarded header says, only if it names the same client:
    most proxies write one of the two and pass on the other as the client made it up. Of a list in
    X-Forwarded-Proto, -Host or -Port the last item counts, which the nearest proxy wrote.
    """
    if not trusted.contains(peer):
        return Origin(peer)
    said = _walk_forwarded(peer, forwarded, trusted) if forwarded is not None else Origin(peer)
    if x_forwarded_for is not None:
        client = walk(peer, x_forwarded_for.rsplit(b",", MAX_HOPS)[-MAX_HOPS:], trusted)
        if client != said.client:
            said = Origin(client)
    return Origin(
        said.client,
        said.proto if xf_proto is None else _proto(_last(xf_proto)),
        said.host if xf_host is None else _host(_last(xf_host)),
        said.port if xf_port is None else _port(_last(xf_port)),
    )


def _walk_forwarded(peer: str, forwarded: bytes, trusted: TrustedProxies) -> Origin:
    elements = _elements(forwarded)
    client, heard = _walked(peer, [element.get(b"for", b"") for element in elements], trusted)
    if not heard:
        return Origin(peer)
    # The last element heard was written by the outermost trusted proxy: it says how the client came to it.
    said = elements[-heard]
    return Origin(client, _proto(said.get(b"proto", b"")), _host(said.get(b"host", b"")))


def _elements(forwarded: bytes) -> list[dict[bytes, bytes]]:
    """The elements of a Forwarded header, or none at all when any byte of it breaks the grammar.

    Half a header is no word of a proxy: an open quote made by the client could swallow what the proxy added.
    """
    elements: list[dict[bytes, bytes]] = [{}]
    position = 0
    while True:
        found = _forwarded_pair(forwarded, position)
        if found is None:
            return []
        name = found[1].lower()
        if name in elements[-1]:
            return []  # RFC 7239 section 4: each parameter once per element
        elements[-1][name] = found[2] if found[3] is None else _unescape(rb"\1", found[3])
        position = found.end()
        if found[4] == b",":
            elements.append({})
        elif not found[4]:
            return elements


def _last(values: bytes) -> bytes:
    return values.rpartition(b",")[2].strip(b" \t")


def _proto(value: bytes) -> bytes:
    lower = value.lower()
    return lower if lower in (b"http", b"https") else b""


def _host(value: bytes) -> bytes:
    return value if valid_host(value) else b""


def _port(value: bytes) -> bytes:
    return value if _digits(value) and 0 < int(value) < 65536 else b""


@lru_cache(_REMEMBERED)
def prefix(address: str, v4: int, v6: int) -> str:
    """The network of `address` as text, for counts and bindings; what is no address is its own network."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((ip, v4 if ip.version == 4 else v6), strict=False))


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
