"""A client link: its frames go to its kernel one evaluation at a time, its commands to the server."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from wstpserver.model.activity import ANSWERED_BY
from wstpserver.model.states import Client
from wstpserver.server.frame_writer import FrameWriter
from wstpserver.server.message_pump import LINK_LOCAL, run_messages
from wstpserver.server.stream import Stream, StreamClosed
from wstpserver.server.upstream import Upstream
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.messages import encode_message
from wstpserver.wire.packets import PacketHead

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer

#: Seconds after which a link that is closing is ended, whether the other side has read everything or not.
LINGER = 10.0

#: Bytes that a queued frame costs beside its own.
QUEUED_FRAME_COST = 200


class Purpose(Enum):
    """Why a client is to be bridged, when no command of its own asked for it."""

    AUTOMATIC = "its connection to the server"
    FIRST_FRAME = "its first expression"
    REPLACEMENT = "the death of its kernel"


class Session:
    """The server's side of one client link."""

    def __init__(self, broker: Broker, record: Client, name: str, data: Stream, messages: Stream) -> None:
        self._broker = broker
        self.record = record
        #: The client in the log: its number and address.
        self.name = name
        self._data = data
        self._messages = messages
        self.writer = FrameWriter(data)
        self.kernel: KernelServer | None = None
        self._pump = Upstream(data, self)
        #: Frames that wait for a kernel, or for the kernel to finish the evaluation before them.
        self._queue: deque[tuple[PacketHead, bytes]] = deque()
        self._queued_bytes = 0
        #: Set when something that a waiting pump looks at has changed.
        self._changed = Event()
        self._resuming = False
        #: True while frames for the kernel are kept back although there is one.
        self.held = False
        #: What has come of a large frame that the kernel cannot take yet.
        self._spool: bytearray | None = None
        #: The kernel that a large frame goes to part by part.
        self._streaming_to: KernelServer | None = None
        #: True while the rest of a large frame is thrown away.
        self._skipping = False
        self.closing = False
        #: Writes the last bytes to a client whose link is closing.
        self.finishing: gevent.Greenlet | None = None
        self._linger: gevent.Greenlet | None = None
        #: Clear while a command of this client is being carried out and has no reply yet.
        self.replied = Event()
        self.replied.set()
        #: True while a bridge ends whose waiting frames are meant for the next one.
        self.keeps_queue = False
        #: What the next bridge is for; decides what the client is told when it begins.
        self.purpose = Purpose.AUTOMATIC

    # -- life --------------------------------------------------------------------------------------------------

    def run_messages(self, leftover: bytes) -> None:
        """Pass on the client's messages until the message connection ends."""
        run_messages(self._messages, self._message, leftover)
        self._broker.client_leaving(self)
        self._end_later()

    def run(self, leftover: bytes) -> str:
        """Pump the client's frames until its link ends; returns why, for the log."""
        try:
            self._pump.run(leftover)
        except RemoteProtocolError as error:
            return f"it left the protocol: {error}"
        except StreamClosed:
            return "its connection broke"
        return "it closed its link" if not self.closing else "the server closed it"

    def break_off(self) -> None:
        """The client is gone: leave its kernel with a whole frame."""
        kernel = self._streaming_to
        if kernel is not None:
            self._streaming_to, self._skipping = None, True
            kernel.break_off(self, self._pump.scanner)

    def close_link(self, last: bytes = b"") -> None:
        """Close the link so that the client still reads everything that was sent to it, and *last* after that.

        Returns at once. What the client still sends is thrown away.
        """
        if not self.closing:
            self.closing = True
            self._changed.set()
            self.finishing = gevent.spawn(self._finish, last)
            self._end_later()

    def _finish(self, last: bytes) -> None:
        self.replied.wait()
        if last:
            self.send(last)
        self.writer.finish()

    def _end_later(self) -> None:
        if self._linger is None:
            self._linger = gevent.spawn_later(LINGER, self._end_overdue)

    def _end_overdue(self) -> None:
        """The client does not read, or its pump waits for a kernel that does not: part them all the same."""
        self.end()
        self._broker.close_session(self, "the server closed it" if self.closing else "its message connection ended")

    def end(self) -> None:
        """End both connections now."""
        self._data.end()
        self._messages.end()
        self._changed.set()

    def release(self) -> None:
        """Give the descriptors back; both pumps have ended."""
        if self._linger is not None:
            self._linger.kill()
        self._data.close()
        self._messages.close()

    # -- the bridge ----------------------------------------------------------------------------------------------

    def attach(self, kernel: KernelServer) -> None:
        """The bridge begins. Frames for the kernel wait until `resume`, when the client has been told."""
        self.kernel = kernel
        self.hold()

    def hold(self) -> None:
        """Keep frames for the kernel back until `resume`."""
        self.held = True

    def detach(self, keep_queue: bool) -> int:
        """The bridge ends; returns how many frames are dropped because they were meant for this kernel."""
        self.break_off()
        self.kernel = None
        if keep_queue:
            return 0
        unsent = len(self._queue)
        if self._spool is not None:
            self._spool, self._skipping = None, True
            unsent += 1
        self._queue.clear()
        self._queued_bytes = 0
        self._changed.set()
        return unsent

    @property
    def waits_for_kernel(self) -> bool:
        """True if frames are here that need a kernel."""
        return bool(self._queue)

    def send(self, data: bytes) -> None:
        """Write whole frames of the server's own to the client, between other frames."""
        try:
            self.writer.write(object(), data, True)  # several greenlets may be here
        except StreamClosed:
            pass

    def send_message(self, code: int, argument: int) -> None:
        """Send an out-of-band message to the client."""
        try:
            self._messages.send(encode_message(code, argument))
        except StreamClosed:
            pass

    def _message(self, code: int, argument: int) -> None:
        if self.kernel is not None and code not in LINK_LOCAL:
            self.kernel.send_message(code, argument)

    # -- frames --------------------------------------------------------------------------------------------------

    def commanded(self, packet: bytes | None) -> None:
        if not self.closing:
            self._broker.client_commanded(self, packet)

    def packet(self, data: memoryview, head: PacketHead) -> None:
        if self.closing:
            return
        kernel = self.kernel
        if kernel is None or self.held:
            self._enqueue(head, bytes(data))
            if kernel is None:
                self._broker.client_needs_kernel(self)
            self._wait_below_limit()
        elif head not in ANSWERED_BY:
            self._write(kernel, self, data, True)
        elif kernel.activity.accepting and not self._queue:
            kernel.begin(head)
            self._write(kernel, self, data, True)
        else:
            self._enqueue(head, bytes(data))
            self._wait_below_limit()

    def _enqueue(self, head: PacketHead, frame: bytes) -> None:
        self._queue.append((head, frame))
        self._queued_bytes += len(frame) + QUEUED_FRAME_COST

    def _wait_below_limit(self) -> None:
        """Stop reading from the client while too much of it waits; its sends will block in turn."""
        limit = self._broker.settings.evaluation_queue_limit
        while self._queued_bytes > limit and not self._data.ended and not self.closing:
            self._changed.clear()
            self._changed.wait()

    def resume(self) -> None:
        """The kernel can take an evaluation (or is new): what waits for that is sent, by a greenlet of its own
        because the kernel's pump must go on reading meanwhile."""
        self.held = False
        self._changed.set()
        if self._queue and not self._resuming:
            self._resuming = True
            gevent.spawn(self._send_queue)

    def _send_queue(self) -> None:
        while self._queue and self.kernel is not None and not self.held:
            kernel = self.kernel
            head, frame = self._queue[0]
            if head in ANSWERED_BY:
                if not kernel.activity.accepting:
                    break
                kernel.begin(head)
            self._queue.popleft()
            self._queued_bytes -= len(frame) + QUEUED_FRAME_COST
            self._write(kernel, self._queue, frame, True)
        self._resuming = False
        self._changed.set()

    @staticmethod
    def _write(kernel: KernelServer, source: object, data: bytes | bytearray | memoryview, at_boundary: bool) -> None:
        try:
            kernel.writer.write(source, data, at_boundary)
        except StreamClosed:
            pass  # the kernel's own pump notices and ends the bridge

    # -- frames too large to be held -------------------------------------------------------------------------------

    def packet_part(self, data: memoryview, head: PacketHead) -> None:
        if self._skipping or self.closing:
            return
        if self._streaming_to is None:
            self._stream_or_spool(data, head)
        elif self._streaming_to is self.kernel:
            self._write(self._streaming_to, self, data, False)
        else:  # that kernel is gone, and nothing else may get half a frame
            self._streaming_to, self._skipping = None, True

    def _stream_or_spool(self, data: memoryview, head: PacketHead) -> None:
        """Send the frame's beginning if the kernel can take it now, else keep it as long as the limit allows."""
        if self._spool is None:
            self._spool = bytearray()
        self._spool += data
        while not self._can_stream(head):
            if self._queued_bytes + len(self._spool) <= self._broker.settings.evaluation_queue_limit:
                return
            if self.kernel is None:
                self._broker.client_needs_kernel(self)
            self._changed.clear()
            self._changed.wait()
            if self._data.ended or self.closing or self._skipping:
                self._spool, self._skipping = None, True
                return
        kernel, spool = self.kernel, self._spool
        assert kernel is not None
        self._spool, self._streaming_to = None, kernel
        if head in ANSWERED_BY:
            kernel.begin(head)
        self._write(kernel, self, spool, False)

    def _can_stream(self, head: PacketHead) -> bool:
        if self.kernel is None or self.held:
            return False
        return head not in ANSWERED_BY or (self.kernel.activity.accepting and not self._queue)

    def packet_end(self, data: memoryview, head: PacketHead) -> None:
        if self._skipping:
            self._skipping = False
        elif self._spool is not None:
            frame, self._spool = bytes(self._spool) + bytes(data), None
            self.packet(memoryview(frame), head)
        elif self._streaming_to is not None:
            kernel, self._streaming_to = self._streaming_to, None
            if kernel is self.kernel:
                self._write(kernel, self, data, True)

    def packet_tail(self) -> None:
        if self.kernel is not None:
            try:
                self.kernel.writer.tail(self)
            except StreamClosed:
                pass
