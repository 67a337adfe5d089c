"""The first proof of an address, by somebody who was not signed in: nothing that was there before stays.

Whoever made the account may not own its address, and may have prepared ways back in (T32).
"""

from typing import TYPE_CHECKING

import msgspec

from gateway.identity import sessions
from gateway.identity.audit import CREDENTIALS_REMOVED, audit
from gateway.identity.context import Context
from gateway.store import accounts as users
from gateway.store import onetime
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
        if not keep_password:
            await users.set_password(db, user.user_id, None)
        await remove_credentials(context, db, user.user_id)
        await audit(db, CREDENTIALS_REMOVED, user.user_id, asker=asker, why="first proof")
    proved = msgspec.structs.replace(
        user, confirmed=True, email_proved_at=user.email_proved_at or db.now,
        password_hash=user.password_hash if keep_password else None,
    )  # fmt: skip
    if not (user.confirmed and user.email_proved_at):
        await users.save(db, proved)
    return proved


async def remove_credentials(context: Context, db: "Database", user_id: str) -> None:
    """All but the password: sessions and every key that is still out."""
    await onetime.drop_all_of(db, user_id)
    await sessions.end_all(context, db, user_id, "first_proof")
