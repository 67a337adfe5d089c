"""The edge's cache of identities: credential → who it is, kept true by the link to the identity service.

A hit is a plain call. What is not known is asked, once for all who wait for it; what was refused is
remembered for a moment. Nothing here outlives what the link vouches for (DESIGN 6): a lease compared by
CLOCK_BOOTTIME at each request, since a process that was frozen can't trust its timers.
"""

import asyncio
import logging
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.edge.guessers import Guessers
from gateway.edge.mismatches import Mismatches
from gateway.edge.renewals import Renewals
from gateway.link.client import Link, LinkDown
from gateway.link.client import now as boottime
from gateway.model import credentials, faults
from gateway.model.exchange import Exchange
from gateway.model.identity import BadCredential, Identified, Identity, header_block
from gateway.model.metrics import DURATIONS, Sample
from gateway.model.policy import Resolution
from gateway.model.verdict import Refuse

if TYPE_CHECKING:
    from gateway.config.snapshot import Identity as Settings

log = logging.getLogger(__name__)

QUIET = 1.5  # seconds without an answer on the link, after which it is asked before the cache is used
ASK_WITHIN = 5.0
REFUSED_FOR = 5.0  # seconds that a refused credential is remembered
MOST_REFUSED = 20_000
NEWS_KEPT = 60.0  # seconds that revocations are kept, to discard older answers
ASK_AGAIN = 3  # times that an answer older than the news is asked for anew
RENEW_AGAIN = 5.0

_RETRY = ((b"Retry-After", b"1"),)
UNAVAILABLE = Refuse(faults.IDENTITY_UNAVAILABLE, headers=_RETRY)
_GUESSING = Refuse(faults.GUESSING, headers=((b"Retry-After", b"10"),))
_BAD = BadCredential()
_to_json = msgspec.json.Encoder().encode


class News(msgspec.Struct, frozen=True):
    """A revocation or change, as the link told it. Neither session nor user: it concerns everybody."""

    number: int
    kind: str  # revoked, changed
    session: str = ""
    user: str = ""

    def concerns(self, identity: Identity) -> bool:
        if self.session:
            return identity.session == self.session
        return not self.user or identity.id == self.user


class Identities:
    """One per worker; its settings follow the configuration."""

    def __init__(self, link: Link, settings: "Settings") -> None:
        self.link = link
        self.asked = self.known = self.stale = 0  # for the metrics: questions, good answers, stale hits
        self._seconds = 0.0
        self._durations = [0] * (len(DURATIONS) + 1)
        self._entries: dict[bytes, Identified] = {}
        self._by_session: dict[str, set[bytes]] = {}
        self._by_user: dict[str, set[bytes]] = {}
        # by kind too: what is no bearer may be a good cookie
        self._refused: dict[tuple[str, bytes], tuple[float, BadCredential]] = {}
        self._asking: dict[tuple[str, bytes], asyncio.Task[Resolution]] = {}
        self._renewals = Renewals(link)
        self._mismatches = Mismatches(link)
        self.mismatched = self._mismatches.tell  # see Ports
        self._news: deque[tuple[float, News]] = deque()
        self._guessers = Guessers()
        self._settings = settings
        self._most = settings.cache

    def use(self, settings: "Settings") -> None:
        """Another configuration: if it says otherwise of identities, their header blocks are made anew."""
        if settings != self._settings:
            self._settings = settings
            self._most = settings.cache
            self.clear()

    def close(self) -> None:
        self._mismatches.close()

    def __len__(self) -> int:
        return len(self._entries)

    # Asked by policies

    def resolve(self, kind: str, credential: bytes, exchange: Exchange) -> Resolution | Awaitable[Resolution]:
        """From the cache at once, if the link vouches for it and nothing is due."""
        key = sha256(credential).digest()
        entry = self._entries.get(key)
        if entry is None:
            return self._unknown(kind, credential, key, exchange)
        now = boottime()
        if now - self.link.last_answer > QUIET:
            return self._doubtful(kind, credential, key, exchange)
        if now >= entry.due or entry.kind != kind:
            return self._due(entry, kind, credential, key, exchange)
        entry.used = True
        return entry

    def _unknown(
        self, kind: str, credential: bytes, key: bytes, exchange: Exchange
    ) -> Resolution | Awaitable[Resolution]:
        """Not in the cache: what can't be a credential, or was refused just now, need not be asked."""
        if credential[:2] == b"ps" and not credentials.plausible(credential.decode("latin-1")):
            return _BAD
        refused = self._refused.get((kind, key))
        if refused is not None:
            if boottime() < refused[0]:
                return refused[1]
            del self._refused[kind, key]
        if self._guessers.is_slowed(exchange.client, boottime()):
            return _GUESSING
        if not self.link.up:
            return UNAVAILABLE
        return self._ask(kind, credential, key, exchange)

    async def _ask(self, kind: str, credential: bytes, key: bytes, exchange: Exchange) -> Resolution:
        """One question for all who wait for the same credential; nobody's going away ends it for others."""
        task = self._asking.get((kind, key))
        if task is None:
            agent = (exchange.noted.get(b"user-agent") or b"").decode("utf-8", "replace")
            client = exchange.client.decode("ascii", "replace")
            task = asyncio.ensure_future(self._question(kind, credential, key, client, agent))
            self._asking[kind, key] = task
            task.add_done_callback(lambda done: self._asking.pop((kind, key), None))
        found = await asyncio.shield(task)
        if not isinstance(found, Identified):
            return found
        # news may have come between the answer and this line
        return found if self.current(found.identity, found.known) else UNAVAILABLE

    async def _question(
        self, kind: str, credential: bytes, key: bytes, client: str, agent: str
    ) -> Resolution:
        message = {"t": "resolve", "kind": kind, "credential": credential.decode("latin-1"),
                   "address": client, "agent": agent, "stream": False}  # fmt: skip
        began = boottime()
        answer = await self._answer(message)
        took = boottime() - began
        self.asked += 1
        self._seconds += took
        self._durations[bisect_left(DURATIONS, took)] += 1
        outcome = answer.get("outcome") if answer is not None else None
        if outcome == "identified":
            assert answer is not None
            self.known += 1
            return self._keep(kind, key, answer, began)
        if outcome == "bad":
            assert answer is not None
            bad = BadCredential(str(answer.get("session") or ""))
            self._remember_refused(kind, key, bad)
            if answer.get("code") != "token_expired":
                self._guessers.guessed(client.encode(), boottime())
            return bad
        return UNAVAILABLE

    async def _answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The service's answer, none older than the news that concern it; None when there is none in time."""
        for _ in range(ASK_AGAIN):
            settings = self._settings
            try:
                answer = await self.link.ask(message, ASK_WITHIN)
            except (LinkDown, TimeoutError):
                return None
            if answer.get("outcome") != "identified":
                return answer
            if settings is self._settings and not self._outdated(answer):
                return answer
        return None

    def _outdated(self, answer: dict[str, Any]) -> bool:
        """T41: an answer read before a revoke, and delivered after it."""
        return not self.current(msgspec.convert(answer["identity"], Identity), answer.get("as_of", -1))

    def current(self, identity: Identity, known: int) -> bool:
        return not any(news.number > known and news.concerns(identity) for _, news in self._news)

    # Keeping

    def _keep(self, kind: str, key: bytes, answer: dict[str, Any], asked: float) -> Identified:
        """What remains counts from the asking: however long the answer took, nothing outlives its time."""
        identity = msgspec.convert(answer["identity"], Identity)
        expires = asked + float(answer.get("expires_in") or 0.0)
        renew_in = answer.get("renew_in")
        due = expires if renew_in is None else min(expires, asked + float(renew_in))
        entry = Identified(
            identity, kind, self._block(identity), log_fields(identity), expires, due,
            answer.get("as_of", -1), self.link.epoch, asked - identity.proved,
        )  # fmt: skip
        if self._most == 0:
            return entry
        if key in self._entries:
            self._drop(key)
        elif len(self._entries) >= self._most:
            self._make_room()
        self._entries[key] = entry
        self._by_user.setdefault(identity.id, set()).add(key)
        if identity.session:
            self._by_session.setdefault(identity.session, set()).add(key)
        return entry

    def _block(self, identity: Identity) -> bytes:
        return header_block(identity, self._settings.headers, self._settings.forward_meta)

    def _make_room(self) -> None:
        """Second chance: the oldest that nobody has used since it was last looked at goes."""
        entries = self._entries
        for key in list(entries)[: max(16, len(entries) // 16)]:
            entry = entries[key]
            if entry.used:
                entry.used = False
                entries[key] = entries.pop(key)
            else:
                self._drop(key)
                return
        self._drop(next(iter(entries)))

    def _drop(self, key: bytes) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        identity = entry.identity
        for index, name in ((self._by_user, identity.id), (self._by_session, identity.session)):
            keys = index.get(name)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del index[name]

    def _remember_refused(self, kind: str, key: bytes, bad: BadCredential) -> None:
        if len(self._refused) >= MOST_REFUSED:
            self._refused.clear()
        self._refused[kind, key] = (boottime() + REFUSED_FOR, bad)

    def begin_afresh(self) -> None:
        """After a reconnect: whatever happened meanwhile, nobody told; numbers of news may begin anew."""
        self._news.clear()
        self.clear()

    def clear(self) -> None:
        self._entries.clear()
        self._by_session.clear()
        self._by_user.clear()
        self._refused.clear()

    def drop(self, news: News) -> None:
        """Forget whom it concerns; and for a minute discard older answers about them."""
        now = boottime()
        while self._news and self._news[0][0] < now - NEWS_KEPT:
            self._news.popleft()
        self._news.append((now, news))
        if news.session:
            keys = list(self._by_session.get(news.session, ()))
        elif news.user:
            keys = list(self._by_user.get(news.user, ()))
        else:
            keys = list(self._entries)
        for key in keys:
            self._drop(key)

    def samples(self, identified: int) -> Iterator[Sample]:
        """A hit is whoever was identified without a question, and with the link's word."""
        yield Sample("identity_cache", ("miss",), self.asked)
        yield Sample("identity_cache", ("stale",), self.stale)
        yield Sample("identity_cache", ("hit",), max(0, identified - self.known - self.stale))
        yield Sample("identities_cached", (), len(self._entries))
        yield Sample("resolve_duration_seconds", (), 0.0, tuple(self._durations), self._seconds)
        yield Sample("link_up", (), float(self.link.up))

    # The link is late or down

    async def _doubtful(self, kind: str, credential: bytes, key: bytes, exchange: Exchange) -> Resolution:
        """Nothing was heard for a while: ask for a sign of life, so that news on their way come first."""
        if self.link.up and await self.link.fresh():
            entry = self._entries.get(key)
            if entry is None or boottime() >= entry.due or entry.kind != kind:
                found = (
                    self._unknown(kind, credential, key, exchange)
                    if entry is None
                    else self._due(entry, kind, credential, key, exchange)
                )
                return found if isinstance(found, Identified | BadCredential | Refuse) else await found
            return entry
        entry = self._entries.get(key)
        if entry is None or entry.kind != kind or boottime() >= entry.expires:
            return UNAVAILABLE
        if not self.vouched(entry, exchange.route.serve_stale):
            return UNAVAILABLE
        self.stale += 1
        return entry

    def vouched(self, entry: Identified, serve_stale: float) -> bool:
        """Whether it may still be used: within the lease, and the route's `serve_stale` after it."""
        now, link = boottime(), self.link
        return now < link.lease or now < min(entry.expires, link.lease + min(serve_stale, link.token_ttl))

    # Renewal

    def _due(
        self, entry: Identified, kind: str, credential: bytes, key: bytes, exchange: Exchange
    ) -> Resolution | Awaitable[Resolution]:
        if entry.kind != kind:
            return _BAD  # T30: a token of one kind in another's place
        if kind == "external" or boottime() >= entry.expires:  # an issuer may have withdrawn its key
            self._drop(key)
            return self._unknown(kind, credential, key, exchange)
        if exchange.forward_auth:
            entry.used = True
            return entry  # it is good until it expires; its successor could not reach the browser
        return self._rotate(entry, credential, exchange)

    async def _rotate(self, entry: Identified, cookie: bytes, exchange: Exchange) -> Resolution:
        """The cookie's time has come: the reply brings its successor; if that fails, the next one's will."""
        answer = await self._renewals.renewed(cookie, exchange, bearer=False)
        if answer is not None:
            exchange.answer_with(b"Set-Cookie: " + answer["set_cookie"].encode("ascii"))
        # whoever still sends this one gets the same successor again, but not with each reply
        entry.due = min(entry.expires, boottime() + RENEW_AGAIN)
        return entry

    async def renew(self, cookie: bytes, exchange: Exchange) -> bool:
        """A fresh access token for the session of this cookie, on the reply."""
        if exchange.forward_auth:
            return False
        answer = await self._renewals.renewed(cookie, exchange, bearer=True)
        token = answer.get("access_token") if answer is not None else None
        if answer is None or not token:
            return False
        exchange.answer_with(
            b"X-Access-Token: " + token.encode("ascii"),
            b"X-Access-Token-Expires-In: %d" % int(answer.get("expires_in") or 0),
        )
        return True

    # Streams: who is behind one that is open

    async def of_stream(self, kind: str, credential: bytes, client: str) -> Resolution:
        """The session's identity as it is now; its credential's own end does not count any more."""
        message = {"t": "resolve", "kind": kind, "credential": credential.decode("latin-1"),
                   "address": client, "agent": "", "stream": True}  # fmt: skip
        began = boottime()
        answer = await self._answer(message)
        outcome = answer.get("outcome") if answer is not None else None
        if outcome == "identified":
            assert answer is not None
            identity = msgspec.convert(answer["identity"], Identity)
            expires = began + float(answer.get("expires_in") or 0.0)
            return Identified(
                identity, kind, self._block(identity), log_fields(identity), expires,
                known=answer.get("as_of", -1), epoch=self.link.epoch, proved_at=began - identity.proved,
            )  # fmt: skip
        return _BAD if outcome == "bad" else UNAVAILABLE

    def missed(self, who: Identified) -> str:
        """Of what came since, and concerns it: `revoked`, `changed` (so counts a reconnect), or nothing."""
        if who.epoch != self.link.epoch:
            return "changed"
        told = [news for _, news in self._news if news.number > who.known]
        kinds = {news.kind for news in told if news.concerns(who.identity)}
        if not kinds:
            who.known = self.link.known
        return "revoked" if "revoked" in kinds else "".join(kinds)

    def touched(self) -> list[str]:
        """Sessions used since this was asked last: their idle time begins anew."""
        used = [entry for entry in self._entries.values() if entry.used and entry.identity.session]
        for entry in used:
            entry.used = False
        return list({entry.identity.session for entry in used})


def log_fields(identity: Identity) -> bytes:
    fields = {"user": identity.id}
    if identity.session:
        fields["session"] = identity.session
    return b"," + _to_json(fields)[1:-1]
