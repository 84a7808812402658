"""The writing side of a data connection: whole frames of several sources, never mixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gevent
from gevent.lock import BoundedSemaphore

from wstpserver._native import lib
from wstpserver.server.connection import Connection, ConnectionClosed
from wstpserver.wire.frames import SIX_DIGITS, EscapeRewriter

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
