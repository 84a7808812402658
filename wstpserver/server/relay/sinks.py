"""Where the frames of a channel go: to the other end of the bridge, to the backlog of missed output, to a function,
or nowhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from wstpserver.server.connection import Connection, ConnectionClosed
from wstpserver.server.relay.frame_writer import END_PACKET, FrameWriter

#: Bytes that a frame in the backlog costs beside its own: a bytes object and its place in the deque.
FRAME_OVERHEAD = 48


class Sink:
    """Takes the bytes of a channel in order."""

    #: True if `write` must be called for each frame by itself, whatever its head.
    every_frame = False

    #: The connection that whole frames may be written to in C while it is free; `went_out` is called then. None: none.
    connection: Connection | None = None

    def write(self, data: memoryview | bytearray | bytes, *, at_boundary: bool) -> None:
        """Take whole frames or a part of one; *at_boundary* says that the last byte completes a frame. May wait."""
        raise NotImplementedError

    def went_out(self, unsent: memoryview, *, open_tail: bool, at_boundary: bool) -> None:
        """Whole frames were written to the connection in C, or more of the one that is `in_frame`, except these last
        bytes; *open_tail*: the last one has no ``]``. May wait.
        """
        raise AssertionError("this sink has no connection")

    def begun(self) -> None:
        """A part of a frame was written to the connection in C."""
        raise AssertionError("this sink has no connection")

    def in_frame(self) -> bool:
        """Whether more of a frame that was begun may be written to the connection in C."""
        return False

    def tail(self) -> None:
        """A late ``]`` was received for the last frame."""

    def lost(self, completion: Iterator[bytes] | None) -> None:
        """The sender is gone in the middle of a frame, which *completion* would complete; None if nothing can."""


class PeerSink(Sink):
    """The other end of a bridge. A link that is gone takes everything; its own channel ends the bridge.

    Args:
        writer: the writing side of the other end's data connection.
        source: who writes, for `FrameWriter`.
        direct: False if every byte has to pass the writer.
        closing: whether the other end's link is being closed. Such a link had better end in the middle of a frame
            than with one that looks whole.
    """

    def __init__(
        self,
        writer: FrameWriter,
        source: object,
        closing: Callable[[], bool] = lambda: False,
        *,
        direct: bool = True,
    ) -> None:
        self._writer = writer
        self._source = source
        self._closing = closing
        self.connection = writer.connection if direct else None

    def write(self, data: memoryview | bytearray | bytes, *, at_boundary: bool) -> None:
        try:
            self._writer.write(self._source, data, at_boundary=at_boundary)
        except ConnectionClosed:
            pass

    def went_out(self, unsent: memoryview, *, open_tail: bool, at_boundary: bool) -> None:
        try:
            self._writer.went_out(self._source, unsent, open_tail=open_tail, at_boundary=at_boundary)
        except ConnectionClosed:
            pass

    def begun(self) -> None:
        self._writer.begun(self._source)

    def in_frame(self) -> bool:
        return self._writer.in_frame(self._source)

    def tail(self) -> None:
        try:
            self._writer.tail(self._source)
        except ConnectionClosed:
            pass

    def lost(self, completion: Iterator[bytes] | None) -> None:
        # A link that goes on must not stay in the middle of a frame.
        self._writer.abandon(self._source, None if self._closing() else completion)


class FrameSink(Sink):
    """Base of sinks that want each frame whole, without its ``]``."""

    every_frame = True

    def __init__(self) -> None:
        self._part = bytearray()

    def write(self, data: memoryview | bytearray | bytes, *, at_boundary: bool) -> None:
        if not at_boundary:
            self._part += data
            return
        frame = bytes(self._part) + bytes(data) if self._part else bytes(data)
        self._part.clear()
        self.take(frame[:-1] if frame[-1] == END_PACKET else frame)

    def lost(self, completion: Iterator[bytes] | None) -> None:
        self._part.clear()

    def take(self, frame: bytes) -> None:
        """Take one whole frame."""
        raise NotImplementedError


class FrameJournal(Protocol):
    """Notes the content of a backlog."""

    def append(self, frame: bytes) -> None:
        """Note one more frame."""

    def dropped(self, frame: bytes | None, total: int) -> None:
        """Note that the first frame, or with None one that was never noted, was dropped; *total* is how many were."""

    def clear(self) -> None:
        """Note that nothing is kept."""


class OutputBacklog(FrameSink):
    """What a kernel writes while no client is bridged to it: the newest frames.

    Args:
        limit: most bytes that are held, `FRAME_OVERHEAD` of each frame included.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        #: None while there are none: an empty deque needs as much memory as all the rest of this.
        self._frames: deque[bytes] | None = None
        #: Bytes that are held.
        self.size = 0
        #: Frames dropped because of the limit.
        self.dropped = 0
        self._oversized = False
        #: Where the frames are noted as well; None if they need not survive the process.
        self.journal: FrameJournal | None = None

    def write(self, data: memoryview | bytearray | bytes, *, at_boundary: bool) -> None:
        if not self._oversized and len(self._part) + len(data) + FRAME_OVERHEAD <= self.limit:
            super().write(data, at_boundary=at_boundary)
            return
        # a frame larger than the whole backlog: only its end is waited for
        self._part.clear()
        self._oversized = not at_boundary
        if at_boundary:
            self.dropped += 1
            if self.journal is not None:
                self.journal.dropped(None, self.dropped)

    def lost(self, completion: Iterator[bytes] | None) -> None:
        super().lost(completion)
        self._oversized = False

    def take(self, frame: bytes) -> None:
        frames = self._frames
        if frames is None:
            frames = self._frames = deque()
        frames.append(frame)
        if self.journal is not None:
            self.journal.append(frame)
        self.size += len(frame) + FRAME_OVERHEAD
        while self.size > self.limit:
            first = frames.popleft()
            self.size -= len(first) + FRAME_OVERHEAD
            self.dropped += 1
            if self.journal is not None:
                self.journal.dropped(first, self.dropped)

    @property
    def frames(self) -> tuple[bytes, ...]:
        """The frames, oldest first, each without its ``]``."""
        return tuple(self._frames or ())

    def drain(self) -> tuple[deque[bytes], int]:
        """Return the frames, oldest first, each without its ``]``, and the number of dropped ones; forget both."""
        frames, dropped = self._frames or deque(), self.dropped
        self._frames = None
        self.size = self.dropped = 0
        if self.journal is not None:
            self.journal.clear()
        return frames, dropped


class FunctionSink(FrameSink):
    """Each frame to a function; used while the server itself evaluates in a kernel.

    Args:
        function: gets each whole frame without its ``]``.
    """

    def __init__(self, function: Callable[[bytes], None]) -> None:
        super().__init__()
        self._function = function

    def take(self, frame: bytes) -> None:
        self._function(frame)


class NullSink(Sink):
    """Drops everything: the answer to an evaluation that its client could not finish sending."""

    def write(self, data: memoryview | bytearray | bytes, *, at_boundary: bool) -> None:
        pass
