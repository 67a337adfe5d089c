"""Fixtures for all tests: the worlds, each started once per test process: a gateway takes a second."""

from collections.abc import Iterator

import pytest

from tests.kit import amount
from tests.kit.federated import Federation, run_federation
from tests.kit.identity import IdentityWorld, run_identity_gateway
from tests.kit.people import Person, make_admin, register
from tests.kit.postgres import Postgres, run_postgres
from tests.kit.world import World, run_world


def pytest_configure(config: pytest.Config) -> None:
    amount.settle(config)


@pytest.fixture(scope="session")
def shared_world() -> Iterator[World]:
    with run_world() as world:
        yield world


@pytest.fixture
def world(shared_world: World) -> Iterator[World]:
    """The standard gateway with a fresh record; what the gateway sent upstream must have been valid HTTP."""
    shared_world.upstream.clear()
    yield shared_world
    assert shared_world.upstream.violations == []


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with run_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_house() -> Iterator[IdentityWorld]:
    with run_identity_gateway() as house:
        yield house


@pytest.fixture(scope="session")
def postgres_house(postgres_server: Postgres) -> Iterator[IdentityWorld]:
    with run_identity_gateway(url=postgres_server.make_database()) as house:
        yield house


@pytest.fixture(params=["sqlite", "postgres"])
def house(request: pytest.FixtureRequest) -> Iterator[IdentityWorld]:
    """The standard gateway with identity, two workers, over each database; its upstream's record is fresh."""
    house: IdentityWorld = request.getfixturevalue(f"{request.param}_house")
    house.upstream.clear()
    yield house
    assert house.upstream.violations == []


@pytest.fixture
def person(house: IdentityWorld) -> Person:
    """Somebody new, just registered."""
    return register(house)


@pytest.fixture
def admin(house: IdentityWorld) -> Person:
    """Somebody with the role admin, who has signed in just now."""
    return make_admin(house)


@pytest.fixture
def browser(house: IdentityWorld) -> Person:
    """Somebody signed in by cookie."""
    return register(house).elsewhere(cookie=True)


@pytest.fixture(scope="session")
def sqlite_federation() -> Iterator[Federation]:
    with run_federation() as federation:
        yield federation


@pytest.fixture(scope="session")
def postgres_federation(postgres_server: Postgres) -> Iterator[Federation]:
    with run_federation(postgres_server.make_database()) as federation:
        yield federation


@pytest.fixture(params=["sqlite", "postgres"])
def federation(request: pytest.FixtureRequest) -> Iterator[Federation]:
    """A gateway before which identity providers stand, over each database; its upstream's record is fresh."""
    federation: Federation = request.getfixturevalue(f"{request.param}_federation")
    federation.house.upstream.clear()
    yield federation
    assert federation.house.upstream.violations == []
