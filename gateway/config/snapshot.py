"""The compiled configuration: frozen, plain, all that a worker is given; seconds and bytes throughout."""

from typing import Any, Literal

import msgspec


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of the snapshot's records."""


class Listen(Record, frozen=True):
    """A TCP address (host, port) or, when path is set, a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Tls(Record, frozen=True):
    cert: str
    key: str
    client_ca: str = ""
    client_auth: Literal["none", "optional", "required"] = "none"
    redirect_http: Listen | None = None


class ForwardAuth(Record, frozen=True):
    """A listener on which other proxies ask."""

    listen: Listen
    route: str = ""  # every request is judged as of this one; empty: as of the one that matches
    deny_status: int = 0  # for all refusals but 401; 0: each its own


class AccessLog(Record, frozen=True):
    to: str = "stdout"  # stdout, none, or a path
    sample: float = 1.0
    query: bool = False


class Limits(Record, frozen=True):
    header_bytes: int = 32 * 1024
    header_count: int = 100
    target_bytes: int = 8 * 1024
    body_bytes: int = 10 * 1024 * 1024
    header_timeout: float = 10.0
    body_idle: float = 30.0
    keepalive: float = 75.0
    connections: int = 0  # per worker; 0: auto


class Drain(Record, frozen=True):
    delay: float = 5.0
    timeout: float = 25.0


class Server(Record, frozen=True):
    """One address of an upstream; a host name may become several by DNS."""

    name: str  # as written in routes.yaml, without credentials: for logs and metrics
    host: str = ""
    port: int = 0
    path: str = ""  # a Unix socket
    secure: bool = False
    weight: int = 1


class Timeouts(Record, frozen=True):
    connect: float = 2.0
    first_byte: float = 30.0
    idle: float = 60.0
    stream_idle: float = 0.0  # 0: none


class Retry(Record, frozen=True):
    attempts: int = 2
    when: tuple[str, ...] = ("connect", "reset")  # also "502", "503", "504"
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS")


class Health(Record, frozen=True):
    path: str
    every: float = 5.0
    timeout: float = 2.0
    healthy: int = 2
    unhealthy: int = 3
    expect: tuple[int, ...] = (200,)


class Outlier(Record, frozen=True):
    failures: int = 5
    eject: float = 10.0
    max_ejected: float = 0.5


class UpstreamTls(Record, frozen=True):
    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""
    verify: bool = True


class Upstream(Record, frozen=True):
    name: str
    servers: tuple[Server, ...]
    balance: Literal["round_robin", "least_requests", "hash_user", "hash_ip"] = "least_requests"
    dns: float = 30.0
    pool_max: int = 512
    pool_idle: float = 60.0
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    health: Health | None = None
    outlier: Outlier = Outlier()
    tls: UpstreamTls = UpstreamTls()
    host: str = "preserve"  # preserve, upstream, or a fixed name


class PathOptIns(Record, frozen=True):
    encoded_slash: bool = False
    parameters: bool = False
    double_encoding: bool = False
    empty_segments: bool = False


class Rewrite(Record, frozen=True):
    """Exactly one of the two."""

    strip_prefix: str = ""
    path: str = ""  # may use the {name}s of the match


class FixedAnswer(Record, frozen=True):
    status: int = 200
    body: str = ""
    headers: dict[str, str] = {}


class Redirect(Record, frozen=True):
    to: str
    status: int = 308


class Route(Record, frozen=True):
    """Exactly one of upstream, answer, redirect, identity says where it goes."""

    name: str
    path: str  # canonical pattern: literal segments, {name}, and a final /** or not
    methods: tuple[str, ...] = ()  # empty: all; GET already brought HEAD
    hosts: tuple[str, ...] = ()  # lower-case; "*.example.com" allowed; empty: any
    headers: dict[str, str] = {}  # name in lower case -> exact value
    upstream: str = ""
    answer: FixedAnswer | None = None
    redirect: Redirect | None = None
    identity: bool = False  # a built-in route: goes to the identity service
    rewrite: Rewrite | None = None
    serve_stale: float = -1.0  # -1: as identity.serve_stale; inf: until_expiry
    upgrade: tuple[str, ...] = ("websocket",)
    paths: PathOptIns = PathOptIns()
    mode: Literal["enforce", "report"] = "enforce"
    access_log: AccessLog | None = None
    # settings per policy, already checked and normalised; each policy's own Settings struct reads them
    policies: dict[str, dict[str, Any]] = {}


class Identity(Record, frozen=True):
    """What an edge needs to know of identity; nothing in it is secret."""

    prefix: str = "/api/auth"
    serve: tuple[str, ...] = ("api", "pages", "jwks")
    serve_stale: float = 10.0
    cache: int = 10_000
    headers: dict[str, str] = {}  # claim -> header name; empty: the standard X-User-*
    forward_meta: tuple[str, ...] = ()  # keys of protected and public meta that become headers
    cookie_names: tuple[str, ...] = ("__Host-postern",)  # of the session cookie here: one
    renewal: bool = False  # an expired bearer beside a good cookie is renewed
    token_ttl: float = 900.0  # of access tokens
    base_url: str = ""
    issuers: str = ""  # a digest of their settings: with others, whoever came by one is looked at again


class Snapshot(Record, frozen=True):
    hash: str  # of the configuration; in every log line
    service: str = "postern"
    listen: tuple[Listen, ...] = (Listen("127.0.0.1", 4000),)
    admin: Listen = Listen("127.0.0.1", 4001)
    forward_auth: tuple[ForwardAuth, ...] = ()
    tls: Tls | None = None
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: Literal["none", "v1", "v2", "any"] = "none"
    workers: int = 0  # 0: auto
    underscores: Literal["drop", "refuse"] = "drop"
    access_log: AccessLog = AccessLog()
    limits: Limits = Limits()
    drain: Drain = Drain()
    identity: Identity = Identity()
    upstreams: tuple[Upstream, ...] = ()
    routes: tuple[Route, ...] = ()
    files: tuple[str, ...] = ()  # every file that was read: the supervisor watches them


def encode(snapshot: Snapshot) -> bytes:
    return msgspec.msgpack.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    return msgspec.msgpack.decode(data, type=Snapshot)
