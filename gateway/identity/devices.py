"""Browsers that a user has signed in from: each keeps a cookie by which it is known again.

A known one may try passwords while too many wrong ones come from elsewhere, and its sign-ins are no news.
"""

from typing import TYPE_CHECKING

from gateway.identity import letters
from gateway.identity.context import Context
from gateway.identity.cookies import of_device, set_cookie
from gateway.identity.telling import place, when
from gateway.model import credentials
from gateway.model.addresses import prefix
from gateway.store import devices as rows
from gateway.store import sessions as session_rows

if TYPE_CHECKING:
    from gateway.identity.web import Asker
    from gateway.store.accounts import User
    from gateway.store.database import Database
    from gateway.store.sessions import Session

KEPT = 365 * 86400.0  # seconds since it was last used
TRIES = 10  # wrong passwords in a row, after which a cookie is void
MOST = 50  # of one user
_ADDRESSES = 1000


async def tries(context: Context, asker: "Asker", user_id: str) -> bool:
    """Whether this browser is known to the user, an empty one being nobody. It is counted as a failure at
    once, so that none is heard too many of those made side by side; a sign-in takes it back."""
    if not asker.device:
        return False
    async with context.store.writing() as db:
        return await rows.count_try(db, credentials.stored(asker.device), user_id, TRIES)


async def proved(context: Context, asker: "Asker", user_id: str) -> None:
    """What `tries` counted was none."""
    async with context.store.writing() as db:
        await rows.used(db, credentials.stored(asker.device), user_id)


async def remember(context: Context, db: "Database", user_id: str, asker: "Asker") -> str:
    """This browser is known from now on: a whole Set-Cookie value. Always another cookie than the one that it
    had, which somebody may have planted there; who knew that one knows this one."""
    key = credentials.new(credentials.DEVICE)
    old = credentials.stored(asker.device) if asker.device else None
    await rows.put(db, credentials.stored(key), user_id, MOST, old)
    return set_cookie(of_device(context.settings.cookie), key, KEPT)


async def signed_in(
    context: Context, db: "Database", user: "User", session: "Session", asker: "Asker"
) -> str:
    """After a sign-in of the user, who is told of it if it is news; the Set-Cookie value, empty for a session
    that no cookie carries. `user`: as it was before."""
    stored = credentials.stored(asker.device) if asker.device else b""
    known = bool(stored) and await rows.known(db, stored, user.user_id)
    if not known and user.last_login_at is not None and context.settings.mail.new_device:
        await _tell_if_new(context, db, user, session, asker)
    if session.cookie_mode:
        return await remember(context, db, user.user_id, asker)
    if known:
        await rows.used(db, stored, user.user_id)
    return ""


async def _tell_if_new(
    context: Context, db: "Database", user: "User", session: "Session", asker: "Asker"
) -> None:
    """Nobody has signed in with such a program from this network before, as far as sessions are kept."""
    addresses = await session_rows.addresses_of(
        db, user.user_id, session.family, session.session_id, _ADDRESSES
    )
    network = prefix(session.address, 24, 64)
    if all(prefix(each, 24, 64) != network for each in addresses):
        values = {"link": "/auth/sessions", "when": when(db.now), "place": place(asker)}
        await letters.post(context, db, letters.to_user("new_device", user, asker, values))
