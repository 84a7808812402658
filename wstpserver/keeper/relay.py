"""The loop and the stream of the connector, with what is usual done in C.

Both go by the rules of `stream.py`. While nothing waits in either direction, a call into C (cext/wstprelay.h) waits for
the descriptors, passes what comes on, and returns when there is something that it leaves to Python.
"""

from __future__ import annotations

import os
import time
from typing import Any

from wstpserver._native import ffi, lib
from wstpserver.keeper.stream import CHUNK, CREDIT_STEP, DATA_CHANNEL, MESSAGE_CHANNEL, Loop, Stream, StreamChannel

#: The channels that C takes care of, in the order of its ends.
_CHANNELS = (DATA_CHANNEL, MESSAGE_CHANNEL)


class RelayChannel(StreamChannel):
    """A connection of the link, whose bytes may pass in C."""

    def lend(self, end: Any) -> None:
        """Tell C what may pass."""
        if self._socket is None or self._descriptor < 0 or not self.receiving or self._queue or self._broken:
            end.descriptor = -1
            return
        end.descriptor = self._descriptor
        end.may_pass = max(self._limit - self._under_way, 0)
        end.credit = self._credit
        end.enough = CREDIT_STEP - self._written
        end.passed = end.delivered = 0

    def take_back(self, end: Any) -> None:
        """Note what has passed."""
        if end.delivered:
            self._credit = end.credit
            self._written += end.delivered
            self._give_credit()
        if end.passed:
            self._under_way += end.passed
            if self._under_way >= self._limit:
                self.arm()


class RelayStream(Stream):
    """The stream, whose bytes may pass in C while nothing waits."""

    loop: RelayLoop

    def begin(self, relay: Any) -> None:
        """Tell C once what it works with."""
        relay.incoming = self.incoming
        relay.buffer, relay.size = ffi.from_buffer(self.buffer), len(self.buffer)
        relay.frame, relay.chunk = ffi.from_buffer(self.scratch), CHUNK

    def lend(self, relay: Any) -> None:
        """Tell C what may pass."""
        relay.outgoing = self.outgoing if self.idle else -1
        relay.begin = relay.end = relay.left = relay.rest_begin = relay.rest_end = relay.heard = 0
        for index, number in enumerate(_CHANNELS):
            channel = self.channels.get(number)
            if isinstance(channel, RelayChannel):
                channel.lend(relay.ends[index])
            else:
                relay.ends[index].descriptor = -1

    def take_back(self, relay: Any) -> None:
        """Note what has passed, and go on with what C has left."""
        if relay.heard:
            self.heard = time.monotonic()
        if relay.rest_end:
            self.keep(self.scratch[relay.rest_begin : relay.rest_end])
        for index, number in enumerate(_CHANNELS):
            if relay.ends[index].descriptor >= 0:
                channel = self.channels[number]
                assert isinstance(channel, RelayChannel)
                channel.take_back(relay.ends[index])
        if relay.end:
            self._start, self._end = relay.begin, relay.end
            if relay.left:
                self._current, self._left = self.channels[relay.channel], relay.left
            self._take_buffer()


class RelayLoop(Loop):
    """The loop, which lets C do what is usual of one stream."""

    def __init__(self) -> None:
        super().__init__()
        self._relay = ffi.new("struct wstprelay *")
        self._stream: RelayStream | None = None
        #: The descriptors for C; None if they have changed.
        self._watches: Any = None

    def serve(self, stream: RelayStream) -> None:
        """Let C pass the bytes of a stream from now on."""
        stream.begin(self._relay)
        self._stream = stream

    def _change(self, descriptor: int, before: int, events: int) -> None:
        super()._change(descriptor, before, events)
        self._watches = None

    def _wait(self, seconds: float | None) -> list[tuple[int, int]]:
        stream, relay = self._stream, self._relay
        if stream is None:
            return super()._wait(seconds)
        watches = self._watches
        if watches is None:
            watches = self._watches = ffi.new("struct wstprelay_watch[]", [*self._wanted.items()])
        stream.lend(relay)
        milliseconds = -1 if seconds is None else int(seconds * 1000) + 1
        ready = lib.wstprelay_wait(relay, watches, len(watches), milliseconds)
        if ready < 0:
            raise OSError(-ready, os.strerror(-ready))
        found = [(watch.descriptor, watch.ready) for watch in watches if watch.ready] if ready else []
        stream.take_back(relay)
        return found
