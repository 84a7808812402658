"""Where the frames of a channel go: to the other end of the bridge, to the backlog of missed output, to a function,
or nowhere; and the writing side of a data connection, which never mixes the frames of several sources.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import gevent
from gevent.lock import BoundedSemaphore

from wstpserver._native import lib
from wstpserver.server.connection import Connection, ConnectionClosed
from wstpserver.wire.frames import SIX_DIGITS, EscapeRewriter

#: Bytes that a frame in the backlog costs beside its own: a bytes object and its place in the deque.
FRAME_OVERHEAD = 48


class Sink:
    """Takes the bytes of a channel in order."""

    __slots__ = ()

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

    __slots__ = ("_closing", "_source", "_writer", "connection")

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
        frames, dropped = self._frames, self.dropped
        if frames is None and not dropped:
            return deque(), 0
        self._frames = None
        self.size = self.dropped = 0
        if self.journal is not None:
            self.journal.clear()
        return frames or deque(), dropped


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

END_PACKET = 0x5D  # "]"


def ended(frame: bytes) -> bytes:
    """The whole *frame* with its ``]``, which a peer may leave out or send late."""
    return frame if frame[-1] == END_PACKET else frame + b"]"


class FrameWriter:
    """Writes the frames of several sources to one connection.

    A source is any object; the one whose frame has begun owns the connection until that frame is complete, the others
    wait. So a reply of the server never lands inside a frame of the kernel. A source must not write from two
    greenlets at once: a writer that may uses a new object for each frame. While no source is in the middle of a
    frame, whole frames may also go to the connection past this object, in C: its ``handle.free`` says so.

    A ``]`` that a peer sends late belongs to the frame before it: if another source has written in between, the
    writer has put one there already.

    Args:
        connection: the data connection to write to.
    """

    __slots__ = (
        "_completion", "_lock", "_open_tail", "_owner", "_rewriter", "_sending", "broken", "connection", "noted",
        "rewrites",
    )  # fmt: skip

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.handle.free = 1
        self._lock = BoundedSemaphore(1)
        self._owner: object | None = None
        self._open_tail: object | None = None
        self._sending = False
        self._completion: Iterator[bytes] | None = None
        #: True while frames come from a link whose greeting has version 6 and this one's has not: each frame that
        #: begins from now on has its escapes rewritten (docs/wire-protocol.md, section 2).
        self.rewrites = False
        #: Of the frame that has begun.
        self._rewriter: EscapeRewriter | None = None
        #: Called when a frame was written whole, where notes are made of what is written (`handle.keep`).
        self.noted: Callable[[], None] | None = None
        #: True once a frame was left that cannot be completed: nothing can follow it.
        self.broken = False

    def write(
        self, source: object, data: bytes | bytearray | memoryview, *, at_boundary: bool, begins: bool = True
    ) -> None:
        """Write the next bytes of *source*: frames, or a part of one. Waits for the frame of another source to end.

        Args:
            source: who writes.
            data: the bytes.
            at_boundary: True if the last byte completes a frame.
            begins: False if a part of these frames was written past this object.

        Raises:
            ConnectionClosed: the connection is gone, or a frame before this one was never completed.
        """
        if self._owner is not source:
            self._lock.acquire()
            if self.broken:
                self._lock.release()
                raise ConnectionClosed("a frame before this one was never completed")
            self._owner = source
            # whole frames without what such an escape begins with, as most are, go as they are
            needed = self.rewrites and not (at_boundary and SIX_DIGITS not in bytes(data))
            self._rewriter = EscapeRewriter() if needed else None
            self.connection.handle.free = 0
            if begins and self.noted is not None:
                lib.wstpkeep_begin(self.connection.handle.keep, 0, 0)
            if self._open_tail is not None and self._open_tail is not source:
                self._open_tail = None
                data = b"]" + bytes(data)
        self._sending = True
        try:
            if self._rewriter is None:
                self.connection.send(data)
            else:
                self._send(data)
            if self._completion is not None:  # the frame was abandoned while we waited
                for data in self._completion:
                    self._send(data)
                self._completion, at_boundary = None, True
        except BaseException:
            self._completion = None
            self._release()
            raise
        finally:
            self._sending = False
        if at_boundary or self.broken:
            self._open_tail = None if data[-1] == END_PACKET else source
            if self.noted is not None:
                self.noted()
            self._release()

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        if self._rewriter is None:
            self.connection.send(data)
        elif rewritten := b"".join(self._rewriter.feed(bytes(data))):
            self.connection.send(rewritten)

    def went_out(self, source: object, unsent: memoryview, *, open_tail: bool, at_boundary: bool = True) -> None:
        """Bytes of *source* were written to the free connection past this object, in C.

        Args:
            source: whose bytes they were.
            unsent: the last of them, which the connection did not take; they are written here. Waits for that.
            open_tail: True if the last frame has no ``]``.
            at_boundary: False if the bytes are a part of a frame that this object has begun.

        Raises:
            ConnectionClosed: the connection is gone.
        """
        if unsent:
            self.write(source, unsent, at_boundary=at_boundary, begins=False)
        elif open_tail:
            self._open_tail = source
            self.connection.handle.free = 0

    def begun(self, source: object) -> None:
        """A part of a frame of *source* was written to the free connection past this object: the source goes on with
        it.
        """
        if not self._lock.acquire(blocking=False):
            raise AssertionError("the connection was not free")
        self._owner, self._rewriter = source, None
        self.connection.handle.free = 0

    def tail(self, source: object) -> None:
        """Write the late ``]`` of the last frame of *source*, unless that frame has got one."""
        if self._open_tail is source:
            self._open_tail = None
            self.write(source, b"]", at_boundary=True)

    def finish(self) -> None:
        """Tell the peer, after the frame that has begun, that nothing more comes."""
        with self._lock:
            self.connection.finish_sending()

    def give_up(self) -> None:
        """The connection is gone: writers do not wait any longer for a frame whose source does not go on with it."""
        self.broken = True
        self.connection.handle.free = 0
        if self._owner is not None and not self._sending:
            self._release()

    def in_frame(self, source: object) -> bool:
        """True while a frame of *source* has begun and is not complete."""
        return self._owner is source

    def abandon(self, source: object, completion: Iterator[bytes] | None) -> None:
        """The frame that *source* has begun will not be finished: complete it with these bytes; without them nothing
        is written to this connection any more. Returns at once; others write when the completion has been sent.
        """
        if self._owner is not source:
            return
        if completion is None:
            self.broken = True
            if not self._sending:
                self._release()
            return
        self._completion = completion
        if not self._sending:
            gevent.spawn(self._complete, source)

    def _complete(self, source: object) -> None:
        try:
            self.write(source, b"", at_boundary=False)
        except ConnectionClosed:
            pass  # the channel that reads this connection notices

    def _release(self) -> None:
        self._owner = None
        self.connection.handle.free = self._open_tail is None and not self.broken and not self.connection.unsent
        self._lock.release()

    # -- from one process to the next --------------------------------------------------------------------------------

    @property
    def has_open_tail(self) -> bool:
        """Whether the last frame has no ``]``, which its source may send late."""
        return self._open_tail is not None

    def go_on(self, unsent: bytes, tail_of: object | None) -> None:
        """Go on where a writer of another process, or `Connection.keep_unsent`, has stopped at the end of a frame.

        Args:
            unsent: the bytes that go out first.
            tail_of: the source of the last frame, if that has no ``]``.
        """
        if not unsent:
            self._open_tail = tail_of
            self.connection.handle.free = tail_of is None and not self.broken
            return
        if not self._lock.acquire(blocking=False):
            raise AssertionError("the connection was not free")
        self._owner, self._rewriter = self, None
        self.connection.handle.free = 0
        gevent.spawn(self._send_unsent, unsent, tail_of)

    def resume(self) -> None:
        """Go on after `Connection.keep_unsent` in the same process, whether a frame has begun or not."""
        self.connection.stop_keeping()
        if self._owner is None and not self.broken:
            self.go_on(self.connection.take_unsent(), self._open_tail)

    def _send_unsent(self, unsent: bytes, tail_of: object | None) -> None:
        try:
            self.write(self, unsent, at_boundary=False)
        except ConnectionClosed:
            return  # the channel that reads this connection notices
        self._open_tail = tail_of
        if self.noted is not None:
            self.noted()
        self._release()
