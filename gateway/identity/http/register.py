"""POST /register: an account for oneself."""

from typing import Any

from pydantic import ConfigDict, Field, model_validator

from gateway.identity import registering
from gateway.identity.shapes import Said, TokensSaid
from gateway.identity.web import Call, Endpoint, OpenBody, Reply, answer
from gateway.model import faults

LONGEST = 1024


def _either_way(schema: dict[str, Any]) -> None:
    """In the document: the fields as they are, or under `user`."""
    own = ("cookie", "bearer", "invite")
    fields = {name: field for name, field in schema["properties"].items() if name not in own}
    needed = schema.pop("required")
    schema["properties"]["user"] = {"type": "object", "properties": fields, "required": needed}
    schema["anyOf"] = [{"required": needed}, {"required": ["user"]}]


class RegisterBody(OpenBody):
    """The fields may also stand in an object `user`; whatever else is sent is ignored."""

    model_config = ConfigDict(json_schema_extra=_either_way)

    email: str = Field(max_length=LONGEST)
    password: str = Field(max_length=LONGEST)
    username: str | None = Field(default=None, max_length=LONGEST)
    first_name: str = Field(default="", max_length=LONGEST)
    last_name: str = Field(default="", max_length=LONGEST)
    meta: dict[str, Any] = Field(default_factory=dict)
    invite: str = Field(default="", max_length=LONGEST)
    cookie: bool = False
    bearer: bool = False

    @model_validator(mode="before")
    @classmethod
    def flat(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("user"), dict):
            return {**values, **values["user"]}
        return values


class AcceptedSaid(Said):
    """The same for every address: what follows is told to its owner by mail."""


async def register(call: Call) -> Reply:
    await call.context.limits.check("register", call.asker)
    body = call.body
    wanted = registering.Wanted(
        email=body.email,
        password=body.password,
        username=body.username,
        first_name=body.first_name,
        last_name=body.last_name,
        meta=body.meta,
        invite=body.invite,
    )
    signed = await registering.register(call.context, call.asker, wanted, body.cookie, body.bearer)
    if signed is None:
        return answer(202, {})
    return answer(201, signed.answer, signed.opened.headers)


ROUTES = [
    Endpoint(
        "POST", "/register", register, "Make an account", body=RegisterBody,
        answers={201: TokensSaid, 202: AcceptedSaid}, limit="register",
        faults=(
            faults.EMAIL_TAKEN, faults.USERNAME_TAKEN, faults.REGISTRATION_CLOSED, faults.PASSWORD_OFF,
            faults.REGISTRATION_REFUSED, faults.HOOK_FAILED,
            faults.INVALID_KEY, faults.GONE_MEANWHILE, faults.ORIGIN_REFUSED, faults.SIGN_IN_BUSY,
        ),
    ),
]  # fmt: skip
