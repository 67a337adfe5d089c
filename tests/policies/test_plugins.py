"""The policy plugins: own classes at their places, and what becomes of a request when one misbehaves."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.edge import chain
from gateway.model import faults
from gateway.model.exchange import Exchange
from gateway.model.faults import Fault
from gateway.model.policy import Effects, Step
from gateway.model.verdict import Answer, Outcome, Refuse, Reply, Verdict
from policies import STEPS, plugins
from policies._plugin import BadPlugin, find
from policies._sound import Unsound
from policies.plugins import Own, Plugins
from tests.policies.made import exchange, ports

OWN = "tests.config.own.classes"
NO = Refuse(faults.ORIGIN_REFUSED, "not today", ((b"Retry-After", b"3"),))
TO_SIGN_IN = Answer(Reply(302, [(b"Location", b"/auth/sign-in")]), faults.CREDENTIAL_MISSING)


def built(phase: str, *listed: dict[str, Any]) -> list[Any]:
    [step] = [step for step in STEPS if step == Step(Plugins, phase)]
    return step.build({"classes": list(listed)}, ports(route="orders"))


def own(on_request: Any = None, on_response: Any = None, **more: Any) -> Own:
    """A plugin made of functions."""
    methods = {"on_request": on_request, "on_response": on_response} | more
    plugin = SimpleNamespace(**{name: method for name, method in methods.items() if method is not None})
    return Own("mine", plugin, Effects())


def judged(asked: Callable[[Exchange], Any], made: Exchange | None = None) -> Outcome:
    """What the chain makes of it, with nothing after it."""
    policy = own(asked)
    made = made or exchange()
    made.route = SimpleNamespace(judges=(policy.on_request,), judge_names=("mine",), report=False, name="r")

    async def judge() -> Outcome:
        verdict = chain.judge(made)
        return await verdict if isinstance(verdict, Awaitable) else verdict

    return asyncio.run(judge())


def later(asked: Callable[[Exchange], Any]) -> Callable[[Exchange], Any]:
    async def wait(exchange: Exchange) -> Any:
        await asyncio.sleep(0)
        return asked(exchange)

    return wait


def crashed(outcome: Outcome) -> bool:
    return isinstance(outcome, Refuse) and outcome.fault is faults.POLICY_CRASHED


def test_each_phase_has_its_own_in_their_order() -> None:
    listed: list[dict[str, Any]] = [
        {"class": f"{OWN}:Counts", "settings": {"most": "7", "limits": [{"at": 3}]}},
        {"class": f"{OWN}:Passes", "phase": "before_auth"},
        {"class": f"{OWN}:Passes", "settings": {"any": ["thing"]}},
    ]
    assert [policy.name for policy in built("after_auth", *listed)] == ["counts", f"{OWN}:Passes"]
    assert [policy.name for policy in built("before_auth", *listed)] == [f"{OWN}:Passes"]
    assert built("after_auth") == []


def test_it_gets_its_own_settings_or_the_plain_map() -> None:
    counts, passes = built(
        "after_auth",
        {"class": f"{OWN}:Counts", "settings": {"most": "7", "limits": [{"at": 3}]}},
        {"class": f"{OWN}:Passes", "settings": {"any": ["thing"]}},
    )
    assert counts.on_request(exchange()) is None
    made = counts._ask.__self__
    assert (made.settings.most, made.settings.limits[0].at, made.ports.route) == (7, 3, "orders")
    assert passes._ask.__self__.settings == {"any": ["thing"]}


def test_T25_why_it_can_not_be_made_is_told_without_its_settings() -> None:
    """The check could make it, and tells no more either: here is what changed since, such as a password."""
    settings = {"key": "postgres://app:hunter2@db", "deeper": [{"password": "hunter2"}], "n": 7, "short": "a"}
    with pytest.raises(ValueError, match=r"route orders: plugin .*:Unmade: .*KeyError") as refused:
        built("after_auth", {"class": f"{OWN}:Unmade", "settings": settings})
    assert "hunter2" not in str(refused.value) and "(hidden)" in str(refused.value)
    assert "a restart" in str(refused.value)


@pytest.mark.parametrize("verdict", [None, NO, TO_SIGN_IN])
def test_a_verdict_is_taken_at_once_and_later(verdict: Outcome) -> None:
    assert judged(lambda exchange: verdict) is verdict
    assert judged(later(lambda exchange: verdict)) is verdict


def test_only_who_waits_leaves_the_fast_path() -> None:
    assert own(lambda exchange: None).on_request(exchange()) is None
    assert own(lambda exchange: NO).on_request(exchange()) is NO


REFUSE, ANSWER, REPLY = (cast(Any, kind) for kind in (Refuse, Answer, Reply))  # made of whatever is given


@pytest.mark.parametrize(
    "nonsense",
    [
        True, False, "ok", b"", 200, [], Reply(200), faults.NO_ROUTE, Refuse,
        Refuse(Fault("fine", 200, "All is well", "client")),
        Refuse(Fault("moved", 302, "Elsewhere", "client")),
        Refuse(Fault('no", "code": "yes', 403, "No", "client")),
        REFUSE(None), REFUSE(faults.NO_ROUTE, b"bytes"), REFUSE(faults.NO_ROUTE, "", ((b"X-A", "text"),)),
        Refuse(faults.NO_ROUTE, "", ((b"X-A", b"a\r\nX-B: b"),)),
        Refuse(faults.NO_ROUTE, "", ((b"X A", b"b"),)),
        ANSWER(None), Answer(Reply(101)), Answer(Reply(999)), Answer(REPLY("200")),
        Answer(REPLY(200, body="text")), Answer(Reply(200, [(b"Content-Length", b"7")])),
        Answer(Reply(200, [(b"Transfer-Encoding", b"chunked")])), ANSWER(Reply(302), "instead"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_verdict_or_can_not_be_sent_refuses(nonsense: Any) -> None:
    assert crashed(judged(lambda exchange: nonsense))
    assert crashed(judged(later(lambda exchange: nonsense)))


def raises(error: BaseException) -> Callable[[Exchange], Any]:
    def asked(exchange: Exchange) -> Any:
        raise error

    return asked


ERRORS = [KeyError("x"), SystemExit(0), asyncio.CancelledError(), TimeoutError(), GeneratorExit()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_whatever_it_raises_refuses(error: BaseException) -> None:
    """Not even sys.exit() ends more than the request."""
    assert crashed(judged(raises(error)))
    if not isinstance(error, GeneratorExit):
        assert crashed(judged(later(raises(error))))


def test_a_way_to_fail_of_its_own() -> None:
    refuse = Refuse(Fault("over_quota", 402, "Nothing left", "client"))
    assert judged(lambda exchange: refuse) is refuse


def test_who_never_comes_to_a_verdict_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "WITHIN", 0.01)

    async def waits(exchange: Exchange) -> Outcome:
        await asyncio.Event().wait()
        return None

    async def holds_on(exchange: Exchange) -> Outcome:
        while len(stubborn) < 2:  # first cancelled by the gateway, then by the end of the test's loop
            try:
                await asyncio.Event().wait()
            except BaseException as error:
                stubborn.append(error)
        return None

    stubborn: list[BaseException] = []
    for asked in (waits, holds_on):
        made = exchange()
        outcome = judged(asked, made)
        assert isinstance(outcome, Refuse) and outcome.fault is faults.POLICY_TIMEOUT
        assert made.why == "mine came to no verdict within 0.01 s"
    assert len(stubborn) == 2


def test_what_it_waits_for_ends_with_the_request() -> None:
    ended: list[bool] = []

    async def waits(exchange: Exchange) -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return None

    async def leave() -> None:
        verdict = own(waits).on_request(exchange())
        assert isinstance(verdict, Awaitable)
        task = asyncio.ensure_future(verdict)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert ended == [True]


@pytest.mark.parametrize("name", ["request_add", "reply_add"])
@pytest.mark.parametrize(
    ("line", "right"),
    [
        (b"X-Plan: pro\r\n", True),
        (b"X-User-Id: somebody\r\n", True),  # at run time it is the operator's own code
        (b"X-A: b\r\nX-C: d\r\n", True),
        (b"X-Plan: pro", False),
        (b"X-Plan: pro\n", False),
        (b"X-Plan\r\n", False),
        (b"X-A: b\r\n\r\n", False),
        (b"X-A: b\r\n\r\nGET / HTTP/1.1\r\n", False),
        (b"X-A: b\nContent-Length: 5\r\n", False),
        (b"Content-Length: 5\r\n", False),
        (b"transfer-encoding: chunked\r\n", False),
        (b"Connection: X-User-Id\r\n", False),
        (b"X-A: \0\r\n", False),
    ],
)
def test_only_whole_lines_are_added(name: str, line: bytes, right: bool) -> None:
    def adds(exchange: Exchange) -> None:
        setattr(exchange, name, getattr(exchange, name) + line)

    for asked in (adds, later(adds)):
        assert crashed(judged(asked)) is not right


@pytest.mark.parametrize("name", ["request_add", "reply_add"])
@pytest.mark.parametrize("now", [b"", b"X-Mine: 1\r\n", "X-User-Id: u1\r\n", None])
def test_what_others_have_added_stays(name: str, now: Any) -> None:
    def forgets(exchange: Exchange) -> None:
        setattr(exchange, name, now)

    for asked in (forgets, later(forgets)):
        assert crashed(judged(asked, exchange(**{name: b"X-User-Id: u1\r\n"})))


def seen(change: Callable[[Reply], Any], status: int = 200) -> Reply:
    reply = Reply(status, [(b"Content-Length", b"3"), (b"X-Debug", b"1")], b"")
    own(on_response=lambda exchange, reply: change(reply)).on_response(exchange(), reply)
    return reply


def test_it_may_change_what_stands_on_a_reply() -> None:
    def change(reply: Reply) -> None:
        reply.status = 418
        reply.headers = [header for header in reply.headers if header[0] != b"X-Debug"]
        reply.headers.append((b"X-Seen", b"yes"))

    assert seen(change) == Reply(418, [(b"Content-Length", b"3"), (b"X-Seen", b"yes")], b"")


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: reply.headers.clear(),
        lambda reply: reply.headers.append((b"content-length", b"4")),
        lambda reply: reply.headers.append((b"Transfer-Encoding", b"chunked")),
        lambda reply: reply.headers.append((b"Connection", b"close")),
        lambda reply: reply.headers.append((b"X-A", b"a\r\nX-B: b")),
        lambda reply: reply.headers.append(("X-A", "text")),
        lambda reply: reply.headers.append((b"X-A",)),
        lambda reply: setattr(reply, "status", 204),
        lambda reply: setattr(reply, "status", 101),
        lambda reply: setattr(reply, "status", 1000),
        lambda reply: setattr(reply, "body", "text"),
        lambda reply: setattr(reply, "headers", None),
        lambda reply: reply,
        lambda reply: asyncio.sleep(0),
        lambda reply: sys.exit(),
        lambda reply: 1 / 0,
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine")
def test_what_would_break_a_reply_raises(change: Callable[[Reply], Any]) -> None:
    with pytest.raises((Unsound, TypeError, AttributeError, ValueError, ZeroDivisionError)):
        seen(change)


def test_a_reply_without_a_body_stays_one() -> None:
    with pytest.raises(Unsound):
        seen(lambda reply: setattr(reply, "status", 200), status=304)


def test_it_has_the_methods_that_the_class_has() -> None:
    assert not hasattr(own(), "on_request") and not hasattr(own(), "on_response")
    lasting = own(lambda exchange: None, lasting=True, idle=True)
    assert (lasting.lasting, lasting.idle) == (True, True)
    for taken in ("forward_credential", "credential_names"):  # they are for authenticate alone
        assert not hasattr(own(lambda exchange: None, **{taken: True}), taken)


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("nowhere:Class", "there is no module nowhere"),
        ("tests.config.own.needs:Class", "needs the module surely_not_installed"),
        ("tests.config.own.raises:Class", "RuntimeError: the licence has expired"),
        ("tests.config.own.exits:Class", "SystemExit"),
        (f"{OWN}:Silent", "is no policy"),
        (f"{OWN}:Late", "async"),
        ("os:getpid", "no class"),
        ("nobody-has-this", "no installed package has an entry point"),
    ],
)
def test_what_is_wrong_with_a_class_is_said(word: str, problem: str) -> None:
    with pytest.raises(BadPlugin, match=problem):
        find(word)


def test_a_generator_is_no_verdict() -> None:
    async def yields(exchange: Exchange) -> AsyncIterator[Verdict]:
        yield None

    assert crashed(judged(yields))
