"""The tracing by itself: what is noted of each policy's turn, and that the chain goes on as it would."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

from gateway.edge import chain
from gateway.explaining.trace import Trace
from gateway.model import faults
from gateway.model.exchange import Exchange
from gateway.model.identity import Identified, Identity
from gateway.model.verdict import Answer, Outcome, Refuse, Reply, Verdict

NO = Refuse(faults.ORIGIN_REFUSED, "Not from there.")
Judge = Callable[[Exchange], Verdict]


def watched(trace: Trace, report: bool = False, **judges: Judge) -> Exchange:
    route = SimpleNamespace(
        judges=tuple(judges.values()), judge_names=tuple(judges), report=report, on_responses=(), name="r"
    )
    trace.watch([cast(Any, route)])
    return Exchange(route=route)


def judged(exchange: Exchange) -> Outcome:
    async def wait(awaited: Awaitable[Outcome]) -> Outcome:
        return await awaited

    verdict = chain.judge(exchange)
    return asyncio.run(wait(verdict)) if isinstance(verdict, Awaitable) else verdict


def passes(exchange: Exchange) -> Verdict:
    return None


def refuses(exchange: Exchange) -> Verdict:
    return NO


def waits(outcome: Outcome) -> Judge:
    async def wait() -> Outcome:
        await asyncio.sleep(0)
        return outcome

    return lambda exchange: wait()


def told(trace: Trace) -> list[tuple[str, Outcome, bool]]:
    return [(step.name, step.outcome, step.waited) for step in trace.steps]


def test_the_first_that_refuses_is_the_last_that_is_asked() -> None:
    trace = Trace()
    assert judged(watched(trace, a=passes, b=refuses, c=passes)) is NO
    assert told(trace) == [("a", None, False), ("b", NO, False)]


def test_waits_are_followed_to_their_end() -> None:
    trace = Trace()
    assert judged(watched(trace, a=waits(None), b=waits(NO), c=passes)) is NO
    assert told(trace) == [("a", None, True), ("b", NO, True)]


def test_in_report_mode_all_are_asked() -> None:
    trace = Trace()
    exchange = watched(trace, report=True, a=refuses, b=waits(NO), c=passes)
    assert judged(exchange) is None
    assert told(trace) == [("a", NO, False), ("b", NO, True), ("c", None, False)]
    assert exchange.verdicts == (("a", "origin_refused"), ("b", "origin_refused"))


def test_an_answer_ends_the_round() -> None:
    trace = Trace()
    answer = Answer(Reply(204))
    assert judged(watched(trace, a=lambda exchange: answer, b=passes)) is answer
    assert told(trace) == [("a", answer, False)]


def test_a_crash_refuses_and_is_told_without_the_tokens_in_it() -> None:
    token = "psa_" + "A" * 40

    async def later() -> Outcome:
        raise RuntimeError(token)

    def breaks(exchange: Exchange) -> Verdict:
        raise ValueError(token)

    for judge, kind in ((breaks, "ValueError"), (lambda exchange: later(), "RuntimeError")):
        trace = Trace()
        outcome = judged(watched(trace, a=cast(Judge, judge), b=passes))
        assert isinstance(outcome, Refuse) and outcome.fault is faults.POLICY_CRASHED
        [step] = trace.steps
        assert isinstance(step.outcome, Refuse) and step.outcome.fault is faults.POLICY_CRASHED
        assert kind in step.notes[0] and token not in step.notes[0]


def test_nonsense_stays_nonsense() -> None:
    """The chain, not the tracing, says what becomes of a policy without a verdict."""
    trace = Trace()
    exchange = watched(trace, a=cast(Judge, lambda exchange: 7))
    outcome = judged(exchange)
    assert isinstance(outcome, Refuse) and outcome.fault is faults.POLICY_CRASHED


def test_what_a_policy_does_to_the_request_is_told_in_words() -> None:
    identity = Identity(id="u1", session="s1", roles=("clerk",))

    def changes(exchange: Exchange) -> Verdict:
        exchange.who = Identified(identity, "bearer")
        exchange.request_add += b"X-User-Id: u1\r\nX-User-Name: ann\r\n"
        exchange.reply_add += b"Vary: Origin\r\n"
        exchange.body_limit = 2048
        exchange.note("another address than at sign-in")
        return None

    trace = Trace()
    assert judged(watched(trace, a=changes, authenticate=passes)) is None
    assert trace.steps[0].notes == [
        "user u1, session s1, level 1, roles clerk, by bearer",
        "adds to the upstream: X-User-Id, X-User-Name",
        "adds to the reply: Vary",
        "a body of at most 2,048 bytes",
        "another address than at sign-in",
    ]
    assert trace.steps[1].notes == []


def test_whoever_passes_as_nobody_is_told_so() -> None:
    trace = Trace()
    judged(watched(trace, authenticate=passes))
    assert trace.steps[0].notes == ["nobody is signed in, and nobody has to be"]


def test_notes_go_to_the_policy_whose_turn_it_is_or_to_the_one_named() -> None:
    trace = Trace()

    def notes(exchange: Exchange) -> Verdict:
        trace.note("mine")
        trace.note("of the other", of="a")
        trace.note("of nobody", of="z")
        trace.unknown("nobody can be asked")
        return None

    trace.note("too early")
    judged(watched(trace, a=passes, b=notes))
    assert [(step.name, step.notes, step.unknown) for step in trace.steps] == [
        ("a", ["of the other"], ""),
        ("b", ["mine"], "nobody can be asked"),
    ]
