"""Faults between the keys outside routes: listeners, TLS, drain, upstreams, what comes later."""

from collections.abc import Iterator
from typing import Any

from gateway.config import durations
from gateway.config.checks_policies import cors_faults, policy_faults
from gateway.config.faults import ConfigFault, NotRight, shown
from gateway.config.loader import Place, Source, at
from gateway.config.schema import Drain
from gateway.config.schema_identity import LATER, TWICE
from gateway.config.types_net import listen

OWN_UPSTREAM = "identity"  # of the built-in routes: in logs and metrics, and where the edge finds it


def gateway_faults(source: Source, port: int, identity_names: frozenset[bytes]) -> Iterator[ConfigFault]:
    """Of the main file."""
    data = source.data
    yield from _addresses(source, port)
    yield from _tls(source)
    if at(data, "proxy_protocol") in ("v1", "v2", "any") and not at(data, "trusted_proxies"):
        yield source.fault(
            ("proxy_protocol",), "nobody may send it", "list its senders under trusted_proxies"
        )
    delay, timeout = (_seconds(at(data, "drain", key), default) for key, default in _DRAIN.items())
    if delay is not None and timeout is not None and timeout < delay:
        problem = "draining would end before its delay is over"
        yield source.fault(("drain",), problem, "timeout counts from SIGTERM too: make it longer than delay")
    yield from _not_yet(source)
    yield from _said_twice(source)
    policies = at(data, "defaults", "policies")
    yield from policy_faults(source, ("defaults", "policies"), policies, identity_names)


def _not_yet(source: Source) -> Iterator[ConfigFault]:
    """What would have no effect: a file must not promise what nobody does."""
    later: list[tuple[tuple[str, ...], Any]] = [(("identity", key), off) for key, off in LATER.items()]
    later.append((("identity", "brand", "logo"), None))
    for path, off in later:
        value = at(source.data, *path)
        if value is not None and value != off:
            yield source.fault(path, "not available in this version yet", "remove it for now")


def _said_twice(source: Source) -> Iterator[ConfigFault]:
    for key, place in TWICE.items():
        if at(source.data, "identity", key) is not None and at(source.data, "identity", *place) is not None:
            yield source.fault(("identity", key), f"{'.'.join(place)} says the same", "keep one of them")


_DRAIN = {"delay": Drain().delay, "timeout": Drain().timeout}


def identity_faults(source: Source, built_in: list[tuple[str, str]]) -> Iterator[ConfigFault]:
    """Built-in routes at one place."""
    owner: dict[str, str] = {}
    for name, pattern in built_in:
        if owner.setdefault(pattern, name) != name:
            path = ("identity", "compat" if name == "identity:accesspass" else "prefix")
            yield source.fault(path, f"two built-in routes are at {pattern}", "choose another prefix")


def default_cors_faults(source: Source, used: bool) -> Iterator[ConfigFault]:
    """A default alone must be whole only where a route uses it as it is."""
    cors = at(source.data, "defaults", "policies", "cors")
    if isinstance(cors, dict) and (used or cors.get("origins") is not None):
        yield from cors_faults(source, ("defaults", "policies", "cors"), cors)


def _seconds(value: Any, default: float) -> float | None:
    if value is None:
        return default
    try:
        return durations.seconds(value)
    except NotRight:
        return None


def _address(value: Any) -> str | None:
    try:
        return str(listen(value))
    except NotRight:
        return None


def _addresses(source: Source, port: int) -> Iterator[ConfigFault]:
    data = source.data
    given = at(data, "listen")
    listening = given if isinstance(given, list) else [given if given is not None else f"127.0.0.1:{port}"]
    taken = {address: "listen" for address in map(_address, listening) if address}
    admin, asked = at(data, "admin"), at(data, "forward_auth")
    places: list[tuple[Place, str, Any]] = [
        (("admin",), "admin", "127.0.0.1:4001" if admin is None else admin),
        (("tls", "redirect_http"), "tls.redirect_http", at(data, "tls", "redirect_http")),
    ]
    for index, one in enumerate(asked if isinstance(asked, list) else ()):
        places.append((("forward_auth", index, "listen"), f"forward_auth[{index}]", at(one, "listen")))
    for path, name, value in places:
        address = _address(value)
        if address is None:
            continue
        if address in taken:
            problem = f"{shown(address)} is taken by {taken[address]} already"
            yield source.fault(path, problem, "choose another port")
        taken.setdefault(address, name)


def forward_auth_faults(source: Source, answering: frozenset[str]) -> Iterator[ConfigFault]:
    """Of the listeners for other proxies; `answering` are the routes that need no upstream."""
    asked = at(source.data, "forward_auth")
    if not isinstance(asked, list) or not asked:
        return
    if not at(source.data, "trusted_proxies"):
        hint = "list your proxy's address under trusted_proxies"
        yield source.fault(("forward_auth",), "nobody may ask there", hint)
    for index, one in enumerate(asked):
        name = at(one, "route")
        if isinstance(name, str) and name in answering:
            problem = f"{shown(name)} has no upstream: whoever asks would be refused"
            yield source.fault(("forward_auth", index, "route"), problem, "name one that has an upstream")


def _tls(source: Source) -> Iterator[ConfigFault]:
    tls = at(source.data, "tls")
    if (
        isinstance(tls, dict)
        and tls.get("client_auth") in ("optional", "required")
        and "client_ca" not in tls
    ):
        yield source.fault(("tls", "client_auth"), "client certificates need client_ca", "add client_ca")


def upstream_faults(source: Source) -> Iterator[ConfigFault]:
    """Of the upstreams of any file."""
    upstreams = at(source.data, "upstreams")
    for name, upstream in upstreams.items() if isinstance(upstreams, dict) else ():
        if name == OWN_UPSTREAM:
            problem = "the identity service itself has this name"
            yield source.fault(("upstreams", name), problem, "give your upstream another name")
        tls = at(upstream, "tls")
        if not isinstance(tls, dict):
            continue
        path = ("upstreams", name, "tls")
        for one, other in (("cert", "key"), ("key", "cert")):
            if one in tls and other not in tls:
                yield source.fault((*path, one), f"{one} needs {other}", f"add {other}")
