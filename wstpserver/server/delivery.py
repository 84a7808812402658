"""The frames of a client on their way to its kernel: one evaluation at a time, large frames part by part."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from wstpserver.model.activity import ANSWERED_BY
from wstpserver.server.connection import Connection, ConnectionClosed
from wstpserver.server.relay import fastpath
from wstpserver.server.relay.channel import ChannelEvent
from wstpserver.server.relay.client_channel import ClientChannel
from wstpserver.server.relay.fastpath import BridgeState
from wstpserver.server.relay.frame_writer import ended
from wstpserver.server.relay.sinks import PeerSink
from wstpserver.wire.packets import PacketHead

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer
    from wstpserver.server.session import Session

#: Bytes that a queued frame costs beside its own.
QUEUED_FRAME_COST = 200


class Delivery:
    """Hands the frames of one client to the kernel it is bridged to, or keeps them until that can take them."""

    def __init__(self, broker: Broker, session: Session, data: Connection) -> None:
        self._broker = broker
        self._session = session
        self._data = data
        self.channel = ClientChannel(data, self._handle, self._passed)
        #: The kernel at the other end of the bridge.
        self.kernel: KernelServer | None = None
        #: True while frames for the kernel are kept back although there is one.
        self.held = False
        #: Frames that wait for a kernel, or for the kernel to finish the evaluation before them.
        self._queue: deque[tuple[PacketHead, bytes]] = deque()
        self._queued_bytes = 0
        #: Set when something that the waiting channel looks at has changed.
        self._changed = Event()
        self._resuming = False

    @property
    def waiting(self) -> bool:
        """True if frames are here that wait for a kernel."""
        return bool(self._queue)

    def wake(self) -> None:
        """The link is ending: nothing waits here any more."""
        self.update_fastpath()
        self._changed.set()

    def attach(self, kernel: KernelServer) -> None:
        """The bridge begins. Frames for the kernel wait until `resume`."""
        self.kernel = kernel
        self.channel.attach(PeerSink(kernel.writer, self))
        self.hold()

    def hold(self) -> None:
        """Keep frames for the kernel back until `resume`."""
        self.held = True
        self.update_fastpath()

    def detach(self, *, keep_queue: bool) -> int:
        """The bridge ends; returns how many frames are dropped because they were meant for this kernel."""
        kernel, self.kernel = self.kernel, None
        self.update_fastpath()
        if self.channel.detach() and kernel is not None:
            kernel.break_off(self, self.channel)
        if keep_queue:
            return 0
        unsent = len(self._queue) + self.channel.drop_held()
        self._queue.clear()
        self._queued_bytes = 0
        self._changed.set()
        return unsent

    # -- the fast path -------------------------------------------------------------------------------------------

    def update_fastpath(self) -> None:
        """Something has changed that decides what C may do by itself."""
        kernel = self.kernel
        if kernel is None:
            fastpath.apply(self.channel, None, fastpath.NOTHING)
            return
        activity = kernel.activity
        allowed = fastpath.permissions(
            BridgeState.HELD if self.held else BridgeState.OPEN,
            accepting=activity.accepting and not activity.asking,
            plain=kernel.plain,
            queue_empty=not self._queue and not self.channel.is_in_large_frame,
            closing=self._session.closing,
            deferred=self._broker.executor.puts_off(kernel),
            rewrites=False,
        )
        fastpath.apply(self.channel, kernel.channel, allowed)

    def _passed(self, head: PacketHead, begun: int, answered: int) -> bool:
        kernel = self.kernel
        assert kernel is not None
        answer_left = kernel.evaluated(head, begun, answered)
        if kernel.busy:
            self._broker.acknowledgements.owe(self._data, self._is_busy)
        return answer_left

    def _is_busy(self) -> bool:
        return self.kernel is not None and self.kernel.busy

    # -- frames --------------------------------------------------------------------------------------------------

    def _handle(self, event: ChannelEvent, head: PacketHead, data: memoryview | bytes | None) -> bool:
        if event is ChannelEvent.FRAME:
            assert data is not None
            self._packet(data, head)
        elif event is ChannelEvent.ROUND_ENDED:
            if self._is_busy():
                self._broker.acknowledgements.owe(self._data, self._is_busy)
            else:
                self._data.acknowledge()
        elif event is ChannelEvent.COMMAND:
            assert data is None or isinstance(data, bytes)
            self._session.commanded(data)
        elif event is ChannelEvent.MAY_STREAM:
            return self._may_stream(head)
        elif event is ChannelEvent.HOLD:
            return self._hold_part()
        return True

    def _packet(self, data: memoryview | bytes, head: PacketHead) -> None:
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
            self._write(kernel, self, data)
        else:
            self._enqueue(head, bytes(data))
            self._wait_below_limit()

    def _enqueue(self, head: PacketHead, frame: bytes) -> None:
        frame = ended(frame)  # a late `]` of it may come at any time, and is not needed then
        self._queue.append((head, frame))
        self._queued_bytes += len(frame) + QUEUED_FRAME_COST
        self.update_fastpath()

    def _wait_below_limit(self) -> None:
        """Stop reading from the client while too much of it waits; its sends will block in turn."""
        limit = self._broker.settings.evaluation_queue_limit
        while self._queued_bytes > limit and not self._data.ended and not self._session.closing:
            self._changed.clear()
            self._changed.wait()

    @property
    def held_back(self) -> bool:
        """True if something waits for `resume`."""
        return self.held or bool(self._queue) or self.channel.held_bytes > 0

    def resume(self) -> None:
        """The kernel can take an evaluation (or is new): what waits for that is sent, by a greenlet of its own
        because the kernel's channel must go on reading meanwhile."""
        self.held = False
        self._changed.set()
        if self._queue and not self._resuming:
            self._resuming = True
            gevent.spawn(self._send_queue)
        self.update_fastpath()

    def _send_queue(self) -> None:
        while self._queue and self.kernel is not None and not self.held:
            kernel = self.kernel
            head, frame = self._queue[0]
            if head in ANSWERED_BY:
                if not kernel.activity.accepting:
                    break
                kernel.begin(head)
            else:
                kernel.answered()
            self._queue.popleft()
            self._queued_bytes -= len(frame) + QUEUED_FRAME_COST
            self._write(kernel, self._queue, frame)
        self._resuming = False
        self.update_fastpath()
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
            kernel.begin(head)

    @staticmethod
    def _write(kernel: KernelServer, source: object, data: bytes | memoryview) -> None:
        try:
            kernel.writer.write(source, data, at_boundary=True)
        except ConnectionClosed:
            pass  # the kernel's own channel notices and ends the bridge

    # -- frames too large to be held -------------------------------------------------------------------------------

    def _may_stream(self, head: PacketHead) -> bool:
        """Whether a large frame can go to the kernel now; if so, it counts as sent."""
        kernel = self.kernel
        if self._session.closing:
            self.channel.drop_held()
            return False
        if kernel is None or self.held or not self._goes_now(kernel, head):
            return False
        self._note(kernel, head)
        return True

    def _hold_part(self) -> bool:
        """Keep the beginning of a large frame as long as the limit allows."""
        if self._queued_bytes + self.channel.held_bytes <= self._broker.settings.evaluation_queue_limit:
            return True
        if self.kernel is None:
            self._broker.client_needs_kernel(self._session)
        self._changed.clear()
        self._changed.wait()
        if self._data.ended or self._session.closing:
            self.channel.drop_held()
        return False
