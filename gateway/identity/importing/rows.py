"""One user of another system, as a row of text, and what becomes of it here."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import msgspec

from gateway.identity import fields, names
from gateway.identity.foreign_hashes import usable
from gateway.identity.names import BadName
from gateway.store.accounts import User

_TRUE = frozenset(("true", "t", "1", "yes", "y"))
_LONGEST_ID = 64
_LONGEST_HASH = 1024


class Refusal(msgspec.Struct, frozen=True):
    """A row that could not be taken as it is. `taken`: the user came, but without this."""

    row: int
    who: str  # as the other system names them
    why: str
    taken: bool = False


class Taken(msgspec.Struct, frozen=True):
    """A user to be, and what had to be left behind."""

    user: User
    left: tuple[str, ...] = ()


def read(given: Mapping[str, Any], now: int) -> Taken:
    """The user of a row; BadName tells why there can be none."""
    left: list[str] = []
    email = names.email(_text(given, "email"))
    username = _text(given, "username") or None
    if username is not None:
        username = names.username(username)
    hashed = _text(given, "password_hash") or None
    if hashed is not None and (len(hashed) > _LONGEST_HASH or not usable(hashed)):
        hashed = None
        left.append("its password hash is of no known kind: a password has to be chosen anew")
    confirmed = str(given.get("confirmed") or "").strip().lower() in _TRUE
    return Taken(
        User(
            user_id=_user_id(given),
            username=username,
            username_key=names.username_key(username) if username else None,
            meta=_meta(given.get("meta"), left),
            email=email.address,
            email_key=email.key,
            password_hash=hashed,
            successful_login_attempts=_count(given.get("successful_login_attempts")),
            confirmed=confirmed,
            first_name=names.person(_text(given, "first_name")),
            last_name=names.person(_text(given, "last_name")),
            password_changed_at=now,
            email_proved_at=now if confirmed else None,
            created_at=now,
        ),
        tuple(left),
    )


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    return "" if value is None else str(value).strip()


def _user_id(given: Mapping[str, Any]) -> str:
    """The other system's, since its data names users by it; one of ours where it has none."""
    name = _text(given, "user_id")
    if not name:
        return str(uuid4())
    if len(name) > _LONGEST_ID or not all("!" <= letter <= "~" for letter in name) or ":" in name:
        raise BadName("its user_id has characters that an id can't have here, or more than 64")
    return name


def _count(value: Any) -> int:
    try:
        return min(max(int(value or 0), 0), 2**31 - 1)
    except (TypeError, ValueError):
        return 0


def _meta(value: Any, left: list[str]) -> str:
    """Theirs is the user's own here: public."""
    if value in (None, "", "null"):
        return "{}"
    try:
        found = msgspec.json.decode(value) if isinstance(value, str | bytes) else value
        if not isinstance(found, dict):
            raise BadName("It is no map.")
        return fields.json(names.public_meta(found))
    except (msgspec.DecodeError, UnicodeDecodeError, BadName, TypeError):
        left.append("its meta is no map of JSON within the bounds: left out")
        return "{}"
