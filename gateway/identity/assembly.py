"""Puts the parts of the identity service together: for its process, for the command line, for tests."""

import logging
import time
from collections.abc import Callable, Sequence

from gateway.config.service import Service
from gateway.identity import binding
from gateway.identity import secrets as master
from gateway.identity.assertions import assertion
from gateway.identity.carrying import fit_out, let_go
from gateway.identity.context import Context
from gateway.identity.counters import Counters
from gateway.identity.edge_book import EdgeBook
from gateway.identity.foreign_hashes import SCHEMES
from gateway.identity.hooks import Hooks
from gateway.identity.issuers import Issuers
from gateway.identity.keys import Keys
from gateway.identity.leasing import Leasing
from gateway.identity.limits import Limits
from gateway.identity.outbox import Outbox
from gateway.identity.passwords import Passwords
from gateway.identity.propagation import Propagation
from gateway.identity.renewing import renew_for_link
from gateway.identity.resolving import resolve
from gateway.identity.sessions import touch
from gateway.identity.tokens import Tokens
from gateway.link import frames
from gateway.link.questions import Assert, Lease, Mismatch
from gateway.store import outbox as outbox_rows
from gateway.store import revocations
from gateway.store import sessions as session_rows
from gateway.store.database import Store
from gateway.store.limiters import Counts, Limiters
from gateway.store.revocations import Revocation

log = logging.getLogger(__name__)
# What a running service can't change: it is built around them.
FIXED = ("secrets", "database_url", "redis_url", "data", "migrate")


class ServiceLog:
    """The log as the parts of floor 3 want it: what is given by name becomes fields."""

    def info(self, message: str, **fields: object) -> None:
        log.info(message, extra=fields)

    def warning(self, message: str, **fields: object) -> None:
        log.warning(message, extra=fields)


class Log:
    """The revocations, as propagation reads them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def end(self) -> int:
        async with self._store.reading() as db:
            return await revocations.end(db)

    async def after(self, sequence: int, window: int) -> Sequence[Revocation]:
        async with self._store.reading() as db:
            return await revocations.after(db, sequence, window)


class LinkService:
    """What edges ask: gateway.link.server.Service."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # apart from what Limits counts: a flood of addresses at a route leaves lockouts as they are
        self._leasing = Leasing(Counts(), lambda: context.propagation.edge_count)
        context.leasing = self._leasing

    async def resolve(
        self, kind: str, credential: str, address: str, agent: str, stream: bool
    ) -> frames.Message:
        return await resolve(self._context, kind, credential, address, agent, stream)

    async def renew(self, credential: str, bearer: bool, address: str, agent: str) -> frames.Message:
        return await renew_for_link(self._context, credential, bearer, address, agent)

    async def touch(self, sessions: list[tuple[str, float]]) -> None:
        await touch(self._context, sessions)

    def lease_now(self, question: Lease) -> frames.Message | None:
        return self._leasing.now(question)

    async def lease(self, question: Lease) -> frames.Message:
        return await self._leasing.later(question)

    async def assertion(self, question: Assert) -> frames.Message:
        return await assertion(self._context, question)

    async def mismatch(self, question: Mismatch) -> frames.Message:
        return await binding.mismatch(self._context, question)


async def assemble(
    settings: Service,
    clock: Callable[[], float] = time.time,
    book: EdgeBook | None = None,
    hooks: Hooks | None = None,
) -> Context:
    """Everything, ready to serve; what is wrong with secrets or database is raised as they tell it. The
    command line, which stands for the operator, asks no hooks."""
    secrets = master.load(settings, ServiceLog())
    store = await Store.open(settings.database_url, settings.migrate, clock)
    try:
        async with store.reading() as db:
            secrets.require(await session_rows.key_ids(db))
            secrets.require(await outbox_rows.key_ids(db))
        keys = Keys(settings, secrets)
        await keys.tend(store)
        counters = Counters()
        propagation = Propagation(
            Log(store),
            settings.tokens.access_ttl,
            book=book,
            observe=lambda seconds: counters.observe("revocation_propagation_seconds", seconds),
        )
        await propagation.start()
        limits = Limits(Limiters(), settings)
        outbox = Outbox(store, secrets, counters)
        fit_out(outbox, store, settings)
        return Context(
            settings,
            store,
            secrets,
            keys,
            Tokens(secrets),
            Passwords(settings, others=SCHEMES),
            propagation,
            limits,
            counters,
            outbox,
            Issuers(settings),
            hooks or Hooks(),
        )
    except BaseException:
        await store.close()
        raise


async def dismantle(context: Context) -> None:
    context.issuers.close()
    await context.propagation.close()
    context.passwords.close()
    await let_go(context.outbox)
    await context.store.close()


def reconfigure(context: Context, settings: Service) -> None:
    """Go on with other settings; raises ValueError, and changes nothing, where that needs a restart."""
    fixed = [name for name in FIXED if getattr(settings, name) != getattr(context.settings, name)]
    if fixed:
        raise ValueError(f"identity: {', '.join(fixed)} can't change while it runs; restart it")
    context.keys.use(settings, context.secrets)
    context.issuers.use(settings)
    context.passwords.use(settings)
    context.limits.use(settings)
    fit_out(context.outbox, context.store, settings)
    context.propagation.token_ttl = settings.tokens.access_ttl
    context.settings = settings
