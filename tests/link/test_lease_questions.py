"""Questions for units over the link: answered at once where it can be, refused where they are none."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.link.frames import Message
from gateway.link.questions import Lease
from tests.link.house import Answers, House, Raw, until

QUESTION = {
    "t": "lease", "id": 7, "rule": "shop/orders", "key": "u:1", "want": 5, "limits": [[100, 60]],
    "algorithm": "fixed_window",
}  # fmt: skip


class Leases(Answers):
    """Says at once what it is told to say, or lets itself be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.now: Message | Exception | None = None
        self.questions: list[Lease] = []

    def lease_now(self, question: Lease) -> Message | None:
        self.questions.append(question)
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    async def lease(self, question: Lease) -> Message:
        await asyncio.sleep(0)
        return {"outcome": "leased", "granted": 1}


@pytest.fixture
async def house(tmp_path: Path) -> Any:
    made = House(tmp_path)
    made.answers = Leases()
    made.server.service = made.answers
    await made.start()
    yield made
    await made.close()


async def ask(house: House, **fields: Any) -> Message:
    edge = await house.edge()
    return await edge.link.ask({**QUESTION, **fields}, 5.0)


async def test_it_is_answered_at_once_where_it_is_counted_here(house: House) -> None:
    assert isinstance(house.answers, Leases)
    house.answers.now = {"outcome": "leased", "granted": 3}
    answer = await ask(house)
    assert (answer["t"], answer["granted"]) == ("leased", 3)
    [question] = house.answers.questions
    assert (question.rule, question.key, question.want) == ("shop/orders", "u:1", 5)
    assert (question.limits, question.algorithm) == ([(100, 60)], "fixed_window")


async def test_else_it_is_waited_for(house: House) -> None:
    assert (await ask(house))["granted"] == 1


async def test_a_crash_is_no_answer_and_ends_nothing(house: House) -> None:
    assert isinstance(house.answers, Leases)
    house.answers.now = RuntimeError("psa_whatever")
    edge = await house.edge()
    assert (await edge.link.ask(dict(QUESTION), 5.0))["outcome"] == "unavailable"
    house.answers.now = {"outcome": "leased"}
    assert (await edge.link.ask(dict(QUESTION), 5.0))["outcome"] == "leased"


async def test_a_flood_of_them_delays_nobody_elses_question(house: House) -> None:
    """They take no place among the questions that wait for the database."""
    assert isinstance(house.answers, Leases)
    house.answers.now = {"outcome": "leased", "granted": 0}
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    house.answers.before = wait
    edge = await house.edge()
    waiting = [edge.ask(f"c{number}") for number in range(100)]
    await until(lambda: isinstance(house.answers, Leases) and house.answers.at_once == 64)
    answers = [edge.link.ask(dict(QUESTION), 5.0) for _ in range(500)]
    assert {answer["t"] for answer in await asyncio.gather(*answers)} == {"leased"}
    gate.set()
    assert len(await asyncio.gather(*waiting)) == 100


@pytest.mark.parametrize(
    "fields",
    [
        {"limits": []},
        {"limits": [[0, 60]]},
        {"limits": [[100, 0]]},
        {"limits": [[100, 60]] * 9},
        {"limits": [[100, "60"]]},
        {"want": -1},
        {"key": "x" * 1025},
        {"rule": "x" * 257},
        {"algorithm": "leaky"},
    ],
)
async def test_T39_what_is_no_question_ends_the_link(house: House, fields: dict[str, Any]) -> None:
    raw = await Raw.hello(house.path)
    assert (await raw.hear())["t"] == "welcome"
    raw.say({**QUESTION, **fields})
    assert await raw.is_closed()
    raw.close()
    assert isinstance(house.answers, Leases) and not house.answers.questions
