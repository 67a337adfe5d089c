"""The chain: a route's policies judge a request in the one fixed order, and see the reply in reverse.

Plain calls as long as nothing must be waited for; only then a coroutine. Whatever a policy raises refuses
the request.
"""

import logging
from collections.abc import Awaitable
from typing import Any

from gateway.edge import replies
from gateway.model import faults
from gateway.model.exchange import Exchange
from gateway.model.verdict import Answer, Outcome, Refuse, Reply, Verdict

log = logging.getLogger(__name__)
_CRASHED = Refuse(faults.POLICY_CRASHED)


def judge(exchange: Exchange, start: int = 0) -> Verdict:
    """Ask the policies from number `start` on; the first that objects, answers, or must wait, ends the
    round."""
    judges = exchange.route.judges
    if start:
        judges = judges[start:]
    on_request = None
    try:
        for on_request in judges:
            verdict = on_request(exchange)
            if verdict is not None:
                break
        else:
            return None
    except Exception:
        verdict = crashed(exchange, on_request)
    place = exchange.route.judges.index(on_request)
    if isinstance(verdict, Refuse):
        return _refused(exchange, verdict, place)
    if isinstance(verdict, Answer):
        return _answered(exchange, verdict, place)
    return _wait(exchange, verdict, place)


async def _wait(exchange: Exchange, verdict: Awaitable[Outcome], place: int) -> Outcome:
    """The slow path: from the policy that must wait for something to the end of the chain."""
    try:
        outcome = await verdict
        if outcome is not None and not isinstance(outcome, Refuse | Answer):
            raise TypeError(f"{type(outcome).__name__} is no verdict")
    except Exception:
        outcome = crashed(exchange, exchange.route.judges[place])
    if isinstance(outcome, Answer):
        further = _answered(exchange, outcome, place)
    else:
        further = judge(exchange, place + 1) if outcome is None else _refused(exchange, outcome, place)
    if further is None or isinstance(further, Refuse | Answer):
        return further
    return await further


def _refused(exchange: Exchange, refuse: Refuse, place: int) -> Verdict:
    """In report mode a refusal is written down, and the next policies are asked."""
    exchange.objected(exchange.route.judge_names[place], refuse.fault.code)
    if not exchange.route.report:
        exchange.refused = refuse
        return refuse
    return judge(exchange, place + 1)


def _answered(exchange: Exchange, answer: Answer, place: int) -> Verdict:
    """A redirect to sign-in stands for a refusal; a preflight's answer does not."""
    if answer.instead_of is None:
        return answer
    exchange.objected(exchange.route.judge_names[place], answer.instead_of.code)
    return judge(exchange, place + 1) if exchange.route.report else answer


def crashed(exchange: Exchange, where: Any) -> Refuse:
    whose = getattr(getattr(where, "__self__", None), "name", None) or getattr(where, "__qualname__", "?")
    log.exception(
        "a policy failed", extra={"policy": whose, "route": exchange.route.name,
                                  "request_id": exchange.request_id.decode("ascii")},
    )  # fmt: skip
    return _CRASHED


def on_way_back(exchange: Exchange, reply: Reply) -> Reply:
    """Show the reply to the policies that want to see it, in reverse order. Where one fails, the others see
    what the client gets in the reply's place."""
    for on_response in exchange.route.on_responses:
        try:
            on_response(exchange, reply)
        except Exception:
            fault = crashed(exchange, on_response).fault
            exchange.failed = fault
            exchange.rare = True
            made = replies.of_fault(exchange, fault, "")
            reply.status, reply.headers, reply.body = made.status, made.headers, made.body
    return reply
