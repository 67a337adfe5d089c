"""The schema of issuers: identity providers of your own, whose JWTs are credentials here."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field

from gateway.config.faults import NotRight, did_you_mean, listed, shown
from gateway.config.schema_policies import Audience
from gateway.config.types import FilePath, Strict, many, parsed, pattern, text
from gateway.model.addresses import is_loopback

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_URL = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+(/[\x21-\x7e]*)?")


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port or 0
    except ValueError:
        return None


def _address(value: Any) -> str:
    """Whoever could change what comes from there could make themselves anybody: so it comes over TLS."""
    word = text(value, "an https URL")
    if not _URL.fullmatch(word):
        raise NotRight(f"{shown(value)} is not an https URL", "write one like https://sso.example.com")
    if _port(word) is None:
        raise NotRight(f"{shown(value)} has no valid port", "a port is a number up to 65535")
    if word.startswith("http:") and not is_loopback(urlsplit(word).hostname or ""):
        raise NotRight(
            f"{shown(value)} is not encrypted on its way", "use https; http is for loopback addresses only"
        )
    return word


def _issuer(value: Any) -> str:
    word = _address(value)
    if "?" in word or "#" in word:
        raise NotRight(f"{shown(value)} has a query or a fragment", "write the iss of its tokens as it is")
    return word


def _algorithm(value: Any) -> str:
    word = text(value, "an algorithm")
    if word in ASYMMETRIC:
        return word
    if word.upper().startswith("HS") or word.lower() == "none":
        raise NotRight(
            f"{word} is not accepted", "an issuer's tokens are verified by public keys: RS256, ES256, EdDSA"
        )
    raise NotRight(
        f"{shown(value)} is not an algorithm", did_you_mean(word, ASYMMETRIC, f"one of {listed(ASYMMETRIC)}")
    )


IssuerUrl = Annotated[str, parsed(_issuer, type="string", title="URL")]
KeysUrl = Annotated[str, parsed(_address, type="string", title="URL")]
Claim = Annotated[
    str,
    pattern(
        r"(?=.{1,255}$)([^\s\x00-\x1f.]+(\.[^\s\x00-\x1f.]+)*|\S*[:/]\S*)", "a claim",
        "write its name; a dot goes one level down",
    ),
]  # fmt: skip
Group = Annotated[str, pattern(r"[\s\S]{1,255}", "a group", "write the group as its tokens have it")]
RoleName = Annotated[
    str,
    pattern(
        r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", "a role",
        "use up to 64 letters, digits, and after the first any of . _ : -",
    ),
]  # fmt: skip


class IssuerClaims(Strict):
    user_id: Claim = Field(default="sub", description="the claim that names the user")
    email: Claim = Field(default="email", description="the claim with the address")
    name: Claim = Field(default="preferred_username", description="the claim with the name")
    groups: Claim = Field(
        default="groups",
        description="the claim with the groups; a dot goes one level down: realm_access.roles",
    )


class Issuer(Strict):
    issuer: IssuerUrl = Field(description="the iss of its tokens")
    audience: Annotated[list[Audience], many()] = Field(description="aud must hold one of these")
    algorithms: Annotated[list[Annotated[str, parsed(_algorithm, enum=list(ASYMMETRIC))]], many()] = Field(
        default=["RS256", "ES256"], description="pinned: a key never verifies with another one"
    )
    jwks_uri: KeysUrl | None = Field(
        default=None, description="where its keys are; default: as its openid-configuration says"
    )
    ca: FilePath | None = Field(
        default=None, description="certificates that its own must come from; default: the system's"
    )
    claims: IssuerClaims = Field(default=IssuerClaims(), description="where its tokens say what")
    roles: dict[Group, RoleName] = Field(
        default={}, description="its groups to roles here; nothing else becomes a role"
    )
