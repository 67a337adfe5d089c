"""A stand-in for the identity service: speaks the control protocol, and fails in the ways a test asks for."""

import os
import selectors
import socket
import sys
import time
from contextlib import suppress

from gateway.link import frames
from tests.processes.stand_in import StandIn


class Identity(StandIn):
    """Its configuration is one word. Tells whoever connects its pid and that word; a link stays open."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__(control)
        self.links: list[socket.socket] = []
        self.word = ""
        self.served = 0

    def on_start(self, message: frames.Message) -> None:
        self.word = message["service"].decode()
        if self.word == "crash-at-start":
            os._exit(7)
        if self.word == "fail-at-start":
            self.say(t="failed", error="POSTERN_SECRET: the secret is missing\nand the database is outdated")
            sys.exit(1)
        for name, accept in (("http", self.on_http), ("link", self.on_link)):
            sock = socket.socket(fileno=message[name])
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ, accept)
        self.say(t="ready")

    def on_reload(self, message: frames.Message) -> None:
        word = message["service"].decode()
        if word == "deadly":
            os._exit(9)
        if word == "refused":
            self.say(t="reloaded", id=message["id"], error="the database can't be reached")
            return
        self.word = word
        self.say(t="reloaded", id=message["id"], error="")

    def on_collect(self, message: frames.Message) -> None:
        spread = [0] * 13 + [0]
        spread[2] = self.served
        samples = [
            ["logins_total", ["ok"], self.served, [], 0.0],
            ["sessions_active", [], 5, [], 0.0],
            ["revocation_propagation_seconds", [], 0.0, spread, 0.1],
        ]
        self.say(t="counters", id=message["id"], samples=samples)

    def on_drain(self, message: frames.Message) -> None:
        if self.word == "endless":
            time.sleep(message["timeout"] + 60)
        print(f"identity drained with {len(self.links)} links", file=sys.stderr, flush=True)
        self.say(t="drained")
        sys.exit(0)

    def on_http(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        self.served += 1
        with client, suppress(OSError):
            client.sendall(f"{os.getpid()} {self.word} {' '.join(sorted(os.environ))}".encode())

    def on_link(self, listener: socket.socket) -> None:
        link, _ = listener.accept()
        self.links.append(link)
        self.selector.register(link, selectors.EVENT_READ, self.on_link_end)
        link.sendall(b"welcome")

    def on_link_end(self, link: socket.socket) -> None:
        if not link.recv(100):
            self.selector.unregister(link)
            self.links.remove(link)
            link.close()


if __name__ == "__main__":
    Identity.run()
