"""The aiohttp application: mounts the table of endpoints, has calls read, writes replies and problems."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp_cors
import msgspec
from aiohttp import web

from gateway.config.service import Service
from gateway.identity import reading
from gateway.identity.context import Context
from gateway.identity.web import Endpoint, Refused, Reply, challenge, who
from gateway.model import faults
from gateway.model.credentials import redacted
from gateway.model.faults import Fault
from gateway.store.faults import Missing, NotStorable, StoreUnavailable

log = logging.getLogger(__name__)
JWKS_PATH = "/.well-known/jwks.json"
RETRY_AFTER = "1"  # seconds, when the database is away

_AiohttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# of a request, for the log
_CALLER, _CODE = web.RequestKey("caller", str), web.RequestKey("code", str)


def make_app(
    context: Context, endpoints: Sequence[Endpoint], keys: Sequence[Endpoint] = ()
) -> web.Application:
    """The API under its prefix, and `keys` where they are served."""
    settings = context.settings
    app = web.Application(middlewares=[_problems], client_max_size=reading.BODY_LIMIT)
    cors = _cors(app, settings)
    if "api" in settings.serve:
        _mount(app, cors, context, settings.prefix, endpoints)
    if "jwks" in settings.serve:
        _mount(app, cors, context, "", keys)
    app.on_response_prepare.append(_finished)
    return app


def _cors(app: web.Application, settings: Service) -> aiohttp_cors.CorsConfig | None:
    """Pages of these origins may call, with the user's cookie too; of `*` none may bring one."""
    if not settings.cors_origins:
        return None
    allowed = {
        origin: {
            "allow_credentials": origin != "*",
            "allow_headers": ("Content-Type", "Authorization"),
            "expose_headers": ("Retry-After", "WWW-Authenticate", "X-Request-Id"),
            "max_age": 600,
        }
        for origin in settings.cors_origins
    }
    return aiohttp_cors.setup(app, defaults=allowed)


def _mount(
    app: web.Application,
    cors: aiohttp_cors.CorsConfig | None,
    context: Context,
    prefix: str,
    endpoints: Sequence[Endpoint],
) -> None:
    resources: dict[str, web.Resource] = {}
    for endpoint in endpoints:
        handler = _handler(context, endpoint)
        for path in (endpoint.path, *endpoint.also):
            resource = resources.get(path)
            if resource is None:
                resource = resources[path] = app.router.add_resource(prefix + path)
                if cors is not None:
                    cors.add(resource)
            methods = (endpoint.method, "HEAD") if endpoint.method == "GET" else (endpoint.method,)
            for method in methods:
                route = resource.add_route(method, handler)
                if cors is not None:
                    cors.add(route)


def _handler(context: Context, endpoint: Endpoint) -> _AiohttpHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = reading.call_of(context, request)
        data = await reading.received(endpoint, request)  # first: who sends slowly may be revoked meanwhile
        if endpoint.who != "anyone":
            caller = await who(call, endpoint.who)
            call = msgspec.structs.replace(call, caller=caller)
            request[_CALLER] = f"{caller.user.user_id} {caller.session.session_id}"
        call = reading.with_body(call, endpoint, request, data)
        reply = await endpoint.handler(call)
        if isinstance(reply.body, dict) and "session_id" in reply.body and "user" in reply.body:  # signed in
            request[_CALLER] = f"{reply.body['user']['user_id']} {reply.body['session_id']}"
        if isinstance(reply.body, dict) and "propagated" in reply.body:
            context.counters.count("revocations_total", "no" if "pending" in reply.body else "yes")
        return _response(reply)

    return handle


def _response(reply: Reply) -> web.Response:
    response = web.Response(status=reply.status)
    for name, value in reply.headers:
        response.headers.add(name, value)
    if reply.body is not None:
        response.body = msgspec.json.encode(reply.body)
        response.content_type = "application/json"
    return response


@web.middleware
async def _problems(request: web.Request, handler: _AiohttpHandler) -> web.StreamResponse:
    """Every way to fail becomes a problem (RFC 9457); no text of an exception ever goes out."""
    try:
        return await handler(request)
    except Refused as refused:
        return problem(request, refused.fault, refused.detail, refused.headers, refused.errors)
    except NotStorable:
        return problem(request, faults.INVALID_FIELDS, errors={"body": ["A value can't be kept."]})
    except Missing:
        return problem(request, faults.GONE_MEANWHILE)
    except StoreUnavailable:
        return problem(request, faults.STORE_UNAVAILABLE, headers=(("Retry-After", RETRY_AFTER),))
    except web.HTTPMethodNotAllowed as error:
        allow = ", ".join(sorted(error.allowed_methods))
        return problem(request, faults.METHOD_NOT_ALLOWED, headers=(("Allow", allow),))
    except web.HTTPNotFound:
        return problem(request, faults.NO_ROUTE)
    except web.HTTPForbidden:  # aiohttp_cors, for a preflight that it refuses
        return problem(request, faults.ORIGIN_REFUSED)
    except web.HTTPRequestEntityTooLarge:
        return problem(request, faults.BODY_TOO_LARGE, reading.TOO_LARGE)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        told = redacted("".join(traceback.format_exception(error)))
        log.error(
            "a call crashed",
            extra={"path": request.path, "request_id": reading.request_id(request), "error": told},
        )
        return problem(request, faults.INTERNAL_ERROR)


def problem(
    request: web.BaseRequest,
    fault: Fault,
    detail: str = "",
    headers: Sequence[tuple[str, str]] = (),
    errors: Any = None,
) -> web.Response:
    said = {
        "type": "about:blank", "title": fault.title, "status": fault.status, "code": fault.code,
        "detail": detail or fault.detail, "request_id": reading.request_id(request),
    }  # fmt: skip
    if not said["detail"]:
        del said["detail"]  # as the edge leaves it out, too
    if errors:
        said["errors"] = errors
    request[_CODE] = fault.code
    response = _response(Reply(fault.status, said, tuple(headers)))
    response.content_type = "application/problem+json"
    if fault.status == 401 and "WWW-Authenticate" not in response.headers:
        # RFC 9110 section 15.5.2 wants one also where a password was wrong. Without an error: no token was.
        response.headers.extend(challenge())
    return response


async def _finished(request: web.Request, response: web.StreamResponse) -> None:
    finish(request, response)


def finish(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """What every answer has."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Server"] = "postern"
    if _CALLER in request or _CODE in request:  # for the edge's log, which takes it away
        response.headers["X-Postern-Told"] = f"{request.get(_CALLER, '- -')} {request.get(_CODE, '-')}"
    if "Origin" in request.headers:
        response.headers.add("Vary", "Origin")
