"""What a refresh is judged by, since it belongs to no route."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.config.compile import load_service
from gateway.model.binding import Binding

STRICT = {"address": "prefix", "agent": "family", "on_mismatch": "strict"}
LOGGED = {"address": "prefix", "agent": "family"}
REPORT = {"mode": "report"}


def judged_by(folder: Path, defaults: dict[str, Any], *routes: dict[str, Any]) -> Binding | None:
    """`routes`: what each says besides its place."""
    made = [
        {"name": f"r{number}", "match": {"path": f"/r{number}"}, "upstream": "app", **route}
        for number, route in enumerate(routes)
    ]
    document = {
        "version": 1, "upstreams": {"app": "http://127.0.0.1:5000"}, "defaults": {"policies": defaults},
        "routes": made,
    }  # fmt: skip
    (folder / "routes.yaml").write_text(json.dumps(document))
    return load_service(str(folder / "routes.yaml"), environ={}).bind


def bound(settings: Any, **more: Any) -> dict[str, Any]:
    return {"policies": {"bind": settings, **more.pop("policies", {})}, **more}


PUBLIC = {"policies": {"authenticate": "none"}}
OPTIONAL = {"policies": {"authenticate": "optional"}}


@pytest.mark.parametrize(
    ("defaults", "routes", "expected"),
    [
        ({}, [{}], None),
        ({"bind": STRICT}, [{}], STRICT),
        ({"bind": STRICT}, [PUBLIC], STRICT),
        ({"bind": STRICT}, [{}, bound("none"), bound({"on_mismatch": "log"})], STRICT),
        ({"bind": "none"}, [bound(STRICT)], STRICT),
        ({}, [bound(STRICT), bound(STRICT)], STRICT),
        ({}, [bound(LOGGED), bound({**LOGGED, "on_mismatch": "log"})], LOGGED),
        ({}, [bound(STRICT), PUBLIC, OPTIONAL], STRICT),
        ({}, [bound(STRICT), bound(LOGGED)], None),
        ({}, [bound(STRICT), {}], None),
        ({}, [bound(STRICT, policies={"authenticate": "optional"})], None),
        ({"bind": {"on_mismatch": "strict"}}, [bound(LOGGED)], LOGGED | {"on_mismatch": "strict"}),
        # roll-out: where nothing is refused yet, no refresh is
        ({"bind": STRICT}, [REPORT, REPORT], LOGGED),
        ({"bind": STRICT}, [REPORT, {}], STRICT),
        ({}, [bound(STRICT, **REPORT)], LOGGED),
        ({}, [bound(STRICT, **REPORT), bound(STRICT)], None),
    ],
)
def test_the_defaults_decide_or_what_all_routes_with_a_sign_in_share(
    defaults: dict[str, Any],
    routes: list[dict[str, Any]],
    expected: dict[str, Any] | None,
    tmp_path: Path,
) -> None:
    binding = None if expected is None else Binding(**expected)
    assert judged_by(tmp_path, defaults, *routes) == binding
