"""What the admin listener shows: health, routes, the configuration in force without its secrets."""

import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway.config.snapshot import Route, Snapshot
from gateway.model.metrics import Sample
from gateway.status import Status

HIDDEN = "(hidden)"
_SECRET = re.compile(r"secret|passw|token|credential|authorization|cookie|api[-_]?key|private", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def health(status: Status, samples: Iterable[Sample]) -> dict[str, Any]:
    """Every part with its state, and one word for all of them."""
    upstreams = [
        {"upstream": sample.labels[0], "server": sample.labels[1], "healthy": sample.value > 0}
        for sample in samples
        if sample.name == "upstream_healthy" and len(sample.labels) == 2
    ]
    reasons = status.not_ready_because()
    whole = (
        status.reload.loaded
        and all(worker.state == "ready" for worker in status.workers)
        and all(upstream["healthy"] for upstream in upstreams)
    )
    config = {
        "hash": status.config,
        "loaded_at": status.loaded_at,
        "last_reload_succeeded": status.reload.loaded,
        "faults": len(
            status.reload.faults
        ),  # their texts quote the file: POST /reload shows them, to the admin
        "needs_restart": status.reload.needs_restart,
    }
    return {
        "status": "unavailable" if reasons else "ok" if whole else "degraded",
        "phase": status.phase,
        "reasons": reasons,
        "parts": {
            "config": config,
            "workers": [msgspec.to_builtins(worker) for worker in status.workers],
            "upstreams": upstreams,
        },
    }


def routes(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [
        {
            "name": route.name,
            "path": route.path,
            "methods": route.methods,
            "hosts": route.hosts,
            "to": _hide_userinfo(_target(route)),
            "policies": list(route.policies),
            "mode": route.mode,
        }
        for route in snapshot.routes
    ]


def configuration(snapshot: Snapshot) -> Any:
    """The snapshot with every default written out; values that may be secret are hidden."""
    return _plain(snapshot, "")


def _target(route: Route) -> str:
    if route.answer is not None:
        return f"answer {route.answer.status}"
    if route.redirect is not None:
        return f"redirect {route.redirect.status} {route.redirect.to}"
    return "identity" if route.identity else f"upstream {route.upstream}"


def _hide_userinfo(text: str) -> str:
    return _USERINFO.sub(f"{HIDDEN}@", text)


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, msgspec.Struct):
        return {field: _plain(getattr(value, field), field) for field in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: _plain(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, name) for each in value]
    if isinstance(value, float) and math.isinf(value):
        return "infinite"
    if isinstance(value, str):
        return HIDDEN if value and _SECRET.search(name) else _hide_userinfo(value)
    return value
