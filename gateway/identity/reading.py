"""How a call is read from the web: who asks, with which credential, and a body that is what it should be."""

import asyncio
import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.config.service import Service
from gateway.identity import cookies
from gateway.identity.context import Context
from gateway.identity.web import Asker, Body, Call, Endpoint, Origin, Refused
from gateway.model import faults
from gateway.model.credentials import DEVICE, plausible

BODY_LIMIT = 64 * 1024
BODY_WITHIN = 30.0  # seconds; the edge has its own patience with clients
TOO_LARGE = "At most 64 KiB."
_DEEPEST = 32  # levels of a body
_LANGUAGES = 100  # characters of Accept-Language that are read


class Nothing(Body):
    """The body of a call that needs none."""


def call_of(context: Context, request: web.Request) -> Call:
    values = cookies.found(context.settings.cookie, _cookies(request))
    if len(values) > 1:
        raise Refused(faults.DUPLICATE_CREDENTIAL)
    return Call(
        context=context,
        asker=asker_of(request, context.settings),
        method=request.method,
        path=dict(request.match_info),
        bearer=_bearer(request),
        cookie=values[0] if values else None,
    )


def _bearer(request: web.Request) -> str | None:
    """RFC 6750 section 2.1. Whatever else stands in Authorization is a credential too, and not a good one."""
    lines = request.headers.getall("Authorization", [])
    if len(lines) > 1:
        raise Refused(faults.DUPLICATE_CREDENTIAL)
    if not lines:
        return None
    scheme, _, token = lines[0].partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else ""


def asker_of(request: web.Request, settings: Service) -> Asker:
    """The edge's word about the client is believed on the Unix socket only."""
    headers = request.headers
    transport = request.transport
    sock = transport.get_extra_info("socket") if transport is not None else None
    beside = sock is not None and sock.family == socket.AF_UNIX
    secure = (headers.get("X-Forwarded-Proto") if beside else request.scheme) == "https"
    host = headers.get("Host", "")
    host = headers.get("X-Forwarded-Host", host) if beside else host
    address = headers.get("X-Forwarded-For", "") if beside else request.remote or ""
    return Asker(
        address=text(address),
        agent=text(headers.get("User-Agent", "")),
        host=text(host),
        secure=secure,
        request_id=request_id(request),
        language=text(headers.get("Accept-Language", ""))[:_LANGUAGES],
        origin=_origin(request, settings, f"{'https' if secure else 'http'}://{host}"),
        device=_device(request, settings),
    )


def _device(request: web.Request, settings: Service) -> str:
    """Nothing is refused for this one: where it is no good it is as none."""
    found = cookies.found(cookies.of_device(settings.cookie), _cookies(request))
    good = len(found) == 1 and found[0].startswith(DEVICE) and plausible(found[0])
    return found[0] if good else ""


def _cookies(request: web.Request) -> str:
    return "; ".join(request.headers.getall("Cookie", []))


def request_id(request: web.BaseRequest) -> str:
    return text(request.headers.get("X-Request-Id", ""))


def text(value: str) -> str:
    """A header's value as text that can be kept: aiohttp hands over bytes that are no UTF-8 as surrogates."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _origin(request: web.Request, settings: Service, own: str) -> Origin:
    """Whose page makes this call: a browser always says, by Sec-Fetch-Site, or by the Origin of what is not
    a plain read."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    allowed = {own, _origin_of(settings.base_url), *settings.cors_origins} - {"*", "null"}
    if site in ("same-origin", "none") or origin in allowed:
        return "ours"
    return "nobody's" if site is None and origin is None else "foreign"


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


async def received(endpoint: Endpoint, request: web.Request) -> bytes:
    """The whole body, not looked at yet; empty where the call has none."""
    if not _has_body(endpoint):
        return b""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(faults.UNSUPPORTED_MEDIA_TYPE)
    try:
        async with asyncio.timeout(BODY_WITHIN):
            return await request.read()
    except (TimeoutError, ConnectionResetError, web.RequestPayloadError):  # too slow, or it went away
        raise Refused(faults.REQUEST_TIMEOUT) from None


def with_body(call: Call, endpoint: Endpoint, request: web.Request, data: bytes) -> Call:
    """The call with its query and body checked against the endpoint's models."""
    query = None
    if endpoint.query is not None:
        query = _checked(endpoint.query, _once(request))
    body = _body(endpoint, request, data) if _has_body(endpoint) else None
    return msgspec.structs.replace(call, query=query, body=body)


def _has_body(endpoint: Endpoint) -> bool:
    return endpoint.method not in ("GET", "DELETE") or endpoint.body is not None


def _once(request: web.Request) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in request.query.items():
        if name in values:
            raise Refused(faults.INVALID_FIELDS, errors={name: ["Give it once."]})
        values[name] = value
    return values


def _body(endpoint: Endpoint, request: web.Request, data: bytes) -> BaseModel:
    model = endpoint.body or Nothing
    if not data and (endpoint.body is None or endpoint.optional_body):
        return model()
    if data and request.content_type != "application/json":
        raise Refused(faults.UNSUPPORTED_MEDIA_TYPE)
    return _checked(model, _object(data))


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(faults.BAD_JSON) from None
    if not isinstance(found, dict):
        raise Refused(faults.BAD_JSON)
    return found


def _checked(model: type[BaseModel], values: dict[str, Any]) -> BaseModel:
    """The model's instance; else every fault at once, none of them repeating what was sent."""
    fault = _unstorable(values)
    if fault:
        raise Refused(faults.INVALID_FIELDS, errors=fault)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Refused(faults.INVALID_FIELDS, errors=_errors(error)) from None


def _errors(error: ValidationError) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        field = ".".join(str(part) for part in each["loc"]) or "body"
        message = "Unknown field." if each["type"] == "extra_forbidden" else each["msg"]
        told.setdefault(field, []).append(message.removeprefix("Value error, "))
    return told


def _unstorable(values: dict[str, Any]) -> dict[str, list[str]]:
    """Fields with what no database keeps: a NUL, half a surrogate pair, or a depth beyond use."""
    told = {}
    for name, value in values.items():
        if not _plain(name, 0):
            told["body"] = ["A name has a character that can't be kept."]
        elif not _plain(value, 0):
            told[name] = ["It has a character that can't be kept, or is nested too deeply."]
    return told


def _plain(value: Any, depth: int) -> bool:
    if isinstance(value, str):
        return _storable(value)
    if depth > _DEEPEST:
        return False
    if isinstance(value, dict):
        return all(_plain(key, depth + 1) and _plain(each, depth + 1) for key, each in value.items())
    if isinstance(value, list):
        return all(_plain(each, depth + 1) for each in value)
    return True


def _storable(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
