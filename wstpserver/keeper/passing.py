"""The agent's loop, which passes what is usual without a handler.

The agent has something to do twice for an evaluation. Meanwhile no other process goes on, and its code is cold each
time: so frames of the data connection that come as a whole are passed on in one short function, by the rules of
`stream.py`, as `relay.py` does for the connector. They are read as objects of their own: where most are small that
takes less than a buffer and views of it.

To wake a process that sleeps takes as long as all the rest. So where answers come at once the agent does not sleep
until the next one is there, while no other process wants its processor (`_BusyPoll`).
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Any

from wstpserver.keeper.stream import (
    CHUNK,
    CREDIT_STEP,
    DATA,
    DATA_CHANNEL,
    FRAME,
    HEADER,
    LINE_FEED,
    QUICKACK,
    Loop,
    Stream,
    StreamChannel,
)

#: Descriptors that are told of at once.
_MOST_READY = 8


#: Seconds within which an answer comes at once.
_AT_ONCE = 0.0005

#: Seconds between two looks that are so long that another process must have run on this processor.
_INTERRUPTED = 0.0001

_processors: Any = getattr(os, "sched_getaffinity", None)


class _BusyPoll:
    """Looks for an answer without sleeping: for 0.5 ms after a frame that a kernel may answer, if the answer before
    came within that time, and if there is another processor for the kernel.
    """

    def __init__(self) -> None:
        self._possible = _processors is not None and len(_processors(0)) > 1
        #: Whether the last answer came at once.
        self._worth_it = False
        #: When the frame came that is not answered yet; 0: there is none.
        self.asked = 0.0

    def answered(self, now: float) -> None:
        """An answer has come."""
        if self.asked:
            self._worth_it = self._possible and now - self.asked < _AT_ONCE
            self.asked = 0.0

    def look(self, poll: Any) -> list[tuple[int, int]]:
        """What is ready; nothing if it is better to sleep."""
        last = time.monotonic()
        until = self.asked + _AT_ONCE
        while self._worth_it:
            ready: list[tuple[int, int]] = poll(0, _MOST_READY)
            if ready:
                return ready
            os.sched_yield()
            now = time.monotonic()
            self._worth_it = now < until and now - last < _INTERRUPTED
            last = now
        return []


class PassingChannel(StreamChannel):
    """The data connection of a kernel of this machine."""

    _busy_poll: _BusyPoll

    def open(self, connected: socket.socket | None = None, descriptor: int = -1) -> None:
        self._busy_poll = _BusyPoll()
        super().open(connected, descriptor)

    def pass_usual(self, poll: Any, seconds: float | None) -> list[tuple[int, int]] | None:
        """Pass whole frames on until there is something else to do.

        Args:
            poll: waits for descriptors, for so many seconds, and tells of so many of them at most.
            seconds: how long to wait.

        Returns:
            The descriptors that are ready for something else, each with its events; None if not everything is usual.
        """
        stream, descriptor, connected = self._stream, self._descriptor, self._socket
        usual = stream.idle and self.reading and self.receiving and not (self._queue or self._broken)
        if connected is None or descriptor < 0 or not usual:
            return None
        read, write, monotonic, acknowledge = os.read, os.write, time.monotonic, connected.setsockopt
        incoming, outgoing, unpack, pack = stream.incoming, stream.outgoing, HEADER.unpack_from, HEADER.pack
        from_server, from_kernel = (incoming, select.POLLIN), (descriptor, select.POLLIN)
        may_pass = self._limit - self._under_way
        credit = min(self._credit, CREDIT_STEP - self._written)
        passed = delivered = 0
        until = None if seconds is None else monotonic() + seconds
        ready: list[tuple[int, int]] = []
        head = HEADER.size
        rest = rest_of_frame = unusual = None
        busy_poll = self._busy_poll
        while True:
            ready = busy_poll.look(poll) if busy_poll.asked else []
            if not ready:
                ready = poll(seconds, _MOST_READY)
            if len(ready) != 1:
                break
            if ready[0] == from_server:
                try:
                    data = read(incoming, CHUNK)
                except OSError:
                    break
                length = len(data) - FRAME
                if length <= 0 or length >= credit - delivered or data[-1] != LINE_FEED or (
                    unpack(data) != (length, DATA, DATA_CHANNEL)
                ):  # fmt: skip
                    unusual = data
                    break
                try:
                    sent = write(descriptor, data[head:-1])
                except OSError:
                    sent = 0
                delivered += length
                now = stream.heard = busy_poll.asked = monotonic()
                if sent < length:
                    rest = memoryview(data)[head + sent : -1]
                    break
            elif ready[0] == from_kernel and may_pass - passed >= CHUNK:
                try:
                    data = read(descriptor, CHUNK)
                except OSError:
                    break
                size = len(data)
                if not size:
                    break
                frame = b"%b%b\n" % (pack(size, DATA, DATA_CHANNEL), data)
                try:
                    sent = write(outgoing, frame)
                except OSError:
                    sent = 0
                passed += size
                if sent < size + FRAME:
                    rest_of_frame = memoryview(frame)[sent:]
                    break
                if QUICKACK is not None:
                    acknowledge(socket.IPPROTO_TCP, QUICKACK, 1)
                now = monotonic()
                busy_poll.answered(now)
            else:
                break
            if until is not None:
                seconds = until - now
                if seconds <= 0.0:
                    ready = []
                    break
        self._under_way += passed
        self._credit -= delivered
        self._written += delivered
        if rest is not None:
            self._written -= len(rest)
            self.deliver(rest)
        elif rest_of_frame is not None:
            stream.keep(rest_of_frame)
        elif unusual is not None:
            stream.buffer[: len(unusual)] = unusual
            stream.received(len(unusual))
        else:
            return ready
        return []


class PassingLoop(Loop):
    """The loop, which lets a channel pass what is usual."""

    def __init__(self) -> None:
        super().__init__()
        self._channel: PassingChannel | None = None

    def serve(self, stream: Stream) -> None:
        """Pass the bytes of the data connection of a stream in this way from now on, where the system has epoll."""
        channel = stream.channels[DATA_CHANNEL]
        if self._epoll is not None and isinstance(channel, PassingChannel):
            self._channel = channel

    def _wait(self, seconds: float | None) -> list[tuple[int, int]]:
        if self._channel is not None:
            assert self._epoll is not None
            ready = self._channel.pass_usual(self._epoll.poll, seconds)
            if ready is not None:
                return ready
        return super()._wait(seconds)
