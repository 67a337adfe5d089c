"""POST /validate-token: whether an access token is good, and whose it is."""

from typing import Literal

from gateway.identity import resolving
from gateway.identity.shapes import Said, SessionSaid, UserSaid, iso, session_answer, user_answer
from gateway.identity.web import Body, Call, Endpoint, Reply, answer


class ValidateBody(Body):
    token: str


class ValidSaid(Said):
    """`valid` with user, session and expires_at; or not, with a code."""

    valid: bool
    user: UserSaid | None = None
    session: SessionSaid | None = None
    expires_at: str | None = None
    code: Literal["invalid_token", "token_expired"] | None = None


async def validate(call: Call) -> Reply:
    await call.context.limits.check("validate", call.asker)
    found = await resolving.look(call.context, "bearer", call.body.token)
    if isinstance(found, resolving.Bad):
        return answer(200, {"valid": False, "code": found.code})
    return answer(
        200,
        {
            "valid": True,
            "user": user_answer(found.user, found.roles, found.permissions),
            "session": session_answer(found.session, current=False),
            "expires_at": iso(found.until),
        },
    )


ROUTES = [
    Endpoint(
        "POST", "/validate-token", validate, "Look at an access token", body=ValidateBody,
        answers={200: ValidSaid}, also=("/validate",), limit="validate",
    ),
]  # fmt: skip
