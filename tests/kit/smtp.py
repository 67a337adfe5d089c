"""A real mail server for tests: takes what it is sent, with TLS and sign-in, and misbehaves on demand."""

import asyncio
import contextlib
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.kit.certs import Authority

USER, PASSWORD = "postern", "the mail server's password"


class MailServer:
    """`mails` it has taken; `replies` are given instead of taking the next ones, by command."""

    def __init__(self, authority: Authority | None = None, *, sign_in: bool = False) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.replies: dict[str, list[str]] = {}
        self.secure: list[bool] = []
        self.kill_in_data = 0
        self.slow: asyncio.Event | None = None
        self.port = 0
        self._sign_in = sign_in
        self._context = authority.server_context(authority.issue("mail")) if authority else None
        self._server: asyncio.Server | None = None
        self._open: set[Any] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for each in list(self._open):
            with contextlib.suppress(AttributeError):  # 3.11: of a TLS transport that is over
                if each.transport is not None:
                    each.transport.abort()
        self._open.clear()

    def _connection(self) -> SMTP:
        made = SMTP(
            self, hostname="mail.test", tls_context=self._context, require_starttls=False,
            auth_required=self._sign_in, auth_require_tls=self._context is not None,
            authenticator=self._authenticate, enable_SMTPUTF8=True,
        )  # fmt: skip
        self._open.add(made)
        return made

    def _authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, given: Any
    ) -> AuthResult:
        good = LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=given == good)

    def _misbehaves(self, command: str) -> str | None:
        replies = self.replies.get(command)
        return replies.pop(0) if replies else None

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := self._misbehaves("RCPT"):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.slow is not None:
            await self.slow.wait()
        if self.kill_in_data:
            self.kill_in_data -= 1
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "451 gone"
        if reply := self._misbehaves("DATA"):
            return reply
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        self.recipients.append(list(envelope.rcpt_tos))
        self.secure.append(isinstance(session.ssl, dict) or session.ssl is not None)
        return "250 taken"


def text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def html_of(message: EmailMessage) -> str:
    body = message.get_body(("html",))
    assert body is not None
    return str(body.get_content())
