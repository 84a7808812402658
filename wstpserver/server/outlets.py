"""Where the frames of a kernel go: to its client, into the store of missed output, into the log, or nowhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from wstpserver.server.frame_writer import END_PACKET
from wstpserver.server.stream import Stream, StreamClosed

if TYPE_CHECKING:
    from wstpserver.server.session import Session


class Outlet(Protocol):
    """Takes the bytes of a kernel in order."""

    #: True if `write` must be called for each frame by itself, whatever its head.
    every_frame: bool

    def write(self, data: memoryview, at_boundary: bool) -> None:
        """Take whole frames or a part of one; *at_boundary* tells that the last byte completes a frame."""

    #: The stream that whole frames may be written to in C while it is free; who does so calls `went_out`. None: no.
    stream: Stream | None

    def went_out(self, unsent: memoryview, open_tail: bool, at_boundary: bool) -> None:
        """Whole frames were written there, or more of the one that is `in_frame`, but for these last bytes;
        *open_tail*: the last one has no ``]``."""

    def begun(self) -> None:
        """A part of a frame was written there."""

    def in_frame(self) -> bool:
        """Whether more of a frame that was begun may be written there in C."""

    def tail(self) -> None:
        """A late ``]`` came for the last frame."""

    def lost(self, completion: Iterator[bytes] | None) -> None:
        """The kernel is gone in the middle of a frame, which *completion* would complete; None if nothing can."""


class ToClient:
    """To the client's link. A client that is gone swallows the rest."""

    every_frame = False

    def __init__(self, session: Session, source: object) -> None:
        self._session = session
        self._writer = session.writer
        self._source = source
        self.stream: Stream | None = session.writer.stream

    def write(self, data: memoryview, at_boundary: bool) -> None:
        try:
            self._writer.write(self._source, data, at_boundary)
        except StreamClosed:
            pass  # the client's own pump notices and ends the bridge

    def went_out(self, unsent: memoryview, open_tail: bool, at_boundary: bool) -> None:
        try:
            self._writer.went_out(self._source, unsent, open_tail, at_boundary)
        except StreamClosed:
            pass

    def begun(self) -> None:
        self._writer.begun(self._source)

    def in_frame(self) -> bool:
        return self._writer.in_frame(self._source)

    def tail(self) -> None:
        try:
            self._writer.tail(self._source)
        except StreamClosed:
            pass

    def lost(self, completion: Iterator[bytes] | None) -> None:
        # A link that goes on must not stay in the middle of a frame. One that is closing had better end there than
        # with an answer that looks whole.
        self._writer.abandon(self._source, None if self._session.closing else completion)


class HandedEverything:
    """Base of outlets that every byte is handed to."""

    stream: Stream | None = None

    def went_out(self, unsent: memoryview, open_tail: bool, at_boundary: bool) -> None:
        raise AssertionError("there is no stream")

    def begun(self) -> None:
        raise AssertionError("there is no stream")

    def in_frame(self) -> bool:
        return False


class FrameOutlet(HandedEverything):
    """Base of outlets that want each frame whole, without its ``]``."""

    every_frame = True

    def __init__(self) -> None:
        self._part = bytearray()

    def write(self, data: memoryview, at_boundary: bool) -> None:
        if not at_boundary:
            self._part += data
            return
        frame = bytes(self._part) + bytes(data) if self._part else bytes(data)
        self._part.clear()
        self.take(frame[:-1] if frame[-1] == END_PACKET else frame)

    def tail(self) -> None:
        pass

    def lost(self, completion: Iterator[bytes] | None) -> None:
        self._part.clear()

    def take(self, frame: bytes) -> None:
        """Take one whole frame."""
        raise NotImplementedError


class MissedOutput(FrameOutlet):
    """What a kernel writes while nobody is bridged to it: the newest frames, at most *limit* bytes of them."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        #: None while there are none: an empty deque needs as much memory as all the rest of this.
        self.frames: deque[bytes] | None = None
        self.size = 0
        #: Frames dropped because the limit was passed.
        self.dropped = 0

    def write(self, data: memoryview, at_boundary: bool) -> None:
        if len(self._part) + len(data) <= self.limit:
            super().write(data, at_boundary)
            return
        # a frame larger than the whole store: only its end is waited for
        self._part.clear()
        if at_boundary:
            self.dropped += 1
        else:
            self._oversized = True

    _oversized = False

    def take(self, frame: bytes) -> None:
        if self._oversized:
            self._oversized = False
            self.dropped += 1
            return
        frames = self.frames
        if frames is None:
            frames = self.frames = deque()
        frames.append(frame)
        self.size += len(frame)
        while self.size > self.limit:
            self.size -= len(frames.popleft())
            self.dropped += 1

    def drain(self) -> tuple[list[bytes], int]:
        """Return the frames, oldest first, with the number of dropped ones, and forget both."""
        frames, dropped = list(self.frames or ()), self.dropped
        self.frames = None
        self.size = self.dropped = 0
        return frames, dropped


class ToFunction(FrameOutlet):
    """Each frame to a function; used while a kernel is being initialised."""

    def __init__(self, function: Callable[[bytes], None]) -> None:
        super().__init__()
        self._function = function

    def take(self, frame: bytes) -> None:
        self._function(frame)


class Nowhere(HandedEverything):
    """Drops everything: the answer to an evaluation that its client could not finish sending."""

    every_frame = False

    def write(self, data: memoryview, at_boundary: bool) -> None:
        pass

    def tail(self) -> None:
        pass

    def lost(self, completion: Iterator[bytes] | None) -> None:
        pass
