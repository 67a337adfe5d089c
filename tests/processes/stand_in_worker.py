"""A stand-in for the edge worker that speaks the control protocol, and fails in the ways a test asks for."""

import os
import selectors
import socket
import sys
import time
from contextlib import suppress

from gateway.config import snapshot as snapshots
from gateway.link import frames
from tests.processes.stand_in import StandIn


class Worker(StandIn):
    """Answers every connection with one line: its place, its pid and the configuration it has."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__(control)
        self.listeners: list[socket.socket] = []
        self.served = 0
        self.snapshot = snapshots.Snapshot(hash="none")
        self.place = -1
        self.held: list[socket.socket] = []
        self.identity: dict[str, str] = {}
        self.link: socket.socket | None = None

    def on_start(self, message: frames.Message) -> None:
        self.place, self.snapshot = message["worker"], snapshots.decode(message["snapshot"])
        if self.snapshot.service == "crash-at-start":
            os._exit(7)
        if self.snapshot.service == "fail-at-start":
            self.say(t="failed", error="the certificate can't be read")
            sys.exit(1)
        for each in message["listeners"]:
            sock = socket.socket(fileno=each["fd"])
            sock.setblocking(False)
            self.listeners.append(sock)
            self.selector.register(sock, selectors.EVENT_READ, self.on_accept)
        self.say(t="ready")
        self.identity = message.get("identity", {})

    def before_waiting(self) -> None:
        """The link is up when the other side has said a word."""
        if self.identity and self.link is None:
            link = socket.socket(socket.AF_UNIX)
            link.connect(self.identity["link"])  # somebody always listens there, or will
            self.link = link
            self.selector.register(link, selectors.EVENT_READ, self.on_link)

    def on_link(self, link: socket.socket) -> None:
        up = bool(link.recv(100))
        self.say(t="link", up=up)
        if not up:
            self.selector.unregister(link)
            link.close()
            self.link = None

    def on_reload(self, message: frames.Message) -> None:
        new = snapshots.decode(message["snapshot"])
        if new.service == f"refused-by-{self.place}":
            self.say(t="reloaded", id=message["id"], error="the certificate can't be read")
            return
        if new.service == f"deadly-for-{self.place}":
            os._exit(9)
        self.snapshot = new
        self.say(t="reloaded", id=message["id"], error="")

    def on_collect(self, message: frames.Message) -> None:
        samples = [
            ["requests_total", ["stand-in", "GET", "200"], self.served, [], 0.0],
            ["connections", [], 1, [], 0.0],
            ["upstream_healthy", ["app", "a:1"], 1 if self.place else 0, [], 0.0],
            ["request_duration_seconds", ["stand-in"], 0.0, [self.served] + [0] * 13, self.served * 0.25],
        ]
        self.say(t="counters", id=message["id"], samples=samples)

    def on_find(self, message: frames.Message) -> None:
        """Each worker has a line of its own; the later one was the second's."""
        line = f'{{"time":"2025-01-0{self.place + 1}","request_id":"{message["request_id"]}"}}\n'
        lines = [line.encode()] if message["request_id"] == "known-request" else []
        self.say(t="found", id=message["id"], lines=lines)

    def on_draining(self, message: frames.Message) -> None:
        self.snapshot = snapshots.Snapshot(hash="draining")

    def on_drain(self, message: frames.Message) -> None:
        for sock in self.listeners:
            with suppress(BlockingIOError):
                while True:
                    self.on_accept(sock)
            self.selector.unregister(sock)
            sock.close()
        if self.held:
            time.sleep(message["timeout"] + 60)  # a worker that does not end
        self.say(t="drained")
        sys.exit(0)

    def on_accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        client.settimeout(5)
        asked = client.recv(100).decode()
        if asked == "crash":
            os._exit(3)
        if asked == "hold":
            self.held.append(client)
        if asked == "identity":
            with socket.socket(socket.AF_UNIX) as question:
                question.connect(self.identity["http"])
                client.sendall(question.recv(10_000))
            client.close()
            return
        if asked == "environment":
            client.sendall("\n".join(os.environ).encode())
            client.close()
            return
        self.served += 1
        client.sendall(f"{self.place} {os.getpid()} {self.snapshot.hash}".encode())
        if asked != "hold":
            client.close()


if __name__ == "__main__":
    Worker.run()
