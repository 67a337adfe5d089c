"""T30 over the whole API: at every call that wants a caller, every token that is no caller's is refused."""

import re
from collections.abc import Iterator

from tests.kit.identity import PREFIX, IdentityWorld
from tests.kit.people import SAME_ORIGIN, Person, make_admin, register
from tests.kit.raw import Answer
from tests.kit.tokens import KINDS, made_up


def secured(house: IdentityWorld) -> Iterator[tuple[str, str]]:
    """Method and path of each, as the document has them."""
    for path, methods in house.call("GET", "/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            if operation.get("security"):
                yield method.upper(), path.removeprefix(PREFIX)


def own(path: str, person: Person) -> str:
    """The path with what is this person's own, so that nothing but the credential is wrong."""
    ids = {"user_id": person.user_id, "session_id": person.session, "name": "user"}
    return re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], "0" * 32), path)


def bearer(token: str) -> bytes:
    return b"Authorization: Bearer " + token.encode()


def refused(answer: Answer) -> bool:
    return (answer.status, answer.code) == (401, "invalid_token")


def test_T30_no_call_takes_a_token_of_another_purpose(house: IdentityWorld, admin: Person) -> None:
    calls = list(secured(house))
    assert len(calls) >= 25 and ("POST", "/password/change") in calls
    person = register(house)
    browser, forgetful = person.elsewhere(cookie=True), register(house)
    keys = {
        "refresh": person.refresh,
        "invite": admin.ask("POST", "/admin/invites", {}).json(201)["invite"],
        "reset": admin.ask("POST", f"/admin/users/{forgetful.user_id}/password-reset").json()["key"],
        "the admin listener's": house.gateway.token,
        "nothing": "",
    } | {f"made up {prefix}": made_up(prefix, 46) for prefix in KINDS}
    as_bearers = keys | {"cookie": browser.cookie, "the session's id": person.session}
    as_cookies = keys | {"access": person.access}
    house.ledger.no_secret(person.session)
    for method, path in calls:
        for name, token in as_bearers.items():
            answer = house.call(method, own(path, person), None, bearer(token), source=person.address)
            assert refused(answer), (method, path, name, answer)
        for name, token in as_cookies.items():
            line = f"Cookie: {house.cookie}={token}".encode()
            answer = house.call(method, own(path, person), None, line, SAME_ORIGIN, source=person.address)
            assert refused(answer), (method, path, name, answer)
    assert person.get().status == browser.get_by_cookie().status == 200  # and nothing of it did any harm
    assert person.renew().status == 200


def test_T30_and_every_call_takes_the_caller_s_own(house: IdentityWorld) -> None:
    """Or else the refusals above would prove nothing; what a caller may do is another question."""
    make_admin(house)
    for method, path in secured(house):
        person = register(house)
        answer = person.ask(method, own(path, person))
        assert answer.status != 401, (method, path, answer)
        browser = register(house).elsewhere(cookie=True)
        answer = browser.ask_by_cookie(method, own(path, browser))
        assert answer.status != 401, (method, path, answer)
