"""Settings from the environment: those that this version can use."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.config.faults import ConfigFault, shown


class Settings(BaseSettings):
    model_config = SettingsConfigDict(extra="ignore", case_sensitive=True)

    port: int = Field(default=4000, alias="PORT", ge=1, le=65535, description="of the default listen address")
    base_url: str = Field(
        default="", alias="BASE_URL", pattern=r"^(https?://[^\s/]+(/\S*)?)?$", description="of links in mail"
    )

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


_HINTS = {"PORT": "a port is a number from 1 to 65535", "BASE_URL": "write one like https://shop.example.com"}


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, list[ConfigFault]]:
    """The settings, and what is wrong with them; a wrong one is left at its default."""
    given: dict[str, Any] = {name: environ[name] for name in _HINTS if environ.get(name)}
    try:
        return Settings(**given), []
    except ValidationError as error:
        names = {str(detail["loc"][0]) for detail in error.errors()}
        faults = [
            ConfigFault("environment", 0, name, f"{shown(given[name])} is not right", _HINTS[name])
            for name in sorted(names)
        ]
        return Settings(**{name: value for name, value in given.items() if name not in names}), faults
