"""Made exchanges and ports, so that a policy can be judged without a gateway."""

from typing import Any

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import IDENTITY_UNAVAILABLE
from gateway.model.policy import Ports
from gateway.model.verdict import Refuse, Verdict

UNAVAILABLE = Refuse(IDENTITY_UNAVAILABLE)


class Nobody:
    """Identities while there is no identity service: remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def resolve(self, credential: bytes, exchange: Exchange) -> Verdict:
        self.asked.append(credential)
        return UNAVAILABLE


def exchange(method: bytes = b"GET", path: bytes = b"/orders", **rest: Any) -> Exchange:
    made = Exchange()
    made.method, made.path, made.host, made.client = method, path, b"shop.example.com", b"192.0.2.7"
    made.noted = {}
    for name, value in rest.items():
        setattr(made, name, value)
    return made


def ports(**rest: Any) -> Ports:
    return Ports(**({"identities": Nobody()} | rest))


def build(policy: type[Any], settings: dict[str, Any], **rest: Any) -> Any:
    """A policy as the edge makes it: from the plain map of the snapshot."""
    return policy(msgspec.convert(settings, policy.Settings), ports(**rest))


def header(block: bytes, name: bytes) -> bytes | None:
    """The value of a header in a block of lines; a second one of its name is an error of the test."""
    lines = [line.partition(b": ") for line in block.split(b"\r\n") if line]
    values = [value for key, _, value in lines if key.lower() == name]
    assert len(values) < 2, values
    return values[0] if values else None
