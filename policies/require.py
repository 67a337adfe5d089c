"""What somebody must be to come in: roles, permissions, level, freshness, a confirmed address, meta."""

from typing import ClassVar

import msgspec

from gateway.model.challenges import bearer
from gateway.model.exchange import Exchange
from gateway.model.faults import CREDENTIAL_MISSING, INSUFFICIENT_SCOPE, INSUFFICIENT_USER_AUTHENTICATION
from gateway.model.identity import Identity
from gateway.model.policy import Ports
from gateway.model.verdict import Refuse, Verdict


class Require:
    name: ClassVar[str] = "require"
    lasting: ClassVar[bool] = True

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        roles: tuple[str, ...] = ()  # any of these
        permissions: tuple[str, ...] = ()  # all of these
        level: int = 1
        fresh: float = 0.0  # seconds since the last proof; 0: however long ago
        confirmed: bool = False
        meta: dict[str, str] = {}  # of the protected meta, each value as text

        def __post_init__(self) -> None:
            asked = self.roles or self.permissions or self.fresh or self.confirmed or self.meta
            if not asked and self.level < 2:
                raise ValueError("require asks for nothing: say what, such as roles: [clerk]")

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._roles = frozenset(settings.roles)
        self._grants = tuple(grants(permission) for permission in settings.permissions)
        self._meta = tuple(settings.meta.items())
        self._confirmed = settings.confirmed
        self._level = settings.level
        self._fresh = settings.fresh
        self._clock = ports.clock
        realm = ports.service
        self._anonymous = Refuse(CREDENTIAL_MISSING, headers=bearer(realm))
        scope = {"scope": " ".join(settings.permissions)} if settings.permissions else {}
        challenge = bearer(realm, "insufficient_scope", **scope)
        self._no_role, self._no_permission, self._no_meta, self._unconfirmed = (
            Refuse(INSUFFICIENT_SCOPE, detail, challenge) for detail in _wanted(settings)
        )
        proof = bearer(realm, "insufficient_user_authentication", **_proof(settings))
        self._low, self._stale = (
            Refuse(INSUFFICIENT_USER_AUTHENTICATION, detail, proof)
            for detail in (
                "Use a second factor (POST /login/mfa).",
                f"Prove that it is you (POST /reauth): here that may be {int(settings.fresh)} seconds ago.",
            )
        )

    def on_request(self, exchange: Exchange) -> Verdict:
        who = exchange.who
        if who is None:
            return self._anonymous
        if who.passed is not self:
            lacking = self._lacking(who.identity)
            if lacking is not None:
                return lacking
            who.passed = self
        if self._fresh and self._clock() - who.proved_at > self._fresh:
            return self._stale
        return None

    def _lacking(self, identity: Identity) -> Refuse | None:
        """What time does not change. First what another proof of who it is would not help with."""
        if self._roles and self._roles.isdisjoint(identity.roles):
            return self._no_role
        for granting in self._grants:
            if granting.isdisjoint(identity.permissions):
                return self._no_permission
        for key, value in self._meta:
            if identity.protected.get(key) != value:  # never the public meta: users write that themselves
                return self._no_meta
        if self._confirmed and not identity.confirmed:
            return self._unconfirmed
        if identity.level < self._level:
            return self._low
        # a key is no person who proved to be there; of its people another issuer says when they did
        proves = identity.session or identity.kind == "external"
        return None if proves or not self._fresh else self._stale


def grants(permission: str) -> frozenset[str]:
    """What one may hold to have this permission: itself, or `orders:*` and the like for what begins so."""
    parts = permission.split(":")
    wildcards = (":".join([*parts[:count], "*"]) for count in range(1, len(parts)))
    return frozenset((permission, *wildcards))


def _wanted(settings: Require.Settings) -> tuple[str, str, str, str]:
    """In words, for whom it is refused: roles, permissions, meta, confirmed."""
    return (
        f"One of these roles is needed: {', '.join(settings.roles)}. An administrator can give it.",
        f"These permissions are needed: {', '.join(settings.permissions)}. An administrator can give them.",
        f"The account does not have the right {', '.join(settings.meta)}. An administrator sets that.",
        "Confirm the account's e-mail address first.",
    )


def _proof(settings: Require.Settings) -> dict[str, str]:
    """RFC 9470 section 3: all that the route wants of a proof, so that one new proof is enough."""
    level = {"acr_values": str(settings.level)} if settings.level > 1 else {}
    return level | ({"max_age": str(int(settings.fresh))} if settings.fresh else {})
