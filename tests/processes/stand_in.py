"""What the stand-ins for the supervisor's children share: the control protocol, one event after the other."""

import argparse
import selectors
import socket
import sys
from contextlib import suppress
from typing import Any

from gateway.link import frames


class StandIn:
    """Each message of the supervisor calls the method on_TYPE."""

    def __init__(self, control: socket.socket) -> None:
        self.control, self.reader = control, frames.FrameReader()
        self.selector = selectors.DefaultSelector()
        self.selector.register(control, selectors.EVENT_READ, self.on_control)

    def say(self, **message: Any) -> None:
        self.control.setblocking(True)
        self.control.sendall(frames.encode(message))

    def on_control(self, control: socket.socket) -> None:
        data = control.recv(65536)
        if not data:
            sys.exit(0)
        for message in self.reader.feed(data):
            getattr(self, "on_" + message["t"])(message)

    def before_waiting(self) -> None:
        """Something to do each time."""

    @classmethod
    def run(cls) -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--control", type=int)
        self = cls(socket.socket(fileno=parser.parse_args().control))
        while True:
            self.before_waiting()
            for key, _ in self.selector.select():
                with suppress(BlockingIOError):
                    key.data(key.fileobj)
