"""The completion of a frame while it is being put together."""

from __future__ import annotations

from collections.abc import Iterator


class Rest:
    """Pieces of a completion, and what is still missing after them.

    ``missing``: expressions; ``array_missing``: leaves of the array in progress. Pieces are kept as
    (bytes, repetitions), so that the length is known before the memory is taken: a broken sender may have
    announced any number.
    """

    __slots__ = ("missing", "array_missing", "length", "_pieces")

    def __init__(self, missing: int, array_missing: int) -> None:
        self.missing = missing
        self.array_missing = array_missing
        self.length = 0
        self._pieces: list[tuple[bytes, int]] = []

    def put(self, piece: bytes, times: int = 1) -> None:
        self._pieces.append((piece, times))
        self.length += len(piece) * times

    def parts(self, size: int) -> Iterator[bytes]:
        """The pieces one after the other in parts of about *size* bytes, so that it is never all in memory."""
        for piece, times in self._pieces:
            together = max(1, size // max(1, len(piece)))
            for start in range(0, times, together):
                yield piece * min(together, times - start)

    def join(self) -> bytes:
        return b"".join(piece * times for piece, times in self._pieces)
