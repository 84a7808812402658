"""Writes whole frames of several sources to one connection without mixing them."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
from gevent.lock import BoundedSemaphore

from wstpserver.server.stream import Stream, StreamClosed

END_PACKET = 0x5D  # "]"


def ended(frame: bytes) -> bytes:
    """The whole *frame* with its ``]``, which a peer may leave out or send late."""
    return frame if frame[-1] == END_PACKET else frame + b"]"


class FrameWriter:
    """The writing side of a link's data connection.

    A source is any object; the one whose frame has begun owns the connection until that frame is complete, the
    others wait. A source must not write from two greenlets at once: whoever may, uses a new object for each frame.
    While nobody is in the middle of a frame, whole frames may also go to the stream past this object, in C: its
    ``handle.free`` says so.
    A ``]`` that a peer sends late belongs to the frame before it: if another source has written in between, the
    writer has put one there already.
    """

    __slots__ = ("_completion", "_lock", "_open_tail", "_owner", "_sending", "broken", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        stream.handle.free = 1
        self._lock = BoundedSemaphore(1)
        self._owner: object | None = None
        self._open_tail: object | None = None
        self._sending = False
        self._completion: Iterator[bytes] | None = None
        #: True once a frame was left that cannot be completed: nothing can follow it.
        self.broken = False

    def write(self, source: object, data: bytes | bytearray | memoryview, at_boundary: bool) -> None:
        """Write the next bytes of *source*: frames, or a part of one; *at_boundary* tells that the last byte
        completes a frame. Waits for another source's frame to end. Raises `StreamClosed`."""
        if self._owner is not source:
            self._lock.acquire()
            if self.broken:
                self._lock.release()
                raise StreamClosed("a frame before this one was never completed")
            self._owner = source
            self.stream.handle.free = 0
            if self._open_tail is not None and self._open_tail is not source:
                self._open_tail = None
                data = b"]" + bytes(data)
        self._sending = True
        try:
            self.stream.send(data)
            if self._completion is not None:  # the frame was abandoned while we waited
                for data in self._completion:
                    self.stream.send(data)
                self._completion, at_boundary = None, True
        except BaseException:
            self._completion = None
            self._release()
            raise
        finally:
            self._sending = False
        if at_boundary or self.broken:
            self._open_tail = None if data[-1] == END_PACKET else source
            self._release()

    def went_out(self, source: object, unsent: memoryview, open_tail: bool, at_boundary: bool = True) -> None:
        """Whole frames of *source* were written to the free stream past this object, or (not *at_boundary*) a part of
        one that this object has begun; but for these last bytes. *open_tail*: the last frame has no ``]``. Raises
        `StreamClosed`."""
        if unsent:
            self.write(source, unsent, at_boundary)
        elif open_tail:
            self._open_tail = source
            self.stream.handle.free = 0

    def begun(self, source: object) -> None:
        """A part of a frame of *source* was written to the free stream past this object: it goes on with that frame."""
        if not self._lock.acquire(blocking=False):
            raise AssertionError("the stream was not free")
        self._owner = source
        self.stream.handle.free = 0

    def tail(self, source: object) -> None:
        """Write the late ``]`` of the last frame of *source*, unless that frame has got one."""
        if self._open_tail is source:
            self._open_tail = None
            self.write(source, b"]", True)

    def finish(self) -> None:
        """Tell the peer, after the frame that has begun, that nothing more comes."""
        with self._lock:
            self.stream.finish_sending()

    def give_up(self) -> None:
        """The connection is gone: nobody waits any longer for a frame to end that its source does not go on with."""
        self.broken = True
        self.stream.handle.free = 0
        if self._owner is not None and not self._sending:
            self._release()

    def in_frame(self, source: object) -> bool:
        """True while a frame of *source* has begun and is not complete."""
        return self._owner is source

    def abandon(self, source: object, completion: Iterator[bytes] | None) -> None:
        """The frame that *source* has begun will not be finished: complete it with these bytes; without them nothing
        is written to this connection any more. Returns at once; others write when the completion has been sent."""
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
            self.write(source, b"", False)
        except StreamClosed:
            pass  # whoever reads this connection notices

    def _release(self) -> None:
        self._owner = None
        self.stream.handle.free = self._open_tail is None and not self.broken
        self._lock.release()
