"""Hands mails to an SMTP server: TLS whenever it can be had, and always where a password is sent."""

import asyncio
import ssl
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import aiosmtplib

from gateway.config.smtp_url import Server
from gateway.identity.mail.rendering import Renderer
from gateway.identity.outbox import NotNow, Refused

TIMEOUT = 20.0  # seconds, of each step


class SmtpCarrier:
    """A connection for each mail: they are few, and a kept one would have to be looked after."""

    def __init__(self, server: Server, renderer: Renderer, context: ssl.SSLContext | None = None) -> None:
        self._server = server
        self._renderer = renderer
        self._context = context

    async def send(self, id: str, label: str, content: dict[str, Any]) -> None:
        message = self._renderer.mail(id, content)
        try:
            await self._send(message)
        except aiosmtplib.SMTPRecipientsRefused as refused:
            raise _refusal([each.code for each in refused.recipients], "the recipient") from None
        except aiosmtplib.SMTPResponseException as answer:
            raise NotNow(f"the mail server answered {answer.code}") from None
        except (aiosmtplib.SMTPTimeoutError, TimeoutError):
            raise NotNow("the mail server was too slow") from None
        except ssl.SSLError:
            raise NotNow("the mail server's TLS can't be trusted") from None
        except (aiosmtplib.SMTPException, OSError) as fault:
            raise NotNow(f"the mail server can't be used: {type(fault).__name__}") from None

    async def _send(self, message: EmailMessage) -> None:
        client = self.client()
        recipient = parseaddr(str(message["To"]))[1]
        try:
            await client.connect()
            if self._server.user:
                await client.login(self._server.user, self._server.password)
            await client.sendmail(
                parseaddr(str(message["From"]))[1], [recipient], message.as_bytes(),
                mail_options=[] if recipient.isascii() else ["SMTPUTF8"],
            )  # fmt: skip
        except BaseException:
            client.close()
            raise
        try:  # it is sent: what happens now changes nothing of that
            await asyncio.wait_for(client.quit(), 2)
        except (aiosmtplib.SMTPException, OSError, TimeoutError):
            client.close()

    async def look(self) -> bool:
        """Connect, greet and sign in, for `postern doctor`: whether by TLS. Raises as aiosmtplib does."""
        client = self.client()
        try:
            await client.connect()
            if self._server.user:
                await client.login(self._server.user, self._server.password)
            return client.get_transport_info("ssl_object") is not None
        finally:
            client.close()

    def client(self) -> aiosmtplib.SMTP:
        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host, port=server.port, timeout=TIMEOUT, use_tls=server.implicit,
            start_tls=server.starttls, tls_context=self._context or ssl.create_default_context(),
        )  # fmt: skip


def _refusal(codes: list[int], what: str) -> NotNow:
    """5xx: it would be refused again, unless the server is repaired; 4xx: it says so itself."""
    kind = Refused if codes and all(code >= 500 for code in codes) else NotNow
    return kind(f"the mail server refused {what}: {', '.join(map(str, codes))}")
