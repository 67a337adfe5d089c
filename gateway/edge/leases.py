"""Units of shared counts: leased in small batches from the identity service, and spent here.

A unit is good until the window it was counted in ends, reckoned from when the question was sent, on a clock
that runs on while this process is frozen. What is not spent by then is lost; what can't be asked for is
counted as the rule's `on_store_failure` says. At most MOST keys are remembered: what is forgotten to make
room are units, or that there are none, so it lets nobody through who would not have come through.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from gateway.model.clock import boottime
from gateway.model.metrics import Sample
from gateway.model.policy import Spent
from gateway.model.rates import Limit, Rule, batch

ASK_WITHIN = 1.0
ASK_TIMES = 3  # in a row, for units that come too late to be spent
AWAY = 1.0  # seconds that nobody is asked after a question without an answer
MOST = 50_000  # keys, of all rules together; about 20 MB
WAITING = 1000  # requests that wait for one key's units
LONGEST_KEY = 512
_SWEPT = 2  # old keys looked at for each new one
_CANDIDATES = 8
_RESULTS = ("allowed", "refused", "local_allowed", "local_refused", "uncounted", "denied")

Message = dict[str, Any]
Waiter = asyncio.Future[Spent]


class Leased(msgspec.Struct, frozen=True):
    """An answer of the identity service; every time is a duration in seconds."""

    granted: Annotated[int, Meta(ge=0)]
    spend_within: float  # from the sending of the question
    ask_again_in: float  # of nothing: when there may be something
    remaining: Annotated[int, Meta(ge=0)]  # in the shared count
    nearest: Annotated[int, Meta(ge=0)]  # the place of the limit that is nearest to its end
    reset_in: float
    edges: Annotated[int, Meta(ge=1)]


class Asked(Protocol):
    """The link, as far as it is needed here."""

    @property
    def up(self) -> bool: ...
    def ask(self, message: Message, timeout: float) -> "asyncio.Future[Message]": ...


class Bucket:
    """What is held, or known, of one key."""

    __slots__ = (
        "asking", "key", "left", "limit", "local", "refused_until", "resets", "shared", "tries", "units",
        "until", "waiters",
    )  # fmt: skip

    def __init__(self, shared: "SharedCount", key: bytes) -> None:
        self.shared, self.key = shared, key
        self.units = 0
        self.until = 0.0  # when they are lost
        self.refused_until = 0.0
        self.left = 0  # in the shared count, beside those held here, as it was told
        self.resets = 0.0
        self.limit: Limit = shared.rule.limits[0]
        self.asking = False
        self.tries = 0
        self.waiters: deque[Waiter] | None = None
        self.local: list[list[int]] | None = None  # per limit: the window's number, and its count

    def counts_locally(self, now: float) -> bool:
        """Whether it has a count that nobody else knows."""
        return self.local is not None and any(
            window == int(now // limit.seconds)
            for (window, _), limit in zip(self.local, self.shared.rule.limits, strict=True)
        )

    def tells_something(self, now: float) -> bool:
        return bool(self.units and now < self.until) or now < self.refused_until


class SharedCount:
    """The count of one rule: gateway.model.policy.Count."""

    def __init__(self, leases: "Leases", rule: Rule, results: dict[str, int]) -> None:
        self.rule = rule
        self._leases = leases
        self._clock = leases.clock
        self._link = leases.link
        self._results = results
        self._amounts = [limit.amount for limit in rule.limits]
        self._question: Message = {
            "t": "lease", "rule": rule.name, "algorithm": rule.algorithm,
            "limits": [(limit.amount, limit.seconds) for limit in rule.limits],
        }  # fmt: skip
        self.held: dict[bytes, Bucket] = {}
        self.others = Bucket(self, b"*")  # of keys for which there is no room

    # Asked by policies

    def spend(self, key: bytes) -> Spent | Awaitable[Spent]:
        bucket = self.held.get(key)
        if bucket is None:
            return self._ask(self._leases.make(self, key))
        now = self._clock()
        if bucket.units and now < bucket.until:
            bucket.units = units = bucket.units - 1
            self._results["allowed"] += 1
            return Spent(True, bucket.left + units, bucket.resets - now, bucket.limit)
        if now < bucket.refused_until:
            self._results["refused"] += 1
            return Spent(False, 0, bucket.refused_until - now, bucket.limit)
        return self._ask(bucket)

    # Asking: one question at a time for a key, which all who wait share

    def _ask(self, bucket: Bucket) -> Spent | Awaitable[Spent]:
        now = self._clock()
        if not self._leases.reachable(now):
            return self._uncounted(bucket, now)
        if bucket.waiters is None:
            bucket.waiters = deque()
        elif len(bucket.waiters) >= WAITING:
            self._results["refused"] += 1
            return Spent(False, 0, 1.0, bucket.limit)
        waiter: Waiter = self._leases.loop.create_future()
        bucket.waiters.append(waiter)
        if not bucket.asking:
            bucket.tries = 0
            self._send(bucket, now)
        return waiter

    def _send(self, bucket: Bucket, now: float) -> None:
        want = batch(self._amounts, self.rule.algorithm, self._leases.edges)
        answer = self._link.ask({**self._question, "key": _text(bucket.key), "want": want}, ASK_WITHIN)
        bucket.asking = True
        bucket.tries += 1
        answer.add_done_callback(partial(self._answered, bucket, now, self._leases.epoch))

    def _answered(self, bucket: Bucket, sent: float, epoch: int, answer: "asyncio.Future[Message]") -> None:
        bucket.asking = False
        now = self._clock()
        said = self._read(answer)
        if said is None or epoch != self._leases.epoch:
            self._leases.unanswered(now, epoch)
            self._give_up(bucket, now)
            return
        self._leases.edges = said.edges
        bucket.limit = self.rule.limits[said.nearest]
        bucket.left, bucket.resets = said.remaining, sent + said.reset_in
        if said.granted == 0:
            bucket.refused_until = now + said.ask_again_in
            self._tell_all(bucket, Spent(False, 0, said.ask_again_in, bucket.limit), "refused")
            return
        bucket.units, bucket.until = said.granted, sent + said.spend_within
        if now < bucket.until:
            bucket.tries = 0
            self._hand_out(bucket, now)
        else:
            bucket.units = 0  # counted in a window that is over
        if not bucket.waiters:
            bucket.waiters = None
        elif bucket.tries < ASK_TIMES:
            self._send(bucket, now)
        else:
            self._give_up(bucket, now)

    def _read(self, answer: "asyncio.Future[Message]") -> Leased | None:
        """None for whatever is no lease: then nobody knows what was counted."""
        if answer.cancelled() or answer.exception() is not None:
            return None
        said = answer.result()
        if said.get("outcome") != "leased":
            return None
        try:
            leased = msgspec.convert(said, Leased)
        except msgspec.ValidationError:
            return None
        return leased if leased.nearest < len(self.rule.limits) else None

    def _hand_out(self, bucket: Bucket, now: float) -> None:
        waiters = bucket.waiters
        while waiters and bucket.units:
            waiter = waiters.popleft()
            if not waiter.done():  # its client may have gone
                bucket.units -= 1
                self._results["allowed"] += 1
                left = bucket.left + bucket.units
                waiter.set_result(Spent(True, left, bucket.resets - now, bucket.limit))
        if self.rule.algorithm == "moving_window":
            bucket.units = 0  # exact: what nobody takes now is not for later

    def _tell_all(self, bucket: Bucket, spent: Spent, result: str) -> None:
        waiters, bucket.waiters = bucket.waiters or (), None
        for waiter in waiters:
            if not waiter.done():
                self._results[result] += 1
                waiter.set_result(spent)

    # The shared count is out of reach

    def _give_up(self, bucket: Bucket, now: float) -> None:
        waiters, bucket.waiters = bucket.waiters or (), None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(self._uncounted(bucket, now))

    def _uncounted(self, bucket: Bucket, now: float) -> Spent:
        """As `on_store_failure` says."""
        how = self.rule.on_store_failure
        if how == "local":
            return self._count_here(bucket, now)
        self._results["uncounted" if how == "allow" else "denied"] += 1
        return Spent(how == "allow", 0, AWAY, bucket.limit, known=False)

    def _count_here(self, bucket: Bucket, now: float) -> Spent:
        """This edge's share of each limit, in aligned windows; at least one."""
        limits, edges = self.rule.limits, self._leases.edges
        if bucket.local is None:
            bucket.local = [[0, 0] for _ in limits]
        left = []
        for count, limit in zip(bucket.local, limits, strict=True):
            window = int(now // limit.seconds)
            if count[0] != window:
                count[0], count[1] = window, 0
            left.append(max(1, limit.amount // edges) - count[1])
        nearest = limits[left.index(min(left))]
        allowed = min(left) > 0
        self._results["local_allowed" if allowed else "local_refused"] += 1
        for count in bucket.local if allowed else ():
            count[1] += 1
        reset = nearest.seconds - now % nearest.seconds
        return Spent(allowed, max(0, min(left) - 1), reset, nearest, known=False)


class Leases:
    """One per worker: gateway.model.policy.Leases. What it counts outlives reloads."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        link: Asked,
        *,
        clock: Callable[[], float] = boottime,
        most: int = MOST,
    ) -> None:
        self.loop, self.link, self.clock = loop, link, clock
        self.edges = 1  # that share a count: as told last
        self.epoch = 0  # of the link
        self._most = most
        self._away_until = 0.0
        self._counts: dict[Rule, SharedCount] = {}
        self._results: dict[str, dict[str, int]] = {}
        self._queue: deque[Bucket] = deque()  # all that are remembered, those not looked at for longest first

    def __len__(self) -> int:
        return len(self._queue)

    def of(self, rule: Rule) -> SharedCount:
        count = self._counts.get(rule)
        if count is None:
            results = self._results.setdefault(rule.name, dict.fromkeys(_RESULTS, 0))
            count = self._counts[rule] = SharedCount(self, rule, results)
        return count

    def begin_afresh(self) -> None:
        """A new link: whoever counts now may know nothing of what was leased."""
        self.epoch += 1
        self._away_until = 0.0
        for bucket in self._queue:
            bucket.shared.held.pop(bucket.key, None)
        self._queue.clear()
        for count in self._counts.values():
            count.others = Bucket(count, b"*")

    def reachable(self, now: float) -> bool:
        return self.link.up and now >= self._away_until

    def unanswered(self, now: float, epoch: int) -> None:
        if epoch == self.epoch:
            self._away_until = now + AWAY

    def make(self, count: SharedCount, key: bytes) -> Bucket:
        """A place for a new key; where there is none, that of all others."""
        now = self.clock()
        for _ in range(min(_SWEPT, len(self._queue))):
            self._look_at_oldest(now)
        if len(self._queue) >= self._most and not self._evict(now):
            return count.others
        bucket = count.held[key] = Bucket(count, key)
        self._queue.append(bucket)
        return bucket

    def _look_at_oldest(self, now: float) -> None:
        bucket = self._queue.popleft()
        if bucket.tells_something(now) or self._has_to_stay(bucket, now):
            self._queue.append(bucket)
        else:
            del bucket.shared.held[bucket.key]

    def _evict(self, now: float) -> bool:
        """Forget the oldest that may be forgotten; its units are lost."""
        for _ in range(min(_CANDIDATES, len(self._queue))):
            bucket = self._queue.popleft()
            if not self._has_to_stay(bucket, now):
                del bucket.shared.held[bucket.key]
                return True
            self._queue.append(bucket)
        return False

    def _has_to_stay(self, bucket: Bucket, now: float) -> bool:
        """Somebody waits for it; or what is counted here is counted nowhere else."""
        return bucket.asking or (
            bucket.local is not None and not self.reachable(now) and bucket.counts_locally(now)
        )

    def samples(self) -> Iterator[Sample]:
        for name, results in self._results.items():
            for result, count in results.items():
                if count:
                    yield Sample("rate_limit_total", (name, result), count)


def _text(key: bytes) -> str:
    """As it goes over the link: a long one by its digest."""
    return key.decode("latin-1") if len(key) <= LONGEST_KEY else hashlib.sha256(key).hexdigest()
