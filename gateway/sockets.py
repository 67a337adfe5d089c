"""The listening sockets: bound by the supervisor, one per worker, and kept while workers come and go."""

import errno
import fcntl
import glob
import os
import shutil
import socket
import stat
import struct
import tempfile
import time
from array import array
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

import msgspec

from gateway.config.snapshot import Listen

BACKLOG = 4096
UNIX_MODE = 0o660
_PREFIX = "postern-"
_SURELY_HELD = 60.0  # seconds after which who made a folder holds it, if it lives
LONGEST_FOLDER = 70  # bytes of a path, so that a socket's name still fits

_SO_ATTACH_FILTER = 26
# Classic BPF over the TCP header: load the flags, keep SYN and ACK of them, drop a SYN alone, pass the rest.
_DROP_SYN = (
    struct.pack("=HBBI", 0x30, 0, 0, 13),
    struct.pack("=HBBI", 0x54, 0, 0, 0x12),
    struct.pack("=HBBI", 0x15, 0, 1, 0x02),
    struct.pack("=HBBI", 0x06, 0, 0, 0),
    struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF),
)
_PROGRAM = array("B", b"".join(_DROP_SYN))

Role = Literal["public", "redirect", "forward_auth"]


class CannotListen(Exception):
    """An address can't be listened on; the text says why and what to do."""


class Listener(msgspec.Struct, frozen=True):
    """One listening socket of one worker."""

    sock: socket.socket
    role: Role
    number: int = 0  # which of that role: in its place in routes.yaml


class UnixPath(msgspec.Struct, frozen=True):
    """A socket file that we made, known again by its inode: another program's file is never removed."""

    path: str
    device: int
    inode: int

    def remove(self) -> None:
        try:
            found = os.lstat(self.path)
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                os.unlink(self.path)
        except OSError:
            pass


class Listeners:
    """All listening sockets of the gateway: per worker its own TCP sockets, Unix sockets shared by all."""

    def __init__(self, workers: int) -> None:
        self._of: list[list[Listener]] = [[] for _ in range(workers)]
        self._paths: list[UnixPath] = []
        self.addresses: list[str] = []  # as bound: with the real port where 0 was asked for

    def open(self, addresses: Iterable[Listen], role: Role, key: str, number: int = 0) -> None:
        """Bind and listen; CannotListen says what to do, naming `key` of routes.yaml."""
        wanted = tuple(addresses)
        for listen in wanted:
            try:
                socks = self._open_unix(listen) if listen.path else self._open_tcp(listen, wanted)
            except OSError as error:
                raise CannotListen(explain(error, listen, key)) from None
            for own, sock in zip(self._of, socks, strict=True):
                own.append(Listener(sock, role, number))

    def of(self, worker: int) -> list[Listener]:
        return self._of[worker]

    def take_no_new(self) -> None:
        """Let nobody begin to connect any more, while those in the queues are still served.

        A listening socket that is closed resets what waits in its queue. So the kernel drops new SYNs before
        that: their clients try again, and are refused once the sockets are closed. Elsewhere than on Linux
        nothing happens here.
        """
        for path in self._paths:
            path.remove()
        for each in (each for own in self._of for each in own if each.sock.family != socket.AF_UNIX):
            with suppress(OSError):
                each.sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _filter())

    def close(self) -> None:
        """Let go of all sockets; a worker's own copies stay open until it closes them."""
        for path in self._paths:
            path.remove()
        for sock in {id(each.sock): each.sock for own in self._of for each in own}.values():
            sock.close()
        self._paths, self._of = [], [[] for _ in self._of]

    def _open_tcp(self, listen: Listen, all_of_them: tuple[Listen, ...]) -> list[socket.socket]:
        """One for each worker."""
        family, address = resolve(listen)
        v4_too = any(other.host == "0.0.0.0" and other.port == listen.port for other in all_of_them)
        only_v6 = listen.host != "::" or v4_too
        # With SO_REUSEPORT a second gateway of the same user would share the port unseen: first without it.
        probe = _bound(family, address, only_v6, reuse_port=False)
        port = probe.getsockname()[1]
        probe.close()
        socks = []
        for _ in self._of:
            sock = _bound(family, (address[0], port, *address[2:]), only_v6, reuse_port=True)
            sock.listen(BACKLOG)
            socks.append(sock)
        self.addresses.append(str(msgspec.structs.replace(listen, port=port)))
        return socks

    def _open_unix(self, listen: Listen) -> list[socket.socket]:
        """One, for all of them."""
        sock, path = open_unix(listen.path)
        self._paths.append(path)
        self.addresses.append(str(listen))
        return [sock] * len(self._of)


class PrivateSockets:
    """Listening Unix sockets of one of our processes for the others, in a folder of this user alone."""

    def __init__(self, names: Iterable[str]) -> None:
        parent = _short_folder()
        _remove_left(parent)
        self._folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        self._held = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._held, fcntl.LOCK_EX)
        self._socks: dict[str, socket.socket] = {}
        for name in names:
            self._socks[name], _ = open_unix(self._path(name))
        self.paths = {name: self._path(name) for name in self._socks}
        self.fds = {name: sock.fileno() for name, sock in self._socks.items()}

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def close(self) -> None:
        for sock in self._socks.values():
            sock.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._held)


def _remove_left(parent: str) -> None:
    """Folders of supervisors that were killed: nobody holds them any more."""
    for found in glob.glob(os.path.join(glob.escape(parent), f"{_PREFIX}????????")):
        with suppress(OSError):
            folder = os.open(found, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                seen = os.fstat(folder)
                ours = seen.st_uid == os.getuid() and set(os.listdir(folder)) <= {"http", "link"}
                if ours and time.time() - seen.st_mtime > _SURELY_HELD:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(found, ignore_errors=True)
            finally:
                os.close(folder)


def _short_folder() -> str:
    """A socket's path has at most 108 bytes, and 104 on macOS."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) <= LONGEST_FOLDER else "/tmp"


def open_one(listen: Listen, key: str) -> tuple[socket.socket, UnixPath | None]:
    """A single listening socket, for the admin listener."""
    try:
        if listen.path:
            return open_unix(listen.path)
        family, address = resolve(listen)
        sock = _bound(family, address, only_v6=listen.host != "::", reuse_port=False)
        sock.listen(128)
        return sock, None
    except OSError as error:
        raise CannotListen(explain(error, listen, key)) from None


def open_unix(path: str) -> tuple[socket.socket, UnixPath]:
    """A listening Unix socket at `path`; a socket file that nobody listens on any more makes room."""
    _make_room(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~UNIX_MODE)  # the file must not have a wider mode for a moment
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
        made = os.lstat(path)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock, UnixPath(os.path.abspath(path), made.st_dev, made.st_ino)


def resolve(listen: Listen) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """The address to bind; a name with several addresses gives its first IPv4 one, if any."""
    found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    family, _, _, _, address = found[0]
    # typeshed allows for families that we did not ask for
    return family, address  # type: ignore[return-value]


def explain(error: OSError, listen: Listen, key: str) -> str:
    """What went wrong in binding, and what a person can do about it."""
    what = f"can't listen on {listen} (`{key}:` in routes.yaml): "
    if isinstance(error, socket.gaierror):
        return (
            what
            + f"{listen.host} is not known as a host name. Write an address, such as 127.0.0.1 or 0.0.0.0."
        )
    if listen.path:
        return what + _explain_unix(error, listen.path)
    if error.errno == errno.EADDRINUSE:
        return (
            f"{what}another program has this port. Find it with: ss -ltnp 'sport = :{listen.port}'"
            f"  (or: lsof -nP -iTCP:{listen.port} -sTCP:LISTEN). Stop it, or choose another port in `{key}:`."
        )
    if error.errno == errno.EACCES:
        return (
            f"{what}this user may not. Ports below 1024 need the right CAP_NET_BIND_SERVICE: choose a higher"
            f" port in `{key}:`, or give the right (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)."
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return (
            f"{what}this machine does not have the address {listen.host}. See its addresses with: ip addr"
            f"  (0.0.0.0 stands for all of IPv4, [::] for all)."
        )
    return what + f"{error.strerror or error}."


def _explain_unix(error: OSError, path: str) -> str:
    if error.errno == errno.ENOENT:
        return f"the folder {os.path.dirname(os.path.abspath(path))} does not exist. Make it first."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"this user may not write to the folder {os.path.dirname(os.path.abspath(path))}."
    if error.errno == errno.EADDRINUSE:
        return f"another program listens there. Find it with: ss -lxp 'src {path}'"
    if error.errno == errno.ENOTSOCK:
        return "a file that is not a socket is there already. Move it away, or choose another path."
    return f"{error.strerror or error}."


def _filter() -> bytes:
    """A struct sock_fprog: how many instructions, and where they are."""
    return struct.pack("@HP", len(_DROP_SYN), _PROGRAM.buffer_info()[0])


def _make_room(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.ENOTSOCK, "not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # left by a process that is gone
            return
        except FileNotFoundError:
            return
        except (TimeoutError, BlockingIOError):
            pass  # its queue is full: somebody listens
    raise OSError(errno.EADDRINUSE, "in use")


def _bound(
    family: socket.AddressFamily, address: tuple[str, int], only_v6: bool, reuse_port: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_v6))
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
