"""One request twice: explained, and sent through the real gateway; what both tell must be the same."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest

from gateway.cli.explain_knowledge import Running
from gateway.config.compile import load
from gateway.config.snapshot import Snapshot
from gateway.explaining import hiding
from gateway.explaining.asked import Asked, asked
from gateway.explaining.explain import explain
from gateway.explaining.explanation import Explanation
from gateway.explaining.knowledge import PLACEHOLDER, Somebody
from tests.kit.gateway import Gateway
from tests.kit.line import Received
from tests.kit.raw import Answer, Client
from tests.kit.upstream import RecordingUpstream

HOST = "gateway.test"
# Made anew for each request; what is left of a limit is known to the second and the batch.
_OWN = re.compile(r"(X-Request-Id|traceparent|Date|RateLimit): .*")
_IDS = re.compile(r'("request_id":"|<code>\d+ \w+ · )[0-9a-f]{32}')


class Place(Protocol):
    """A world of the tests, as far as it is needed here."""

    @property
    def gateway(self) -> Gateway: ...
    @property
    def upstream(self) -> RecordingUpstream: ...


class Explaining:
    """The running gateway's configuration, and its identity service, as the command line finds them."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.config = str(place.gateway.routes)
        self.snapshot: Snapshot = load(self.config, environ=place.gateway.env)
        self.knowledge = Running(self.config)

    def asked(self, method: str, target: str, *lines: str, source: str = "127.0.0.1") -> Asked:
        return asked(method, target, lines, address=source, agent="", host=HOST)

    def explain(self, request: Asked, token: str = "", somebody: Somebody | None = None) -> Explanation:
        made = explain(self.snapshot, request, self.knowledge, token=token, somebody=somebody)
        return asyncio.run(made)

    def user(self, who: str, address: str = "127.0.0.1", agent: str = "") -> Somebody:
        return self.knowledge.user(who, address, agent)

    def send(self, request: Asked, body: bytes = b"") -> tuple[Answer, Received | None]:
        """The real thing: its answer, and what the upstream received."""
        before = len(self.place.upstream.requests)
        with Client(self.place.gateway.port, source=request.address) as client:
            reply = client.send(request.head() + body).reply(request.method.encode())
        seen = self.place.upstream.requests[before:]
        assert len(seen) < 2, seen
        return reply, seen[0] if seen else None

    def agree(self, request: Asked, body: bytes = b"", told: Explanation | None = None) -> Explanation:
        """Explain it, then send it, and compare to the byte."""
        told = told or self.explain(request)
        reply, seen = self.send(request, body)
        if seen is not None:
            assert told.outcome == "passes" and told.head is not None, (told, seen)
            assert _plain(told.head) == _plain(_head_of(seen))
            assert told.added_to_reply is not None
            real = set(_plain(_lines_of(reply)))
            missing = [line for line in _plain(told.added_to_reply) if line not in real]
            assert not missing, (missing, reply)
        else:
            assert told.outcome in ("refused", "answered") and told.reply is not None, (told, reply)
            assert told.reply.status == reply.status, (told, reply)
            expected, real_lines = _plain(told.reply.headers), _plain(_lines_of(reply))
            if body:  # refused before it came, or after: only then the connection stays
                expected = [line for line in expected if line != "Connection: close"]
                real_lines = [line for line in real_lines if line != "Connection: close"]
            assert expected == real_lines
            assert _without_ids(told.reply.body) == _without_ids(reply.body.decode())
            if reply.body and told.refusal is not None and b'"code"' in reply.body:
                assert told.refusal.code == reply.code
        return told


@contextmanager
def beside(place: Place) -> Iterator[Explaining]:
    """As the command line runs beside this gateway: with its data folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTERN_DATA", place.gateway.env["POSTERN_DATA"])
        for name in ("POSTERN_SECRET", "DATABASE_URL"):
            if name in place.gateway.env:
                patch.setenv(name, place.gateway.env[name])
        yield Explaining(place)


def verdicts(told: Explanation) -> dict[str, str]:
    """Of each policy; of two of one name the later one."""
    return {one.policy: one.verdict for one in told.policies}


def why(told: Explanation, policy: str) -> str:
    return "; ".join(text for one in told.policies if one.policy == policy for text in one.why)


def as_json(told: Any) -> Any:
    return json.loads(json.dumps(told))


def _head_of(seen: Received) -> list[str]:
    head = seen.raw.partition(b"\r\n\r\n")[0].decode("utf-8", "backslashreplace")
    return [hiding.line(line) for line in head.split("\r\n")]


def _lines_of(reply: Answer) -> list[str]:
    return [hiding.line(f"{name.decode()}: {value.decode()}") for name, value in reply.headers]


def _plain(lines: list[str]) -> list[str]:
    assertion = "X-User-Assertion: "
    own = [_OWN.sub(r"\1: …", line) for line in lines]
    return [f"{assertion}{PLACEHOLDER}" if line.startswith(assertion) else line for line in own]


def _without_ids(body: str) -> str:
    return _IDS.sub(r"\1…", body)
