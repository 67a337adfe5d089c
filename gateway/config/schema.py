"""The schema of routes.yaml: one model for the file, one for an included file."""

from typing import Annotated, Any

from pydantic import Field

from gateway.config.faults import NotRight, shown
from gateway.config.schema_identity import Identity
from gateway.config.schema_issuers import Issuer
from gateway.config.schema_policies import Policies
from gateway.config.schema_routes import AccessLog, Route
from gateway.config.schema_upstreams import AnyUpstream
from gateway.config.types import (
    Duration,
    FilePath,
    Int,
    Label,
    Lasting,
    RouteName,
    Size,
    Strict,
    many,
    one_of,
    parsed,
)
from gateway.config.types_net import Address, Network


def _version(value: Any) -> int:
    if value == 1 and not isinstance(value, (bool, float)):
        return 1
    raise NotRight(f"{shown(value)} is not a version of this file", "write version: 1")


class ForwardAuth(Strict):
    listen: Address = Field(description="where they ask, in plain HTTP")
    route: RouteName | None = Field(
        default=None, description="judge every request as one of this route, whatever its path"
    )
    deny_status: Annotated[Int, Field(ge=400, le=499)] | None = Field(
        default=None, description="for all refusals but 401; nginx needs 403"
    )


class Tls(Strict):
    cert: FilePath = Field(description="certificate chain, PEM")
    key: FilePath = Field(description="its key, PEM")
    client_ca: FilePath | None = Field(
        default=None, description="certificates that clients' ones must come from"
    )
    client_auth: Annotated[str, one_of("none", "optional", "required")] | None = Field(
        default=None, description="none, optional or required; default: required with client_ca, else none"
    )
    redirect_http: Address | None = Field(default=None, description="plain http here is redirected to https")


def _auto_or(most: int) -> Any:
    def parse(value: Any) -> int:
        if value == "auto":
            return 0
        number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
        if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= most:
            return number
        raise NotRight(f"{shown(value)} is not a number from 1 to {most}", "write auto or a number")

    return parsed(
        parse,
        anyOf=[{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": most}, {"type": "string"}],
    )


class Limits(Strict):
    header_bytes: Annotated[Size, Field(ge=1024, le=1 << 20)] = Field(
        default="32KiB", validate_default=True, description="of a head"
    )
    header_count: Annotated[Int, Field(ge=1, le=10_000)] = Field(default=100, description="headers in a head")
    target_bytes: Annotated[Size, Field(ge=64, le=1 << 20)] = Field(
        default="8KiB", validate_default=True, description="of path and query"
    )
    body_bytes: Size = Field(
        default="10MiB", validate_default=True, description="of a body; policy body_limit overrides it"
    )
    header_timeout: Lasting = Field(
        default="10s", validate_default=True, description="first byte to the end of the head"
    )
    body_idle: Lasting = Field(
        default="30s", validate_default=True, description="between two pieces of a body"
    )
    keepalive: Lasting = Field(
        default="75s", validate_default=True, description="an idle connection is closed after this"
    )
    connections: Annotated[int, _auto_or(10_000_000)] = Field(
        default="auto",
        validate_default=True,
        description="per worker; auto: min(20000, (RLIMIT_NOFILE - 512) / 2)",
    )


class Drain(Strict):
    delay: Duration = Field(
        default="5s", validate_default=True, description="from SIGTERM until no more is accepted"
    )
    timeout: Duration = Field(
        default="25s", validate_default=True, description="from SIGTERM until everything ends"
    )


class Defaults(Strict):
    policies: Policies = Field(
        default=Policies(), description="merged under every route's policies, key by key"
    )


Upstreams = dict[Label, AnyUpstream]


class Included(Strict):
    """A file named by include: it adds routes and upstreams."""

    version: Annotated[int, parsed(_version, const=1)] = Field(default=1, description="1")
    upstreams: Upstreams = Field(default={}, description="servers by name")
    routes: list[Route] = Field(default=[], description="in order")


class Document(Strict):
    """What the gateway does, in one file."""

    version: Annotated[int, parsed(_version, const=1)] = Field(description="always 1")
    include: Annotated[list[FilePath], many(0)] = Field(
        default=[], description="files that add routes and upstreams; * is any name"
    )
    service: Label | None = Field(
        default=None, description="prefix of rate-limit rules, label in logs; default: the host's name"
    )
    listen: Annotated[list[Address], many()] | None = Field(
        default=None,
        description="host:port, [v6]:port, unix:PATH, or a list; default 127.0.0.1:${PORT:-4000}",
    )
    admin: Address = Field(
        default="127.0.0.1:4001",
        validate_default=True,
        description="health, metrics, status; never the clients' port",
    )
    forward_auth: list[ForwardAuth] = Field(
        default=[],
        description="listeners on which nginx, Traefik, Caddy or Envoy ask; only trusted_proxies may",
    )
    tls: Tls | None = Field(default=None, description="HTTPS towards clients")
    trusted_proxies: Annotated[list[Network], many(0)] = Field(
        default=[], description="only these may say X-Forwarded-*, Forwarded"
    )
    proxy_protocol: Annotated[str, one_of("none", "v1", "v2", "any")] = Field(
        default="none", description="only from trusted_proxies"
    )
    workers: Annotated[int, _auto_or(1024)] = Field(
        default="auto", validate_default=True, description="auto: as many as CPUs allow"
    )
    underscores: Annotated[str, one_of("drop", "refuse")] = Field(
        default="drop", description="header names with _"
    )
    access_log: AccessLog = Field(default=AccessLog(), description="one JSON line for each request")
    limits: Limits = Field(default=Limits(), description="of one connection or request")
    drain: Drain = Field(default=Drain(), description="how the gateway stops")
    identity: Identity = Field(default=Identity(), description="sign-in")
    upstreams: Upstreams = Field(default={}, description="servers by name: a URL, or a map")
    issuers: dict[Label, Issuer] = Field(
        default={}, description="your own identity providers: their JWTs are credentials here"
    )
    defaults: Defaults = Field(default=Defaults(), description="for every route")
    routes: list[Route] = Field(default=[], description="what happens to which requests")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of routes.yaml, for editors."""
    schema = Document.model_json_schema(by_alias=True, mode="validation")
    _tidy(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Postern's routes.yaml",
    }


_WORDS = {"ge": "minimum", "le": "maximum"}  # pydantic leaves these as they are behind a validator


def _tidy(schema: Any, name: str = "") -> None:
    """Bounds in JSON Schema's words, and no null where an empty value is a fault."""
    if isinstance(schema, list):
        for one in schema:
            _tidy(one)
    if not isinstance(schema, dict):
        return
    if schema.get("default", "") is None and name != "domain" and "anyOf" in schema:
        del schema["default"]
        schema["anyOf"] = [one for one in schema["anyOf"] if one != {"type": "null"}]
        if len(schema["anyOf"]) == 1:
            schema.update(schema.pop("anyOf")[0])
    for word, right in _WORDS.items():
        if isinstance(schema.get(word), int):
            schema[right] = schema.pop(word)
    for key, value in schema.items():
        _tidy(value, key)
