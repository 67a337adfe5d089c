"""T28: once a revoking call has answered, the next request on any worker is refused, or has the new roles."""

import random
from collections.abc import Callable, Iterator

import pytest

from tests.kit import scripts
from tests.kit.identity import IdentityWorld
from tests.kit.people import Person, new_address, new_password, register
from tests.kit.raw import Answer, Client, request
from tests.kit.workers import one_each

SOME = 60
MANY = 1000
SAME_CLIENTS = 12  # trials from one address: who presents more dead tokens at once is slowed as a guesser

Way = Callable[[Person, Person], Answer]  # the one whose session is to end, and an admin


def by_a_sibling(path: str, method: str = "POST", **body: str) -> Way:
    return lambda person, admin: person.elsewhere().ask(method, path, body or None)


WAYS: dict[str, Way] = {
    "logout": lambda person, admin: person.ask("POST", "/logout"),
    "logout of all": lambda person, admin: person.ask("POST", "/logout", {"scope": "all"}),
    "logout of the others": by_a_sibling("/logout", scope="others"),
    "revoke-all-tokens": by_a_sibling("/revoke-all-tokens"),
    "delete sessions": by_a_sibling("/sessions", "DELETE"),
    "delete the session": lambda person, admin: person.elsewhere().ask(
        "DELETE", f"/sessions/{person.session}"
    ),
    "password change": lambda person, admin: person.elsewhere().ask(
        "POST", "/password/change", {"current_password": person.password, "new_password": new_password()}
    ),
    "account deleted": lambda person, admin: person.elsewhere().ask("DELETE", "/me"),
    "locked": lambda person, admin: admin.ask("POST", f"/admin/users/{person.user_id}/lock", {"why": "test"}),
    "ended by an admin": lambda person, admin: admin.ask("DELETE", f"/admin/users/{person.user_id}/sessions"),
    "ended alone by an admin": lambda person, admin: admin.ask("DELETE", f"/admin/sessions/{person.session}"),
    "reset by an admin": lambda person, admin: admin.ask(
        "POST", f"/admin/users/{person.user_id}/password-reset"
    ),
    "deleted by an admin": lambda person, admin: admin.ask("DELETE", f"/admin/users/{person.user_id}"),
    "a reused refresh token": lambda person, admin: reuse(person),
}


def reuse(person: Person) -> Answer:
    """The call fails, and the session has ended everywhere all the same when it does."""
    oldest = person.refresh
    person.renewed().renewed()
    answer = person.renew(oldest)
    assert answer.code == "refresh_token_reused"
    return answer


@pytest.fixture
def trials(house: IdentityWorld) -> Iterator["Trials"]:
    yield Trials(house)


class Trials:
    """Connections to each worker, changed now and then with the address they come from."""

    def __init__(self, house: IdentityWorld) -> None:
        self.house = house

    def run(self, count: int, trial: Callable[[dict[int, Client], int], None]) -> None:
        for start in range(0, count, SAME_CLIENTS):
            with one_each(self.house.gateway, "/answered", new_address()) as clients:
                for number in range(start, min(count, start + SAME_CLIENTS)):
                    trial(clients, number)


def asked(client: Client, person: Person, line: bytes = b"") -> Answer:
    return client.send(request("/app/x", line or person.bearer)).reply()


@pytest.mark.parametrize("count", [SOME, pytest.param(MANY, marks=pytest.mark.hard)])
def test_T28_the_next_request_on_any_worker_is_refused(
    house: IdentityWorld, trials: Trials, admin: Person, count: int
) -> None:
    ways, dice = list(WAYS), random.Random(28)

    def trial(clients: dict[int, Client], number: int) -> None:
        name = ways[number % len(ways)]
        person = register(house, cookie=True, bearer=True)  # one session, carried both ways
        lines = (person.bearer, person.cookie_line)
        warm = [client for client in clients.values() if dice.random() < 0.8]  # else it is not cached there
        assert {asked(client, person, line).status for client in warm for line in lines} <= {200}
        answer = WAYS[name](person, admin)
        assert answer.status == (400 if name == "a reused refresh token" else 200), (name, answer)
        late = {
            (pid, line[:6]): asked(client, person, line).status
            for pid, client in clients.items()
            for line in lines
        }
        assert set(late.values()) == {401}, (number, name, late)
        assert person.renew().code in ("invalid_refresh_token", "refresh_token_reused")

    trials.run(count, trial)


@pytest.mark.parametrize("count", [SOME // 3, pytest.param(MANY, marks=pytest.mark.hard)])
def test_T28_the_next_request_on_any_worker_has_the_new_roles(
    house: IdentityWorld, trials: Trials, admin: Person, count: int
) -> None:
    person = register(house)
    path = f"/admin/users/{person.user_id}/roles"

    def trial(clients: dict[int, Client], number: int) -> None:
        roles = ["admin", "user"] if number % 2 else ["user"]
        assert {asked(client, person).status for client in clients.values()} == {200}
        answer = admin.ask("PUT", path, {"roles": roles})
        assert answer.status == 200, answer
        for client in clients.values():
            assert asked(client, person).status == 200
            assert sorted(house.seen.value(b"x-user-roles").decode().split(",")) == roles

    trials.run(count, trial)


@pytest.mark.parametrize("name", [name for name in WAYS if name != "a reused refresh token"])
def test_T28_open_streams_of_that_session_end_with_it(house: IdentityWorld, admin: Person, name: str) -> None:
    """A WebSocket and an event stream at each worker; those of another user go on."""
    house.upstream.reply(scripts.switch(), b"/app/ws")
    head = b"HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    house.upstream.reply(scripts.raw(head + b"9\r\ndata: 1\n\n\r\n", then="wait"), b"/app/events")
    person, stranger = register(house), register(house)
    with (
        one_each(house.gateway, "/answered", person.address) as sockets,
        one_each(house.gateway, "/answered", person.address) as streams,
        one_each(house.gateway, "/answered", stranger.address) as others,
    ):
        for client in (*sockets.values(), *others.values()):
            one = stranger if client in others.values() else person
            lines = (one.bearer, b"Connection: Upgrade", b"Upgrade: websocket")
            assert client.send(request("/app/ws", *lines)).head().status == 101
        for client in streams.values():
            client.send(request("/app/events", person.bearer)).source.until(b"data: 1\n\n\r\n")
        assert WAYS[name](person, admin).status == 200
        for client in (*sockets.values(), *streams.values()):
            client.sock.settimeout(1.0)
            client.rest()  # ends: they were closed before the push was acknowledged
        for client in others.values():
            assert client.send(b"still here").source.exactly(10) == b"still here"


@pytest.mark.parametrize("target", ["/app/x", "/api/auth/me"])
def test_T28_a_request_that_was_begun_before_does_not_end_after(house: IdentityWorld, target: str) -> None:
    """Who has stolen a token may have begun as many requests as he likes: none of them is ever complete."""
    person = register(house)
    method, body = (b"POST", b'{"a": 1}') if target == "/app/x" else (b"PATCH", b'{"first_name": "thief"}')
    with Client(house.port, source=person.address) as client:
        data = request(target, person.bearer, b"Content-Type: application/json", method=method, body=body)
        client.send(data[:-4])
        if target == "/app/x":
            house.upstream.wait_head()
        assert person.elsewhere().ask("POST", "/revoke-all-tokens").status == 200
        client.send(data[-4:])
        answer = client.reply()
        assert answer.status == 401, answer
        assert not [each for each in house.upstream.requests if each.method == b"POST" and each.complete]


def test_T28_a_stream_that_is_not_the_session_s_own_to_lose_goes_on(house: IdentityWorld) -> None:
    """A refresh, a logout of another device: no reason to break what runs."""
    house.upstream.reply(scripts.switch(), b"/app/ws")
    person = register(house)
    other = person.elsewhere()
    with Client(house.port, source=person.address) as client:
        lines = (person.bearer, b"Connection: Upgrade", b"Upgrade: websocket")
        assert client.send(request("/app/ws", *lines)).head().status == 101
        person.renewed()
        assert other.ask("POST", "/logout").status == 200
        assert client.send(b"still here").source.exactly(10) == b"still here"
