"""Length-prefixed msgpack frames: how supervisor and workers (and later edge and identity) speak."""

import struct
from typing import Any

import msgspec

MAX_FRAME = 64 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode

Message = dict[str, Any]


class BadFrame(Exception):
    """The other side does not speak this protocol."""


def encode(message: Message) -> bytes:
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Collects bytes and gives whole messages; a frame over the limit is refused before it is held."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, data: bytes) -> list[Message]:
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        while len(buffer) >= 4:
            (length,) = _LENGTH.unpack_from(buffer)
            if length > self._limit:
                raise BadFrame(f"a frame of {length} bytes")
            if len(buffer) < 4 + length:
                break
            try:
                messages.append(_decode(bytes(buffer[4 : 4 + length])))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise BadFrame(str(error)) from None
            del buffer[: 4 + length]
        return messages
