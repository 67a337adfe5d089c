"""Closes a route while it is being worked on, but for the addresses of those who do the work."""

from ipaddress import ip_address, ip_network
from typing import ClassVar

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import Fault
from gateway.model.policy import Ports
from gateway.model.verdict import Refuse

CLOSED = Fault("maintenance", 503, "The shop is closed for a moment", "gateway")


class Maintenance:
    """Before authentication: nobody has to sign in to be told."""

    name: ClassVar[str] = "maintenance"

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        detail: str = "Try again in some minutes."
        retry_after: int = 300  # seconds
        let_in: tuple[str, ...] = ()  # addresses and networks

        def __post_init__(self) -> None:
            for each in self.let_in:
                ip_network(each)  # a ValueError is a fault of routes.yaml, with its line
            if self.retry_after < 1:
                raise ValueError("retry_after is at least 1")

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self._let_in = tuple(ip_network(each) for each in settings.let_in)
        self._refuse = Refuse(CLOSED, settings.detail, ((b"Retry-After", b"%d" % settings.retry_after),))

    def on_request(self, exchange: Exchange) -> Refuse | None:
        if self._let_in and self._is_let_in(exchange.client.decode("ascii")):
            return None
        return self._refuse

    def _is_let_in(self, client: str) -> bool:
        try:
            address = ip_address(client)
        except ValueError:  # a client on a Unix socket has none
            return False
        return any(address in network for network in self._let_in)
