"""What each policy said of one request: the route's judges, wrapped, while the chain knows of nothing."""

from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import TYPE_CHECKING

from gateway.model.clock import boottime
from gateway.model.credentials import redacted
from gateway.model.exchange import Exchange
from gateway.model.faults import POLICY_CRASHED
from gateway.model.identity import Identified
from gateway.model.verdict import Outcome, Refuse, Verdict

if TYPE_CHECKING:
    from gateway.edge.live import Route

Judge = Callable[[Exchange], Verdict]


class Step:
    """One policy's turn."""

    def __init__(self, place: int, name: str, exchange: Exchange) -> None:
        self.place, self.name = place, name
        self.outcome: Outcome = None
        self.waited = False
        self.unknown = ""  # why its verdict can't be known
        self.notes: list[str] = []
        self._before = _state(exchange)

    def end(self, exchange: Exchange, outcome: Outcome) -> None:
        self.outcome = outcome
        self.notes += _changes(self._before, _state(exchange))
        if self.name == "authenticate" and outcome is None and exchange.who is None:
            self.notes.append("nobody is signed in, and nobody has to be")

    def crash(self, error: Exception) -> None:
        self.outcome = Refuse(POLICY_CRASHED)
        self.notes.append(redacted(f"it raised {error!r}"))


class Trace:
    """The turns of the one request that is rehearsed, in their order."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def watch(self, routes: "Iterable[Route]") -> None:
        """From here on, hear what the policies of these routes say."""
        for route in routes:
            names = route.judge_names
            route.judges = tuple(
                _Watched(self, place, name, judge)
                for place, (name, judge) in enumerate(zip(names, route.judges, strict=True))
            )

    def note(self, text: str, of: str = "") -> None:
        """Something that a policy has asked for, or met: the one whose turn it is, or that of this name."""
        for step in reversed(self.steps):
            if of in ("", step.name):
                step.notes.append(text)
                return

    def unknown(self, why: str) -> None:
        """What the policy whose turn it is needs can't be found out: what it says does not count."""
        if self.steps:
            self.steps[-1].unknown = why


class _Watched:
    """A judge of a route, in the place of the real one, which it asks."""

    def __init__(self, trace: Trace, place: int, name: str, judge: Judge) -> None:
        self._trace, self._place, self._name, self._judge = trace, place, name, judge

    def __call__(self, exchange: Exchange) -> Verdict:
        step = Step(self._place, self._name, exchange)
        self._trace.steps.append(step)
        try:
            verdict = self._judge(exchange)
        except Exception as error:
            step.crash(error)
            raise
        if isawaitable(verdict):
            return self._wait(step, exchange, verdict)
        step.end(exchange, verdict)
        return verdict

    async def _wait(self, step: Step, exchange: Exchange, verdict: Awaitable[Outcome]) -> Outcome:
        step.waited = True
        try:
            outcome = await verdict
        except Exception as error:
            step.crash(error)
            raise
        step.end(exchange, outcome)
        return outcome


_State = tuple[Identified | None, bytes, bytes, int, str]


def _state(exchange: Exchange) -> _State:
    return exchange.who, exchange.request_add, exchange.reply_add, exchange.body_limit, exchange.why


def _changes(before: _State, after: _State) -> list[str]:
    """What a policy did to the request, in words."""
    notes = []
    who = after[0]
    if who is not None and who is not before[0]:
        notes.append(f"{_person(who)}, by {who.kind.replace('_', ' ')}")
        if who.due <= boottime():
            notes.append("its cookie is due: a worker that knows it already brings the next one on the reply")
    for what, old, new in (
        ("to the upstream", before[1], after[1]),
        ("to the reply", before[2], after[2]),
    ):
        if new != old:
            added = new.removeprefix(old) if new.startswith(old) else new
            notes.append(f"adds {what}: {', '.join(names_of(added))}")
    if after[3] != before[3]:
        notes.append(f"a body of at most {after[3]:,} bytes")
    if after[4] != before[4]:
        notes.append(redacted(after[4]))
    return notes


def _person(who: Identified) -> str:
    identity = who.identity
    said = [f"{identity.kind} {identity.id}", f"level {identity.level}"]
    if identity.session:
        said.insert(1, f"session {identity.session}")
    if identity.roles:
        said.append(f"roles {', '.join(identity.roles)}")
    return ", ".join(said)


def names_of(block: bytes) -> list[str]:
    """Of a block of header lines."""
    names = [line.partition(b":")[0].decode("ascii", "replace") for line in block.split(b"\r\n") if line]
    return list(dict.fromkeys(names))
