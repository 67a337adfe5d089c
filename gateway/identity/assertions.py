"""Assertions: signed for one upstream and a few minutes, of whoever shows a good credential."""

from typing import Any

import msgspec

from gateway.identity import resolving
from gateway.identity.context import Context
from gateway.link.questions import Assert
from gateway.model.credentials import new_id
from gateway.model.identity import Identity

# RFC 8725 section 3.11: a type of its own, so that nobody takes it for an access token, not even where its
# audience would be right.
TYPE = "user-assertion+jwt"
SHORTEST, LONGEST = 5.0, 300.0  # seconds
_UNAVAILABLE = {"outcome": "unavailable"}


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """In the order in which they are written."""

    iss: str
    sub: str
    aud: str
    exp: int
    iat: int
    jti: str
    kind: str
    roles: tuple[str, ...]
    level: int
    sid: str = ""


async def assertion(context: Context, question: Assert) -> dict[str, Any]:
    """T42: only with the credential itself, which is looked at as for a request; only for audiences of the
    configuration; never for longer than five minutes."""
    if question.audience not in context.settings.audiences or not SHORTEST <= question.ttl <= LONGEST:
        return _UNAVAILABLE
    found = await resolving.resolve(context, question.kind, question.credential, "", "", False)
    if found["outcome"] != "identified":
        return {"outcome": found["outcome"]}
    async with context.store.reading() as db:
        now = await db.time()
    # not beyond the credential, but for the moments that a request may take
    life = min(question.ttl, max(SHORTEST, found["expires_in"]))
    until = now // 1000 + int(life)
    identity: Identity = found["identity"]
    claims = Claims(
        iss=context.settings.base_url, sub=identity.id, aud=question.audience, exp=until, iat=now // 1000,
        jti=new_id(), kind=identity.kind, roles=identity.roles, level=identity.level, sid=identity.session,
    )  # fmt: skip
    try:
        signed = context.keys.sign(TYPE, msgspec.json.encode(claims), now, until * 1000)
    except LookupError:  # no key yet
        return _UNAVAILABLE
    return {"outcome": "asserted", "assertion": signed, "expires_in": until - now / 1000}
