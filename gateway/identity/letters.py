"""The letters that people get: which there are, and how one goes into the outbox with its cause."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gateway.identity.context import Context
from gateway.identity.outbox import KEPT, NOTHING

if TYPE_CHECKING:
    from gateway.identity.web import Asker
    from gateway.store.accounts import User
    from gateway.store.database import Database

MAIL = "mail"


class Letter(msgspec.Struct, frozen=True):
    """One mail, before it is rendered. Links in `values` are paths below base_url, with their key."""

    name: str  # of its templates
    to: str
    user_name: str = ""
    language: str = ""  # as the user's browser asked for; empty: the house's own
    values: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"Letter({self.name})"


def to_user(name: str, user: "User | None", asker: "Asker", values: Mapping[str, str]) -> Letter | None:
    """In the language of whoever asked; None for nobody."""
    if user is None:
        return None
    return Letter(name, user.email, user.username or "", asker.language, values)


async def post(context: Context, db: "Database", letter: Letter | None, kept: int = KEPT) -> None:
    """In the transaction of its cause, thrown away after `kept` milliseconds. None is the same work where
    there is nobody to write to: what is put then is never sent (T19)."""
    if letter is None:
        await context.outbox.put(db, NOTHING, NOTHING, {}, kept)
    else:
        await context.outbox.put(db, MAIL, letter.name, msgspec.structs.asdict(letter), kept)
