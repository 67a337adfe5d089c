"""Turns the table of endpoints into an OpenAPI 3.1 document: every path, body, answer and fault there is."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway import __version__
from gateway.config.service import Service
from gateway.identity.shapes import Said
from gateway.identity.web import Endpoint
from gateway.model import faults
from gateway.model.faults import Fault

_REF = "#/components/schemas/{model}"
_JSON = "application/json"
_PROBLEM = "application/problem+json"
_WITH_BODY = (
    faults.BAD_JSON, faults.REQUEST_TIMEOUT, faults.BODY_TOO_LARGE, faults.UNSUPPORTED_MEDIA_TYPE,
    faults.INVALID_FIELDS,
)  # fmt: skip
_ALWAYS = (
    faults.DUPLICATE_CREDENTIAL, faults.INTERNAL_ERROR, faults.STORE_UNAVAILABLE, faults.IDENTITY_UNAVAILABLE,
)  # fmt: skip
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "A Bearer challenge (RFC 6750, RFC 9470); `error` tells what was wrong with a token.",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer "},
    }
}
_TITLES = {200: "Done", 201: "Made", 202: "Taken on", 204: "Done, nothing to say"}


class Problem(Said):
    """RFC 9457; `code` is stable (docs/errors.md)."""

    type: str
    title: str
    status: int
    code: str
    detail: str | None = None
    request_id: str
    errors: dict[str, list[str]] | None = None


def fill(
    document: dict[str, Any], settings: Service, mounted: Iterable[tuple[str, Sequence[Endpoint]]]
) -> None:
    """`mounted`: prefix -> the endpoints under it."""
    everything = [(prefix, endpoint) for prefix, endpoints in mounted for endpoint in endpoints]
    names, schemas = _schemas(endpoint for _, endpoint in everything)
    paths: dict[str, dict[str, Any]] = {}
    for prefix, endpoint in everything:
        for place, path in enumerate((endpoint.path, *endpoint.also)):
            paths.setdefault(prefix + path, {})[endpoint.method.lower()] = _operation(
                endpoint, path, place, names
            )
    document |= {
        "openapi": "3.1.0",
        "info": {"title": f"{settings.name}: sign-in", "version": __version__},
        "servers": [{"url": settings.base_url}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": settings.cookie.name},
            },
        },
    }


def _schemas(endpoints: Iterable[Endpoint]) -> tuple[dict[Any, str], dict[str, Any]]:
    """How each model is referred to, and all their schemas."""
    wanted: dict[tuple[type[BaseModel], Any], None] = {(Problem, "serialization"): None}
    for endpoint in endpoints:
        if endpoint.body is not None:
            wanted[endpoint.body, "validation"] = None
        for model in endpoint.answers.values():
            if model is not None:
                wanted[model, "serialization"] = None
    references, told = models_json_schema(list(wanted), ref_template=_REF)
    return {key: value["$ref"] for key, value in references.items()}, told["$defs"]


def _operation(endpoint: Endpoint, path: str, place: int, names: dict[Any, str]) -> dict[str, Any]:
    words = [word.strip("{}") for word in path.split("/") if word]
    told: dict[str, Any] = {
        "operationId": "_".join([endpoint.method.lower(), *words]).replace("-", "_").replace(".", "_"),
        "summary": endpoint.summary,
        "parameters": [*_path_parameters(path), *_query_parameters(endpoint)],
        "responses": _responses(endpoint, names),
    }
    if place:
        told["description"] = f"The same as {endpoint.path}."
    if endpoint.body is not None:
        told["requestBody"] = {
            "required": not endpoint.optional_body,
            "content": {_JSON: {"schema": {"$ref": names[endpoint.body, "validation"]}}},
        }
    if endpoint.who != "anyone":
        told["security"] = [{"bearer": []}, {"cookie": []}]
    return told


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [word.strip("{}") for word in path.split("/") if word.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if endpoint.query is None:
        return []
    schema = endpoint.query.model_json_schema()
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": inner}
        for name, inner in schema.get("properties", {}).items()
    ]


def _responses(endpoint: Endpoint, names: dict[Any, str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for status, model in endpoint.answers.items():
        told[str(status)] = {"description": _TITLES.get(status, endpoint.summary)}
        if model is not None:
            reference = {"$ref": names[model, "serialization"]}
            told[str(status)]["content"] = {_JSON: {"schema": reference}}
    by_status: dict[int, list[Fault]] = {}
    for fault in faults_of(endpoint):
        if fault not in by_status.setdefault(fault.status, []):
            by_status[fault.status].append(fault)
    for status, group in sorted(by_status.items()):
        told[str(status)] = {
            "description": "; ".join(f"`{fault.code}`: {fault.title}" for fault in group),
            "content": {_PROBLEM: {"schema": {"$ref": names[Problem, "serialization"]}}},
        }
        if status == 401:
            told["401"]["headers"] = _CHALLENGE
    return told


def faults_of(endpoint: Endpoint) -> list[Fault]:
    """Every way in which the call can fail: the handler's own, and those of the frame around it."""
    found = [*endpoint.faults, *_ALWAYS]
    if endpoint.body is not None or endpoint.method not in ("GET", "DELETE"):
        found += _WITH_BODY
    if endpoint.query is not None:
        found.append(faults.INVALID_FIELDS)
    if "{" in endpoint.path:  # the edge refuses some paths before we see them
        found += [faults.AMBIGUOUS_PATH, faults.NO_ROUTE]
    if endpoint.limit:
        found.append(faults.RATE_LIMITED)
    if endpoint.who != "anyone":
        found += [faults.CREDENTIAL_MISSING, faults.INVALID_TOKEN]
        if endpoint.method != "GET":
            found.append(faults.ORIGIN_REFUSED)
    if "admin" in endpoint.who:
        found.append(faults.INSUFFICIENT_SCOPE)
    if "fresh" in endpoint.who:
        found.append(faults.INSUFFICIENT_USER_AUTHENTICATION)
    return found
