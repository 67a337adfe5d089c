"""Refreshing: the five rules of rotation, each as one transaction under the lock of the session's row."""

from enum import Enum

import msgspec

from gateway.config.service import Tokens
from gateway.identity import binding, letters, lives, sessions, tokens
from gateway.identity.audit import SESSION_MOVED, TOKEN_REUSED, audit
from gateway.identity.binding import Elsewhere
from gateway.identity.context import Context
from gateway.identity.resolving import proved
from gateway.identity.sessions import AGENT, OpenedSession
from gateway.identity.telling import place, when
from gateway.identity.tokens import Parts
from gateway.identity.web import Asker, Refused
from gateway.model import faults
from gateway.model.agents import family
from gateway.model.credentials import REFRESH
from gateway.store import accounts as users
from gateway.store import sessions as rows
from gateway.store.database import Database
from gateway.store.sessions import Session, WithUser


class Rule(Enum):
    """What is to be done with a refresh token whose MAC holds; the numbers are the rules'."""

    OVER = 1
    ROTATE = 2
    REPEAT = 3
    REUSED = 4
    AHEAD = 5


class Refreshed(msgspec.Struct, frozen=True):
    """A refresh that went well, with what the answer needs."""

    opened: OpenedSession
    row: WithUser
    now: int


def rule_of(settings: Tokens, session: Session, generation: int, agent: str, now: int) -> Rule:
    """The rule that a refresh token of this generation falls under."""
    if not lives.alive(session, now):
        return Rule.OVER
    if generation > session.generation:
        return Rule.AHEAD
    if generation == session.generation:
        return Rule.ROTATE
    if generation < session.generation - 1 or family(agent) != session.family:
        return Rule.REUSED
    seen = session.presented_at
    if seen is None or now < seen + lives.milliseconds(settings.reuse_grace):
        return Rule.REPEAT
    return Rule.REUSED


async def refresh(context: Context, token: str, asker: Asker) -> Refreshed:
    """The next tokens of the session, or the same as before (rule 3). Raises Refused for rules 1, 4 and 5,
    and for who comes from elsewhere than the session is bound to, after what that changes has been committed
    and told to the edges."""
    proven = await _proved(context, token)
    if proven is None:
        raise _refused(context, Rule.OVER)
    parts, row = proven
    elsewhere: Elsewhere | None = None
    async with context.store.locking() as db:
        if _may_end_all(context, parts, row.session):
            await users.locked(db, row.user.user_id)  # before any session's
        session = await rows.locked(db, parts.session)
        if session is None or row.user.locked_at is not None:
            rule = Rule.OVER
        else:
            row = msgspec.structs.replace(row, session=session)
            rule = rule_of(context.settings.tokens, session, parts.generation, asker.agent, db.now)
            if rule in (Rule.ROTATE, Rule.REPEAT):
                elsewhere = await binding.judge_refresh(context, db, session, asker)
            if elsewhere is None:
                row = await _follow(context, db, row, rule, parts, asker)
        now, written = db.now, db.revocations
    if written:
        await context.propagation.settle(written)
    if elsewhere is not None:
        context.counters.count("tokens_refreshed_total", "elsewhere")
        raise elsewhere.refused
    if rule not in (Rule.ROTATE, Rule.REPEAT):
        raise _refused(context, rule)
    context.counters.count("tokens_refreshed_total", "rotated" if rule is Rule.ROTATE else "repeated")
    return Refreshed(sessions.with_tokens(context, row.session), row, now)


def _may_end_all(context: Context, parts: Parts, session: Session) -> bool:
    """Whether this may be a reuse for which all of the user's sessions end: any token but the current one."""
    return context.settings.tokens.on_reuse == "user" and parts.generation != session.generation


async def _proved(context: Context, token: str) -> tuple[Parts, WithUser] | None:
    """The parts of a refresh token of ours, and its session and user as they were. Proved before the lock is
    taken, so that nobody who only knows a session's id can hold it; a session's salt never changes. Under the
    lock the user is not read again: who locks or deletes one ends its sessions in the same transaction."""
    parts = tokens.read(token)
    if parts is None or parts.kind != REFRESH:
        return None
    async with context.store.reading() as db:
        row = await rows.with_user(db, parts.session)
    if row is None or not proved(context, parts, row.session.salt):
        return None
    return parts, row


async def _follow(
    context: Context, db: Database, row: WithUser, rule: Rule, parts: Parts, asker: Asker
) -> WithUser:
    """Do what the rule says, in the transaction; the row as it is afterwards."""
    session = row.session
    if rule is Rule.ROTATE:
        return msgspec.structs.replace(row, session=await rotate(context, db, session, asker))
    if rule is Rule.REPEAT and await _from_elsewhere(db, session, asker):
        await audit(db, SESSION_MOVED, session.user_id, session=session.session_id, asker=asker)
    if rule is Rule.AHEAD:
        await sessions.end(context, db, session, "ahead")
    if rule is Rule.REUSED:
        await _reused(context, db, session, parts, asker)
    return row


async def rotate(context: Context, db: Database, session: Session, asker: Asker) -> Session:
    """The next generation, in the transaction that holds the lock; it is made with the newest secret."""
    settings = context.settings.tokens
    return await rows.rotate(
        db,
        session.session_id,
        key_id=context.secrets.newest,
        access_until=lives.access_until(settings, db.now, session.absolute_until),
        idle_until=lives.idle_until(settings, db.now),
        address=asker.address,
        agent=asker.agent[:AGENT],
        history=settings.history,
    )


async def _from_elsewhere(db: Database, session: Session, asker: Asker) -> bool:
    """Whether who repeats a refresh has another address than who made it first."""
    made = [
        each for each in await rows.history(db, session.session_id) if each.generation == session.generation
    ]
    return (made[0].address if made else session.address) != asker.address


async def _reused(context: Context, db: Database, session: Session, parts: Parts, asker: Asker) -> None:
    """Two have copies of one token: nobody keeps the session, and the owner is told why."""
    await audit(
        db, TOKEN_REUSED, session.user_id, session=session.session_id, asker=asker,
        generation=parts.generation, current=session.generation,
    )  # fmt: skip
    values = {"link": "/auth/sessions", "when": when(db.now), "place": place(asker)}
    user = await users.by_id(db, session.user_id)
    await letters.post(context, db, letters.to_user("reused", user, asker, values))
    if context.settings.tokens.on_reuse == "user":
        await sessions.end_all(context, db, session.user_id, "reuse")
    else:
        await sessions.end(context, db, session, "reuse")


def _refused(context: Context, rule: Rule) -> Refused:
    reused = rule is Rule.REUSED
    context.counters.count("tokens_refreshed_total", "reused" if reused else "invalid")
    return Refused(faults.REFRESH_TOKEN_REUSED if reused else faults.INVALID_REFRESH_TOKEN)
