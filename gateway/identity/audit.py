"""The audit trail: one row for each thing that happened, written in the transaction of its cause."""

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.store import events

if TYPE_CHECKING:
    from gateway.identity.web import Asker
    from gateway.store.database import Database

# Names that webhooks will carry too (identity.md, Mail and webhooks) are the same there.
USER_REGISTERED = "user.registered"
USER_CHANGED = "user.changed"
USER_CONFIRMED = "user.confirmed"
USER_DELETED = "user.deleted"
USER_LOCKED = "user.locked"
USER_UNLOCKED = "user.unlocked"
USER_LET_IN = "user.let_in"  # by the mailed link, after too many wrong passwords from everywhere
ROLES_CHANGED = "user.roles_changed"
META_CHANGED = "user.meta_changed"
USERS_IMPORTED = "users.imported"
ADDRESS_TAKEN = "register.address_taken"  # of the address's owner: somebody tried to register it again
SESSION_CREATED = "session.created"
SESSION_REVOKED = "session.revoked"
SESSION_MISMATCH = "session.mismatch"  # used from another place, or by another program, than that of sign-in
SESSION_REBOUND = "session.rebound"  # its owner proved to be elsewhere: it belongs there from now on
SESSION_MOVED = "session.moved"  # refreshed from another address
TOKEN_REUSED = "token.reused"
LOGIN_FAILED = "login.failed"
PASSWORD_CHANGED = "password.changed"
PASSWORD_REFUSED = "password.refused"  # a wrong password in a call of somebody who is signed in
RESET_ASKED = "password.reset_asked"
CREDENTIALS_REMOVED = "user.credentials_removed"  # the first proof of its address
PASSWORD_RESET_MADE = "password.reset_made"
EMAIL_ASKED = "user.email_asked"  # another address was named, and has to prove itself
EMAIL_CHANGED = "user.email_changed"
EMAIL_UNDONE = "user.email_undone"  # its old address took the account back
REAUTHENTICATED = "session.reauthenticated"
INVITE_MADE = "invite.made"
INVITE_WITHDRAWN = "invite.withdrawn"
ROLE_MADE = "role.made"
ROLE_CHANGED = "role.changed"
ROLE_DELETED = "role.deleted"
KEYS_ROTATED = "keys.rotated"
COMMAND_LINE = "command line"  # the actor of what was done there

_AGENT = 300  # characters of it that are kept


class Happened(msgspec.Struct, frozen=True):
    """One row of the trail, as webhooks tell it."""

    event: str
    at: int
    user_id: str
    actor: str
    session_id: str
    address: str
    agent: str
    data: dict[str, Any]


async def audit(
    db: "Database",
    event: str,
    user: str = "",  # whom it concerns
    actor: str = "",  # who did it; the user unless told
    session: str = "",
    asker: "Asker | None" = None,
    **data: Any,  # never a credential
) -> None:
    """Adds a row; it is there exactly when its cause is."""
    address = asker.address if asker else ""
    agent = asker.agent[:_AGENT] if asker else ""
    await events.insert(
        db,
        event=event,
        user_id=user,
        actor=actor or user,
        session_id=session,
        address=address,
        agent=agent,
        data=msgspec.json.encode(data).decode(),
    )
    db.happened.append(Happened(event, db.now, user, actor or user, session, address, agent, data))
