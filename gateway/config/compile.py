"""A checked configuration to the snapshot that workers are given; also run as a program of its own."""

import gc
import hashlib
import os
import re
import socket
import sys
from collections.abc import Mapping

import msgspec

from gateway.config import serving
from gateway.config import snapshot as made
from gateway.config.checks_plugins import plain
from gateway.config.faults import ConfigFaults
from gateway.config.load import ROLES, Checked, Role, check
from gateway.config.loader import Source
from gateway.config.merge import effective
from gateway.config.places import built_in, normal, with_head
from gateway.config.refresh_binding import refresh_binding
from gateway.config.schema import Document
from gateway.config.schema_identity import HEADER_SETS
from gateway.config.schema_routes import AccessLog, Route
from gateway.config.schema_upstreams import Upstream, WeightedServer
from gateway.config.service import Compiled, Issuer, Service, encode
from gateway.config.settings import Settings


def load(path: str, role: Role = "all", environ: Mapping[str, str] | None = None) -> made.Snapshot:
    """The snapshot of a configuration; raises ConfigFaults with every fault."""
    return _both(check(path, role, environ), role)[0]


def load_service(path: str, environ: Mapping[str, str] | None = None) -> Service:
    """What the identity service of a configuration is given; raises ConfigFaults with every fault."""
    checked = check(path, "all", environ)
    return served(checked, compiled(checked))


def compile_all(path: str, role: Role = "all", environ: Mapping[str, str] | None = None) -> Compiled:
    """What the supervisor is given: for the edges, and for the identity service if this role runs one."""
    snapshot, service = _both(check(path, role, environ), role)
    return Compiled(made.encode(snapshot), encode(service) if service else b"")


def _both(checked: Checked, role: Role) -> tuple[made.Snapshot, Service | None]:
    """For the edges, and for the identity service if this role runs one; the hash is of both."""
    snapshot = compiled(checked)
    if role == "edge" or not needs_identity(snapshot):
        return snapshot, None
    service = served(checked, snapshot)
    return msgspec.structs.replace(snapshot, hash=_digest(snapshot.hash + service.public())), service


def needs_identity(snapshot: made.Snapshot) -> bool:
    """Whether anybody can or has to sign in here, or is counted: else there is no identity service to run."""
    return any(
        route.identity
        or "rate_limit" in route.policies
        or route.policies.get("authenticate", {"mode": "none"}).get("mode") != "none"
        for route in snapshot.routes
    )


def served(checked: Checked, snapshot: made.Snapshot) -> Service:
    base_url = snapshot.identity.base_url
    folder = checked.source.path.absolute().parent
    service = serving.service(checked.document, checked.settings, snapshot.service, base_url, folder)
    return msgspec.structs.replace(
        service,
        issuers=_issuers(checked.document, checked.source),
        audiences=_audiences(snapshot),
        bind=refresh_binding(checked.document.defaults.policies, snapshot.routes),
    )


def _issuers(document: Document, source: Source) -> dict[str, Issuer]:
    return {
        name: Issuer(
            one.issuer, tuple(one.audience), tuple(one.algorithms), one.jwks_uri or "",
            _absolute(one.ca, source), **one.claims.model_dump(), roles=one.roles,
        )
        for name, one in document.issuers.items()
    }  # fmt: skip


def _audiences(snapshot: made.Snapshot) -> tuple[str, ...]:
    asserting = (route.policies["assertion"] for route in snapshot.routes if "assertion" in route.policies)
    return tuple(sorted({settings["audience"] for settings in asserting}))


def compiled(checked: Checked) -> made.Snapshot:
    document = checked.document
    listen = tuple(_listen(one, checked.source) for one in document.listen or ()) or (
        made.Listen("127.0.0.1", checked.settings.port),
    )
    upstreams = [_upstream(name, one, checked.source) for name, one in document.upstreams.items()]
    routes = [_route(route, document, checked.source) for route in document.routes]
    for source, included in checked.included:
        upstreams += [_upstream(name, one, source) for name, one in included.upstreams.items()]
        routes += [_route(route, document, source) for route in included.routes]
    snapshot = made.Snapshot(
        hash="",
        service=document.service or "",
        listen=listen,
        admin=_listen(document.admin, checked.source),
        forward_auth=tuple(
            made.ForwardAuth(_listen(one.listen, checked.source), one.route or "", one.deny_status or 0)
            for one in document.forward_auth
        ),
        tls=_tls(document, checked.source),
        trusted_proxies=tuple(document.trusted_proxies),
        proxy_protocol=document.proxy_protocol,  # type: ignore[arg-type]  # checked to be one of its words
        workers=document.workers,
        underscores=document.underscores,  # type: ignore[arg-type]
        access_log=_access_log(document.access_log, made.AccessLog(), checked.source),
        limits=made.Limits(**document.limits.model_dump()),
        drain=made.Drain(**document.drain.model_dump()),
        identity=_identity(document, checked.settings, listen[0]),
        upstreams=tuple(upstreams),
        routes=(*_built_in(document), *routes),
    )
    # The host's name and the places of files differ between equal gateways; the hash should not.
    digest = _digest(repr(snapshot))
    service = snapshot.service or _host_name()
    filled_in = tuple(_filled_in(route) for route in snapshot.routes)
    return msgspec.structs.replace(
        snapshot, hash=digest, service=service, files=tuple(checked.files), routes=filled_in
    )


def _filled_in(route: made.Route) -> made.Route:
    """What plugins get from variables may be secret: the hash, in every log line, is of the names only."""
    plugins = route.policies.get("plugins")
    if plugins is None:
        return route
    return msgspec.structs.replace(route, policies=route.policies | {"plugins": plain(plugins)})


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _host_name() -> str:
    """The first part of the host's name, as far as it can be a label."""
    return (
        re.sub(r"[^A-Za-z0-9_-]", "", socket.gethostname().partition(".")[0])[:64]
        or made.Snapshot("").service
    )


def _absolute(path: str | None, source: Source) -> str:
    return os.path.normpath(source.path.absolute().parent / path) if path else ""


def _listen(address: made.Listen, source: Source) -> made.Listen:
    return made.Listen(path=_absolute(address.path, source)) if address.path else address


def _tls(document: Document, source: Source) -> made.Tls | None:
    tls = document.tls
    if tls is None:
        return None
    return made.Tls(
        cert=_absolute(tls.cert, source),
        key=_absolute(tls.key, source),
        client_ca=_absolute(tls.client_ca, source),
        client_auth=tls.client_auth or ("required" if tls.client_ca else "none"),  # type: ignore[arg-type]
        redirect_http=_listen(tls.redirect_http, source) if tls.redirect_http else None,
    )


def _access_log(log: AccessLog, base: made.AccessLog, source: Source) -> made.AccessLog:
    given = log.model_dump(exclude_none=True)
    if given.get("to", "none") not in ("stdout", "none"):
        given["to"] = _absolute(given["to"], source)
    return msgspec.structs.replace(base, **given)


def _identity(document: Document, settings: Settings, listen: made.Listen) -> made.Identity:
    identity = document.identity
    scheme = "https" if document.tls else "http"
    headers = HEADER_SETS[identity.headers] if isinstance(identity.headers, str) else identity.headers
    own = "" if listen.path else f"{scheme}://{listen}"
    base_url = (identity.base_url or settings.base_url or own).rstrip("/")
    cookie = serving.cookie(identity, base_url)
    return made.Identity(
        prefix=identity.prefix,
        serve=tuple(identity.serve),
        serve_stale=identity.serve_stale,
        cache=identity.cache,
        headers=headers,
        forward_meta=tuple(identity.forward_meta),
        cookie_names=(cookie.name,),
        renewal=cookie.renewal,
        token_ttl=serving.chosen(document, settings, base_url)["TOKEN_TTL"].value,
        base_url=base_url,
        issuers=_digest(repr(document.issuers)) if document.issuers else "",
    )


def _upstream(name: str, upstream: made.Server | Upstream, source: Source) -> made.Upstream:
    if isinstance(upstream, made.Server):
        return made.Upstream(name, (_server(upstream, source),))
    tls = upstream.tls
    return made.Upstream(
        name,
        tuple(_server(one, source) for one in upstream.servers),
        balance=upstream.balance,  # type: ignore[arg-type]
        dns=upstream.dns,
        pool_max=upstream.pool.max,
        pool_idle=upstream.pool.idle,
        timeouts=made.Timeouts(**upstream.timeouts.model_dump()),
        retry=made.Retry(upstream.retry.attempts, tuple(upstream.retry.when), tuple(upstream.retry.methods)),
        health=made.Health(
            **upstream.health.model_dump(exclude={"expect"}), expect=tuple(upstream.health.expect)
        )
        if upstream.health
        else None,
        outlier=made.Outlier(**upstream.outlier.model_dump()),
        tls=made.UpstreamTls(
            ca=_absolute(tls.ca, source),
            cert=_absolute(tls.cert, source),
            key=_absolute(tls.key, source),
            server_name=tls.server_name or "",
            verify=tls.verify,
        )
        if tls
        else made.UpstreamTls(),
        host=upstream.host,
    )


def _server(server: made.Server | WeightedServer, source: Source) -> made.Server:
    weight = 1
    if isinstance(server, WeightedServer):
        server, weight = server.url, server.weight
    path = _absolute(server.path, source)
    return msgspec.structs.replace(server, weight=weight, path=path)


def _built_in(document: Document) -> list[made.Route]:
    return [
        made.Route(name, pattern, identity=True, upgrade=()) for name, pattern in built_in(document.identity)
    ]


def _route(route: Route, document: Document, source: Source) -> made.Route:
    match = route.match
    headers = {name.lower(): value for name, value in (match.headers or {}).items()}
    rewrite = route.rewrite
    log = (
        document.access_log.model_copy(update=route.access_log.model_dump(exclude_none=True))
        if route.access_log
        else None
    )
    return made.Route(
        route.name,
        normal(match.path),
        methods=tuple(with_head(match.methods)),
        hosts=tuple(match.host or ()),
        headers=headers,
        upstream=route.upstream or "",
        answer=made.FixedAnswer(route.answer.status, route.answer.body, route.answer.headers or {})
        if route.answer
        else None,
        redirect=made.Redirect(route.redirect.to, route.redirect.status) if route.redirect else None,
        rewrite=made.Rewrite(normal(rewrite.strip_prefix) if rewrite.strip_prefix else "", rewrite.path or "")
        if rewrite
        else None,
        serve_stale=-1.0 if route.serve_stale is None else route.serve_stale,
        upgrade=tuple(route.upgrade),
        paths=made.PathOptIns(**route.paths.model_dump()),
        mode=route.mode,  # type: ignore[arg-type]
        access_log=_access_log(log, made.AccessLog(), source) if log else None,
        policies=effective(route, document.defaults.policies),
    )


def main(arguments: list[str]) -> int:
    """FILE --role ROLE: what it is compiled to on stdout and 0, or the faults on stderr and 1."""
    role: str = "all"
    if len(arguments) == 3 and arguments[1] == "--role":
        role = arguments.pop()
        arguments.pop()
    if len(arguments) != 1 or role not in ROLES:
        print("usage: python -m gateway.config.compile FILE [--role all|edge|identity]", file=sys.stderr)
        return 2
    gc.disable()  # a short life, in which everything is kept
    try:
        data = encode(compile_all(arguments[0], role))  # type: ignore[arg-type]
    except ConfigFaults as faults:
        sys.stderr.write(f"{faults}\n")
        return 1
    sys.stdout.buffer.write(data)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
