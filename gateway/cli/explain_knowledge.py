"""Whom `postern explain` asks about credentials and users: the running service, or else the store."""

import os
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.cli.acting import act_alone, ask_running
from gateway.explaining.knowledge import CantKnow, Somebody
from gateway.identity.control_client import ActRefused
from gateway.link.questions import Lease

if TYPE_CHECKING:
    from gateway.config.service import Service

_WITHIN = 5.0  # seconds
_SQLITE = "sqlite:"


class Running:
    """gateway.explaining.knowledge.Knowledge."""

    def __init__(self, config: str) -> None:
        self._config = config

    def look(self, kind: str, credential: str, address: str, agent: str) -> dict[str, Any]:
        given = {"kind": kind, "credential": credential, "address": address, "agent": agent}
        try:
            return self._done("explain.credential", given)
        except ActRefused as reason:
            raise CantKnow(str(reason)) from None

    def count(self, question: Lease) -> dict[str, Any]:
        """Only who counts can tell: nobody, where nothing runs."""
        try:
            given = msgspec.structs.asdict(question)
            told: dict[str, Any] = ask_running("explain.count", given, _WITHIN)
        except (ConnectionError, ActRefused) as reason:
            raise CantKnow(str(reason)) from None
        return told

    def user(self, who: str, address: str, agent: str) -> Somebody:
        """As if they had just signed in from there; ActRefused when there is nobody of that name."""
        try:
            return Somebody(self._done("explain.user", {"who": who, "address": address, "agent": agent}))
        except CantKnow as reason:
            return Somebody(unknown=str(reason))

    def _done(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        try:
            told: dict[str, Any] = ask_running(name, given, _WITHIN)
        except ConnectionError:
            told = self._alone(name, given)
        return told

    def _alone(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """Without a running service: what is in the store, if there is one that this version can read."""
        from gateway.config.compile import load_service
        from gateway.config.faults import ConfigFaults
        from gateway.store.faults import StoreFault

        nobody = "no identity service runs here, and"
        try:
            service = msgspec.structs.replace(load_service(self._config), migrate="manual")
            _be_there(service)
            told: dict[str, Any] = act_alone(service, name, given)
        except ConfigFaults as faults:
            raise CantKnow(f"{nobody} its settings are not whole: {faults.faults[0]}") from None
        except StoreFault as fault:
            raise CantKnow(f"{nobody} its database can't be used: {fault}") from None
        if told.get("outcome") == "unavailable":
            raise CantKnow(f"{nobody} nobody else can tell this")
        return told


def _be_there(service: "Service") -> None:
    """Explaining makes no database, and no secret for one."""
    path = service.database_url.removeprefix(_SQLITE)
    if path != service.database_url and not os.path.exists(path):
        raise CantKnow("no identity service runs here, and there is no database to look into")
