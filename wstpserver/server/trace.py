"""What the log shows at its level trace: every frame and every out-of-band message of a link.

A link is traced by putting a `TracedStream` in the place of each of its streams before anything reads them. Links of
a server that does not trace keep their plain streams: tracing costs nothing then, and with it the pumps still do
what they do without. A frame that the server passes on appears twice, on the link it came from and on the one it
went to.
"""

from __future__ import annotations

from typing import Protocol

from wstpserver.server.connection import Connection
from wstpserver.server.greeter import ClientLink
from wstpserver.server.kernel_link import KernelLink
from wstpserver.server.log import SHOWN_CONTENT, Log, shorten
from wstpserver.wire.frames import END, ERROR, FrameScanner
from wstpserver.wire.messages import MessageCode, MessageReader
from wstpserver.wire.preview import PREVIEW_BYTES, preview


class Tracer(Protocol):
    """Looks at one direction of one connection."""

    def take(self, data: bytes | memoryview) -> None:
        """These bytes have come in or gone out."""

    def end(self) -> None:
        """The connection is closed."""


class FrameTracer:
    """Logs each frame of a data connection when it is complete: *action* is ``Client 1 sent`` or the like."""

    def __init__(self, log: Log, action: str) -> None:
        self._log = log
        self._action = action
        self._scanner = FrameScanner((), None)
        self._beginning = bytearray()

    def take(self, data: bytes | memoryview) -> None:
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
                self._log.trace(f"{self._action} what is no expression ({scanner.error}): {content}")
            elif scanner.at_boundary:  # a late "]"
                self._beginning.clear()

    def _frame(self, note: str) -> None:
        head = self._scanner.head_name.decode("ascii", "replace") or "an expression"
        content = shorten(preview(bytes(self._beginning), SHOWN_CONTENT))
        self._beginning.clear()
        self._log.trace(f"{self._action} {shorten(head)} {note}: {content}")

    def end(self) -> None:
        if self._beginning:
            self._frame(f"(broken off after {self._scanner.frame_bytes} bytes)")


class MessageTracer:
    """Logs each message of a message connection."""

    def __init__(self, log: Log, action: str) -> None:
        self._log = log
        self._action = action
        self._reader = MessageReader()

    def take(self, data: bytes | memoryview) -> None:
        for code, argument in self._reader.feed(data):
            name = f" ({code.name})" if isinstance(code, MessageCode) else ""
            self._log.trace(f"{self._action} message {int(code)}{name}, argument {argument}")

    def end(self) -> None:
        pass


class TracedStream(Connection):
    """A stream that shows what passes to its tracers."""

    __slots__ = ("_received", "_sent")

    def __init__(self, stream: Connection, received: Tracer, sent: Tracer) -> None:
        """Take the place of *stream*, which is of no use any more."""
        super().__init__(stream.detach())
        self.handle.descriptor = -1  # everything passes here
        self._received = received
        self._sent = sent

    def try_receive(self, view: memoryview) -> int | None:
        size = super().try_receive(view)
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


def trace_client(log: Log, link: ClientLink, name: str) -> None:
    """From now on log the traffic of a client's link, beginning with what has been read of it."""
    link.data, link.messages = _traced(log, name, link.data, link.messages, link.data_leftover, link.messages_leftover)


def trace_kernel(log: Log, link: KernelLink, name: str) -> None:
    """From now on log the traffic of a kernel's link, beginning with what has been read of it."""
    link.data, link.messages = _traced(log, name, link.data, link.messages, link.leftover, b"")


def _traced(
    log: Log, name: str, data: Connection, messages: Connection, data_leftover: bytes, messages_leftover: bytes
) -> tuple[TracedStream, TracedStream]:
    frames, records = FrameTracer(log, f"{name} sent"), MessageTracer(log, f"{name} sent")
    frames.take(data_leftover)
    records.take(messages_leftover)
    return (
        TracedStream(data, frames, FrameTracer(log, f"{name} received")),
        TracedStream(messages, records, MessageTracer(log, f"{name} received")),
    )
