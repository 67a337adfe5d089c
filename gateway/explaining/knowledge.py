"""What the identity service tells while a request is explained: looked up, never used up, never noted."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.link.frames import Message
from gateway.link.questions import Assert, Lease, Mismatch
from gateway.link.server import Hello
from gateway.model.credentials import redacted

if TYPE_CHECKING:
    from gateway.explaining.trace import Trace

_UNAVAILABLE: Message = {"outcome": "unavailable"}
# Less than the rehearsed worker waits for each, so that it is told why there is no answer.
_LOOK_WITHIN, _COUNT_WITHIN = 3.0, 0.7
_PATIENCE = 20.0
PLACEHOLDER = "(made by the identity service)"


class CantKnow(Exception):
    """Nobody can be asked; the text says why."""


class Knowledge(Protocol):
    """Whoever can be asked. Each method may take its time, changes nothing, and may raise CantKnow."""

    def look(self, kind: str, credential: str, address: str, agent: str) -> Message:
        """As `resolve` of the link answers."""

    def count(self, question: Lease) -> Message:
        """As `lease` of the link answers a question for no unit at all."""


class Nobody:
    """Knowledge where there is none."""

    def __init__(self, why: str) -> None:
        self._why = why

    def look(self, kind: str, credential: str, address: str, agent: str) -> Message:
        raise CantKnow(self._why)

    def count(self, question: Lease) -> Message:
        raise CantKnow(self._why)


class Somebody(msgspec.Struct, frozen=True):
    """Whom a made-up credential stands for: the answer of `resolve`, or why nobody could tell."""

    answer: Message = {}
    unknown: str = ""


class Remembered:
    """What was asked, and is asked once: a policy waits for a moment only, and what comes later than that is
    there when the request is rehearsed again."""

    def __init__(self, knowledge: Knowledge) -> None:
        self._knowledge = knowledge
        self._asked: dict[bytes, asyncio.Task[Message]] = {}
        self.late = False

    async def look(self, kind: str, credential: str, address: str, agent: str) -> Message:
        return await self._answer(_LOOK_WITHIN, self._knowledge.look, kind, credential, address, agent)

    async def count(self, question: Lease) -> Message:
        return await self._answer(_COUNT_WITHIN, self._knowledge.count, question)

    async def settled(self) -> None:
        """Whatever is still to come has come, or never will."""
        if self._asked:
            await asyncio.wait(self._asked.values(), timeout=_PATIENCE)
        self.late = False

    async def _answer(self, patience: float, look: Callable[..., Message], *question: object) -> Message:
        key = msgspec.msgpack.encode((look.__name__, question))
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(asyncio.to_thread(look, *question))
        done, _ = await asyncio.wait((task,), timeout=patience)
        if not done:
            self.late = True
            raise CantKnow("the identity service does not answer")
        return task.result()


class Answers:
    """The other end of the rehearsal's link: gateway.link.server's Service and News."""

    name = "explain"
    n = 0
    readable = True
    token_ttl = 0.0

    def __init__(self, knowledge: Remembered, trace: "Trace") -> None:
        self._knowledge, self._trace = knowledge, trace
        self.known: dict[str, Somebody] = {}  # by credentials made up for them

    async def resolve(self, kind: str, credential: str, address: str, agent: str, stream: bool) -> Message:
        somebody = self.known.get(credential)
        if somebody is None:
            try:
                answer = await self._knowledge.look(kind, credential, address, agent)
            except CantKnow as unknown:
                self._trace.unknown(str(unknown))
                return _UNAVAILABLE
        else:
            answer = somebody.answer or _UNAVAILABLE
            if somebody.unknown:
                self._trace.unknown(somebody.unknown)
        if answer.get("why"):
            self._trace.note(str(answer["why"]))
        return answer

    async def renew(self, credential: str, bearer: bool, address: str, agent: str) -> Message:
        what = "a fresh access token" if bearer else "the session's next cookie"
        self._trace.note(f"the reply would bring {what}; none is made here")
        return _UNAVAILABLE

    async def touch(self, sessions: list[tuple[str, float]]) -> None:
        """Looking at a request is no use of its session."""

    def lease_now(self, question: Lease) -> Message | None:
        return None

    async def lease(self, question: Lease) -> Message:
        """As many units as are left would be leased one by one; none is taken."""
        nearest = question.limits[0]
        left: int | None = None
        said: Message = {}
        with contextlib.suppress(CantKnow):
            said = await self._knowledge.count(msgspec.structs.replace(question, id=0, want=0))
        if said.get("outcome") == "leased":
            left, nearest = int(said["remaining"]), question.limits[int(said["nearest"])]
        known = "how many are left is not known here" if left is None else f"{max(left, 0):,} left"
        amount, seconds = nearest
        what = f"one of {amount:,} in {seconds:,} s"
        self._trace.note(redacted(f"counts for {question.rule}, {question.key}: {what}; {known}"))
        if left is not None and left <= 0:
            return said
        after = (amount if left is None else left) - 1
        fresh = {"spend_within": 1.0, "nearest": 0, "reset_in": float(seconds), "edges": 1, **said}
        return {**fresh, "outcome": "leased", "granted": 1, "ask_again_in": 0.0, "remaining": after}

    async def assertion(self, question: Assert) -> Message:
        self._trace.note(f"would be signed for {question.audience}")
        return {"outcome": "asserted", "assertion": PLACEHOLDER, "expires_in": question.ttl}

    async def mismatch(self, question: Mismatch) -> Message:
        told = "would end the session" if question.act == "strict" else "would be written to its events"
        self._trace.note(f"{told}; it is left alone here", of="bind")
        return {"outcome": "noted"}

    # Its membership of one

    def join(self, hello: Hello, process: int, push: object, drop: object) -> "Answers":
        return self

    def beat(self) -> bool:
        return True

    def acknowledge(self, n: int) -> None:
        """There are no news."""

    def leave(self, *, clean: bool) -> None:
        """It was alone."""
