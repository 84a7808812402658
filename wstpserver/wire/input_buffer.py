"""Bytes that came in and were not used yet."""
from __future__ import annotations

#: Chunks shorter than this are joined as they come in: each costs some 40 bytes besides its own, which a
#: peer that sends a large block two bytes at a time would make us pay.
_SMALL = 1024


class InputBuffer:
    """A queue of chunks that is joined only when someone looks at it.

    Whoever waits for many bytes (a packed block) asks for `available` and calls `gather()` once when
    there are enough, so every byte is copied once however small the chunks are.
    """

    __slots__ = ("available", "base", "data", "position", "_chunks")

    def __init__(self, offset: int = 0) -> None:
        #: What gather() returned last. Immutable bytes, so views of it may be kept.
        self.data = b""
        #: Where in `data` the unused bytes begin; moved on by the user, through consume().
        self.position = 0
        #: Number of unused bytes in all.
        self.available = 0
        #: Offset in the stream of data[0].
        self.base = offset
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append bytes; a large `bytes` object is kept as it is."""
        piece = bytes(chunk)
        chunks = self._chunks
        self.available += len(piece)
        if not chunks or len(piece) >= _SMALL:
            if piece:
                chunks.append(piece)
        elif len(chunks[-1]) < _SMALL:
            chunks[-1] = chunks[-1] + piece
        else:
            chunks.append(piece)

    def gather(self) -> bytes:
        """All unused bytes are in `data` from `position` on; returns `data`."""
        if self._chunks:
            unused = memoryview(self.data)[self.position :]
            self.base += self.position
            self.data = b"".join((unused, *self._chunks)) if unused or len(self._chunks) > 1 else self._chunks[0]
            self.position = 0
            self._chunks.clear()
        return self.data

    def consume(self, position: int) -> None:
        """The bytes before data[position] have been used."""
        self.available -= position - self.position
        self.position = position
        if position == len(self.data):  # let go of the memory, a large block may have ended here
            self.base += position
            self.data = b""
            self.position = 0
