"""The agent's loop, which passes what is usual without a handler.

Both processes between a server and a kernel elsewhere are woken twice for an evaluation. What the agent does between
two sleeps is time in which nobody else goes on, and its code is cold each time: so frames of the data connection that
come as a whole are passed on in one short function, by the rules of `stream.py`, as `relay.py` does for the connector.
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


class PassingChannel(StreamChannel):
    """The data connection of a kernel of this machine."""

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
        readv, write, monotonic, acknowledge = os.readv, os.write, time.monotonic, connected.setsockopt
        incoming, outgoing, buffer, scratch = stream.incoming, stream.outgoing, stream.buffer, stream.scratch
        into, into_frame, unpack, pack = [buffer], stream.payload, HEADER.unpack_from, HEADER.pack_into
        from_server, from_kernel = (incoming, select.POLLIN), (descriptor, select.POLLIN)
        may_pass = self._limit - self._under_way
        credit = min(self._credit, CREDIT_STEP - self._written)
        passed = delivered = 0
        until = None if seconds is None else monotonic() + seconds
        ready: list[tuple[int, int]] = []
        head = HEADER.size
        rest = rest_of_frame = rest_of_buffer = None
        while True:
            ready = poll(seconds, _MOST_READY)
            if len(ready) != 1:
                break
            if ready[0] == from_server:
                try:
                    size = readv(incoming, into)
                except OSError:
                    break
                length = size - FRAME
                if length <= 0 or length >= credit - delivered or buffer[size - 1] != LINE_FEED or (
                    unpack(buffer) != (length, DATA, DATA_CHANNEL)
                ):  # fmt: skip
                    rest_of_buffer = size
                    break
                try:
                    sent = write(descriptor, buffer[head : size - 1])
                except OSError:
                    sent = 0
                delivered += length
                now = stream.heard = monotonic()
                if sent < length:
                    rest = buffer[head + sent : size - 1]
                    break
            elif ready[0] == from_kernel and may_pass - passed >= CHUNK:
                try:
                    size = readv(descriptor, into_frame)
                except OSError:
                    break
                if not size:
                    break
                pack(scratch, 0, size, DATA, DATA_CHANNEL)
                scratch[head + size] = LINE_FEED
                size += FRAME
                try:
                    sent = write(outgoing, scratch[:size])
                except OSError:
                    sent = 0
                passed += size - FRAME
                if sent < size:
                    rest_of_frame = scratch[sent:size]
                    break
                if QUICKACK is not None:
                    acknowledge(socket.IPPROTO_TCP, QUICKACK, 1)
                now = monotonic()
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
        elif rest_of_buffer is not None:
            stream.received(rest_of_buffer)
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
