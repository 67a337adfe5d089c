"""Faults between the settings of policies: headers, cors merged with its defaults."""

from collections.abc import Iterator
from typing import Any

from gateway.config.faults import ConfigFault
from gateway.config.loader import Place, Source
from gateway.model.headers import folded


def policy_faults(
    source: Source, path: Place, policies: Any, identity_names: frozenset[bytes]
) -> Iterator[ConfigFault]:
    """Headers told two things, or that carry identities."""
    if not isinstance(policies, dict):
        return
    for name in ("request_headers", "response_headers"):
        changes = policies.get(name)
        if isinstance(changes, dict):
            yield from _header_faults(source, (*path, name), changes, identity_names)


def _header_faults(
    source: Source, path: Place, changes: dict[str, Any], identity_names: frozenset[bytes]
) -> Iterator[ConfigFault]:
    removed = changes.get("remove")
    places = [
        ("remove", index, name) for index, name in enumerate(removed if isinstance(removed, list) else ())
    ]
    for kind in ("set", "add"):
        named = changes.get(kind)
        places += [(kind, name, name) for name in (named if isinstance(named, dict) else ())]
    gone = {name.lower() for kind, _, name in places if kind == "remove" and isinstance(name, str)}
    for kind, key, name in places:
        if not isinstance(name, str):
            continue
        if folded(name.encode()) in identity_names:
            yield source.fault(
                (*path, kind, key), f"{name} carries an identity, as identity.headers says", "remove it"
            )
        elif kind == "set" and name.lower() in gone:
            yield source.fault((*path, kind, key), "this header is also in remove", "keep one; set replaces")


def cors_faults(source: Source, path: Place, cors: dict[str, Any]) -> Iterator[ConfigFault]:
    """Of the settings as merged."""
    origins = cors.get("origins")
    listed_origins = origins if isinstance(origins, list) else [origins]
    if origins is None:
        yield source.fault(path, "cors needs origins", "write origins: [https://app.example.com]")
    elif "*" in listed_origins and len(listed_origins) > 1:
        yield source.fault((*path, "origins"), '"*" is every origin', "name no other beside it")
    elif "*" in listed_origins and cors.get("credentials") in (True, "true"):
        problem = '"*" with credentials would let every page act as its visitor'
        yield source.fault((*path, "credentials"), problem, "name the origins, or leave credentials out")
