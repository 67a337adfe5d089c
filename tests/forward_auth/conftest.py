"""One gateway with listeners for other proxies, and who asks there."""

from collections.abc import Iterator

import pytest

from tests.kit.asking import Asked, Ports
from tests.kit.identity import run_identity_gateway
from tests.kit.people import Person, register


@pytest.fixture(scope="session")
def asked_gateway() -> Iterator[Asked]:
    ports = Ports()
    with run_identity_gateway(ports.routes()) as world:
        yield Asked(world, ports, ports.verify)


@pytest.fixture
def asked(asked_gateway: Asked) -> Iterator[Asked]:
    """Nothing that is asked there ever goes to a backend."""
    asked_gateway.world.upstream.clear()
    yield asked_gateway
    assert asked_gateway.world.upstream.requests == []


@pytest.fixture
def person(asked: Asked) -> Person:
    return register(asked.world)


@pytest.fixture
def browser(asked: Asked) -> Person:
    """Somebody signed in by cookie."""
    return register(asked.world).elsewhere(cookie=True)
