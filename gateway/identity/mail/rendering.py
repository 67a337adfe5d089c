"""Makes a mail of a letter: the house's own templates before the shipped ones, in the reader's language."""

import re
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import ChoiceLoader, FileSystemLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from gateway.config.service import Service
from gateway.identity.outbox import Never

SHIPPED = Path(__file__).parent.parent / "templates"
FALLBACK = "en"
_SUBJECT = "Subject: "
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_MOST_LANGUAGES = 5


class Renderer:
    """One per configuration. Values are only ever values: what looks like a template in them stays text."""

    def __init__(self, settings: Service) -> None:
        self._settings = settings
        folders = [Path(settings.mail.templates)] if settings.mail.templates else []
        loader = ChoiceLoader([FileSystemLoader(folder) for folder in (*folders, SHIPPED)])
        self._text = ImmutableSandboxedEnvironment(
            loader=loader, undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
        )
        self._html = ImmutableSandboxedEnvironment(
            loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
        )

    def mail(self, id: str, letter: Mapping[str, Any]) -> EmailMessage:
        """The mail, the same at each attempt. Raises Never when a template is broken."""
        values = self._values(letter)
        names = list(self._names(str(letter["name"]), str(letter.get("language", ""))))
        try:
            text = self._text.select_template([f"{name}.txt" for name in names]).render(values)
            html = self._html.select_template([f"{name}.html" for name in names]).render(values)
        except TemplateError as error:
            raise Never(f"its template is broken: {type(error).__name__}") from None
        subject, _, body = text.partition("\n")
        if not subject.startswith(_SUBJECT):
            raise Never("the first line of its text template does not begin with Subject:")
        return self._message(id, str(letter["to"]), subject.removeprefix(_SUBJECT), body, html)

    def _message(self, id: str, to: str, subject: str, text: str, html: str) -> EmailMessage:
        sender = sender_of(self._settings)
        message = EmailMessage(SMTP)
        message["From"] = sender
        message["To"] = to
        message["Subject"] = " ".join(subject.split())
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
        message.set_content(text.strip() + "\n")
        message.add_alternative(html, subtype="html")
        return message

    def _values(self, letter: Mapping[str, Any]) -> dict[str, Any]:
        """What every template may use; paths become links below base_url, whatever Host somebody sent."""
        base = self._settings.base_url
        said = {name: str(value) for name, value in dict(letter.get("values") or {}).items()}
        values = {name: base + value if value.startswith("/") else value for name, value in said.items()}
        keys = {"conf_key": "confirm", "password_key": "reset"}
        for name, of in keys.items():  # as the templates of AccessPass call them
            values[name] = said.get("link", "").partition("?key=")[2] if letter["name"] == of else ""
        return {
            "site": self._settings.site or urlsplit(base).hostname or "this site",
            "base_url": base,
            "user_name": str(letter.get("user_name") or ""),
            "colour": self._settings.colour or "#1f6feb",
            **values,
        }

    def _names(self, name: str, wanted: str) -> Iterator[str]:
        """`LANGUAGE/NAME`, best first: each language that was asked for, then without its region."""
        for language in (*languages(wanted), self._settings.mail.language, FALLBACK):
            yield f"{language}/{name}"
            if "-" in language:
                yield f"{language.partition('-')[0]}/{name}"


def languages(accepted: str) -> list[str]:
    """Of an Accept-Language, best first; what is no language is passed over."""
    found: list[tuple[float, int, str]] = []
    for place, part in enumerate(accepted.split(",")[: _MOST_LANGUAGES * 2]):
        tag, _, quality = part.strip().partition(";q=")
        if _LANGUAGE.fullmatch(tag):
            try:
                weight = float(quality or 1)
            except ValueError:
                continue
            found.append((-weight, place, tag))
    return [tag for weight, _, tag in sorted(found)[:_MOST_LANGUAGES] if weight]


def sender_of(settings: Service) -> str:
    """Who it is from: as configured, or no-reply at the public address's host."""
    host = urlsplit(settings.base_url).hostname or "localhost"
    return settings.mail.sender or f"no-reply@{host}"
