"""Questions come again and again with the same head but for target and bearer: known, never mixed up."""

import pytest

from tests.kit.asking import PROXY, Asked, original
from tests.kit.people import Person
from tests.kit.raw import exchange, request

AGAIN = 5
USUAL = (b"User-Agent: a browser", b"Accept: */*")


def verdicts(asked: Asked, *questions: bytes) -> list[tuple[int, str]]:
    """Of questions on one connection: status, and who it is or why not."""
    talk = exchange(asked.port, b"".join(questions), source=PROXY, most=len(questions))
    return [
        (reply.status, reply.value(b"x-user-id").decode() if reply.status == 200 else reply.code)
        for reply in talk.replies
    ]


def test_T17_targets_and_bearers_are_each_question_s_own(asked: Asked, person: Person) -> None:
    other = person.elsewhere()
    assert person.ask("POST", "/logout").status == 200
    somebody = Person(asked.world).register()
    questions, wanted = [], []
    for _ in range(AGAIN):
        for target, line, verdict in (
            ("/app/x", somebody.bearer, (200, somebody.user_id)),
            ("/app/x", other.bearer, (200, person.user_id)),
            ("/app/x", person.bearer, (401, "invalid_token")),
            ("/app/x", b"Authorization: Bearer nonsense", (401, "invalid_token")),
            ("/app/x", b"Authorization: Basic dTpw", (401, "credential_missing")),
            ("/app/x", b"", (401, "credential_missing")),
            ("/public/x?y", b"", (200, "")),
            ("/nowhere", somebody.bearer, (404, "no_route")),
        ):
            lines = (line, *USUAL) if line else USUAL
            questions.append(request("/verify", *original(target), *lines))
            wanted.append(verdict)
    assert verdicts(asked, *questions) == wanted


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (b"X-Forwarded-Uri: /public/x", (400, "original_unclear")),
        (b"x-forwarded-uri: /public/x", (400, "original_unclear")),
        (b"X-Original-URL: /public/x", (400, "original_unclear")),
        (b"Authorization: Bearer other", (400, "duplicate_credential")),
        (b"authorization: Bearer other", (400, "duplicate_credential")),
        (b"X_User_Id: admin", (400, "forged_header")),
        (b"X-Forwarded-Method: HEAD", (400, "original_unclear")),
    ],
)
def test_T06_a_further_line_is_seen_however_well_the_rest_is_known(
    asked: Asked, person: Person, line: bytes, verdict: tuple[int, str]
) -> None:
    plain = request("/verify", *original("/app/x"), person.bearer, *USUAL)
    known = (200, person.user_id)
    for place in (0, 5, 6):
        lines = [*original("/app/x"), person.bearer, *USUAL]
        lines.insert(place, line)
        for _ in range(AGAIN):
            assert verdicts(asked, plain, request("/verify", *lines)) == [known, verdict]


@pytest.mark.parametrize(
    "target",
    ["/app/../public/x", "//public/x", "/public/x#y", "/public/\x01", "/public/\xe9", "http://x/y", ""],
)
def test_T06_a_target_is_judged_each_time(asked: Asked, person: Person, target: str) -> None:
    known = request("/verify", *original("/public/x"), *USUAL)
    lines = [line for line in original("/public/x") if b"Uri" not in line]
    for _ in range(AGAIN):
        place = b"X-Forwarded-Uri: " + target.encode("latin-1")
        answer = asked.send(known + request("/verify", lines[0], lines[1], lines[2], place, lines[3], *USUAL))
        assert answer.status == 200
        assert asked.send(request("/verify", *lines, place, *USUAL)).status == 400


def test_the_client_is_each_question_s_own(asked: Asked) -> None:
    """Also behind several proxies, and where nothing can be read."""
    for client in ("192.0.2.1", "192.0.2.2", "unknown", "192.0.2.3, 127.0.0.9") * 2:
        answer = asked.verify("/public/x", *USUAL, client=client)
        line = asked.world.gateway.wait_logged(answer.value(b"x-request-id").decode())
        assert line["client"] == (client.partition(",")[0] if client[0] == "1" else PROXY)


def test_a_body_is_no_less_in_the_way(asked: Asked) -> None:
    data = request("/verify", *original("/public/x"), *USUAL)
    smuggled = request("/verify", *original("/public/x"), *USUAL, b"Content-Length: %d" % len(data)) + data
    for _ in range(AGAIN):
        assert verdicts(asked, data, smuggled, data) == [(200, "")] * 3


def test_a_long_target_is_refused(asked: Asked) -> None:
    for _ in range(AGAIN):
        assert asked.verify("/public/" + "x" * 8192, *USUAL).status == 414
        assert asked.verify("/public/" + "x" * (8192 - 8), *USUAL).status == 200
