"""Plugins for the running gateway: they do what a request's X-Do header says, at once or later."""

import asyncio
import sys
from typing import Any, ClassVar

import msgspec

from gateway.model.exchange import Exchange
from gateway.model.faults import ORIGIN_REFUSED, Fault
from gateway.model.policy import Effects, Ports
from gateway.model.verdict import Answer, Refuse, Reply, Verdict

NO = Refuse(Fault("not_today", 403, "Not today", "client"), "Ask again tomorrow.", ((b"Retry-After", b"9"),))
INSTEAD = Answer(Reply(200, [(b"Content-Type", b"text/plain")], b"from the plugin"))
KINDLY = Answer(Reply(302, [(b"Location", b"/elsewhere")]), ORIGIN_REFUSED)


class Actor:
    """It leaves its mark on requests and replies."""

    class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        mark: str
        later: bool = False

    def __init__(self, settings: Settings, ports: Ports) -> None:
        self.name = f"actor-{settings.mark}"
        self._mark = settings.mark.encode()
        self._later = settings.later

    def effects(self) -> Effects:
        return Effects(reads=frozenset({b"x-do"}), request_drop=frozenset({b"x-drop-" + self._mark}))

    def on_request(self, exchange: Exchange) -> Verdict:
        do = exchange.noted.get(b"x-do", b"").decode()
        return self._do_later(do, exchange) if self._later else self._do(do, exchange)

    async def _do_later(self, do: str, exchange: Exchange) -> Any:
        await asyncio.sleep(0.001)
        return self._do(do, exchange)

    def _do(self, do: str, exchange: Exchange) -> Any:
        exchange.request_add += b"X-Mark: %b/%b\r\n" % (
            self._mark, exchange.identity.id.encode() if exchange.identity else b"-",
        )  # fmt: skip
        if do == "raise":
            raise LookupError("a defect")
        if do == "exit":
            sys.exit(1)
        if do == "cancel":
            raise asyncio.CancelledError
        if do == "half":
            exchange.request_add += b"X-Half: a line"
        if do == "smuggle":
            exchange.request_add += b"Content-Length: 5\r\n"
        says = {"refuse": NO, "answer": INSTEAD, "kindly": KINDLY, "true": True, "ok": "ok", "false": False}
        return says.get(do)

    def on_response(self, exchange: Exchange, reply: Reply) -> None:
        do = exchange.noted.get(b"x-do", b"")
        if do == b"raise-back":
            raise LookupError("a defect on the way back")
        if do == b"unframe":
            reply.headers = [(b"X-Mine", b"only")]
        if do == b"split":
            reply.headers.append((b"X-A", b"b\r\nX-C: d"))
        if do == b"bodyless":
            reply.status = 204
        reply.headers.append((b"X-Seen", b"%b:%d" % (self._mark, reply.status)))


class Keeps:
    """Has a secret among its settings, and tells nobody."""

    name: ClassVar[str] = "keeps"

    def __init__(self, settings: dict[str, Any], ports: Ports) -> None:
        self._expected = settings["key"]

    def on_request(self, exchange: Exchange) -> Verdict:
        return None if exchange.header(b"x-key") == self._expected.encode() else NO
