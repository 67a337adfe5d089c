"""Fits the outbox out with carriers as the settings say, and has the store tell webhooks what happened."""

from gateway.config.service import Service
from gateway.identity.letters import MAIL
from gateway.identity.mail.carriers import mail_carrier
from gateway.identity.outbox import Outbox
from gateway.identity.webhooks import WEBHOOK, Webhooks
from gateway.store.database import Store


def fit_out(outbox: Outbox, store: Store, settings: Service) -> None:
    """At the start, and again when the settings have changed."""
    outbox.carriers[MAIL] = mail_carrier(settings)
    hooks = outbox.carriers.get(WEBHOOK)
    if isinstance(hooks, Webhooks):
        hooks.use(settings.webhooks)
    else:
        hooks = outbox.carriers[WEBHOOK] = Webhooks(settings.webhooks, outbox)
    store.before_commit = hooks.write if settings.webhooks else None


async def let_go(outbox: Outbox) -> None:
    """Close what carriers keep open."""
    hooks = outbox.carriers.get(WEBHOOK)
    if isinstance(hooks, Webhooks):
        await hooks.close()
