"""The schema of the policies of a route."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from gateway.config import durations
from gateway.config.faults import NotRight, did_you_mean, shown
from gateway.config.schema_rates import RateRule
from gateway.config.schema_rights import Bind, Require
from gateway.config.types import (
    Bool,
    Context,
    FreeHeader,
    HeaderName,
    HeaderValue,
    Strict,
    also,
    forms,
    free_header,
    many,
    one_of,
    parsed,
    pattern,
    text,
    unique_names,
    wrong,
)
from gateway.config.types_net import Method
from gateway.config.variables import Filled

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_ORIGIN = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*)://(\*\.)?"
    r"([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
)


def origin(value: Any) -> str:
    """An origin as browsers write it: lower-case, without the scheme's own port."""
    word = text(value, "an origin")
    if word == "*":
        return word
    if word == "null":
        raise NotRight('"null" is the origin of every sandboxed page', "name the pages' real origins")
    found = _ORIGIN.fullmatch(word.removesuffix("/"))
    if not found or word.endswith("/"):
        hint = (
            f"did you mean {word.removesuffix('/')}?" if found else "write one like https://app.example.com"
        )
        raise NotRight(f"{shown(value)} is not an origin", hint)
    scheme, wildcard, host, port = found.groups()
    if wildcard and "." not in host:
        raise NotRight(f"{shown(value)} lets in every site of a top level", "name a domain after the *")
    scheme = scheme.lower()
    tail = f":{port}" if port and _DEFAULT_PORTS.get(scheme) != port else ""
    return f"{scheme}://{wildcard or ''}{host.lower()}{tail}"


Origin = Annotated[str, parsed(origin, type="string", title="origin")]


def _max_age(value: Any) -> float:
    found = durations.seconds(value)
    if found > 86400:
        raise NotRight(f"{shown(value)} is too long", "browsers remember a preflight for a day at most")
    return found


MaxAge = Annotated[float, parsed(_max_age, title="duration", anyOf=[{"type": "string"}, {"type": "number"}])]


class Cors(Strict):
    origins: Annotated[list[Origin], many()] | None = Field(
        default=None, description="origins that may call; * is every one"
    )
    credentials: Bool | None = Field(default=None, description="cookies may come along; not with *")
    max_age: MaxAge | None = Field(default=None, description="how long a browser remembers a preflight (10m)")
    methods: Annotated[list[Method], many()] | None = Field(
        default=None, description="default: GET, HEAD, POST, PUT, PATCH, DELETE"
    )
    headers: Annotated[list[HeaderName], many()] | None = Field(
        default=None, description="request headers; default: those asked for"
    )
    expose: Annotated[list[HeaderName], many()] | None = Field(
        default=None, description="reply headers that a page may read"
    )


def _accepted(value: Any, info: ValidationInfo) -> str:
    word = text(value, "a credential")
    if word in ("bearer", "cookie"):
        return word
    kind, colon, name = word.partition(":")
    if kind == "header" and colon:
        if free_header(name).lower() in ("authorization", "cookie", "x-api-key"):
            raise NotRight(f"{word} is no place of its own", "say bearer or cookie for what comes there")
        return f"header:{name.lower()}"
    if kind == "issuer" and colon and isinstance(info.context, Context):
        known = info.context.names["issuer"]
        if name not in known:
            raise NotRight(
                f"issuer {shown(name)} is not defined", did_you_mean(name, known, "define it under issuers")
            )
        return word
    if word == "api_key":
        raise NotRight(f"{word} is not available in this version yet", "remove it for now")
    words = ("bearer", "cookie", "api_key")
    raise NotRight(
        f"{shown(value)} is not a credential",
        did_you_mean(word, words, "write bearer, cookie, issuer:NAME or header:NAME"),
    )


def _accepted_or_fault(value: Any, info: ValidationInfo) -> str:
    try:
        return _accepted(value, info)
    except NotRight as fault:
        raise wrong(fault.problem, fault.hint) from None


Accepted = Annotated[str, BeforeValidator(_accepted_or_fault)]


class Authenticate(Strict):
    mode: Annotated[str, one_of("required", "optional", "none")] | None = Field(
        default=None, description="required (default), optional, or none: public"
    )
    accept: Annotated[list[Accepted], many()] | None = Field(
        default=None,
        description="credentials, in order of preference: bearer, cookie, issuer:NAME, header:NAME",
    )
    on_missing: Annotated[str, one_of("401", "redirect", "auto")] | None = Field(
        default=None,
        description="without a credential: 401, redirect (to sign-in), or auto: redirect browsers, else 401",
    )
    forward_credential: Bool | None = Field(
        default=None, description="pass the credential on to the upstream"
    )


def whole_origin(value: Any) -> str:
    """One that is trusted as the own site is: so it has to be named whole."""
    word = origin(value)
    if "*" in word:
        raise NotRight(f"{shown(value)} would trust strangers' pages", "name each origin whole")
    if not word.startswith(("http://", "https://")):
        raise NotRight(f"{shown(value)} is no web page's origin", "write one like https://app.example.com")
    return word


WholeOrigin = Annotated[str, parsed(whole_origin, type="string", title="origin")]


class Csrf(Strict):
    trusted_origins: Annotated[list[WholeOrigin], many(0)] | None = Field(
        default=None, description="other origins that may write"
    )


def _short_ttl(value: Any) -> float:
    found = durations.seconds(value)
    if not 5 <= found <= 300:
        raise NotRight(f"{shown(value)} is too {'short' if found < 5 else 'long'}", "from 5s to 5m")
    return found


Audience = Annotated[
    str, pattern(r"[\x21-\x7e]{1,255}", "an audience", "use up to 255 visible ASCII letters")
]


class Assertion(Strict):
    audience: Audience | None = Field(
        default=None, description="for whom it is: the upstream looks for this in aud"
    )
    ttl: Annotated[float, parsed(_short_ttl, type="string")] | None = Field(
        default=None, description="how long one is good (60s); from 5s to 5m"
    )


class Plugin(Strict):
    class_: Annotated[
        str,
        pattern(
            r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*|[A-Za-z_][\w.-]*",
            "a class",
            "write package.module:Class, or the name of an entry point",
        ),
    ] = Field(alias="class", description="package.module:Class, or the name of an entry point")
    phase: Annotated[str, one_of("before_auth", "after_auth")] = Field(
        default="after_auth", description="when it runs"
    )
    settings: dict[str, Any] = Field(default={}, description="its own, checked by the class")


Headers = Annotated[dict[FreeHeader, HeaderValue], also(unique_names)]


class HeaderChanges(Strict):
    set: Headers | None = Field(default=None, description="in the place of what came")
    add: Headers | None = Field(default=None, description="beside what came")
    remove: Annotated[list[FreeHeader], many(0)] | None = Field(
        default=None, description="names that go no further"
    )


def _none(value: Any) -> Any:
    if value == "none" and not isinstance(value, Filled):
        return "none"
    raise wrong(f"{shown(value)} is not a map of settings", "write a map, or none to remove the default")


def _some(listed: list[Any]) -> list[Any]:
    """An empty list would remove what `defaults` has without a word of it."""
    if not listed:
        raise wrong("the list is empty", "name at least one, or write none to remove the default")
    return listed


def _no_plugins(value: Any) -> Any:
    if value == "none" and not isinstance(value, Filled):
        return "none"
    raise wrong(f"{shown(value)} is not a list", "write - before each, or none to remove the default")


Removed = Annotated[Literal["none"], BeforeValidator(_none)]
NoPlugins = Annotated[Literal["none"], BeforeValidator(_no_plugins)]
Rules = Annotated[list[RateRule], AfterValidator(_some)]
Plugins = Annotated[list[Plugin], AfterValidator(_some)]


def _security_word(value: Any) -> str:
    if value in ("standard", "none"):
        return str(value)
    near = did_you_mean(str(value), ("standard", "none"), "write standard, none, or a map of headers")
    raise NotRight(f"{shown(value)} is not standard or none", near)


SecurityWord = Annotated[str, parsed(_security_word, enum=["standard", "none"])]
Mode = Annotated[str, one_of("required", "optional", "none")]


def _body_limit(value: Any) -> int | str:
    return "none" if value == "none" else durations.size(value)


BodyLimit = Annotated[
    int | str,
    parsed(
        _body_limit,
        anyOf=[{"enum": ["none"]}, {"type": "integer", "minimum": 0}, {"type": "string"}],
        title="size",
    ),
]


class Policies(Strict):
    """A map, so that the order can't be got wrong: it is the same for every route."""

    cors: Annotated[Removed | Cors, forms("text", "map")] | None = Field(
        default=None, description="pages of other origins"
    )
    rate_limit: Annotated[Removed | Rules | RateRule, forms("text", "list", "map")] | None = Field(
        default=None, description="how often somebody may come: a rule, or a list of them"
    )
    authenticate: Annotated[Mode | Authenticate, forms("text", "map")] | None = Field(
        default=None, description="who may come; a mode alone is short for {mode: …}"
    )
    csrf: Annotated[Removed | Csrf, forms("text", "map")] | None = Field(
        default=None,
        description="works by itself wherever a cookie can authenticate; it can't be removed there",
    )
    bind: Annotated[Removed | Bind, forms("text", "map")] | None = Field(
        default=None, description="a session is used from where it was signed in"
    )
    require: Annotated[Removed | Require, forms("text", "map")] | None = Field(
        default=None, description="what somebody must be to come in"
    )
    body_limit: BodyLimit | None = Field(
        default=None, description="the largest body; default: limits.body_bytes"
    )
    assertion: Annotated[Removed | Assertion, forms("text", "map")] | None = Field(
        default=None, description="a signed statement of who asks, for the upstream"
    )
    request_headers: Annotated[Removed | HeaderChanges, forms("text", "map")] | None = Field(
        default=None, description="towards the upstream"
    )
    response_headers: Annotated[Removed | HeaderChanges, forms("text", "map")] | None = Field(
        default=None, description="towards the client"
    )
    security_headers: Annotated[SecurityWord | Headers, forms("text", "map")] | None = Field(
        default=None, description="standard, none, or a map of headers"
    )
    plugins: Annotated[NoPlugins | Plugins, forms("text", "list")] | None = Field(
        default=None, description="own classes, asked in this order"
    )
