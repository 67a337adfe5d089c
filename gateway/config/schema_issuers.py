"""The schema of issuers: identity providers of your own; checked whole now, used by a later version."""

from typing import Annotated, Any

from pydantic import Field

from gateway.config.faults import NotRight, did_you_mean, listed, shown
from gateway.config.types import HttpUrl, Strict, Text, many, parsed, text

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


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


class IssuerClaims(Strict):
    user_id: Text = Field(default="sub", description="the claim that names the user")
    email: Text = Field(default="email", description="the claim with the address")
    name: Text = Field(default="preferred_username", description="the claim with the name")
    groups: Text = Field(default="groups", description="the claim with the groups")


class Issuer(Strict):
    issuer: HttpUrl = Field(description="the iss of its tokens")
    audience: Annotated[list[Text], many()] = Field(description="aud must hold one of these")
    algorithms: Annotated[list[Annotated[str, parsed(_algorithm, enum=list(ASYMMETRIC))]], many()] = Field(
        default=["RS256", "ES256"], description="pinned: a key never verifies with another one"
    )
    claims: IssuerClaims = Field(default=IssuerClaims(), description="where its tokens say what")
    roles: dict[str, Text] = Field(
        default={}, description="its groups to roles here; nothing else becomes a role"
    )
