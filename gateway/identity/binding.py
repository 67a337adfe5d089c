"""Binding: a session belongs to where its owner proved themselves; who comes from elsewhere is not let by."""

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gateway.identity import lives, resolving, sessions
from gateway.identity.audit import SESSION_MISMATCH, SESSION_REBOUND, audit
from gateway.identity.context import Context
from gateway.identity.web import Asker, Refused, challenge
from gateway.model import faults
from gateway.model.agents import family
from gateway.model.binding import AGENT, EXACT, What, differing, place_of, version
from gateway.store import sessions as rows
from gateway.store.faults import StoreUnavailable
from gateway.store.sessions import Session

if TYPE_CHECKING:
    from gateway.link.questions import Mismatch
    from gateway.store.database import Database

Act = Literal["log", "step_up", "strict"]
_ACTS: dict[str, Act] = {"log": "log", "step_up": "step_up", "strict": "strict"}
_ADDRESS = 64
_NAME = 100  # characters of a route's name that are kept
ENDED = "binding"  # why a session has ended


class Elsewhere(msgspec.Struct, frozen=True):
    """A refresh is refused, since it came from another place or program."""

    act: Act

    @property
    def refused(self) -> Refused:
        came = "It came from another place or program than the sign-in"
        if self.act == "strict":
            detail = f"{came}, so the session has ended. Sign in again."
            return Refused(faults.BINDING_CHANGED, detail, challenge("invalid_token"))
        detail = (
            f"{came}. Prove from here that it is you (POST /reauth, with an access token that is still good "
            "or with the cookie), or sign in again."
        )
        return Refused(faults.BINDING_CHANGED, detail, challenge("insufficient_user_authentication"))


async def mismatch(context: Context, question: "Mismatch") -> dict[str, Any]:
    """The link's question. An edge says from where a request came, but it has to show the request's own
    credential (T42), and what it says must differ from what is known here: its cache may be old."""
    opens = resolving.OPENS.get(question.kind)
    act = _ACTS.get(question.act)
    if opens is None or act is None:
        return {"outcome": "bad"}
    asker = Asker(question.address[:_ADDRESS], question.agent[:AGENT])
    said = {"act": act, "on": "request", "route": question.route[:_NAME]}
    try:
        # as for a stream: that the token has expired on the way from the edge is no reason to let it go
        found = await resolving.look(context, opens, question.credential, stream=True)
        if isinstance(found, resolving.Bad):
            return {"outcome": "bad"}
        done = _end if act == "strict" else _note
        return {"outcome": await done(context, found.session, question.what, asker, said)}
    except StoreUnavailable:
        return {"outcome": "unavailable"}


async def _note(
    context: Context, session: Session, seen: list[str], asker: Asker, said: dict[str, str]
) -> str:
    what = _really(seen, session, asker)
    if not what:
        return "same"
    if _is_new(context, session, asker):
        try:
            async with context.store.writing() as db:
                await _tell(db, session, asker, what, said)
        except BaseException:
            context.mismatches.forget(session.session_id, place_of(asker.address, asker.agent))
            raise
    return "noted"


async def _end(
    context: Context, session: Session, seen: list[str], asker: Asker, said: dict[str, str]
) -> str:
    """When this is over, so is the session, on every edge that can be reached."""
    async with context.store.locking() as db:
        held = await rows.locked(db, session.session_id)
        if held is None or not lives.alive(held, db.now):
            return "bad"
        what = _really(seen, held, asker)
        if not what:
            return "same"
        await sessions.end(context, db, held, ENDED)
        await _tell(db, held, asker, what, said)
    await context.propagation.settle(db.revocations)
    return "noted"


async def judge_refresh(context: Context, db: "Database", session: Session, asker: Asker) -> Elsewhere | None:
    """In the transaction that holds the session's lock, and is to be committed whatever this says; settle
    `db.revocations` afterwards."""
    what = moved(context, session, asker)
    binding = context.settings.bind
    if binding is None or not what:
        return None
    act = binding.on_mismatch
    if act == "strict":
        await sessions.end(context, db, session, ENDED)
    if act == "strict" or _is_new(context, session, asker):
        await _tell(db, session, asker, what, {"act": act, "on": "refresh"})
    return None if act == "log" else Elsewhere(act)


def moved(context: Context, session: Session, asker: Asker) -> What:
    """What differs, where refreshes are bound."""
    binding = context.settings.bind
    return differing(binding, session, asker.address, asker.agent) if binding else ()


async def rebind(db: "Database", session: Session, asker: Asker) -> None:
    """Its owner has just proved to be there, in the transaction that holds the session's lock: it belongs to
    this place from now on, of the other family (v4, v6) to the one before as well."""
    if not differing(EXACT, session, asker.address, asker.agent):
        return
    address, other = addresses(session, asker.address)
    await rows.rebind(
        db, session.session_id, address=address, other_address=other, agent=asker.agent[:AGENT],
        family=family(asker.agent),
    )  # fmt: skip
    before = {"address": session.address, "other_address": session.other_address, "agent": session.agent}
    await audit(db, SESSION_REBOUND, session.user_id, session=session.session_id, asker=asker, before=before)


def addresses(session: Session, address: str) -> tuple[str, str]:
    """Its address and its other one, once this one has been proved: it takes the place of that of its
    family. What is no IP address has no family, and gives way to what is one."""
    own, other, new = version(session.address), version(session.other_address), version(address)
    if new in (own, other):
        return (address, session.other_address) if new == own else (session.address, address)
    return (session.address, address) if own else (address, session.other_address)


def _really(seen: list[str], session: Session, asker: Asker) -> What:
    """Of what an edge found different that which is so here, too."""
    differs = differing(EXACT, session, asker.address, asker.agent)
    return tuple(each for each in differs if each in seen)


def _is_new(context: Context, session: Session, asker: Asker) -> bool:
    return context.mismatches.new(session.session_id, place_of(asker.address, asker.agent))


async def _tell(db: "Database", session: Session, asker: Asker, what: What, said: dict[str, str]) -> None:
    await audit(
        db, SESSION_MISMATCH, session.user_id, session=session.session_id, asker=asker,
        differs=list(what), **said,
    )  # fmt: skip
