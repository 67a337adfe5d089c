"""Clients that come again and again, one request at a time, and note whatever a client would complain of."""

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.kit.raw import Client, request
from tests.kit.wire import Ended

PATIENCE = 30.0


class Regulars:
    """Each in a thread of its own, with a kept connection, until it is refused to connect.

    A connection that was made is a promise: each request on it must be answered, whole, unless the reply
    before it has said `Connection: close`.
    """

    def __init__(self, port: int, bodies: Iterable[tuple[str, bytes]]) -> None:
        """One client for each path, with the body that is expected there."""
        self.complaints: list[str] = []
        self.served = 0
        self.turned_away = 0  # clients that were refused to connect: the gateway has ended
        self._news = threading.Condition()
        self._port = port
        self._threads = [
            threading.Thread(target=self._come, args=(path, body), daemon=True) for path, body in bodies
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.flow(2 * len(self._threads))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()

    def flow(self, more: int) -> None:
        """Until so many more requests were answered."""
        with self._news:
            wanted = self.served + more
            assert self._news.wait_for(lambda: self.served >= wanted or self.complaints, PATIENCE)
            assert not self.complaints, self.complaints

    def wait(self) -> None:
        """Until all have been turned away, or have complained."""
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a client waits for ever"

    def _come(self, path: str, body: bytes) -> None:
        try:
            while True:
                try:
                    client = Client(self._port, patience=PATIENCE)
                except ConnectionRefusedError:
                    break
                with client:
                    self._stay(client, path, body)
        except (Ended, OSError, AssertionError) as error:
            with self._news:
                self.complaints.append(f"{path}: {error!r}")
                self._news.notify_all()
        else:
            with self._news:
                self.turned_away += 1

    def _stay(self, client: Client, path: str, body: bytes) -> None:
        while True:
            answer = client.send(request(path)).reply()
            assert answer.status == 200 and answer.whole and answer.body == body, str(answer)[:300]
            with self._news:
                self.served += 1
                self._news.notify_all()
            if b"close" in b",".join(answer.values(b"connection")).lower():
                return
