"""Who acts on accounts, roles and invites: an owner or an admin by a call of the API, or the operator."""

from typing import TYPE_CHECKING

import msgspec

from gateway.identity import sessions
from gateway.identity.audit import COMMAND_LINE
from gateway.identity.web import ADMIN, Asker, Call, Caller, missing_scope, who
from gateway.store import facts, roles

if TYPE_CHECKING:
    from gateway.store.database import Database

_ADMINS = "lock_admins"


class Actor(msgspec.Struct, frozen=True):
    """Whoever was let in to a call may have been signed out, or have lost the right, before it writes."""

    name: str  # as the audit trail has it
    asker: Asker | None = None
    caller: Caller | None = None
    admin: bool = False  # acts by the permission postern:admin

    async def begin(self, db: "Database") -> None:
        """Before any other lock of the unit. Admins act one at a time: each holds locks of two users, its own
        session's and those of whom it acts on, and two could wait for each other in a ring."""
        if self.admin:
            await one_at_a_time(db)

    async def still(self, db: "Database") -> None:
        """After the locks of users, and before anything is written: refused when the caller's session has
        ended since the call was authenticated, or an admin is none any more."""
        if self.caller is None:
            return
        await sessions.still(db, self.caller)
        if self.admin and ADMIN not in (await roles.of(db, self.caller.user.user_id)).permissions:
            raise missing_scope(ADMIN)


OPERATOR = Actor(COMMAND_LINE)


async def owner(call: Call) -> Actor:
    caller = await who(call)
    return Actor(caller.user.user_id, call.asker, caller)


async def admin(call: Call) -> Actor:
    """Of a call whose endpoint is for admins only."""
    caller = await who(call, "admin")
    return Actor(caller.user.user_id, call.asker, caller, admin=True)


async def one_at_a_time(db: "Database") -> None:
    """Whoever changes who is an admin or which roles there are, and whoever acts as admin, waits here for the
    others."""
    await facts.lock(db, _ADMINS)
