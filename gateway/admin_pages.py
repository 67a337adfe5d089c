"""What the admin listener shows: health, routes, the configuration in force without its secrets."""

import math
import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import msgspec

from gateway.config.snapshot import Route, Snapshot
from gateway.model.metrics import IDENTITY_METRICS, Sample
from gateway.status import Node, Status

HIDDEN = "(hidden)"
SECRET = re.compile(r"secret|passw|token|credential|authorization|cookie|api[-_]?key|private", re.IGNORECASE)
_SPREAD = IDENTITY_METRICS["revocation_propagation_seconds"].buckets
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
        and (status.identity is None or (status.linked and status.identity.state == "ready"))
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
            "identity": msgspec.to_builtins(status.identity),
            "upstreams": upstreams,
        },
    }


def cluster(status: Status, samples: list[Sample], node: Node) -> dict[str, Any]:
    """Every node (this one is alone so far), its edges with their links, and how fast revocations travel."""
    spread = [sample for sample in samples if sample.name == "revocation_propagation_seconds"]
    counts = [sum(each) for each in zip(*(sample.counts for sample in spread), strict=False)]
    edges = [
        {"edge": worker.worker, "pid": worker.pid, "state": worker.state, "link": worker.link}
        for worker in status.workers
    ]
    alone = {
        **msgspec.to_builtins(node),
        "phase": status.phase,
        "identity": msgspec.to_builtins(status.identity),
        "edges": edges,
        "identities_cached": _sum_of(samples, "identities_cached"),
        "links_up": _sum_of(samples, "link_up"),
    }
    propagation = {
        "revocations": sum(counts),
        "p50_ms": _quantile(counts, 0.5),
        "p99_ms": _quantile(counts, 0.99),
    }
    return {"nodes": [alone], "propagation": propagation}


def _sum_of(samples: Iterable[Sample], name: str) -> int:
    return int(sum(sample.value for sample in samples if sample.name == name))


def _quantile(counts: list[int], share: float) -> float | None:
    """The upper end of the bucket in which it lies, in ms; None without any, or beyond the last bucket."""
    wanted = share * sum(counts)
    for bound, reached in zip(_SPREAD, accumulate(counts), strict=False):
        if wanted and reached >= wanted:
            return round(bound * 1000, 3)
    return None


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
    return plain(snapshot)


def _target(route: Route) -> str:
    if route.answer is not None:
        return f"answer {route.answer.status}"
    if route.redirect is not None:
        return f"redirect {route.redirect.status} {route.redirect.to}"
    return "identity" if route.identity else f"upstream {route.upstream}"


def _hide_userinfo(text: str) -> str:
    return _USERINFO.sub(f"{HIDDEN}@", text)


def plain(value: Any, name: str = "") -> Any:
    """Structs and all that is in them as JSON has it; what may be secret, going by its name, is hidden."""
    if isinstance(value, msgspec.Struct):
        return {field: plain(getattr(value, field), field) for field in value.__struct_fields__}
    if isinstance(value, dict):
        return {
            key: _without_texts(each) if key == "settings" else plain(each, str(key))
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(each, name) for each in value]
    if isinstance(value, float) and math.isinf(value):
        return "infinite"
    if isinstance(value, str):
        return HIDDEN if value and SECRET.search(name) else _hide_userinfo(value)
    return value


def _without_texts(settings: Any) -> Any:
    """Of a plugin: nobody knows which of its settings are secret, whatever their names."""
    if isinstance(settings, dict):
        return {key: _without_texts(each) for key, each in settings.items()}
    if isinstance(settings, list):
        return [_without_texts(each) for each in settings]
    return HIDDEN if isinstance(settings, str) and settings else settings
