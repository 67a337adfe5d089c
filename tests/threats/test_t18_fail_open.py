"""T18: identity killed, frozen, its database away or slow: nobody comes in unasked, or becomes anonymous."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest

from tests.kit import relay
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import Person, new_address, new_email, new_password, register, works
from tests.kit.postgres import Postgres
from tests.kit.raw import Answer, Client, request
from tests.kit.tokens import made_up
from tests.kit.workers import one_each
from tests.processes.supervised import until

STALE = 1.0  # serve_stale of these gateways


@pytest.fixture(scope="module")
def frail() -> Iterator[IdentityWorld]:
    """A gateway whose identity service is treated badly."""
    with run_identity_gateway(serve_stale=f"{STALE}s", check=False) as house:
        yield house


@pytest.fixture(scope="module")
def wired(postgres_server: Postgres) -> Iterator[tuple[IdentityWorld, relay.Relay]]:
    """One whose PostgreSQL stands behind a cable that can be pulled."""
    cable, url = relay.before(postgres_server.make_database())
    with cable, run_identity_gateway(url=url, serve_stale=f"{STALE}s", check=False) as house:
        yield house, cable


class Watch:
    """Somebody whose identity is cached at a worker, asking there again and again."""

    def __init__(self, house: IdentityWorld, person: Person, client: Client) -> None:
        self.house, self.person, self.client = house, person, client

    def ask(self, target: str = "/app/x", *lines: bytes) -> Answer:
        answer = self.client.send(request(target, *(lines or (self.person.bearer,)))).reply()
        if answer.status != 200:
            assert (answer.status, answer.code) == (503, "identity_unavailable"), answer
            assert answer.value(b"retry-after").isdigit()
        return answer

    def serves(self, target: str = "/app/x") -> bool:
        return self.ask(target).status == 200


@contextmanager
def watching(house: IdentityWorld) -> Iterator[list[Watch]]:
    """At each worker, somebody who is known there."""
    person = register(house)
    with one_each(house.gateway, "/answered", person.address) as clients:
        watches = [Watch(house, person, client) for client in clients.values()]
        for watch in watches:
            until(lambda watch=watch: watch.serves() and watch.serves("/fresh/x"))  # type: ignore[misc]
        yield watches


def all_of(watches: list[Watch], status: int, target: str = "/app/x") -> bool:
    return all(watch.ask(target).status == status for watch in watches)


def nobody_became_another(house: IdentityWorld, allowed: set[str]) -> None:
    for seen in house.upstream.requests:
        if seen.path not in (b"/app/works", b"/optional/nobody"):
            assert seen.value(b"x-user-id").decode() in allowed, seen


def refuses_the_unknown(house: IdentityWorld, known: Person) -> None:
    """Neither a good token that was never seen, nor rubbish, nor either of them on an optional route."""
    for target in ("/app/x", "/optional/x"):
        for token in (known.access, made_up("psa_", 46)):
            line = b"Authorization: Bearer " + token.encode()
            answer = house.get(target, line, source=new_address())
            assert (answer.status, answer.code) == (503, "identity_unavailable")
    assert house.get("/optional/nobody").status == 200  # who shows nothing is anonymous, as ever


def outage(house: IdentityWorld, begin: Callable[[], None], end: Callable[[], None]) -> None:
    """Cached people are served for a while, then none; strangers never; afterwards all, by themselves."""
    house.upstream.clear()
    with watching(house) as watches:
        unseen = register(house)  # their token has been given, and shown to nobody yet
        begin()
        try:
            assert all_of(watches, 200)  # the lease runs on
            until(lambda: all_of(watches, 503, "/fresh/x"))  # a route with serve_stale 0: the lease is over
            until(lambda: all_of(watches, 503))
            refuses_the_unknown(house, unseen)
            assert all_of(watches, 503)
            for path, body in (
                ("/login", {"email": unseen.email, "password": unseen.password}),
                ("/refresh", {"refresh_token": unseen.refresh}),
                ("/register", {"email": new_email(), "password": new_password()}),
            ):
                answer = house.call("POST", path, body, source=new_address())
                assert answer.status in (502, 503, 504), (path, answer)
        finally:
            end()
        until(lambda: all_of(watches, 200))
        until(lambda: unseen.get().status == 200)
        until(lambda: unseen.renew().status == 200)
        nobody_became_another(house, {watches[0].person.user_id, unseen.user_id})


def test_T18_a_frozen_identity_service(frail: IdentityWorld) -> None:
    pid = frail.pid_of_identity()
    outage(frail, lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT))


def test_T18_a_stopped_database(wired: tuple[IdentityWorld, relay.Relay]) -> None:
    house, cable = wired
    outage(house, cable.cut, cable.restore)


def test_T18_a_database_that_hangs(wired: tuple[IdentityWorld, relay.Relay]) -> None:
    house, cable = wired
    outage(house, cable.hold, cable.restore)


def test_T18_a_killed_identity_service_that_can_not_start_again(
    wired: tuple[IdentityWorld, relay.Relay],
) -> None:
    house, cable = wired

    def begin() -> None:
        pid = house.pid_of_identity()
        cable.cut()
        os.kill(pid, signal.SIGKILL)

    outage(house, begin, cable.restore)


def test_T18_a_killed_identity_service_comes_back_and_nobody_notices(frail: IdentityWorld) -> None:
    """The supervisor keeps its sockets: who calls meanwhile waits; who is cached is served."""
    frail.upstream.clear()
    with watching(frail) as watches:
        people = [register(frail) for _ in range(3)]
        killed = frail.pid_of_identity()
        os.kill(killed, signal.SIGKILL)
        assert all_of(watches, 200)
        until(lambda: all_of(watches, 200) and all(one.get().status == 200 for one in people))
        assert frail.pid_of_identity() != killed
        nobody_became_another(frail, {watches[0].person.user_id} | {one.user_id for one in people})


def test_T18_a_slow_database_is_waited_for_or_503(wired: tuple[IdentityWorld, relay.Relay]) -> None:
    house, cable = wired
    house.upstream.clear()
    people = [register(house) for _ in range(2)]
    cable.delay = 0.1
    try:
        for one in people:
            assert one.get().status in (200, 503)
            assert house.get("/app/x", b"Authorization: Bearer " + made_up("psa_", 46).encode()).status in (
                401, 503,
            )  # fmt: skip
    finally:
        cable.delay = 0.0
    until(lambda: all(one.get().status == 200 for one in people))
    nobody_became_another(house, {one.user_id for one in people})


def test_T18_a_revoke_during_the_outage_of_a_worker_s_link_counts_once_it_is_back(
    frail: IdentityWorld,
) -> None:
    """Killed between two revokes: what was answered stays, on every worker."""
    people = [register(frail) for _ in range(4)]
    with one_each(frail.gateway, "/answered", new_address()) as clients:
        for one in people:
            for client in clients.values():
                until(lambda one=one, client=client: asked(client, one) == 200)  # type: ignore[misc]
        assert people[0].ask("POST", "/logout").status == 200
        os.kill(frail.pid_of_identity(), signal.SIGKILL)
        for client in clients.values():
            assert asked(client, people[0]) in (401, 503)
        until(lambda: people[1].ask("POST", "/logout").status == 200 or not alive(people[1]))
        for client in clients.values():
            until(lambda client=client: asked(client, people[2]) == 200)  # type: ignore[misc]
            assert [asked(client, one) for one in people] == [401, 401, 200, 200]


def asked(client: Client, person: Person) -> int:
    return client.send(request("/app/x", person.bearer)).reply().status


def alive(person: Person) -> bool:
    answer = person.renew()
    return answer.status != 400


@pytest.mark.parametrize("moment", [0.0, 0.6, 1.0])
def test_T28_T41_a_frozen_worker_is_named_and_serves_nothing_after_safe_at(
    frail: IdentityWorld, moment: float
) -> None:
    """Continued at once, within its lease, after `safe_at`: `moment` is a share of the time until then."""
    frail.upstream.clear()
    with watching(frail) as watches:
        person = watches[0].person
        with one_each(frail.gateway, "/answered", person.address) as clients:
            pid, client = next(iter(clients.items()))
            os.kill(pid, signal.SIGSTOP)
            try:
                client.send(request("/app/queued", person.bearer))
                answer = logged_out(frail, person, pid)
                assert answer.status == 202, answer
                said = answer.json(202)
                assert said["propagated"] == {"edges": 2, "acknowledged": 1}
                (pending,) = said["pending"]
                safe_at = moment_of(pending["safe_at"])
                assert pending["edge"] == name_of_edge(frail, pid)
                while time.time() < safe_at - (1 - moment) * (STALE + 3) + 0.05:
                    time.sleep(0.02)
            finally:
                os.kill(pid, signal.SIGCONT)
            reply = client.reply()
            if reply.status == 200:
                assert time.time() <= safe_at + 0.05
            while time.time() < safe_at:
                time.sleep(0.02)
            assert asked(client, person) in (401, 503)  # 503: it has to find its link again
            until(lambda: asked(client, person) == 401)
    until(lambda: works(frail))


def logged_out(house: IdentityWorld, person: Person, frozen: int) -> Answer:
    """Over a connection to a worker that runs."""
    while True:
        with Client(house.port, source=person.address, patience=0.5) as client:
            try:
                client.send(request("/answered")).reply()
            except TimeoutError:
                continue
            client.sock.settimeout(10)
            return client.send(request("/api/auth/logout", person.bearer, method=b"POST", body=b"")).reply()


def moment_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def name_of_edge(house: IdentityWorld, pid: int) -> str:
    parts = json.loads(house.gateway.ask("/health").body)["parts"]
    (number,) = [worker["worker"] for worker in parts["workers"] if worker["pid"] == pid]
    return f"worker-{number}"
