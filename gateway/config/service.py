"""What the identity service is given: its part of the configuration, secrets included; never for an edge."""

from typing import Any, Literal

import msgspec

from gateway.config.snapshot import Record
from gateway.model.binding import Binding

LIMITS = {
    "login": (30, 60), "register": (20, 60), "refresh": (120, 60), "mail": (20, 60),
    "mail_account": (5, 3600),
}  # fmt: skip


class Tokens(Record, frozen=True):
    format: Literal["opaque", "jwt"] = "opaque"
    algorithm: Literal["EdDSA", "ES256"] = "EdDSA"  # of jwt
    access_ttl: float = 900.0
    idle_ttl: float = 30 * 86400.0
    absolute_ttl: float = 90 * 86400.0  # 0: never
    reuse_grace: float = 30.0
    on_reuse: Literal["session", "user"] = "session"
    history: int = 50


class Cookie(Record, frozen=True):
    name: str = "__Host-postern"  # `postern` on plain http, `__Secure-postern` with a domain
    domain: str = ""
    renewal: bool = False
    secure: bool = True
    renew_every: float = 900.0
    renew_grace: float = 30.0  # the old one stays good so long after the new one was first seen


class Password(Record, frozen=True):
    on: bool = True
    min: int = 15
    memory: int = 19 * 1024 * 1024
    time: int = 2
    lanes: int = 1


class Mail(Record, frozen=True):
    smtp: str = ""  # URL; empty: files in data/mail
    sender: str = ""  # empty: no-reply at base_url's host
    templates: str = ""  # a folder of the house's own
    language: str = "en"  # where the reader asks for none that there is
    new_device: bool = True  # tell users of sign-ins from devices not seen before


class Issuer(Record, frozen=True):
    """Somebody else's identity provider; the fields of `claims` name claims."""

    issuer: str  # the iss of its tokens
    audience: tuple[str, ...]
    algorithms: tuple[str, ...]
    jwks_uri: str = ""  # empty: as its openid-configuration says
    ca: str = ""  # a file; empty: the system's
    user_id: str = "sub"
    email: str = "email"
    name: str = "preferred_username"
    groups: str = "groups"
    roles: dict[str, str] = {}  # its group -> role here


class Webhook(Record, frozen=True):
    url: str
    secret: str
    events: tuple[str, ...] = ("*",)  # patterns

    def __repr__(self) -> str:
        return f"Webhook({self.url!r})"


class Service(Record, frozen=True):
    secrets: tuple[str, ...] = ()  # POSTERN_SECRET, newest first; empty: data/secret
    database_url: str = "sqlite:data/postern.db"
    redis_url: str = ""
    data: str = "data"
    name: str = "postern"  # of the service
    site: str = ""  # the brand's name: no password may equal it
    prefix: str = "/api/auth"
    serve: tuple[str, ...] = ("api", "pages", "jwks")
    base_url: str = "http://127.0.0.1:4000"  # also the issuer of jwt access tokens
    tokens: Tokens = Tokens()
    colour: str = ""  # of the brand
    cookie: Cookie = Cookie()
    mail: Mail = Mail()
    webhooks: tuple[Webhook, ...] = ()
    password: Password = Password()
    registration: Literal["open", "invite", "closed"] = "open"
    confirmation: Literal["optional", "required"] = "optional"
    email_domains: tuple[str, ...] = ()
    # name -> (how many, in how many seconds), per address
    limits: dict[str, tuple[int, int]] = msgspec.field(default_factory=lambda: dict(LIMITS))
    max_login_attempts: int = 5
    lockout_duration: float = 900.0
    cors_origins: tuple[str, ...] = ()
    bind: Binding | None = None  # what a refresh is judged by
    forward_meta: tuple[str, ...] = ()
    audit_kept: float = 365 * 86400.0
    sessions_kept: float = 30 * 86400.0
    migrate: Literal["auto", "manual"] = "auto"
    admin_token: str = ""  # POSTERN_ADMIN_TOKEN, or data/admin-token
    issuers: dict[str, Issuer] = {}
    audiences: tuple[str, ...] = ()  # for whom assertions are made

    def __repr__(self) -> str:
        """Its secrets must not stand in a traceback."""
        return f"Service({self.name!r}, …)"

    def public(self) -> str:
        """What goes into the configuration's hash, which stands in every log line: no secret, and nothing of
        the place where it runs."""
        own: dict[str, Any] = dict.fromkeys(("database_url", "redis_url", "data", "name", "admin_token"), "")
        own["issuers"] = {name: msgspec.structs.replace(each, ca="") for name, each in self.issuers.items()}
        own["webhooks"] = tuple(msgspec.structs.replace(hook, secret="") for hook in self.webhooks)
        own["mail"] = msgspec.structs.replace(self.mail, smtp="", templates="")
        return msgspec.json.encode(msgspec.structs.replace(self, secrets=(), **own)).decode()


class Compiled(Record, frozen=True):
    """What a configuration is compiled to: for the edges, and for the identity service of this role."""

    snapshot: bytes  # config.snapshot.encode
    service: bytes = b""  # encode below; empty where this role runs no identity service


def encode(record: Record) -> bytes:
    return msgspec.msgpack.encode(record)


def decode(data: bytes) -> Service:
    return msgspec.msgpack.decode(data, type=Service)


def decode_compiled(data: bytes) -> Compiled:
    return msgspec.msgpack.decode(data, type=Compiled)
