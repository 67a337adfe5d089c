"""The one object of the identity process: its settings, and everything that its calls work with."""

from typing import TYPE_CHECKING

from gateway.config.service import Service
from gateway.model.binding import AGAIN, PLACES, SESSIONS
from gateway.model.seldom import Seldom

if TYPE_CHECKING:
    from gateway.identity.counters import Counters
    from gateway.identity.hooks import Hooks
    from gateway.identity.issuers import Issuers
    from gateway.identity.keys import Keys
    from gateway.identity.leasing import Leasing
    from gateway.identity.limits import Limits
    from gateway.identity.outbox import Outbox
    from gateway.identity.passwords import Passwords
    from gateway.identity.propagation import Propagation
    from gateway.identity.secrets import Secrets
    from gateway.identity.tokens import Tokens
    from gateway.store.database import Store


class Context:
    """Made once by service.py; a reload replaces `settings` and what is made from them, never the object."""

    __slots__ = (
        "counters", "hooks", "issuers", "keys", "leasing", "limits", "mismatches", "outbox", "passwords",
        "propagation", "secrets", "settings", "store", "tokens",
    )  # fmt: skip

    def __init__(
        self,
        settings: Service,
        store: "Store",
        secrets: "Secrets",
        keys: "Keys",
        tokens: "Tokens",
        passwords: "Passwords",
        propagation: "Propagation",
        limits: "Limits",
        counters: "Counters",
        outbox: "Outbox",
        issuers: "Issuers",
        hooks: "Hooks",
    ) -> None:
        self.settings = settings
        self.store = store
        self.secrets = secrets
        self.keys = keys
        self.tokens = tokens
        self.passwords = passwords
        self.propagation = propagation
        self.limits = limits
        self.counters = counters
        self.outbox = outbox
        self.issuers = issuers
        self.hooks = hooks
        self.leasing: Leasing | None = None  # where edges are served
        self.mismatches = Seldom(AGAIN, PLACES, SESSIONS)
