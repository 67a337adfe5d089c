"""What `postern doctor` finds of mail: whether the server takes us, or that there is none."""

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Literal

from gateway.config.smtp_url import server_of

if TYPE_CHECKING:
    from gateway.config.service import Service

WITHIN = 10.0


def look(service: "Service") -> tuple[Literal["ok", "warning", "fault"], str]:
    """Connects, greets and signs in; sends nothing."""
    if not service.mail.smtp:
        folder = os.path.join(service.data, "mail")
        return "warning", f"there is no SMTP_URL: mails become files in {folder}, and nobody gets them"
    server = server_of(service.mail.smtp)
    where = f"{server.host}:{server.port}"
    try:
        secure = asyncio.run(_reached(service))
    except (OSError, TimeoutError, ssl.SSLError) as fault:
        return "fault", f"{where}: {type(fault).__name__}"
    except Exception as fault:
        from aiosmtplib import SMTPException, SMTPResponseException

        if isinstance(fault, SMTPResponseException):
            return "fault", f"{where} answered {fault.code}"
        if isinstance(fault, SMTPException):
            return "fault", f"{where}: {type(fault).__name__}"
        raise
    if not secure:
        return "warning", f"{where} answers, without TLS: mails and their links can be read on the way"
    return "ok", f"{where} answers"


async def _reached(service: "Service") -> bool:
    """Whether it speaks TLS."""
    from gateway.identity.mail.rendering import Renderer
    from gateway.identity.mail.smtp import SmtpCarrier

    async with asyncio.timeout(WITHIN):
        return await SmtpCarrier(server_of(service.mail.smtp), Renderer(service)).look()
