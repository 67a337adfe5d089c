"""The schema of routes: what they match, and where they go."""

import re
from typing import Annotated, Any

from pydantic import Field

from gateway.config.faults import NotRight, did_you_mean, shown
from gateway.config.schema_policies import Headers, Policies
from gateway.config.types import (
    Bool,
    Float,
    HeaderName,
    HeaderValue,
    Int,
    Label,
    ServeStale,
    Strict,
    Text,
    UpstreamName,
    also,
    many,
    one_of,
    parsed,
    text,
    unique_names,
)
from gateway.config.types_net import HostPattern, Method


def _pattern(value: Any) -> str:
    """The shape only; whether it is canonical depends on the route's opt-ins."""
    path = text(value, "a path")
    if not path.startswith("/"):
        raise NotRight(f"{shown(value)} does not begin with a slash", f"did you mean {shown('/' + path)}?")
    if "?" in path or "#" in path:
        raise NotRight(f"{shown(value)} has a query or fragment", "only the path takes part in matching")
    rest = path.removesuffix("/**") if path.endswith("/**") else path
    names: set[str] = set()
    for segment in rest.split("/")[1:]:
        if "*" in segment:
            raise NotRight(
                f"{shown(value)} has a * that means nothing",
                "write {name} for one segment, /** at the end for the rest",
            )
        if "{" not in segment and "}" not in segment:
            continue
        found = re.fullmatch(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}", segment)
        if not found:
            raise NotRight(f"{shown(segment)} is not a segment", "{name} stands for one whole segment")
        if found[1] in names:
            raise NotRight(f"{{{found[1]}}} is there twice", "give each its own name")
        names.add(found[1])
    return path


class Match(Strict):
    path: Annotated[str, parsed(_pattern, type="string")] = Field(
        description="exact, {name} for one segment, /** at the end for the rest (also none)"
    )
    methods: Annotated[list[Method], many()] | None = Field(
        default=None, description="default: all; GET includes HEAD"
    )
    host: Annotated[list[HostPattern], many()] | None = Field(
        default=None, description="api.example.com, *.example.com; default: any"
    )
    headers: Annotated[dict[HeaderName, HeaderValue], also(unique_names)] | None = Field(
        default=None, description="headers that must have exactly these values"
    )


class Rewrite(Strict):
    strip_prefix: Annotated[str, parsed(text, type="string")] | None = Field(
        default=None, description="leading segments to leave out"
    )
    path: Annotated[str, parsed(text, type="string")] | None = Field(
        default=None, description="another path; {name}s of the match are put in"
    )


class Answer(Strict):
    status: Annotated[Int, Field(ge=200, le=599)] = Field(default=200, description="200 to 599")
    body: Text = Field(default="", description="text")
    headers: Headers | None = Field(default=None, description="headers of the answer")


def _target(value: Any) -> str:
    to = text(value, "a target")
    if "\\" in to or not re.fullmatch(r"[\x21-\x7e]+", to):
        raise NotRight(f"{shown(value)} is not a target", "encode spaces, backslashes and what is not ASCII")
    if "{" in to or "}" in to:
        raise NotRight(f"{shown(value)} has a brace", "a redirect is fixed: it can't use names of the match")
    if re.match(r"/(?!/)", to) or re.match(r"https?://[A-Za-z0-9\[]", to):
        return to
    hint = "write the whole URL, with https:" if to.startswith("//") else "write /path or https://host/path"
    raise NotRight(f"{shown(value)} is not a target", hint)


def _redirect_status(value: Any) -> int:
    if value in (301, 302, 303, 307, 308) and not isinstance(value, bool):
        return int(value)
    raise NotRight(f"{shown(value)} is not the status of a redirect", "write 301, 302, 303, 307 or 308")


class Redirect(Strict):
    to: Annotated[str, parsed(_target, type="string")] = Field(description="/path or https://host/path")
    status: Annotated[int, parsed(_redirect_status, enum=[301, 302, 303, 307, 308])] = Field(
        default=308, description="301, 302, 303, 307 or 308"
    )


class OptIns(Strict):
    """What edge paths may have on this route that is refused elsewhere; dot-segments never."""

    encoded_slash: Bool = Field(default=False, description="%2F inside a segment")
    parameters: Bool = Field(default=False, description="; in a segment")
    double_encoding: Bool = Field(default=False, description="%25 before two hexadecimal digits")
    empty_segments: Bool = Field(default=False, description="// in the path")


def log_target(value: Any) -> str:
    word = text(value, "stdout, none or a path")
    if not word or not word.isprintable():
        raise NotRight(f"{shown(value)} is not a path", "write stdout, none or a path")
    if "/" not in word and "." not in word and word not in ("stdout", "none"):
        near = did_you_mean(word, ("stdout", "none"), f"a file in this folder is ./{word}")
        raise NotRight(f"{shown(value)} is not stdout, none or a path", near)
    return word


class AccessLog(Strict):
    to: Annotated[str, parsed(log_target, type="string")] | None = Field(
        default=None, description="stdout (default), none, or a path"
    )
    sample: Annotated[Float, Field(ge=0, le=1)] | None = Field(
        default=None, description="the share of requests logged; default 1.0"
    )
    query: Bool | None = Field(default=None, description="log the query too; default false")


def _protocol(value: Any) -> str:
    word = text(value, "a protocol").lower()
    if not re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~/-]+", word):
        raise NotRight(f"{shown(value)} is not a protocol", "write one like websocket")
    if word.startswith(("h2", "http/2")):
        raise NotRight(f"{word} is always refused", "HTTP/2 is not offered yet; remove it")
    return word


class Route(Strict):
    name: Label = Field(description="unique; shown in logs and metrics")
    match: Match = Field(description="which requests")
    upstream: UpstreamName | None = Field(default=None, description="where they go; or answer, or redirect")
    answer: Answer | None = Field(default=None, description="a fixed answer")
    redirect: Redirect | None = Field(default=None, description="a fixed redirect")
    rewrite: Rewrite | None = Field(default=None, description="the path that the upstream sees")
    serve_stale: ServeStale | None = Field(
        default=None, description="a duration or until_expiry; default: identity.serve_stale"
    )
    upgrade: Annotated[list[Annotated[str, parsed(_protocol, type="string")]], many(0)] = Field(
        default=["websocket"], description="protocols to which a connection may be upgraded"
    )
    paths: OptIns = Field(default=OptIns(), description="opt-ins for unusual paths")
    mode: Annotated[str, one_of("enforce", "report")] = Field(
        default="enforce", description="report: policies are judged and logged, nothing is refused"
    )
    access_log: AccessLog | None = Field(default=None, description="overrides of the access log")
    policies: Policies = Field(default=Policies(), description="merged over defaults.policies")
