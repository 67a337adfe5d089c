"""What browsers are told to be careful about, on every reply of a route."""

from typing import ClassVar, Literal

import msgspec

from gateway.model.lines import free_name, line
from gateway.model.policy import Effects, Ports

STANDARD = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Several of these bind together, so the upstream's own stays beside ours: to replace it could only weaken it.
_INTERSECT = frozenset({b"content-security-policy", b"content-security-policy-report-only"})
_TLS_ONLY = b"strict-transport-security"  # RFC 6797 section 7.2


class SecurityHeaders:
    name: ClassVar[str] = "security_headers"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        headers: Literal["standard"] | dict[str, str] = "standard"  # a map: exactly these

        def __post_init__(self) -> None:
            if isinstance(self.headers, dict):
                for name, value in self.headers.items():
                    free_name(name)
                    line(name, value)

    def __init__(self, settings: Settings, ports: Ports) -> None:
        chosen = settings.headers if isinstance(settings.headers, dict) else STANDARD
        headers = {free_name(name): line(name, value) for name, value in chosen.items()}
        if not ports.tls:
            headers.pop(_TLS_ONLY, None)
        self._effects = Effects(
            reply_drop=frozenset(headers) - _INTERSECT,
            reply_add=b"".join(headers.values()),
        )

    def effects(self) -> Effects:
        return self._effects
