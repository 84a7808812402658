"""The frames of a client on their way to its kernel: one evaluation at a time, large frames part by part."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from wstpserver.model.activity import ANSWERED_BY
from wstpserver.server.frame_writer import ended
from wstpserver.server.stream import Stream, StreamClosed
from wstpserver.wire.packets import PacketHead

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer
    from wstpserver.server.session import Session
    from wstpserver.server.upstream import Upstream
    from wstpserver.wire.frames import FrameScanner

#: Bytes that a queued frame costs beside its own.
QUEUED_FRAME_COST = 200


class Delivery:
    """Hands the frames of one client to the kernel it is bridged to, or keeps them until that can take them."""

    def __init__(self, broker: Broker, session: Session, data: Stream) -> None:
        self._broker = broker
        self._session = session
        self._data = data
        self._pump: Upstream
        #: The kernel at the other end of the bridge.
        self.kernel: KernelServer | None = None
        #: True while frames for the kernel are kept back although there is one.
        self.held = False
        #: Frames that wait for a kernel, or for the kernel to finish the evaluation before them.
        self._queue: deque[tuple[PacketHead, bytes]] = deque()
        self._queued_bytes = 0
        #: Set when something that a waiting pump looks at has changed.
        self._changed = Event()
        self._resuming = False
        #: What has come of a large frame that the kernel cannot take yet.
        self._spool: bytearray | None = None
        #: The kernel that a large frame goes to part by part.
        self._streaming_to: KernelServer | None = None
        #: True while the rest of a large frame is thrown away.
        self._skipping = False

    @property
    def waiting(self) -> bool:
        """True if frames are here that wait for a kernel."""
        return bool(self._queue)

    def read_by(self, pump: Upstream) -> None:
        """The pump that hands the packets over; once, before anything else."""
        self._pump = pump

    def wake(self) -> None:
        """The link is ending: nobody waits here any more."""
        self.shut()
        self._changed.set()

    def attach(self, kernel: KernelServer) -> None:
        """The bridge begins. Frames for the kernel wait until `resume`."""
        self.kernel = kernel
        self._pump.direct_to(kernel.writer.stream)
        self.hold()

    def hold(self) -> None:
        """Keep frames for the kernel back until `resume`."""
        self.held = True
        self.shut()

    def detach(self, keep_queue: bool, scanner: FrameScanner) -> int:
        """The bridge ends; returns how many frames are dropped because they were meant for this kernel.

        *scanner* stands in the frame that the client may be sending.
        """
        kernel = self._streaming_to
        if kernel is not None:
            self._streaming_to, self._skipping = None, True
            kernel.break_off(self, scanner)
        self.kernel = None
        self._pump.direct_to(None)
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

    # -- the short way -------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Let the client's next evaluation go to the kernel at once, if nothing speaks against it. Whatever begins to
        speak against it calls `shut`."""
        kernel = self.kernel
        if kernel is None or self.held or self._queue or self._session.closing:
            return
        activity = kernel.activity
        if activity.accepting and not activity.asking:
            self._pump.allow(True)

    def shut(self) -> None:
        """Every packet of the client is handed over from now on."""
        self._pump.allow(False)
        self._pump.separate()

    def pair(self) -> None:
        """The kernel does nothing now but answer one evaluation of the client after the other."""
        if self.kernel is not None:
            self._pump.pair_with(self.kernel.pump)

    before_round = open

    def evaluation_sent(self, head: PacketHead) -> None:
        kernel = self.kernel
        assert kernel is not None
        kernel.begin(head)

    def evaluations_passed(self, head: PacketHead, begun: int, answered: int) -> bool:
        kernel = self.kernel
        assert kernel is not None
        answer_left = kernel.evaluated(head, begun, answered)
        if not kernel.activity.accepting:  # an answer before it may have been accounted for after it had left
            self._pump.allow(False)
        if kernel.busy:
            self._broker.acknowledgements.owe(self._data, self)
        return answer_left

    def went_out(self, unsent: memoryview, open_tail: bool) -> None:
        assert self.kernel is not None
        try:
            self.kernel.writer.went_out(self, unsent, open_tail)
        except StreamClosed:
            pass  # as in _write

    def round_ended(self) -> None:
        kernel = self.kernel
        if kernel is not None and kernel.busy:
            self._broker.acknowledgements.owe(self._data, self)
        else:
            self._data.acknowledge()

    # -- frames --------------------------------------------------------------------------------------------------

    def packet(self, data: memoryview, head: PacketHead) -> None:
        if self._session.closing:
            return
        kernel = self.kernel
        if kernel is None or self.held:
            self._enqueue(head, bytes(data))
            if kernel is None:
                self._broker.client_needs_kernel(self._session)
            self._wait_below_limit()
        elif self._goes_now(kernel, head):
            self._note(kernel, head)
            self._write(kernel, self, data, True)
        else:
            self._enqueue(head, bytes(data))
            self._wait_below_limit()

    def _enqueue(self, head: PacketHead, frame: bytes) -> None:
        self.shut()
        frame = ended(frame)  # a late `]` of it may come at any time, and is not needed then
        self._queue.append((head, frame))
        self._queued_bytes += len(frame) + QUEUED_FRAME_COST

    def _wait_below_limit(self) -> None:
        """Stop reading from the client while too much of it waits; its sends will block in turn."""
        limit = self._broker.settings.evaluation_queue_limit
        while self._queued_bytes > limit and not self._data.ended and not self._session.closing:
            self._changed.clear()
            self._changed.wait()

    @property
    def held_back(self) -> bool:
        """True if something waits for `resume`."""
        return self.held or bool(self._queue) or self._spool is not None

    def resume(self) -> None:
        """The kernel can take an evaluation (or is new): what waits for that is sent, by a greenlet of its own
        because the kernel's pump must go on reading meanwhile."""
        self.held = False
        self._changed.set()
        if self._queue and not self._resuming:
            self._resuming = True
            gevent.spawn(self._send_queue)
        self.open()

    def _send_queue(self) -> None:
        while self._queue and self.kernel is not None and not self.held:
            kernel = self.kernel
            head, frame = self._queue[0]
            if head in ANSWERED_BY:
                if not kernel.activity.accepting:
                    break
                self._begin(kernel, head)
            else:
                kernel.answered()
            self._queue.popleft()
            self._queued_bytes -= len(frame) + QUEUED_FRAME_COST
            self._write(kernel, self._queue, frame, True)
        self._resuming = False
        self._changed.set()

    def _goes_now(self, kernel: KernelServer, head: PacketHead) -> bool:
        """Whether a packet with this *head* need not wait for the answer to an evaluation before it."""
        activity = kernel.activity
        return activity.is_answer(head) or (activity.accepting and not self._queue)

    def _note(self, kernel: KernelServer, head: PacketHead) -> None:
        """A packet with this *head* goes to the kernel now."""
        if kernel.activity.is_answer(head):
            kernel.answered()
        else:
            self._begin(kernel, head)

    def _begin(self, kernel: KernelServer, head: PacketHead) -> None:
        self.shut()
        kernel.begin(head)

    @staticmethod
    def _write(kernel: KernelServer, source: object, data: bytes | bytearray | memoryview, at_boundary: bool) -> None:
        try:
            kernel.writer.write(source, data, at_boundary)
        except StreamClosed:
            pass  # the kernel's own pump notices and ends the bridge

    # -- frames too large to be held -------------------------------------------------------------------------------

    def packet_part(self, data: memoryview, head: PacketHead) -> None:
        if self._skipping or self._session.closing:
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
                self._broker.client_needs_kernel(self._session)
            self._changed.clear()
            self._changed.wait()
            if self._data.ended or self._session.closing or self._skipping:
                self._spool, self._skipping = None, True
                return
        kernel, spool = self.kernel, self._spool
        assert kernel is not None
        self._spool, self._streaming_to = None, kernel
        self._note(kernel, head)
        self._write(kernel, self, spool, False)

    def _can_stream(self, head: PacketHead) -> bool:
        if self.kernel is None or self.held:
            return False
        return self._goes_now(self.kernel, head)

    def in_frame(self) -> bool:
        kernel = self._streaming_to
        return kernel is not None and kernel is self.kernel and kernel.writer.in_frame(self)

    def part_went_out(self, unsent: memoryview) -> None:
        if self._streaming_to is not None:
            self._write(self._streaming_to, self, unsent, False)

    def part_sent(self) -> None:
        kernel = self.kernel
        assert kernel is not None
        kernel.writer.begun(self)
        self._streaming_to = kernel

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
