"""The schema of upstreams: servers, and how the gateway treats them."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from gateway.config.faults import NotRight, did_you_mean, shown
from gateway.config.snapshot import Server
from gateway.config.types import (
    Bool,
    DurationOrNone,
    FilePath,
    Int,
    Lasting,
    Percent,
    Strict,
    forms,
    many,
    one_of,
    parsed,
    pattern,
    text,
    wrong,
)
from gateway.config.types_net import Method, ServerUrl, is_host

RETRY_CAUSES = ("connect", "reset", "502", "503", "504")


class WeightedServer(Strict):
    url: ServerUrl = Field(description="http://host:port, https://host:port or unix:PATH")
    weight: Int = Field(default=1, ge=1, le=1000, description="its share beside the other servers")


AnyServer = Annotated[ServerUrl | WeightedServer, forms("text", "map")]


class Pool(Strict):
    max: Int = Field(default=512, ge=1, le=65535, description="connections per server and worker")
    idle: Lasting = Field(
        default="60s", validate_default=True, description="an unused connection is closed after this"
    )


class Timeouts(Strict):
    connect: Lasting = Field(default="2s", validate_default=True, description="to open a connection")
    first_byte: Lasting = Field(
        default="30s", validate_default=True, description="from the request's end to the reply's start"
    )
    idle: Lasting = Field(default="60s", validate_default=True, description="between two pieces of a reply")
    stream_idle: DurationOrNone = Field(
        default="none", validate_default=True, description="the same, of WebSockets and event streams"
    )


class Retry(Strict):
    attempts: Int = Field(
        default=2,
        ge=1,
        le=10,
        description="all together, the first included; one that met a connection just closed does not count",
    )
    when: Annotated[list[Annotated[str, one_of(*RETRY_CAUSES)]], many(0)] = Field(
        default=["connect", "reset"], description="what is tried again: connect, reset, 502, 503, 504"
    )
    methods: Annotated[list[Method], many(0)] = Field(
        default=["GET", "HEAD", "OPTIONS"], description="the methods that may be tried again"
    )


def _health_path(value: Any) -> str:
    path = text(value, "a path")
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise NotRight(f"{shown(value)} is not a path", "write one like /healthz")
    return path


class Health(Strict):
    path: Annotated[str, parsed(_health_path, type="string")] = Field(description="asked with GET")
    every: Lasting = Field(default="5s", validate_default=True, description="time between two checks")
    timeout: Lasting = Field(
        default="2s", validate_default=True, description="an answer later than this is a failure"
    )
    healthy: Int = Field(default=2, ge=1, le=100, description="so many good checks bring a server back")
    unhealthy: Int = Field(default=3, ge=1, le=100, description="so many failed checks take it out")
    expect: Annotated[list[Annotated[Int, Field(ge=200, le=599)]], many()] = Field(
        default=[200], description="good statuses"
    )


class Outlier(Strict):
    failures: Int = Field(default=5, ge=1, le=10_000, description="so many failures in a row eject a server")
    eject: Lasting = Field(default="10s", validate_default=True, description="for this long")
    max_ejected: Percent = Field(
        default="50%", validate_default=True, description="of the servers; never the last one"
    )


class UpstreamTls(Strict):
    ca: FilePath | None = Field(default=None, description="certificates to trust; default: the system's")
    cert: FilePath | None = Field(default=None, description="the gateway's own certificate")
    key: FilePath | None = Field(default=None, description="and its key")
    server_name: Annotated[str, pattern(r"[A-Za-z0-9._-]{1,253}", "a host name")] | None = Field(
        default=None, description="the name in the server's certificate; default: its host"
    )
    verify: Bool = Field(default=True, description="false accepts any certificate: for tests only")


def _upstream_host(value: Any) -> str:
    word = text(value, "a host")
    if word in ("preserve", "upstream"):
        return word
    host, colon, port = word.rpartition(":") if not word.endswith("]") else (word, "", "")
    if not is_host(host if colon else word) or (colon and not port.isdigit()):
        hint = did_you_mean(word, ("preserve", "upstream"), "write preserve, upstream, or a fixed name")
        raise NotRight(f"{shown(value)} is not a host", hint)
    if "." not in word and (near := did_you_mean(word, ("preserve", "upstream"))):
        raise NotRight(f"{shown(value)} is not preserve or upstream", near)
    return word


def _servers(value: list[Any]) -> list[Any]:
    seen: set[str] = set()
    for one in value:
        name = one.name if isinstance(one, Server) else one.url.name
        if name in seen:
            raise wrong(f"{name} is listed twice", "keep one, with a weight")
        seen.add(name)
    return value


class Upstream(Strict):
    servers: Annotated[list[AnyServer], many(unique=False), AfterValidator(_servers)] = Field(
        description="URLs, or {url: URL, weight: N}"
    )
    balance: Annotated[str, one_of("round_robin", "least_requests", "hash_user", "hash_ip")] = Field(
        default="least_requests", description="how a server is chosen"
    )
    dns: Lasting = Field(
        default="30s", validate_default=True, description="host names are resolved again after this"
    )
    pool: Pool = Field(default=Pool(), description="connections kept open")
    timeouts: Timeouts = Field(default=Timeouts(), description="how long to wait")
    retry: Retry = Field(
        default=Retry(), description="when a request is tried again, on another server if there is one"
    )
    health: Health | None = Field(default=None, description="active checks; none when left out")
    outlier: Outlier = Field(default=Outlier(), description="servers that fail are left alone for a while")
    tls: UpstreamTls | None = Field(default=None, description="for https:// servers")
    host: Annotated[str, parsed(_upstream_host, type="string")] = Field(
        default="preserve",
        description="the Host it is sent: preserve (the client's), upstream (the server's), or a fixed name",
    )


AnyUpstream = Annotated[ServerUrl | Upstream, forms("text", "map")]
