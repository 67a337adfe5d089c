"""Workers that lease from one count, over links that a test delays and loses, by a clock that it moves."""

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.edge.leases import Leases
from gateway.identity.leasing import Leasing
from gateway.link.client import LinkDown
from gateway.link.frames import Message
from gateway.link.questions import Lease
from gateway.model.policy import Spent
from gateway.model.rates import Limit, Rule
from gateway.store.limiters import Counts

BEGAN = 1_700_000_000.25  # by the clock of those who count; edges have another


def rule(*limits: tuple[int, int], algorithm: Any = "sliding_window", how: Any = "deny") -> Rule:
    return Rule("shop/orders", tuple(Limit(*each) for each in limits), algorithm, how)


class Question:
    """On its way there, or, once it is answered, back."""

    def __init__(self, worker: "Worker", message: Message, future: "asyncio.Future[Message]") -> None:
        self.worker, self.message, self.future = worker, message, future
        self.moved = worker.house.time  # when it was sent, or answered
        self.answer: Message | None = None


class Worker:
    """One edge; it is its own link."""

    def __init__(self, house: "House", number: int, most: int) -> None:
        self.house, self.up = house, True
        self.ahead = 1000.0 * number  # of the first one's clock
        loop = asyncio.get_running_loop()
        self.leases = Leases(loop, self, clock=lambda: house.time + self.ahead, most=most)

    def ask(self, message: Message, timeout: float) -> "asyncio.Future[Message]":
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        if self.up:
            self.house.questions.append(Question(self, {**message, "id": 1}, future))
        else:
            future.set_exception(LinkDown("down"))
        return future


class House:
    """The count, and all who lease from it."""

    def __init__(self, workers: int = 1, most: int = 1000) -> None:
        self.time = 5000.0
        self.questions: list[Question] = []
        self.admitted: list[tuple[bytes, float]] = []  # key and moment, by the counting clock
        self.refused = 0
        self.waiting: list[tuple[bytes, asyncio.Future[Spent]]] = []
        self.workers = [Worker(self, number, most) for number in range(workers)]
        self.begin_to_count()

    def begin_to_count(self) -> None:
        self.counts = Counts(lambda: BEGAN + self.time)
        self.leasing = Leasing(self.counts, lambda: len(self.workers))

    # What a test does

    def spend(self, which: Rule, key: bytes = b"u:1", worker: int = 0) -> Spent | None:
        """None: it waits."""
        spent = self.workers[worker].leases.of(which).spend(key)
        if isinstance(spent, Spent):
            self._note(key, spent)
            return spent
        assert isinstance(spent, asyncio.Future)
        self.waiting.append((key, spent))
        return None

    def count(self, question: Question) -> None:
        """It arrives, and is answered; the answer is on its way."""
        asked = msgspec.convert(question.message, Lease)
        question.answer = self.leasing.now(asked)
        question.moved = self.time

    async def deliver(self, question: Question) -> None:
        """The answer arrives."""
        self.questions.remove(question)
        if not question.future.done():
            question.future.set_result(question.answer or {"outcome": "unavailable"})
        await self.settle()

    async def lose(self, question: Question) -> None:
        self.questions.remove(question)
        if not question.future.done():
            question.future.set_exception(LinkDown("no answer in time"))
        await self.settle()

    async def answer_all(self) -> None:
        while self.questions:
            question = self.questions[0]
            if question.answer is None:
                self.count(question)
            await self.deliver(question)

    async def carry(self, delay: float) -> None:
        """What was sent so long ago arrives."""
        for question in [each for each in self.questions if self.time - each.moved >= delay]:
            if question.answer is None:
                self.count(question)
            else:
                await self.deliver(question)

    async def reconnect(self, worker: int) -> None:
        for question in [each for each in self.questions if each.worker is self.workers[worker]]:
            await self.lose(question)
        self.workers[worker].leases.begin_afresh()

    async def settle(self) -> None:
        """Whoever was waited for has come, or still waits."""
        for _ in range(3):
            await asyncio.sleep(0)
        done = [each for each in self.waiting if each[1].done()]
        self.waiting = [each for each in self.waiting if not each[1].done()]
        for key, future in done:
            if not future.cancelled():
                self._note(key, future.result())

    def _note(self, key: bytes, spent: Spent) -> None:
        if spent.allowed:
            self.admitted.append((key, BEGAN + self.time))
        else:
            self.refused += 1

    # What came of it

    def windows(self, seconds: int) -> Iterator[int]:
        """How many came in each aligned window, for each key, in order."""
        counted: dict[tuple[bytes, int], int] = {}
        for key, at in self.admitted:
            place = key, int(at // seconds)
            counted[place] = counted.get(place, 0) + 1
        yield from (counted[place] for place in sorted(counted))
