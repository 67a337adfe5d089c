"""Which way mail leaves here, as the settings say."""

from pathlib import Path

from gateway.config.service import Service
from gateway.config.smtp_url import server_of
from gateway.identity.mail.files import FileCarrier
from gateway.identity.mail.rendering import Renderer
from gateway.identity.mail.smtp import SmtpCarrier
from gateway.identity.outbox import Carrier

FOLDER = "mail"  # in the data folder


def mail_carrier(settings: Service) -> Carrier:
    """To the mail server, or where there is none into files."""
    renderer = Renderer(settings)
    if settings.mail.smtp:
        return SmtpCarrier(server_of(settings.mail.smtp), renderer)
    return FileCarrier(Path(settings.data) / FOLDER, renderer)
