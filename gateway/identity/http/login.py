"""POST /login: a session for a name and a password."""

from pydantic import Field, model_validator

from gateway.identity import sign_in
from gateway.identity.shapes import TokensSaid
from gateway.identity.web import Body, Call, Endpoint, Refused, Reply, answer
from gateway.model import faults

LONGEST = 1024  # characters of what may be tried as a name or a password


class LoginBody(Body):
    """With an address or a user name. `cookie`: the session is carried by a cookie, and there are no tokens
    in the answer unless `bearer` asks for an access token."""

    email: str = Field(default="", max_length=LONGEST)
    username: str = Field(default="", max_length=LONGEST)
    password: str = Field(max_length=LONGEST)
    cookie: bool = False
    bearer: bool = False

    @model_validator(mode="after")
    def one_name(self) -> "LoginBody":
        if bool(self.email) == bool(self.username):
            raise ValueError("Send email or username.")
        return self


async def login(call: Call) -> Reply:
    if not call.context.settings.password.on:
        raise Refused(faults.PASSWORD_OFF)
    await call.context.limits.check("login", call.asker)
    body = call.body
    signed = await sign_in.sign_in(
        call.context, call.asker, body.email or body.username, body.password, body.cookie, body.bearer
    )
    return answer(200, signed.answer, signed.opened.headers)


ROUTES = [
    Endpoint(
        "POST", "/login", login, "Sign in with a password", body=LoginBody, answers={200: TokensSaid},
        limit="login",
        faults=(
            faults.INVALID_CREDENTIALS, faults.PASSWORD_OFF, faults.ORIGIN_REFUSED, faults.SIGN_IN_BUSY,
        ),
    ),
]  # fmt: skip
