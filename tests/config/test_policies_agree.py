"""What the schema finds right, the policies find right: nothing passes the check and fails in a worker."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.compile import load
from gateway.config.faults import ConfigFaults
from policies import POLICIES

WORDS = st.sampled_from(
    [
        "*",
        "null",
        "https://a.example",
        "HTTPS://A.example:443",
        "http://*.a.example",
        "app://x",
        "https://[::1]:8443",
    ]
    + [
        "X-A",
        "x_a",
        "Host",
        "X-User-Id",
        "Cookie",
        "Access-Token",
        "a b",
        "",
        "*",
        "é",
        "authorization",
        "TE",
        "Server",
    ]
)
NAMED = st.dictionaries(WORDS, st.sampled_from(["", "a", "a b\t", "a\r\nb", "é", "%00"]), max_size=2)
LISTS = st.lists(WORDS, max_size=2)
CHANGES = st.fixed_dictionaries({}, optional={"set": NAMED, "add": NAMED, "remove": LISTS})
ACCEPTED = WORDS.map("header:{}".format) | st.sampled_from(["bearer", "cookie", "issuer:a", "issuer:b"])
RATES = st.sampled_from(["60/minute", ["5/second", "100 per day"], ["5/second", "6/second"], "0/hour", []])
RULE = st.fixed_dictionaries(
    {"limit": RATES | st.dictionaries(st.sampled_from(["default", "role:pro", "pro"]), RATES, max_size=2)},
    optional={
        "name": st.sampled_from(["a", "b.c", "a b"]),
        "key": st.lists(
            WORDS.map("header:{}".format) | st.sampled_from(["ip", "user", "api_key", "route", "X"]),
            max_size=2,
        ),
        "algorithm": st.sampled_from(["fixed_window", "moving_window", "leaky"]),
        "on_store_failure": st.sampled_from(["deny", "allow", "no"]),
    },
)
SETTINGS: dict[str, st.SearchStrategy[object]] = {
    "rate_limit": RULE | st.lists(RULE, max_size=3),
    "cors": st.fixed_dictionaries(
        {"origins": LISTS},
        optional={
            "credentials": st.booleans(),
            "max_age": st.sampled_from(["1d", "25h", 0, "1ms"]),
            "headers": LISTS,
            "expose": LISTS,
        },
    ),
    "authenticate": st.fixed_dictionaries(
        {"accept": st.lists(ACCEPTED, max_size=2)},
        optional={"on_missing": st.sampled_from([401, "401", "auto", "redirect"])},
    ),
    "csrf": st.fixed_dictionaries({"trusted_origins": LISTS}),
    "assertion": st.fixed_dictionaries(
        {}, optional={"audience": WORDS, "ttl": st.sampled_from(["5s", "4s", "300s", "301s", 60, 0])}
    ),
    "bind": st.fixed_dictionaries(
        {},
        optional={
            "address": st.sampled_from(["off", "exact", "prefix", "/24"]),
            "agent": st.sampled_from(["off", "exact", "family"]),
            "on_mismatch": st.sampled_from(["log", "step_up", "strict"]),
        },
    ),
    "require": st.fixed_dictionaries(
        {},
        optional={
            "roles": st.sampled_from([[], "clerk", ["clerk", "boss"], ["a b"]]),
            "permissions": st.sampled_from(["orders:read", ["orders:*"], ["a:b:c", "d"]]),
            "level": st.integers(0, 3),
            "fresh": st.sampled_from(["15m", "0s", 15]),
            "confirmed": st.booleans(),
            "meta": st.dictionaries(WORDS, st.sampled_from(["pro", 5, 1.5, True, []]), max_size=2),
        },
    ),
    "request_headers": CHANGES,
    "response_headers": CHANGES,
    "security_headers": NAMED | st.just("standard"),
    "body_limit": st.sampled_from([0, "1KiB", "none", "1.5B"]),
}
CHOSEN = st.sampled_from(sorted(SETTINGS)).flatmap(lambda name: st.fixed_dictionaries({name: SETTINGS[name]}))


@settings(max_examples=300, deadline=None)
@given(CHOSEN)
def test_what_is_found_right_here_is_right_for_the_policies(
    tmp_path_factory: pytest.TempPathFactory, policies: dict[str, object]
) -> None:
    signed_in = {"authenticate": "optional", **policies}  # csrf is there only where a cookie signs in
    route = {"name": "a", "match": {"path": "/"}, "upstream": "a", "policies": signed_in}
    upstreams, issuers = {"a": "http://127.0.0.1:1"}, {"a": {"issuer": "https://a.example", "audience": "a"}}
    text = json.dumps({"version": 1, "upstreams": upstreams, "issuers": issuers, "routes": [route]})
    path = tmp_path_factory.getbasetemp() / "policies.yaml"
    path.write_text(text)
    try:
        made = load(str(path), environ={}).routes[-1].policies
    except ConfigFaults:
        return
    for policy in POLICIES:
        if policy.name in made:
            msgspec.convert(made[policy.name], policy.Settings)
