"""The control socket: the command line's acts, done by the running service so that they reach every edge."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Any

import msgspec

from gateway.identity.acts import ACTS, Act
from gateway.identity.context import Context
from gateway.identity.control_client import ACT_WITHIN, READ_WITHIN, ActRefused, line, short

log = logging.getLogger(__name__)

MODE = 0o600
LINE = 256 * 1024  # bytes of a request
AT_ONCE = 8


class _Asked(msgspec.Struct, frozen=True):
    act: str
    given: dict[str, Any] = {}


class Control:
    """Listens until it is closed."""

    def __init__(self, context: Context, acts: dict[str, Act], path: str) -> None:
        self._context, self._acts, self._path = context, acts, path
        self._inode = 0
        self._server: asyncio.Server | None = None
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Another gateway on the same data folder keeps the socket that it has."""
        try:
            sock = _listening(self._path)
        except OSError as error:
            why = error.strerror or str(error)
            log.warning("no control socket in %s (%s): the command line opens the database", self._path, why)
            return
        self._inode = os.lstat(self._path).st_ino
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=LINE)

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(OSError):
            if os.lstat(self._path).st_ino == self._inode:
                os.unlink(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if _ours(writer.get_extra_info("socket")):
                async with self._places:
                    writer.write(await self._answer(reader))
                    async with asyncio.timeout(READ_WITHIN):
                        await writer.drain()
        except (OSError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            pass  # it went away, or does not speak as we do
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(READ_WITHIN):
            text = await reader.readuntil(b"\n")
        try:
            asked = msgspec.json.decode(text, type=_Asked)
            act = self._acts.get(asked.act)
            if act is None:
                raise ActRefused(f"the running service does not know {asked.act!r}: is it another version?")
            async with asyncio.timeout(ACT_WITHIN):
                return line({"ok": True, "answer": await act(self._context, asked.given)})
        except ActRefused as error:
            return line({"ok": False, "error": str(error)})
        except msgspec.MsgspecError:
            return line({"ok": False, "error": "this is no question"})
        except TimeoutError:
            return line({"ok": False, "error": f"it was not done within {ACT_WITHIN:.0f} s"})
        except Exception:
            log.exception("a command failed")
            return line({"ok": False, "error": "the service failed; see its log"})


async def serve(context: Context, path: Path) -> None:
    """Listens until it is cancelled."""
    control = Control(context, ACTS, str(path))
    await control.start()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await control.close()


def _listening(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        with short(path) as address:
            _make_room(path, address)
            before = os.umask(0o777 & ~MODE)  # the file must not have a wider mode for a moment
            try:
                sock.bind(address)
            finally:
                os.umask(before)
        sock.listen(AT_ONCE)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _make_room(path: str, address: str) -> None:
    """What a killed process left goes; what somebody listens on stays."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(0, "a file that is no socket has its name")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
    raise OSError(0, "another gateway uses this data folder")


def _ours(sock: Any) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the mode of file and folder has to do
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", data)
    return may_command(uid, os.getuid())


def may_command(peer: int, own: int) -> bool:
    """By user ids: the service's own user, and root, who could do it anyway."""
    return peer in (own, 0)
