"""What the identity service is given: the file goes before the environment, and that before the defaults."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gateway.config import service as made
from gateway.config.faults import ConfigFault
from gateway.config.schema import Document
from gateway.config.schema_identity import TWICE, Identity, Password
from gateway.config.settings import Settings, is_postgres

ENVIRONMENT, FILE, DEFAULT = "environment", "routes.yaml", "default"


class Chosen(NamedTuple):
    """A setting in force."""

    value: Any
    source: str  # FILE with its key, ENVIRONMENT with its name, or DEFAULT


def chosen(document: Document, settings: Settings, base_url: str) -> dict[str, Chosen]:
    """Every setting that the environment and the file may both say, by its name in the environment."""
    identity = document.identity
    tokens = made.Tokens()
    database, where = settings.database()
    secrets = settings.secrets or None
    database_default = f"sqlite:{os.path.join(settings.data, 'postern.db')}"
    return {
        "POSTERN_SECRET": _pick("POSTERN_SECRET", _yaml(identity, "postern_secret"), secrets, ()),
        "DATABASE_URL": _pick(where, _yaml(identity, "database_url"), database or None, database_default),
        "BASE_URL": _pick("BASE_URL", _yaml(identity, "base_url"), settings.base_url or None, base_url),
        "TOKEN_TTL": _pick("TOKEN_TTL", _life(identity, "token_ttl"), settings.token_ttl, tokens.access_ttl),
        "REFRESH_TTL": _pick(
            "REFRESH_TTL", _life(identity, "refresh_ttl"), settings.refresh_ttl, tokens.idle_ttl
        ),
        "SESSION_TTL": _pick(
            "SESSION_TTL", _life(identity, "session_ttl"), settings.session_ttl, tokens.absolute_ttl
        ),
        "MAX_LOGIN_ATTEMPTS": _pick(
            "MAX_LOGIN_ATTEMPTS", _yaml(identity, "max_login_attempts"), settings.max_login_attempts,
            made.Service().max_login_attempts,
        ),
        "LOCKOUT_DURATION": _pick(
            "LOCKOUT_DURATION", _yaml(identity, "lockout_duration"), settings.lockout_duration,
            made.Service().lockout_duration,
        ),
        "SMTP_URL": _pick("SMTP_URL", _smtp(identity), settings.smtp_url or None, ""),
        "CORS_ORIGINS": _pick("CORS_ORIGINS", _yaml(identity, "cors_origins"), settings.cors_origins, ()),
        "POSTERN_ADMIN_TOKEN": _pick("POSTERN_ADMIN_TOKEN", None, settings.admin_token or None, ""),
    }  # fmt: skip


def _pick(name: str, said: tuple[str, Any] | None, environment: Any, default: Any) -> Chosen:
    if said is not None:
        return Chosen(said[1], f"{FILE}: {said[0]}")
    if environment is not None:
        return Chosen(environment, f"{ENVIRONMENT}: {name}")
    return Chosen(default, DEFAULT)


def _yaml(identity: Identity, key: str) -> tuple[str, Any] | None:
    value = getattr(identity, key)
    return None if value is None else (f"identity.{key}", value)


def _life(identity: Identity, key: str) -> tuple[str, Any] | None:
    group, name = TWICE[key]
    if name in identity.tokens.model_fields_set:
        return f"identity.{group}.{name}", getattr(identity.tokens, name)
    return _yaml(identity, key)


def _smtp(identity: Identity) -> tuple[str, Any] | None:
    if identity.mail.smtp:  # empty, as of an unset ${SMTP_URL:-}: not said
        return "identity.mail.smtp", identity.mail.smtp
    return _yaml(identity, "smtp_url") if identity.smtp_url else None


def faults(document: Document, settings: Settings) -> Iterator[ConfigFault]:
    """What only shows when everything is known."""
    found = chosen(document, settings, "")
    if is_postgres(found["DATABASE_URL"].value) and not found["POSTERN_SECRET"].value:
        hint = "make one with: postern secret; what is in data/secret can be given as it is"
        yield ConfigFault("environment", 0, "POSTERN_SECRET", "with PostgreSQL it has to be set", hint)


def service(
    document: Document, settings: Settings, name: str, base_url: str, folder: Path = Path()
) -> made.Service:
    """All of it; `base_url` is that of the snapshot, `folder` that of the file, where its paths begin."""
    identity = document.identity
    given = {key: one.value for key, one in chosen(document, settings, base_url).items()}
    tokens = identity.tokens
    password = identity.password if isinstance(identity.password, Password) else None
    argon2 = password.argon2 if password else Password().argon2
    usual = made.Service()
    return made.Service(
        secrets=tuple(given["POSTERN_SECRET"]),
        database_url=given["DATABASE_URL"],
        data=settings.data,
        name=name,
        site=identity.brand.name or "",
        prefix=identity.prefix,
        serve=tuple(identity.serve),
        base_url=base_url or usual.base_url,
        tokens=made.Tokens(
            format=tokens.format,  # type: ignore[arg-type]  # checked to be one of its words
            algorithm=tokens.algorithm,  # type: ignore[arg-type]
            access_ttl=given["TOKEN_TTL"],
            idle_ttl=given["REFRESH_TTL"],
            absolute_ttl=given["SESSION_TTL"],
            reuse_grace=tokens.reuse_grace,
            on_reuse=tokens.on_reuse,  # type: ignore[arg-type]
            history=tokens.history,
        ),
        colour=identity.brand.colour or "",
        cookie=cookie(identity, base_url),
        mail=made.Mail(
            smtp=given["SMTP_URL"],
            sender=identity.mail.from_ or "",
            templates=str(folder / identity.mail.templates) if identity.mail.templates else "",
            language=identity.mail.language,
            new_device=identity.mail.new_device,
        ),
        webhooks=tuple(made.Webhook(hook.url, hook.secret, tuple(hook.events)) for hook in identity.webhooks),
        password=made.Password(
            on=password is not None,
            min=password.min if password else usual.password.min,
            memory=argon2.memory,
            time=argon2.time,
            lanes=argon2.lanes,
        ),
        registration=identity.registration,  # type: ignore[arg-type]
        confirmation=identity.confirmation,  # type: ignore[arg-type]
        email_domains=tuple(domain.lower() for domain in identity.email_domains),
        limits={**made.LIMITS, **identity.limits},
        max_login_attempts=given["MAX_LOGIN_ATTEMPTS"],
        lockout_duration=given["LOCKOUT_DURATION"],
        cors_origins=tuple(given["CORS_ORIGINS"]),
        forward_meta=tuple(identity.forward_meta),
        audit_kept=identity.retention.audit,
        sessions_kept=identity.retention.sessions,
        migrate=identity.migrate,  # type: ignore[arg-type]
        admin_token=given["POSTERN_ADMIN_TOKEN"],
    )


def cookie(identity: Identity, base_url: str) -> made.Cookie:
    """RFC 6265bis section 4.1.3: both prefixes want Secure, and __Host- no domain."""
    secure = base_url.startswith("https:")
    domain = (identity.cookie.domain or "").lstrip(".").lower()
    name = "postern" if not secure else "__Secure-postern" if domain else "__Host-postern"
    return made.Cookie(name, domain, identity.cookie.renewal, secure)
