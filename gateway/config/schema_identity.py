"""The schema of identity and issuers: checked whole now, used as the identity service grows."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from gateway.config import durations
from gateway.config.faults import NotRight, did_you_mean, listed, shown
from gateway.config.schema_policies import WholeOrigin
from gateway.config.schema_sending import Mail, Webhook, smtp_place
from gateway.config.settings import DATABASE_URL, short_secret
from gateway.config.types import (
    Bool,
    Duration,
    FilePath,
    HttpUrl,
    Int,
    Label,
    LastingTtl,
    Size,
    Strict,
    Text,
    Ttl,
    also,
    forms,
    header_name,
    many,
    one_of,
    parsed,
    pattern,
    text,
)
from gateway.model.headers import FRAMING, HOP_BY_HOP, folded

CLAIMS = (
    "user_id", "name", "email", "email_verified", "roles", "permissions", "session", "level", "methods",
    "kind",
)  # fmt: skip
# Names that other programs' backends already read.
HEADER_SETS: dict[str, dict[str, str]] = {
    "standard": {},
    "oauth2-proxy": {
        "user_id": "X-Forwarded-User", "email": "X-Forwarded-Email", "roles": "X-Forwarded-Groups",
        "name": "X-Forwarded-Preferred-Username",
    },
    "authelia": {
        "user_id": "Remote-User", "email": "Remote-Email", "roles": "Remote-Groups", "name": "Remote-Name",
    },
    "authentik": {
        "user_id": "X-Authentik-Uid", "name": "X-Authentik-Username", "email": "X-Authentik-Email",
        "roles": "X-Authentik-Groups",
    },
}  # fmt: skip
# The part of identity that an edge uses; the rest is for the identity service.
EDGE_KEYS = (
    "connect", "connect_ca", "connect_key", "prefix", "serve", "serve_stale", "cache", "headers",
    "forward_meta", "base_url",
)  # fmt: skip
# What this version does not do yet: a key of identity, and what leaves it off.
LATER: dict[str, Any] = {
    "connect": None, "redis_url": None, "magic": {"enabled": False}, "providers": {},
    "link_by_email": False, "compat": {"accesspass": False},
}  # fmt: skip
# Two names of one setting: that of the environment in lower case, and the one in its group.
TWICE = {
    "token_ttl": ("tokens", "access_ttl"), "refresh_ttl": ("tokens", "idle_ttl"),
    "session_ttl": ("tokens", "absolute_ttl"), "smtp_url": ("mail", "smtp"),
}  # fmt: skip
PRESETS = ("google", "github", "gitlab", "microsoft", "apple")
LIMITED = ("login", "register", "refresh", "mail", "mail_account")


class Tokens(Strict):
    format: Annotated[str, one_of("opaque", "jwt")] = Field(default="opaque", description="of access tokens")
    algorithm: Annotated[str, one_of("EdDSA", "ES256")] = Field(
        default="EdDSA", description="of format jwt: which signature"
    )
    access_ttl: LastingTtl = Field(
        default="15m", validate_default=True, description="life of an access token"
    )
    idle_ttl: LastingTtl = Field(
        default="30d", validate_default=True, description="a session unused for this long ends"
    )
    absolute_ttl: Ttl = Field(
        default="90d", validate_default=True, description="and ends after this anyway; 0: never"
    )
    reuse_grace: Annotated[Ttl, Field(le=60)] = Field(
        default="30s", validate_default=True, description="0 to 60s: the parallel tab's refresh"
    )
    on_reuse: Annotated[str, one_of("session", "user")] = Field(
        default="session", description="what ends when one is reused"
    )
    history: Int = Field(default=50, ge=0, le=1000, description="rotations kept for people to see")


class Cookie(Strict):
    domain: Annotated[str, pattern(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", "a domain")] | None = Field(
        default=None, description="for subdomains too"
    )
    renewal: Bool = Field(default=False, description="an expired bearer beside a good cookie is renewed")


class Argon2(Strict):
    memory: Size = Field(default="19MiB", validate_default=True, description="per hash")
    time: Int = Field(default=2, ge=1, le=20, description="passes")
    lanes: Int = Field(default=1, ge=1, le=16, description="parallel lanes")


class Password(Strict):
    min: Int = Field(default=15, ge=8, le=256, description="shortest password")
    argon2: Argon2 = Field(default=Argon2(), description="cost of a hash")


class Magic(Strict):
    enabled: Bool = Field(default=True, description="sign-in by mailed link")
    register_: Bool = Field(default=False, alias="register", description="a link may make an account")


class Provider(Strict):
    issuer: HttpUrl | None = Field(default=None, description="its OpenID issuer; presets know theirs")
    client_id: Text = Field(description="as registered there")
    client_secret: Text | None = Field(default=None, description="write ${NAME}")
    scopes: Annotated[list[Text], many()] | None = Field(
        default=None, description="default: openid, email, profile"
    )
    roles: dict[str, Text] = Field(
        default={}, description="its groups to roles here; nothing else becomes a role"
    )


class Brand(Strict):
    name: Text | None = Field(default=None, description="of the site")
    logo: FilePath | None = Field(default=None, description="an image")
    colour: (
        Annotated[str, pattern(r"#[0-9A-Fa-f]{3}([0-9A-Fa-f]{3})?", "a colour", 'write one like "#3355aa"')]
        | None
    ) = Field(default=None, description="of buttons")


class Retention(Strict):
    audit: Duration = Field(
        default="365d", validate_default=True, description="audit events are kept this long"
    )
    sessions: Duration = Field(default="30d", validate_default=True, description="ended sessions")


def prefix(value: Any) -> str:
    path = text(value, "a path")
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path) or re.search(r"/\.\.?(/|$)", path):
        raise NotRight(
            f"{shown(value)} is not a prefix", "write one like /api/auth, without a slash at its end"
        )
    return path


Prefix = Annotated[str, parsed(prefix, type="string")]


class AccessPass(Strict):
    prefix: Prefix = Field(default="/access_pass", description="where its routes are served")


class Compat(Strict):
    accesspass: Annotated[Bool | AccessPass, forms("truth", "map")] = Field(
        default=False, description="or true: /access_pass"
    )


def _limited(value: Any) -> str:
    name = text(value)
    if name not in LIMITED:
        raise NotRight("unknown limit", did_you_mean(name, LIMITED, f"known: {listed(LIMITED)}"))
    return name


def _rate(value: Any) -> tuple[int, int]:
    return durations.rate(value)


AuthRate = Annotated[tuple[int, int], parsed(_rate, type="string", title="rate")]


def _header_set(value: Any) -> str:
    if value not in HEADER_SETS:
        near = did_you_mean(str(value), HEADER_SETS, f"write {listed(HEADER_SETS)} or a map")
        raise NotRight(f"{shown(value)} is no set of identity headers", near)
    return str(value)


def _claim(value: Any) -> str:
    claim = text(value)
    if claim not in CLAIMS:
        raise NotRight("unknown claim", did_you_mean(claim, CLAIMS, f"known: {listed(CLAIMS)}"))
    return claim


def _one_header_each(headers: dict[str, Any]) -> Iterator[tuple[str, NotRight]]:
    seen: dict[str, str] = {}
    for claim, name in headers.items():
        if isinstance(name, str) and seen.setdefault(name.lower(), claim) != claim:
            yield claim, NotRight(f"{seen[name.lower()]} and {claim} share one header", "give each its own")


_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port")
_NOT_FOR_IDENTITY = frozenset({"authorization", "cookie", "x-real-ip", "x-request-id", *_FORWARDED}) | {
    name.decode() for name in HOP_BY_HOP | FRAMING
}


def _identity_header(value: Any) -> str:
    """Names that only the gateway may set are what this is for; those of the connection are not."""
    name = header_name(value)
    if name.lower() in _NOT_FOR_IDENTITY or "_" in name:
        raise NotRight(f"{name} can't carry an identity", "choose a name of its own, like X-Auth-Id")
    return name


IdentityHeaders = Annotated[
    Annotated[str, parsed(_header_set, enum=list(HEADER_SETS))]
    | Annotated[
        dict[
            Annotated[str, parsed(_claim, type="string")],
            Annotated[str, parsed(_identity_header, type="string", title="header name")],
        ],
        also(_one_header_each),
    ],
    forms("text", "map"),
]


def _known_issuers(providers: dict[str, Any]) -> Iterator[tuple[str, NotRight]]:
    for name, provider in providers.items():
        if name not in PRESETS and isinstance(provider, dict) and "issuer" not in provider:
            near = did_you_mean(name, PRESETS, f"add issuer, or use a preset: {listed(PRESETS)}")
            yield name, NotRight("this provider has no issuer", near)


def _meta_key(value: Any) -> str:
    key = text(value, "a key of meta")
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", key):
        raise NotRight(f"{shown(value)} can't be part of a header's name", "use letters, digits and dashes")
    return key


def _master_secret(value: Any) -> str:
    secret = text(value, "a secret")
    if short_secret(secret):
        raise NotRight("the secret is too short", "at least 32 bytes; make one with: postern secret")
    return secret


def _database(value: Any) -> str:
    url = text(value, "a database's URL")
    if not DATABASE_URL.fullmatch(url):
        raise NotRight("this is not a database's URL", "write sqlite:PATH, or ${DATABASE_URL}")
    return re.sub("^postgres://", "postgresql://", url)


def _link_address(value: Any) -> str:
    word = text(value, "an address")
    if not re.fullmatch(r"tls://[A-Za-z0-9._\[\]:-]+:[0-9]{1,5}|unix:.+", word):
        raise NotRight(f"{shown(value)} is not the address of an identity service", "write tls://host:port")
    return word


class Identity(Strict):
    connect: Annotated[list[Annotated[str, parsed(_link_address, type="string")]], many()] | None = Field(
        default=None, description="identity services elsewhere; not available yet"
    )
    connect_ca: FilePath | None = Field(default=None, description="certificates to trust there")
    connect_key: Text | None = Field(default=None, description="this edge's own key; write ${NAME}")
    prefix: Prefix = Field(default="/api/auth", description="of the API")
    serve: Annotated[list[Annotated[str, one_of("api", "pages", "jwks")]], many(0)] = Field(
        default=["api", "pages", "jwks"], description="built-in routes; without pages there is no UI"
    )
    serve_stale: Duration = Field(
        default="10s", validate_default=True, description="cached identities when identity is away"
    )
    cache: Int = Field(default=10_000, ge=0, le=10_000_000, description="identities kept per worker")
    headers: IdentityHeaders = Field(
        default="standard",
        description="standard (X-User-*), oauth2-proxy, authelia, authentik, or {user_id: X-Auth-Id}",
    )
    forward_meta: Annotated[list[Annotated[str, parsed(_meta_key, type="string")]], many(0)] = Field(
        default=[], description="keys of meta that become headers: letters, digits, dashes"
    )
    base_url: HttpUrl | None = Field(
        default=None, description="of links in mail; default: http:// and listen"
    )
    postern_secret: Annotated[list[Annotated[str, parsed(_master_secret, type="string")]], many()] | None = (
        Field(
            default=None,
            description="the master secret; several: newest first; write ${NAME} or ${file:PATH}",
        )
    )
    database_url: Annotated[str, parsed(_database, type="string")] | None = Field(
        default=None, description="sqlite:PATH or postgresql://…; default: postern.db in the data folder"
    )
    redis_url: Text | None = Field(default=None, description="not available yet")
    smtp_url: Annotated[str, parsed(smtp_place, type="string")] | None = Field(
        default=None, description="the same as mail.smtp"
    )
    token_ttl: LastingTtl | None = Field(default=None, description="the same as tokens.access_ttl")
    refresh_ttl: LastingTtl | None = Field(default=None, description="the same as tokens.idle_ttl")
    session_ttl: Ttl | None = Field(default=None, description="the same as tokens.absolute_ttl")
    max_login_attempts: Annotated[Int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="wrong passwords before there is a wait; default: 5"
    )
    lockout_duration: LastingTtl | None = Field(
        default=None, description="the longest wait after wrong passwords; default: 15m"
    )
    cors_origins: Annotated[list[WholeOrigin], many(0)] | None = Field(
        default=None, description="origins whose pages may call the API"
    )
    tokens: Tokens = Field(default=Tokens(), description="lives of tokens and sessions")
    cookie: Cookie = Field(default=Cookie(), description="the session cookie")
    password: Annotated[Annotated[str, one_of("off")] | Password, forms("text", "map")] = Field(
        default=Password(), description="or off: sign-in by other means only"
    )
    registration: Annotated[str, one_of("open", "invite", "closed")] = Field(
        default="open", description="who may register"
    )
    confirmation: Annotated[str, one_of("optional", "required")] = Field(
        default="optional", description="of the e-mail address"
    )
    email_domains: Annotated[list[Text], many(0)] = Field(
        default=[], description="only these may register; empty: all"
    )
    limits: dict[Annotated[str, parsed(_limited, type="string")], AuthRate] = Field(
        default={}, description="per address: login, register, refresh, mail; per account: mail_account"
    )  # fmt: skip
    magic: Magic = Field(default=Magic(), description="mailed links; not available yet")
    providers: Annotated[dict[Label, Provider], also(_known_issuers)] = Field(
        default={}, description="social sign-in, OIDC; not available yet"
    )
    link_by_email: Bool = Field(
        default=False, description="a provider's verified address may open an account here; not available yet"
    )
    mail: Mail = Field(default=Mail(), description="how mail is sent")
    webhooks: list[Webhook] = Field(default=[], description="who is told of events")
    brand: Brand = Field(default=Brand(), description="how the pages look")
    retention: Retention = Field(default=Retention(), description="how long things are kept")
    migrate: Annotated[str, one_of("auto", "manual")] = Field(default="auto", description="of the database")
    compat: Compat = Field(default=Compat(), description="older systems' routes; not available yet")


def identity_names(identity: Identity) -> frozenset[bytes]:
    """The header names that carry identities by this configuration, in the one form of all spellings."""
    headers = HEADER_SETS[identity.headers] if isinstance(identity.headers, str) else identity.headers
    return frozenset(folded(name.encode()) for name in headers.values())
