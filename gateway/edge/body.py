"""A request's body on its way up: counted to its end, bounded, framed anew, and kept for a retry if small."""

from gateway.edge.framing import LAST_CHUNK, ChunkDecoder, as_chunk

MOST_KEPT = 64 * 1024


class TooLarge(Exception):
    """The body is larger than the route accepts."""


class RequestBody:
    """Of one request; its length is None when it comes in chunks."""

    __slots__ = ("_decoder", "_kept", "left", "over", "taken")

    def __init__(self, length: int | None, overhead: int) -> None:
        self._decoder = ChunkDecoder(overhead) if length is None else None
        self._kept: list[bytes] | None = None
        self.left = length or 0  # meaningless for chunks
        self.taken = 0
        self.over = False

    @property
    def chunked(self) -> bool:
        return self._decoder is not None

    def feed(self, data: bytes, limit: int) -> tuple[bytes, bytes]:
        """(the bytes for the upstream, what follows the body once it is `over`). Raises BadChunk,
        TooLarge."""
        decoder = self._decoder
        if decoder is None:
            size = len(data)
            if size >= self.left:
                self.over = True
                rest = data[self.left :]
                data = data[: self.left]
                self.left = 0
            else:
                rest = b""
                self.left -= size
            self.taken += len(data)
        else:
            data, rest = decoder.feed(data)
            self.over = decoder.done
            self.taken += len(data)
            if data:
                data = as_chunk(data)
            if self.over:
                data += LAST_CHUNK
        if self.taken > limit:
            raise TooLarge
        if self._kept is not None:
            self._kept.append(data)
            if self.taken > MOST_KEPT:
                self._kept = None
        return data, rest

    # For a retry

    def keep(self) -> None:
        """From here on, keep what was sent, as long as it is small."""
        self._kept = []

    @property
    def can_be_replayed(self) -> bool:
        return self.over and self._kept is not None

    def again(self) -> bytes:
        return b"".join(self._kept or ())
