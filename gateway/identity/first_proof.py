"""The first proof of an address, by somebody who was not signed in: nothing that was there before stays.

Whoever made the account may not own its address, and may have prepared ways back in (T32).
"""

from typing import TYPE_CHECKING

import msgspec

from gateway.identity import sessions
from gateway.identity.audit import CREDENTIALS_REMOVED, audit
from gateway.identity.context import Context
from gateway.store import accounts as users
from gateway.store import devices, onetime
from gateway.store.accounts import User

if TYPE_CHECKING:
    from gateway.identity.web import Asker
    from gateway.store.database import Database


async def prove_address(
    context: Context, db: "Database", user: User, asker: "Asker", *, keep_password: bool = False
) -> User:
    """The user as proved now, read under its lock; settle `db.revocations` afterwards. The first time every
    credential goes, but the password where it was just chosen by who proved the address."""
    if user.email_proved_at is None:
        await remove_credentials(context, db, user.user_id, "first_proof", keep_password=keep_password)
        await audit(db, CREDENTIALS_REMOVED, user.user_id, asker=asker, why="first proof")
    proved = msgspec.structs.replace(
        user, confirmed=True, email_proved_at=user.email_proved_at or db.now,
        password_hash=user.password_hash if keep_password else None,
    )  # fmt: skip
    if not (user.confirmed and user.email_proved_at):
        await users.save(db, proved)
    return proved


async def remove_credentials(
    context: Context, db: "Database", user_id: str, why: str, *, keep_password: bool = False
) -> None:
    """Whatever anybody could come in with."""
    if not keep_password:
        await users.set_password(db, user_id, None)
    await end_access(context, db, user_id, why)


async def end_access(context: Context, db: "Database", user_id: str, why: str) -> None:
    """What every reset ends: sessions, keys that are still out, known browsers."""
    await onetime.drop_all_of(db, user_id)
    await devices.drop_of(db, user_id)
    await sessions.end_all(context, db, user_id, why)
