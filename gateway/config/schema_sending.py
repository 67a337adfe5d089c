"""The schema of what is sent: mail, and webhooks."""

import re
from email.utils import parseaddr
from typing import Annotated, Any

from pydantic import Field

from gateway.config.faults import NotRight, did_you_mean, listed, shown
from gateway.config.smtp_url import server_of
from gateway.config.types import Bool, FilePath, HttpUrl, Strict, many, parsed, pattern, text
from gateway.model.events import EVENTS, GROUPS


def smtp_place(value: Any) -> str:
    url = text(value, "an SMTP URL")
    try:
        return url if not url or server_of(url) else ""
    except ValueError as error:
        raise NotRight(f"{shown(value)} is not an SMTP URL", str(error)) from None


def _sender(value: Any) -> str:
    sender = text(value, "a sender")
    if re.search(r"[\x00-\x1f\x7f]", sender) or not re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(sender)[1]):
        raise NotRight(f"{shown(value)} is no sender", 'write "Shop <no-reply@shop.example.com>"')
    return sender


class Mail(Strict):
    smtp: Annotated[str, parsed(smtp_place, type="string")] = Field(
        default="", description="empty: mail is written to data/mail"
    )
    from_: Annotated[str, parsed(_sender, type="string")] | None = Field(
        default=None, alias="from", description="the sender; default: no-reply at base_url's host"
    )
    templates: FilePath | None = Field(default=None, description="a folder with your own")
    language: Annotated[
        str, pattern(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", "a language", "write one like en")
    ] = Field(default="en", description="where a reader asks for none that there is")
    new_device: Bool = Field(default=True, description="tell users of sign-ins from new devices")


def _hook_secret(value: Any) -> str:
    secret = text(value, "a secret")
    if len(secret) < 16:
        raise NotRight("this secret is short", "use 16 random characters or more: postern secret makes one")
    return secret


def _event(value: Any) -> str:
    word = text(value, "an event")
    known = ("*", *(f"{group}.*" for group in GROUPS), *EVENTS)
    if word not in known:
        raise NotRight(f"{shown(value)} is no event", did_you_mean(word, known, f"known: {listed(known)}"))
    return word


class Webhook(Strict):
    url: HttpUrl = Field(description="where events are posted")
    secret: Annotated[str, parsed(_hook_secret, type="string")] = Field(
        description="signs them; write ${NAME}"
    )
    events: Annotated[list[Annotated[str, parsed(_event, type="string")]], many()] = Field(
        default=["*"], description='such as "session.*"'
    )
