"""What the log shows at its level trace: each frame and each message of a link.

A link is traced by putting a `TracedStream` in the place of each of its connections before anything reads them. Links
of a server that does not trace keep their plain connections, so tracing costs nothing then. A frame that the server
passes on appears twice: on the link it came from and on the link it went to.
"""

from __future__ import annotations

from typing import Protocol

from wstpserver.server.connection import Connection
from wstpserver.server.handshake import OpenLink
from wstpserver.server.log import SHOWN_CONTENT, Log, shorten
from wstpserver.wire.frames import END, ERROR, FrameScanner
from wstpserver.wire.packets import MessageCode, MessageReader
from wstpserver.wire.preview import PREVIEW_BYTES, preview


def trace_link(log: Log, link: OpenLink, name: str) -> None:
    """From now on log the traffic of a link, beginning with what has been read of it.

    Args:
        log: gets the entries, at level trace.
        link: its two connections are replaced.
        name: what the entries call its peer, such as `Client 1`.
    """
    rest, link.unsent = link.unsent, b""  # not a frame
    if rest:
        link.data.try_send(rest)
    frames, records = FrameTracer(log, f"{name} sent"), MessageTracer(log, f"{name} sent")
    frames.take(link.leftover)
    records.take(link.messages_leftover)
    link.data = TracedStream(link.data, frames, FrameTracer(log, f"{name} received"))
    link.messages = TracedStream(link.messages, records, MessageTracer(log, f"{name} received"))


class Tracer(Protocol):
    """Looks at one direction of one connection."""

    def take(self, data: bytes | memoryview) -> None:
        """These bytes have come in or gone out."""

    def end(self) -> None:
        """The connection is closed."""


class FrameTracer:
    """Logs each frame of a data connection when it is complete."""

    def __init__(self, log: Log, action: str) -> None:
        """
        Args:
            log: gets the entries.
            action: how they begin, such as `Client 1 sent`.
        """
        self._log = log
        self._action = action
        self._scanner = FrameScanner()
        self._beginning = bytearray()

    def take(self, data: bytes | memoryview) -> None:
        """Log the frames that these bytes complete."""
        scanner, view = self._scanner, memoryview(data)
        while view and scanner.error is None:
            verdict = scanner.scan_bytes(view)
            self._beginning += view[: min(scanner.used, PREVIEW_BYTES - len(self._beginning))]
            view = view[scanner.used :]
            if verdict == END:
                self._frame(f"({scanner.frame_bytes} bytes)")
            elif verdict == ERROR:
                content = shorten(bytes(self._beginning) + bytes(view[:SHOWN_CONTENT]))
                self._beginning.clear()
                self._log.trace(f"{self._action} bytes that are not an expression ({scanner.error}): {content}")
            elif scanner.at_boundary:  # a late "]"
                self._beginning.clear()

    def _frame(self, note: str) -> None:
        head = self._scanner.head_name.decode("ascii", "replace") or "an expression"
        content = shorten(preview(bytes(self._beginning), SHOWN_CONTENT))
        self._beginning.clear()
        self._log.trace(f"{self._action} {shorten(head)} {note}: {content}")

    def end(self) -> None:
        """Log the beginning of a frame that stays incomplete."""
        if self._beginning:
            self._frame(f"(broken off after {self._scanner.frame_bytes} bytes)")


class MessageTracer:
    """Logs each message of a message connection."""

    def __init__(self, log: Log, action: str) -> None:
        self._log = log
        self._action = action
        self._reader = MessageReader()

    def take(self, data: bytes | memoryview) -> None:
        """Log the messages that these bytes complete."""
        for code, argument in self._reader.feed(data):
            name = f" ({code.name})" if isinstance(code, MessageCode) else ""
            self._log.trace(f"{self._action} message {int(code)}{name}, argument {argument}")

    def end(self) -> None:
        """Nothing is logged for half a message."""


class TracedStream(Connection):
    """A stream that shows its tracers what passes."""

    __slots__ = ("_received", "_sent")

    def __init__(self, stream: Connection, received: Tracer, sent: Tracer) -> None:
        """Take the place of *stream*, which must not be used any more."""
        super().__init__(stream.detach())
        self.handle.descriptor = -1  # no bytes pass in C
        self._received = received
        self._sent = sent

    def try_receive(self, view: memoryview, *, answered: bool = False) -> int | None:
        size = super().try_receive(view, answered=answered)
        if size:
            self._received.take(view[:size])
        return size

    def try_send(self, data: bytes) -> int:
        sent = super().try_send(data)
        self._sent.take(data[:sent])
        return sent

    def send(self, data: bytes | bytearray | memoryview) -> None:
        super().send(data)
        self._sent.take(memoryview(data))

    def close(self) -> None:
        self._received.end()
        self._sent.end()
        super().close()
