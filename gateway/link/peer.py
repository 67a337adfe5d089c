"""Who is at the other end of a Unix socket, as the kernel says it."""

import os
import socket
import struct
import sys

import msgspec

# macOS, <sys/un.h>: level SOL_LOCAL, and the structure xucred
_SOL_LOCAL, _LOCAL_PEERCRED, _LOCAL_PEERPID = 0, 0x001, 0x002
_UCRED = struct.Struct("=iII")
_XUCRED = struct.Struct("=IIh2x16I")


class Peer(msgspec.Struct, frozen=True):
    uid: int
    process: int  # 0: not visible from here


def peer_of(descriptor: int) -> Peer:
    """The process that connected; OSError if the kernel doesn't tell."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        if sys.platform == "darwin":
            uid = _XUCRED.unpack(sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size))[1]
            return Peer(uid, sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID))
        process, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return Peer(uid, process)
