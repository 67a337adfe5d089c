"""The chain: the order, the first that objects, waiting, crashes, report mode, and the way back."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.edge import chain
from gateway.model import faults
from gateway.model.exchange import Exchange
from gateway.model.verdict import Answer, Outcome, Refuse, Reply, Verdict

NO = Refuse(faults.ORIGIN_REFUSED)
LATER = Refuse(faults.INVALID_TOKEN)
PREFLIGHT = Answer(Reply(204))
TO_SIGN_IN = Answer(Reply(302), faults.CREDENTIAL_MISSING)

Judge = Callable[[Exchange], Verdict]


def made(*judges: Judge, report: bool = False, back: tuple[Any, ...] = ()) -> Exchange:
    names = tuple(f"p{number}" for number in range(len(judges)))
    route = SimpleNamespace(judges=judges, judge_names=names, report=report, on_responses=back, name="r")
    return Exchange(route=route)


def says(outcome: Outcome, asked: list[Outcome] | None = None) -> Judge:
    def judge(exchange: Exchange) -> Verdict:
        if asked is not None:
            asked.append(outcome)
        return outcome

    return judge


def waits(outcome: Outcome) -> Judge:
    async def wait() -> Outcome:
        await asyncio.sleep(0)
        return outcome

    return lambda exchange: wait()


def breaks(exchange: Exchange) -> Verdict:
    raise RuntimeError("a defect")


def breaks_later(exchange: Exchange) -> Verdict:
    async def wait() -> Outcome:
        raise RuntimeError("a defect")

    return wait()


def outcome_of(verdict: Verdict) -> Outcome:
    async def wait(awaited: Awaitable[Outcome]) -> Outcome:
        return await awaited

    return asyncio.run(wait(verdict)) if isinstance(verdict, Awaitable) else verdict


def test_all_that_agree_let_it_go_on() -> None:
    assert chain.judge(made(says(None), says(None))) is None
    assert chain.judge(made()) is None


def test_the_first_that_objects_ends_the_round() -> None:
    asked: list[Outcome] = []
    exchange = made(says(None, asked), says(NO, asked), says(LATER, asked))
    assert chain.judge(exchange) is NO
    assert asked == [None, NO]
    assert exchange.refused is NO


def test_an_answer_ends_the_round() -> None:
    assert chain.judge(made(says(PREFLIGHT), says(NO))) is PREFLIGHT


def test_waiting_goes_on_with_the_next() -> None:
    assert outcome_of(chain.judge(made(waits(None), says(NO)))) is NO
    assert outcome_of(chain.judge(made(waits(None), waits(None), says(None)))) is None
    assert outcome_of(chain.judge(made(says(None), waits(NO), breaks))) is NO
    assert outcome_of(chain.judge(made(waits(None), waits(PREFLIGHT)))) is PREFLIGHT


def test_who_raises_refuses_at_once_and_later() -> None:
    for judge in (breaks, breaks_later):
        outcome = outcome_of(chain.judge(made(says(None), judge, says(None))))
        assert isinstance(outcome, Refuse) and outcome.fault is faults.POLICY_CRASHED
    outcome = outcome_of(chain.judge(made(waits(None), breaks)))
    assert isinstance(outcome, Refuse) and outcome.fault is faults.POLICY_CRASHED


@pytest.mark.parametrize("nonsense", [True, False, "ok", 0, 200, object, NO.fault])
def test_what_is_no_verdict_refuses(nonsense: Any) -> None:
    for judge in (says(nonsense), waits(nonsense)):
        exchange = made(says(None), judge, says(None))
        outcome = outcome_of(chain.judge(exchange))
        assert isinstance(outcome, Refuse) and outcome.fault is faults.POLICY_CRASHED
        assert exchange.verdicts == (("p1", "policy_crashed"),)


def test_report_mode_writes_down_and_goes_on() -> None:
    asked: list[Outcome] = []
    exchange = made(says(NO, asked), waits(LATER), breaks, says(TO_SIGN_IN), says(None, asked), report=True)
    assert outcome_of(chain.judge(exchange)) is None
    assert asked == [NO, None]
    assert exchange.refused is None and exchange.rare
    assert exchange.verdicts == (
        ("p0", "origin_refused"),
        ("p1", "invalid_token"),
        ("p2", "policy_crashed"),
        ("p3", "credential_missing"),
    )


def test_report_mode_still_answers_a_preflight() -> None:
    assert chain.judge(made(says(NO), says(PREFLIGHT), says(NO), report=True)) is PREFLIGHT


def test_who_raises_on_the_way_back_turns_the_reply_into_500() -> None:
    def adds(exchange: Exchange, reply: Reply) -> None:
        reply.headers.append((b"X-Seen", b"%d" % reply.status))

    def fails(exchange: Exchange, reply: Reply) -> None:
        raise RuntimeError("a defect")

    reply = chain.on_way_back(made(back=(adds,)), Reply(200, [], b"x"))
    assert (reply.status, reply.headers) == (200, [(b"X-Seen", b"200")])
    exchange = made(back=(fails, adds))
    reply = chain.on_way_back(exchange, Reply(200, [(b"A", b"b")], b"secret"))
    assert (reply.status, reply.headers[-1], dict(reply.headers).get(b"A")) == (
        500,
        (b"X-Seen", b"500"),
        None,
    )
    assert json.loads(reply.body)["code"] == "policy_crashed"
    assert exchange.failed is faults.POLICY_CRASHED and exchange.rare
