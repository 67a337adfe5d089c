"""T01 to T05: what decides is what is forwarded; what two programs could read differently is refused."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.kit.canonical import Refused, canonical
from tests.kit.raw import request
from tests.kit.world import World

# pieces that meet each other in any order: what normalisers, decoders and splitters disagree on
PIECES = (
    b"/ / / // /. /./ /.. /../ . .. ... a b admin public ~ @evil.test : ! ' * , = + $ & ( ) - _ "
    b"%2e %2E %2e%2e .%2e %2f %2F ..%2f %5c %5C \\ ..\\ %00 %0a %0d %1f %7f %09 %20 %22 %23 %25 %2525 %252e "
    b"%252e%252e %252f %255c %25252e %25%32%65 %%32%65 %2%65 % %2 %zz %u002e %c0%ae %c0%af %e0%80%af %ff "
    b"%c3%a9 %e2%80%a8 %c2%85 %f0%9f%98%80 %ed%a0%80 ; ;x %3b ..; ..;x ..%3b %41 %7e %7E %2d \xc3\xa9 \x80 # "
    b'" < > [ ] ^ ` { | } \x01 \x1f \x7f'
).split(b" ")
MIXTURES = st.lists(st.sampled_from(PIECES), max_size=9).map(b"".join)
QUERIES = st.sampled_from([b"", b"?", b"?x=/../admin", b"?..%2f;//%00%zz", b"?a=1&a=%2e"])

# with these the parser itself may be the one that refuses
UNREADABLE = frozenset(range(0x20)) | frozenset(range(0x7F, 0x100))

common = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def judge(world: World, path: bytes, query: bytes = b"", opt_ins: frozenset[str] = frozenset()) -> None:
    """The gateway refuses, or forwards the canonical path: as the model of the specification says."""
    before = len(world.upstream.requests)
    reply = world.get(path + query)
    seen = world.upstream.requests[before:]
    try:
        expected = canonical(path, opt_ins)
    except Refused:
        codes = {"ambiguous_path", "bad_request"} if UNREADABLE & set(path) else {"ambiguous_path"}
        assert reply.status == 400 and reply.code in codes, (path, reply)
        assert seen == [], path
        return
    assert reply.status == 200, (path, reply)
    assert [request.target for request in seen] == [expected + query]


@pytest.mark.parametrize(
    "query", [b"?x=/public/", b"?/public/", b"?/../public/x", b"?path=/public/&route=public", b"?#/public/"]
)
def test_T01_public_rule_is_not_met_by_the_query(world: World, query: bytes) -> None:
    reply = world.get(b"/admin" + query)
    if b"#" in query:
        assert (reply.status, reply.code) == (400, "ambiguous_path")
    else:
        assert (reply.status, reply.code) == (401, "credential_missing")
    assert world.reached() == []


def test_T01_query_is_forwarded_byte_for_byte(world: World) -> None:
    query = b"?x=/../..//;%2f%5c%00&y=%zz&z=a+b?%25%32%65"
    assert world.get(b"/app/x" + query).status == 200
    assert world.upstream.last.target == b"/app/x" + query


@pytest.mark.parametrize(
    "target", [b"/public/x#/../admin", b"/admin#/public/", b"/public/#", b"/public/?a#b", b"/#"]
)
def test_T02_fragment_is_refused(world: World, target: bytes) -> None:
    reply = world.refused(request(target))
    assert reply.code in ("ambiguous_path", "bad_request")


def test_T02_encoded_hash_stays_data(world: World) -> None:
    assert world.get(b"/public/a%23b").status == 200
    assert world.upstream.last.target == b"/public/a%23b"


@settings(common, max_examples=400)
@given(path=MIXTURES, query=QUERIES)
@example(path=b"..%2fadmin", query=b"")
@example(path=b"%2e%2e/admin", query=b"")
@example(path=b"%252e%252e/admin", query=b"")
@example(path=b"%%32%65%%32%65/admin", query=b"")
@example(path=b"./x", query=b"")
@example(path=b"a/..", query=b"?x")
@example(path=b"%41%7e%c3%A9", query=b"?%41")
def test_T03_every_mixture_is_refused_or_canonical(world: World, path: bytes, query: bytes) -> None:
    judge(world, b"/app/" + path, b"" if b"#" in path else query)


@settings(common, max_examples=60)
@given(path=MIXTURES)
@pytest.mark.parametrize(
    ("place", "opt_in"),
    [
        (b"/slashes/", "encoded_slash"),
        (b"/parameters/", "parameters"),
        (b"/doubles/", "double_encoding"),
        (b"/empties/", "empty_segments"),
    ],
)
def test_T03_an_opt_in_lets_through_its_own_kind_only(
    world: World, place: bytes, opt_in: str, path: bytes
) -> None:
    judge(world, place + path, b"", frozenset({opt_in}))


@settings(common, max_examples=150)
@given(path=MIXTURES)
def test_T03_no_mixture_leads_from_public_to_admin(world: World, path: bytes) -> None:
    before = len(world.upstream.requests)
    world.get(b"/public/" + path + b"/admin/secret")
    for seen in world.upstream.requests[before:]:
        assert seen.path.startswith(b"/public/"), (path, seen)


@pytest.mark.parametrize(
    "path",
    [
        b"/admin",
        b"/admin/",
        b"/%61dmin",
        b"/adm%69n/x",
        b"/admin/%7E",
        b"/app/@me",
        b"/app/%40me/x",
        b"/app/%40%6De",
    ],
)
def test_T03_every_spelling_of_a_guarded_path_is_guarded(world: World, path: bytes) -> None:
    assert world.get(path).status == 401
    assert world.reached() == []


@pytest.mark.parametrize(
    "path", [b"//admin", b"/./admin", b"/app/../admin", b"/\\admin", b"/app/%2e%2e/admin"]
)
def test_T03_no_detour_leads_to_a_guarded_path(world: World, path: bytes) -> None:
    assert world.refused(request(path)).code == "ambiguous_path"


@pytest.mark.parametrize(
    "path",
    [b"/public/..;/admin", b"/public/..;a=b/admin", b"/admin;x", b"/admin;/x", b"/public/;/x", b"/;/admin"],
)
def test_T04_path_parameters_are_refused(world: World, path: bytes) -> None:
    world.refused(request(path), code="ambiguous_path")


@pytest.mark.parametrize("dots", [b"..;", b".;x", b"%2e%2e;", b"..%3b", b"..%253b", b"%252e.;a=1"])
def test_T04_dots_with_parameters_are_refused_even_where_parameters_are_allowed(
    world: World, dots: bytes
) -> None:
    world.refused(request(b"/parameters/" + dots + b"/admin"), code="ambiguous_path")


def test_T04_allowed_parameters_are_forwarded_unchanged(world: World) -> None:
    assert world.get(b"/parameters/a;v=1/b;x").status == 200
    assert world.upstream.last.target == b"/parameters/a;v=1/b;x"


@pytest.mark.parametrize(
    "path", [b"/api%2e/admin", b"/api../admin", b"/api.%2e/admin", b"/api@evil.test/admin"]
)
def test_T05_a_prefix_is_whole_segments(world: World, path: bytes) -> None:
    reply = world.get(path)
    assert (reply.status, reply.code) == (404, "no_route")
    assert world.reached() == []


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        (b"/api", b"/"),
        (b"/api/", b"/"),
        (b"/api/@evil.test/", b"/@evil.test/"),
        (b"/api/:80/x", b"/:80/x"),
        (b"/api/http:evil.test", b"/http:evil.test"),
        (b"/api/api/x", b"/api/x"),
        (b"/api/x?next=//evil.test", b"/x?next=//evil.test"),
        (b"/user/@evil.test/card", b"/cards/@evil.test"),
        (b"/user/a%3fb%23/card", b"/cards/a%3Fb%23"),
        (b"/user/%7ejo/card?a=b", b"/cards/~jo?a=b"),
    ],
)
def test_T05_a_rewritten_path_never_changes_the_server(world: World, target: bytes, forwarded: bytes) -> None:
    assert world.get(target).status == 200
    assert (world.upstream.last.target, world.upstream.last.value(b"host")) == (forwarded, b"gateway.test")


@pytest.mark.parametrize(
    "path", [b"/api//evil.test/", b"/api/../admin", b"/user/../card", b"/user/a%2fb/card"]
)
def test_T05_a_rewrite_gets_no_ambiguous_path(world: World, path: bytes) -> None:
    world.refused(request(path), code="ambiguous_path")


@pytest.mark.parametrize("path", [b"/bare//evil.test/", b"/bare///evil.test/"])
def test_T05_a_stripped_rest_never_begins_with_two_slashes(world: World, path: bytes) -> None:
    """The route allows empty segments; what is left without its prefix would be a host to some servers."""
    reply = world.get(path)
    assert reply.status == 400 or not world.upstream.last.target.startswith(b"//"), reply
