"""The packets of a client on their way to its kernel, in order: those that the kernel cannot take yet wait here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

import gevent
from gevent.event import Event

from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.connection import Connection, ConnectionClosed
from wstpserver.server.relay.client_channel import ClientChannel
from wstpserver.server.relay.frame_writer import ended
from wstpserver.wire.packets import PacketHead

#: Bytes that a queued packet costs beside its own.
QUEUED_PACKET_COST = 200

#: Messages that are kept for a client without a kernel.
MOST_MESSAGES = 64


class _Packet(NamedTuple):
    head: PacketHead
    frame: bytes


class _Message(NamedTuple):
    code: int
    argument: int


class QueueTarget(Protocol):
    """The bridge that the packets go to."""

    @property
    def kernel(self) -> KernelSession:
        """The kernel at its other end."""

    @property
    def is_open(self) -> bool:
        """Whether packets may go there now."""

    def update_fastpath(self) -> None:
        """Something has changed that decides what C may do by itself."""


class EvaluationQueue:
    """Hands the packets of one client to its bridge, or keeps them until the kernel can take them.

    What the client sends is one sequence: nothing passes a packet that is held back. Out-of-band messages that come
    while no packet can go to a kernel are kept among the packets.

    Args:
        connection: The client's data connection.
        channel: Its channel.
        limit: Returns how many bytes may wait (EvaluationQueueLimit); with more, the client is not read from.
        closing: Returns whether the client's link is being closed.
        needs_kernel: Called when a packet waits for a kernel.
    """

    def __init__(
        self,
        connection: Connection,
        channel: ClientChannel,
        limit: Callable[[], int],
        closing: Callable[[], bool],
        needs_kernel: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._limit = limit
        self._closing = closing
        self._needs_kernel = needs_kernel
        self._target: QueueTarget | None = None
        self._items: deque[_Packet | _Message] = deque()
        self._bytes = 0
        #: Set when something that the client's channel waits for may have changed.
        self._changed = Event()
        self._sending = False
        #: The source of what has waited, for the kernel's writer: the channel may be in the middle of a packet.
        self._sender = object()

    @property
    def waits(self) -> bool:
        """True if packets are here that wait."""
        return bool(self._items)

    @property
    def is_empty(self) -> bool:
        """True if nothing of the client is here, not even a part of a packet."""
        return not self._items and not self._channel.is_in_large_frame

    def attach(self, target: QueueTarget) -> None:
        """Packets go to *target* from now on, when that is open."""
        self._target = target

    def detach(self, *, keep: bool) -> tuple[PacketHead, ...]:
        """There is no bridge any more.

        Args:
            keep: Keep what waits for the next bridge.

        Returns:
            The heads of the packets that are dropped because they were meant for this kernel, in order.
        """
        self._target = None
        if keep:
            return ()
        heads = [item.head for item in self._items if isinstance(item, _Packet)]
        if self._channel.drop_held():
            heads.append(self._channel.scanner.head)
        self._items.clear()
        self._bytes = 0
        self._changed.set()
        return tuple(heads)

    def wake(self) -> None:
        """The link is ending: nothing waits here any longer."""
        self._changed.set()

    # -- what the client sends ---------------------------------------------------------------------------------

    def packet(self, data: memoryview | bytes, head: PacketHead) -> None:
        """Send or keep a whole packet. Waits while too much is kept."""
        if self._closing():
            return
        target = self._target
        if target is not None and self._goes_now(target, head):
            target.kernel.evaluation.sent(head)
            target.update_fastpath()
            self._write(target.kernel, self, data)
            return
        frame = ended(bytes(data))  # a late `]` of it may come at any time, and is not needed then
        self._items.append(_Packet(head, frame))
        self._bytes += len(frame) + QUEUED_PACKET_COST
        if target is None:
            self._needs_kernel()
        else:
            target.update_fastpath()
        while self._bytes > self._limit() and not self._connection.ended and not self._closing():
            self._wait_for_change()

    def may_stream(self, head: PacketHead) -> bool:
        """Tell whether a large packet can go to the kernel now; if so, it counts as sent."""
        if self._closing():
            self._channel.drop_held()
            return False
        target = self._target
        if target is None or not self._goes_now(target, head):
            return False
        target.kernel.evaluation.sent(head)
        return True

    def may_hold(self) -> bool:
        """Tell whether more of a large packet can be kept; if not, wait until something changes."""
        if self._bytes + self._channel.held_bytes <= self._limit():
            return True
        if self._target is None:
            self._needs_kernel()
        self._wait_for_change()
        if self._connection.ended or self._closing():
            self._channel.drop_held()
        return False

    def message(self, code: int, argument: int) -> None:
        """Send an out-of-band message, or keep it behind the packets that wait for a kernel."""
        target = self._target
        if target is not None and target.is_open:
            target.kernel.send_message(code, argument)
        elif sum(isinstance(item, _Message) for item in self._items) < MOST_MESSAGES:
            self._items.append(_Message(code, argument))

    def _goes_now(self, target: QueueTarget, head: PacketHead) -> bool:
        return target.is_open and not self._items and target.kernel.evaluation.may_go(head)

    def _wait_for_change(self) -> None:
        self._changed.clear()
        self._changed.wait()

    @staticmethod
    def _write(kernel: KernelSession, source: object, data: bytes | memoryview) -> None:
        try:
            kernel.writer.write(source, data, at_boundary=True)
        except ConnectionClosed:
            pass  # the kernel's own channel notices and ends the bridge

    # -- what has waited ---------------------------------------------------------------------------------------

    def release(self) -> None:
        """Send what can go now, in a greenlet, because the kernel's channel must go on reading meanwhile."""
        self._changed.set()
        if self._items and not self._sending:
            self._sending = True
            gevent.spawn(self._send)

    def _send(self) -> None:
        try:
            while self._items and self._target is not None and self._target.is_open and not self._closing():
                kernel = self._target.kernel
                item = self._items[0]
                if isinstance(item, _Message):
                    self._items.popleft()
                    kernel.send_message(item.code, item.argument)
                elif kernel.evaluation.may_go(item.head):
                    kernel.evaluation.sent(item.head)
                    self._items.popleft()
                    self._bytes -= len(item.frame) + QUEUED_PACKET_COST
                    self._write(kernel, self._sender, item.frame)
                else:
                    self._send_messages(kernel)
                    break
        finally:
            self._sending = False
        if self._target is not None:
            self._target.update_fastpath()
        self._changed.set()

    def _send_messages(self, kernel: KernelSession) -> None:
        """Send the messages that stand behind an evaluation that waits for one before it: they may be what ends it."""
        messages = [item for item in self._items if isinstance(item, _Message)]
        if messages:
            self._items = deque(item for item in self._items if isinstance(item, _Packet))
        for message in messages:
            kernel.send_message(message.code, message.argument)
