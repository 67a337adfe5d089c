"""After a 101: bytes both ways, untouched, with back-pressure, until either side ends."""

from typing import TYPE_CHECKING

from gateway.edge import answers

if TYPE_CHECKING:
    from gateway.edge.downstream import Downstream
    from gateway.edge.upstream import Upstream


class Tunnel:
    """Joins a client's connection and an upstream's; back-pressure is that of the two protocols."""

    __slots__ = ("_client_ended", "_down", "_upstream", "_upstream_ended")

    def __init__(self, down: "Downstream", upstream: "Upstream") -> None:
        self._down = down
        self._upstream = upstream
        self._client_ended = self._upstream_ended = False

    def from_client(self, data: bytes) -> None:
        self._down.exchange.bytes_in += len(data)
        if not self._upstream.closed and self._down.worker.streams.flows(self._down):
            self._upstream.transport.write(data)

    def from_upstream(self, data: bytes) -> None:
        if self._down.worker.streams.flows(self._down):
            self._down.exchange.bytes_out += len(data)
            self._down.transport.write(data)

    def client_eof(self) -> bool:
        """The client says no more; the upstream may go on. True keeps the client's connection open."""
        self._client_ended = True
        transport = self._upstream.transport
        if self._upstream_ended or not transport.can_write_eof():
            return False
        transport.write_eof()
        return True

    def upstream_eof(self) -> bool:
        self._upstream_ended = True
        transport = self._down.transport
        if self._client_ended or not transport.can_write_eof():
            return False
        transport.write_eof()
        return True

    def close(self) -> None:
        """Silent for too long: end both sides."""
        self._upstream.abandon()
        self.upstream_lost()

    def upstream_lost(self) -> None:
        """End the client's side once what was written has gone out; but a client that does not read gets
        no more time than for any last reply."""
        down = self._down
        down.upstream = None
        down.worker.record(down.exchange)
        answers.close(down)
