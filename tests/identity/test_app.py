"""The frame around all calls: bodies, kinds of content, methods, origins, problems."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.identity.http.validate import ValidateBody
from gateway.identity.web import Call, Endpoint, Reply
from gateway.model import credentials, faults
from tests.identity.rig import SETTINGS, Rig, running
from tests.kit.postgres import Postgres

JSON = {"Content-Type": "application/json"}
KIB = 1024


async def validate(rig: Rig, data: bytes | None, headers: dict[str, str]) -> Any:
    return await rig.api("POST", "/validate", data=data, headers=headers)


@pytest.mark.parametrize(
    "data", [b"[]", b"null", b'"x"', b"1", b"{", b"\xff{}", b'{"token": NaN}', b"[" * 5000, b"{'token': 1}"]
)
async def test_a_body_that_is_no_json_object_is_400(rig: Rig, data: bytes) -> None:
    answer = await validate(rig, data, JSON)
    assert (answer.status, answer.code) == (400, "bad_json")


async def test_a_body_over_64_kib_is_413(rig: Rig) -> None:
    fits = b'{"token": "%s"}' % (b"x" * (64 * KIB - 13))
    assert len(fits) == 64 * KIB
    assert (await validate(rig, fits, JSON)).status == 200
    answer = await validate(rig, fits + b" ", JSON)
    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_a_compressed_body_is_refused_before_it_is_unpacked(rig: Rig) -> None:
    bomb = gzip.compress(b'{"token": "' + b"x" * (10 * KIB * KIB) + b'"}')
    for data in (bomb, gzip.compress(b"{}")):
        answer = await validate(rig, data, JSON | {"Content-Encoding": "gzip"})
        assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
async def test_a_body_of_another_kind_is_415(rig: Rig, kind: str) -> None:
    """Pages of other sites can send these without asking."""
    answer = await validate(rig, b'{"token": "x"}', {"Content-Type": kind} if kind else {})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


async def test_a_charset_does_not_hurt(rig: Rig) -> None:
    kind = {"Content-Type": "application/json; charset=utf-8"}
    assert (await validate(rig, b'{"token": "x"}', kind)).status == 200


async def test_every_wrong_field_is_told_at_once_and_none_of_its_values(rig: Rig) -> None:
    secret = "psr_" + "Secret9" * 8
    answer = await rig.api("POST", "/validate", {"token": [secret], "extra": secret, "also": 1})
    assert (answer.status, answer.code) == (422, "invalid_fields")
    assert answer.body["errors"].keys() == {"token", "extra", "also"}
    assert answer.body["errors"]["extra"] == ["Unknown field."]
    assert secret not in str(answer.body)


@pytest.mark.parametrize("value", ["a\x00b", {"deep": {"er": "\x00"}}, ["\x00"]])
async def test_what_no_database_keeps_is_refused(rig: Rig, value: Any) -> None:
    answer = await rig.api("POST", "/validate", {"token": value})
    assert (answer.status, answer.code) == (422, "invalid_fields")


async def test_half_a_surrogate_pair_is_refused(rig: Rig) -> None:
    answer = await validate(rig, b'{"token": "\\ud800"}', JSON)
    assert answer.status in (400, 422)


async def test_a_call_that_needs_no_body_takes_none_and_an_empty_object(rig: Rig) -> None:
    bodies: list[dict[str, str] | None] = [None, {}]
    for body in bodies:
        opened = await rig.signed_in(f"u{body is None}")
        assert (await rig.api("POST", "/revoke-all-tokens", body, bearer=opened.access_token)).status == 200
    opened = await rig.signed_in("nosy")
    answer = await rig.api("POST", "/revoke-all-tokens", {"user": "x"}, bearer=opened.access_token)
    assert (answer.status, answer.code) == (422, "invalid_fields")


async def test_a_call_that_needs_a_body_says_so(rig: Rig) -> None:
    for data in (None, b""):
        answer = await validate(rig, data, JSON)
        assert answer.status == 400


async def test_problems_carry_a_stable_code_and_the_requests_id(rig: Rig) -> None:
    answer = await rig.api("GET", "/sessions")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.body == {
        "type": "about:blank", "title": faults.CREDENTIAL_MISSING.title, "status": 401,
        "code": "credential_missing", "request_id": "test-request",
    }  # fmt: skip
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="postern"'


async def test_what_is_not_there_is_404_and_a_wrong_method_405(rig: Rig) -> None:
    assert (await rig.api("GET", "/nothing")).code == "no_route"
    assert (await rig.call("GET", "/")).code == "no_route"
    answer = await rig.api("PUT", "/sessions")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "DELETE"}


async def test_head_is_get_without_a_body(rig: Rig) -> None:
    opened = await rig.signed_in()
    answer = await rig.api("HEAD", "/sessions", bearer=opened.access_token)
    assert (answer.status, answer.body) == (200, None)
    assert int(answer.headers["Content-Length"]) > 2


async def test_answers_are_kept_by_nobody(rig: Rig) -> None:
    for answer in (await rig.api("GET", "/sessions"), await rig.api("POST", "/validate", {"token": "x"})):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("line", ["Basic YTpi", "Bearer", "psa_x", "Bearer psa_x y", ""])
async def test_whatever_stands_in_authorization_is_a_credential(rig: Rig, line: str) -> None:
    answer = await rig.api("GET", "/sessions", headers={"Authorization": line})
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


async def test_the_scheme_is_read_without_case(rig: Rig) -> None:
    opened = await rig.signed_in()
    headers = {"Authorization": f"bEARER  {opened.access_token}"}
    assert (await rig.api("GET", "/sessions", headers=headers)).status == 200


async def test_two_cookies_of_ours_are_one_too_many(rig: Rig) -> None:
    answer = await rig.api("GET", "/sessions", headers={"Cookie": "__Host-postern=a; __Host-postern=b"})
    assert (answer.status, answer.code) == (400, "duplicate_credential")


async def test_an_agent_that_is_no_text_is_no_fault(rig: Rig) -> None:
    opened = await rig.signed_in()
    answer = await rig.api(
        "POST", "/refresh", {"refresh_token": opened.refresh_token}, agent="\udcff\udcfe firefox"
    )
    assert answer.status == 200


async def test_T25_a_crash_is_500_and_tells_nobody_a_token(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    token = credentials.new(credentials.API_KEY)

    async def crash(call: Call) -> Reply:
        raise RuntimeError(f"no such thing as {token}")

    crashing = Endpoint("POST", "/crash", crash, "Crash", answers={204: None})
    async with running(database, more=[crashing]) as rig:
        answer = await rig.api("POST", "/crash")
        assert (answer.status, answer.code) == (500, "internal_error")
    told = "".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "no such thing as" in told and "test-request" in told
    assert token not in told and token not in str(answer)


async def test_T25_no_call_or_body_shows_what_it_holds(database: str) -> None:
    seen: list[Call] = []

    async def look(call: Call) -> Reply:
        seen.append(call)
        return Reply(200, {})

    token = credentials.new(credentials.ACCESS)
    looking = Endpoint("POST", "/look", look, "Look", answers={200: None}, body=ValidateBody)
    async with running(database, more=[looking]) as rig:
        cookie = credentials.new(credentials.COOKIE)
        answer = await rig.api("POST", "/look", {"token": token}, bearer=token, cookie=cookie)
    assert answer.status == 200
    call = seen[0]
    assert (call.bearer, call.cookie, call.body.token) == (token, cookie, token)
    told = f"{call!r} {call} {call.body!r} {call.body}"
    assert token not in told and cookie not in told


async def test_T28_a_body_that_ends_after_a_revoke_is_nobodys(rig: Rig) -> None:
    """Whoever has begun a call with a stolen token must not end it when its owner has revoked it."""
    user = await rig.user()
    opened, owners = await rig.open(user), await rig.open(user)
    begun = asyncio.Event()
    revoked = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"first_name": '
        begun.set()
        await revoked.wait()
        yield b'"thief"}'

    call = asyncio.create_task(
        rig.api("PATCH", "/me", bearer=opened.access_token, headers=JSON, data=slowly())
    )
    await begun.wait()
    assert (await rig.api("DELETE", "/sessions", bearer=owners.access_token)).status == 200
    revoked.set()
    answer = await call
    assert (answer.status, answer.code) == (401, "invalid_token")
    assert (await rig.api("GET", "/me", bearer=owners.access_token)).body["first_name"] == ""


async def test_who_leaves_in_the_middle_of_a_body_is_no_crash(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Else anybody could fill the log with tracebacks."""
    left = asyncio.Event()

    async def leaving() -> AsyncIterator[bytes]:
        yield b'{"token": '
        left.set()
        await asyncio.Event().wait()

    call = asyncio.create_task(rig.api("POST", "/validate", headers=JSON, data=leaving()))
    await left.wait()
    assert (await validate(rig, b'{"token": "x"}', JSON)).status == 200  # the head has been read by now
    call.cancel()
    await asyncio.wait([call])
    for _ in range(3):
        assert (await validate(rig, b'{"token": "x"}', JSON)).status == 200
    assert not [record for record in caplog.records if "crashed" in record.getMessage()]


# What aiohttp can't read


async def raw(rig: Rig, data: bytes) -> tuple[bytes, dict[bytes, bytes], Any]:
    """The status of the reply to these bytes, its header and its body; the connection ends with it."""
    reader, writer = await asyncio.open_unix_connection(f"{rig.context.settings.data}/http.sock")
    writer.write(data)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    first, *lines = head[:-4].split(b"\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
    body = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert len(body) == int(headers[b"content-length"])
    return first.split(b" ")[1], headers, msgspec.json.decode(body)


TOKEN = b"psa_ThisIsNoRealTokenButLooksLikeOne0"
HEAD = b"GET /api/auth/me HTTP/1.1\r\nHost: gate.test\r\nAuthorization: Bearer " + TOKEN + b"\r\n"
POST = HEAD.replace(b"GET", b"POST")


UNREADABLE = [
    TOKEN + b"\r\n\r\n", b"G@T /" + TOKEN + b" HTTP/1.1\r\nHost: gate.test\r\n\r\n",
    HEAD.replace(b"1.1", b"7.9") + b"\r\n", HEAD + b"Bad Header: " + TOKEN + b"\r\n\r\n",
    HEAD + b"X: \x00" + TOKEN + b"\r\n\r\n", HEAD + b"no colon " + TOKEN + b"\r\n\r\n",
    POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
    POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    POST + b"Content-Length: -1\r\n\r\n", POST + b"Content-Length: " + TOKEN + b"\r\n\r\n",
    POST + b"Transfer-Encoding: " + TOKEN + b"\r\n\r\n",
]  # fmt: skip


async def test_T25_a_request_that_can_not_be_read_gets_a_problem_that_repeats_nothing_of_it(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    for data in UNREADABLE:
        status, headers, body = await raw(rig, data)
        assert (status, headers[b"content-type"]) == (b"400", b"application/problem+json")
        assert body == {
            "type": "about:blank", "title": faults.BAD_REQUEST.title, "status": 400, "code": "bad_request",
            "request_id": "",
        }  # fmt: skip
        assert (headers[b"server"], headers[b"cache-control"]) == (b"postern", b"no-store")
        assert headers[b"x-postern-told"] == b"- - bad_request"
    assert not caplog.records


async def test_a_line_that_is_too_long_is_no_other_case(rig: Rig) -> None:
    status, headers, body = await raw(rig, b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: g\r\n\r\n")
    assert (status, body["code"]) == (b"400", "bad_request")
    assert b"xxxx" not in b"".join(headers.values())


@pytest.mark.parametrize("path", ["/api/auth/me", "/nowhere"])
async def test_what_nobody_can_expect_is_a_problem_too(rig: Rig, path: str) -> None:
    lines = b" HTTP/1.1\r\nHost: gate.test\r\nExpect: miracles\r\nConnection: close\r\n\r\n"
    status, headers, body = await raw(rig, b"GET " + path.encode() + lines)
    assert (status, body["code"]) == (b"417", "expectation_failed")
    assert headers[b"content-type"] == b"application/problem+json" and "miracles" not in str(body)


# Origins


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://gate.test"}, 200),
        ({"Origin": "https://app.test", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.test", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": "http://gate.test"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
    ],
)
async def test_T38_a_cookie_signs_in_only_for_pages_that_may(
    database: str, headers: dict[str, str], status: int
) -> None:
    settings = msgspec.structs.replace(SETTINGS, cors_origins=("https://app.test",))
    async with running(database, settings) as rig:
        opened = await rig.signed_in(cookie=True)
        cookie = opened.set_cookie.partition("=")[2].partition(";")[0]
        answer = await rig.api("POST", "/logout", {"scope": "others"}, cookie=cookie, headers=headers)
        assert answer.status == status
        assert (await rig.api("GET", "/sessions", cookie=cookie, headers=headers)).status == 200


async def test_pages_of_listed_origins_may_call_and_no_others(database: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, cors_origins=("https://app.test",))
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, authorization",
    }
    async with running(database, settings) as rig:
        ours = await rig.api("OPTIONS", "/refresh", headers=preflight | {"Origin": "https://app.test"})
        assert ours.status == 200
        assert ours.headers["Access-Control-Allow-Origin"] == "https://app.test"
        assert ours.headers["Access-Control-Allow-Credentials"] == "true"
        other = await rig.api("OPTIONS", "/refresh", headers=preflight | {"Origin": "https://evil.test"})
        assert (other.status, other.code) == (403, "origin_refused")
        refused = await rig.api("GET", "/sessions", headers={"Origin": "https://app.test"})
        assert refused.headers["Access-Control-Allow-Origin"] == "https://app.test"
        assert "Origin" in refused.headers["Vary"]


async def test_where_any_origin_may_call_none_brings_a_cookie(database: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, cors_origins=("*",))
    async with running(database, settings) as rig:
        answer = await rig.api("GET", "/sessions", headers={"Origin": "https://any.test"})
        assert answer.headers["Access-Control-Allow-Origin"] == "https://any.test"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        opened = await rig.signed_in(cookie=True)
        cookie = opened.set_cookie.partition("=")[2].partition(";")[0]
        answer = await rig.api("POST", "/logout", cookie=cookie, headers={"Origin": "https://any.test"})
        assert answer.code == "origin_refused"


async def test_refreshes_of_one_address_are_limited(database: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, limits={"refresh": (2, 60)})
    async with running(database, settings) as rig:
        codes = [(await rig.refresh("psr_x")).status for _ in range(3)]
        assert codes == [400, 400, 429]
        limited = await rig.refresh("psr_x")
        assert limited.code == "rate_limited" and 0 < int(limited.headers["Retry-After"]) <= 60
        assert (await rig.refresh("psr_x", address="198.51.100.1")).status == 400


async def test_profiles_and_looks_at_tokens_are_limited_by_the_measure_of_refreshes(database: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, limits={"refresh": (2, 60)})
    async with running(database, settings) as rig:
        user, other = await rig.user(), await rig.signed_in("bob")
        here, there = await rig.open(user), await rig.open(user)
        statuses = [
            (await rig.api("PATCH", "/me", {"last_name": "Lee"}, bearer=each.access_token)).status
            for each in (here, there, here, other)
        ]
        assert statuses == [200, 200, 429, 200]
        limited = await rig.api("PATCH", "/me", {}, bearer=here.access_token, address="198.51.100.1")
        assert limited.code == "rate_limited" and 0 < int(limited.headers["Retry-After"]) <= 60
        looks = [(await rig.api("POST", "/validate", {"token": "x"})).status for _ in range(101)]
        assert looks == [200] * 100 + [429]
        elsewhere = await rig.api("POST", "/validate", {"token": "x"}, address="198.51.100.1")
        assert elsewhere.status == 200


async def test_the_database_away_is_503_with_when_to_come_again(
    postgres_server: Postgres, template: str
) -> None:
    url = postgres_server.make_database(template)
    async with running(url) as rig:
        opened = await rig.signed_in()
        postgres_server.drop_database(url)
        for answer in (
            await rig.refresh(opened.refresh_token),
            await rig.api("GET", "/sessions", bearer=opened.access_token),
        ):
            assert (answer.status, answer.code) == (503, "store_unavailable")
            assert answer.headers["Retry-After"] == "1"
