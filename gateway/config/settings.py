"""Settings from the environment: each checked by itself; `identity:` in routes.yaml goes before them."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.config import durations
from gateway.config.faults import ConfigFault, shown
from gateway.config.schema_policies import whole_origin
from gateway.config.smtp_url import server_of

SHORTEST_SECRET = 32  # bytes
DATABASE_URL = re.compile(r"sqlite:[^\s\x00]+|postgres(ql)?://[^\s\x00]+")


def secrets_of(text: str) -> tuple[str, ...]:
    """One or several, newest first, parted by commas or blanks."""
    return tuple(word for word in re.split(r"[,\s]+", text) if word)


def short_secret(secret: str) -> bool:
    return len(secret.encode()) < SHORTEST_SECRET


def is_postgres(url: str) -> bool:
    return not url.startswith("sqlite:")


def _secrets(value: str) -> tuple[str, ...]:
    found = secrets_of(value)
    if any(map(short_secret, found)):
        raise ValueError("too short")
    return found


def _seconds(value: str) -> float:
    return durations.seconds(value, bare=True)


def _some_seconds(value: str) -> float:
    found = durations.seconds(value, bare=True)
    if not found:
        raise ValueError("nothing")
    return found


def _origins(value: str) -> tuple[str, ...]:
    return tuple(whole_origin(word) for word in re.split(r"[,\s]+", value) if word)


def _read(parse: Callable[[str], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def _smtp(value: str) -> str:
    server_of(value)
    return value


Smtp = Annotated[str, _read(_smtp)]
Secrets = Annotated[tuple[str, ...], _read(_secrets)]
Span = Annotated[float, _read(_seconds)]
Lasting = Annotated[float, _read(_some_seconds)]
Origins = Annotated[tuple[str, ...], _read(_origins)]


class Settings(BaseSettings):
    """None, or nothing, where the environment does not say."""

    model_config = SettingsConfigDict(
        extra="ignore", case_sensitive=True, validate_default=False, hide_input_in_errors=True
    )

    port: int = Field(default=4000, alias="PORT", ge=1, le=65535)
    data: str = Field(default="data", alias="POSTERN_DATA", min_length=1)
    secrets: Secrets = Field(default=(), alias="POSTERN_SECRET", repr=False)
    database_url: str = Field(
        default="", alias="DATABASE_URL", repr=False, pattern=f"^({DATABASE_URL.pattern})$"
    )
    redis_url: str = Field(default="", alias="REDIS_URL", repr=False)
    smtp_url: Smtp = Field(default="", alias="SMTP_URL", repr=False)
    base_url: str = Field(default="", alias="BASE_URL", pattern=r"^(https?://[^\s/]+(/\S*)?)?$")
    token_ttl: Lasting | None = Field(default=None, alias="TOKEN_TTL")
    refresh_ttl: Lasting | None = Field(default=None, alias="REFRESH_TTL")
    session_ttl: Span | None = Field(default=None, alias="SESSION_TTL")
    max_login_attempts: int | None = Field(default=None, alias="MAX_LOGIN_ATTEMPTS", ge=1, le=1000)
    lockout_duration: Lasting | None = Field(default=None, alias="LOCKOUT_DURATION")
    cors_origins: Origins | None = Field(default=None, alias="CORS_ORIGINS")
    admin_token: str = Field(default="", alias="POSTERN_ADMIN_TOKEN", repr=False)
    db_host: str = Field(default="", alias="DB_HOST", pattern=r"^[^\s/@]+$")
    db_port: int = Field(default=5432, alias="DB_PORT", ge=1, le=65535)
    db_name: str = Field(default="", alias="DB_NAME")
    db_username: str = Field(default="", alias="DB_USERNAME")
    db_password: str = Field(default="", alias="DB_PASSWORD", repr=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment is handed in, so that a test, or a reload, can have its own."""
        return (init_settings,)

    def database(self) -> tuple[str, str]:
        """The URL, and the variables that it comes from; both empty where there are none."""
        if self.database_url:
            return re.sub("^postgres://", "postgresql://", self.database_url), "DATABASE_URL"
        if not self.db_host and not self.db_name:
            return "", ""
        user = quote(self.db_username, safe="")
        password = f":{quote(self.db_password, safe='')}" if self.db_password else ""
        place = f"{self.db_host or 'localhost'}:{self.db_port}/{quote(self.db_name or 'postern', safe='')}"
        return f"postgresql://{user}{password}{'@' if user or password else ''}{place}", "DB_HOST and others"


class _Rule(NamedTuple):
    hint: str
    secret: bool = False
    edge: bool = False  # an edge uses it too


_DURATION = "write seconds, or a duration like 15m, 30d"
_RULES = {
    "PORT": _Rule("a port is a number from 1 to 65535", edge=True),
    "POSTERN_DATA": _Rule("name a folder", edge=True),
    "POSTERN_SECRET": _Rule(
        f"a secret has at least {SHORTEST_SECRET} bytes; make one with: postern secret", secret=True
    ),
    "DATABASE_URL": _Rule("write sqlite:PATH or postgresql://user:password@host/name", secret=True),
    "REDIS_URL": _Rule("", secret=True),
    "SMTP_URL": _Rule("write smtp://user:password@host:587 or smtps://…", secret=True),
    "BASE_URL": _Rule("write one like https://shop.example.com", edge=True),
    "TOKEN_TTL": _Rule(_DURATION, edge=True),
    "REFRESH_TTL": _Rule(_DURATION),
    "SESSION_TTL": _Rule(f"{_DURATION}; 0: never"),
    "MAX_LOGIN_ATTEMPTS": _Rule("write a number from 1 to 1000"),
    "LOCKOUT_DURATION": _Rule(_DURATION),
    "CORS_ORIGINS": _Rule("name each origin whole, like https://app.example.com, parted by commas"),
    "POSTERN_ADMIN_TOKEN": _Rule("", secret=True),
    "DB_HOST": _Rule("write a host's name or address"),
    "DB_PORT": _Rule("a port is a number from 1 to 65535"),
    "DB_NAME": _Rule(""),
    "DB_USERNAME": _Rule(""),
    "DB_PASSWORD": _Rule("", secret=True),
}
# All that the environment may say, but for who the admin is.
NAMES = frozenset({*_RULES, "REDIS_HOST", "JWT_SECRET"} - {"POSTERN_ADMIN_TOKEN"})
# What this version can't use yet: a setting without an effect would be a promise that nobody keeps.
_LATER = ("REDIS_URL", "REDIS_HOST")


def read_settings(environ: Mapping[str, str], edge: bool = False) -> tuple[Settings, list[ConfigFault]]:
    """The settings, and what is wrong with them; a wrong one is left at its default."""
    names = [name for name, rule in _RULES.items() if environ.get(name) and (rule.edge or not edge)]
    given: dict[str, Any] = {name: environ[name] for name in names}
    faults = [] if edge else [*_not_yet(environ), *_seeds_secret(environ)]
    try:
        return Settings(**given), faults
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors()}
        for name in sorted(wrong):
            rule = _RULES[name]
            problem = "this is not right" if rule.secret else f"{shown(given[name])} is not right"
            faults.append(ConfigFault("environment", 0, name, problem, rule.hint))
        return Settings(**{name: value for name, value in given.items() if name not in wrong}), faults


def _not_yet(environ: Mapping[str, str]) -> list[ConfigFault]:
    return [
        ConfigFault("environment", 0, name, "not available in this version yet", "unset it for now")
        for name in _LATER
        if environ.get(name)
    ]


def _seeds_secret(environ: Mapping[str, str]) -> list[ConfigFault]:
    if not environ.get("JWT_SECRET") or environ.get("POSTERN_SECRET"):
        return []
    hint = "set POSTERN_SECRET, of at least 32 bytes (postern secret makes one), and unset JWT_SECRET"
    return [ConfigFault("environment", 0, "JWT_SECRET", "this is not read here", hint)]
