"""The command line's questions to the admin listener of a gateway that runs."""

import http.client
import json
import os
import socket
from typing import TYPE_CHECKING, Any

from gateway.admin_token import VARIABLE, data_folder, find

if TYPE_CHECKING:
    from gateway.config.snapshot import Listen


class NoAnswer(Exception):
    """Nobody answers there, or not us; the text says what to do."""


def ask(admin: "Listen", method: str, path: str, timeout: float) -> tuple[int, dict[str, Any]]:
    """Status and answer; raises NoAnswer."""
    token = find(data_folder())
    if not token:
        where = os.path.join(data_folder(), "admin-token")
        raise NoAnswer(
            f"no admin token: set {VARIABLE}, or run this where the gateway runs (it reads {where})"
        )
    connection = _Connection(admin, timeout)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(
            f"no gateway answers on its admin listener {admin}: {error}. Is it running?"
        ) from error
    finally:
        connection.close()
    return reply.status, answer if isinstance(answer, dict) else {}


class _Connection(http.client.HTTPConnection):
    """HTTP to an address of the snapshot: TCP, or a Unix socket."""

    def __init__(self, listen: "Listen", timeout: float) -> None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
        super().__init__(host or "localhost", listen.port or 80, timeout=timeout)
        self._path = listen.path

    def connect(self) -> None:
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
