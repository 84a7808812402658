"""The server's side of one client link, with or without a kernel. What it sends waits here until a kernel takes it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import gevent
from gevent import get_hub
from gevent.event import Event

from wstpserver.pools.states import Client
from wstpserver.server import GracePeriods, access
from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.connection import (
    Connection,
    ConnectionClosed,
    LateAcknowledgements,
    MessageWriter,
    run_messages,
    yield_to_loop,
)
from wstpserver.server.handover import link_record, packed, unpacked
from wstpserver.server.relay.channel import ChannelEvent
from wstpserver.server.relay.directions import ClientChannel
from wstpserver.server.relay.sinks import FrameWriter, ended
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.packets import MessageReader, PacketHead
from wstpserver.wire.proxy_protocol import ProxyHeader

#: Bytes that a queued packet costs beside its own.
QUEUED_PACKET_COST = 200

#: Messages that are kept for a client without a kernel.
MOST_MESSAGES = 64

_FRAME = ChannelEvent.FRAME
_ROUND_ENDED = ChannelEvent.ROUND_ENDED
_COMMAND = ChannelEvent.COMMAND
_MAY_STREAM = ChannelEvent.MAY_STREAM

#: Of clients that have no command under way; each command has an event of its own.
_REPLIED = Event()
_REPLIED.set()

#: Of a `ClientSession`, what is handed over as it is.
_FLAGS = ("has_commanded", "awaits_replacement", "takes_kernels_itself", "was_robbed")


class _Packet(NamedTuple):
    head: PacketHead
    frame: bytes


class _Message(NamedTuple):
    code: int
    argument: int


class CommandInHand(NamedTuple):
    """A command of a client that may have to wait for something.

    Attributes:
        packet: The command.
        again: Another process carries it out anew. Else it goes on with the wait.
    """

    packet: bytes
    again: bool


class ClientOwner(Protocol):
    """What hears of a client's life."""

    grace: GracePeriods

    def client_needs_kernel(self, session: ClientSession) -> bool:
        """The client sent something for a kernel and has none; False if it is not to be kept for one."""

    def client_commanded(self, session: ClientSession, packet: bytes | None) -> None:
        """The client sent a command, None for one that is too large; returns when it has its reply."""

    def client_leaving(self, session: ClientSession) -> None:
        """The client's message connection has ended: it does not wait for a kernel any more."""

    def close_session(self, session: ClientSession, why: str) -> None:
        """The client link has ended."""


class ClientPeer(Protocol):
    """The bridge that a client is one end of."""

    @property
    def kernel(self) -> KernelSession:
        """The kernel at the other end."""

    @property
    def is_open(self) -> bool:
        """Whether packets may go there now."""

    def update_fastpath(self) -> None:
        """Something has changed that decides what C may do by itself."""

    def client_passed(self, head: PacketHead, begun: int, answered: int) -> bool:
        """Evaluations of the client and their answers passed in C (`OnPassed` of the client's channel)."""


#: What waits where nothing does: an idle client has no queue of its own, which would take 760 bytes.
_NOTHING: deque[_Packet | _Message] = deque()


def _yes() -> bool:
    return True


def _no() -> bool:
    return False


class EvaluationQueue:
    """Hands the packets of one client to its bridge, or keeps them until the kernel can take them.

    What the client sends is one sequence: nothing passes a packet that is held back. Out-of-band messages that come
    while no packet can go to a kernel are kept among the packets.

    Args:
        connection: The client's data connection.
        channel: Its channel.
        limit: Returns how many bytes may wait (EvaluationQueueLimit); with more, the client is not read from.
        closing: Returns whether the client's link is being closed.
        needs_kernel: Called when a packet waits for a kernel; returns whether to keep it.
    """

    __slots__ = (
        "_bytes", "_changed", "_channel", "_closing", "_connection", "_halting", "_items", "_limit", "_messages",
        "_needs_kernel", "_sender", "_sending", "_target",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        channel: ClientChannel,
        limit: Callable[[], int],
        closing: Callable[[], bool],
        needs_kernel: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._limit = limit
        self._closing = closing
        self._needs_kernel = needs_kernel
        self._target: ClientPeer | None = None
        self._items = _NOTHING
        self._bytes = 0
        #: How many of the items are messages.
        self._messages = 0
        #: Set when something that the client's channel waits for may have changed; made when it waits first.
        self._changed: Event | None = None
        self._sending = False
        #: True after `halt`: nothing waits for there to be less.
        self._halting = False
        #: The source of what has waited, for the kernel's writer: the channel may be in the middle of a packet.
        self._sender = object()

    @property
    def size(self) -> int:
        """How many packets and messages wait."""
        return len(self._items)

    @property
    def waits(self) -> bool:
        """True if packets are here that wait."""
        return bool(self._items)

    @property
    def is_empty(self) -> bool:
        """True if nothing of the client is here, not even a part of a packet."""
        return not self._items and not self._channel.is_in_large_frame

    def attach(self, target: ClientPeer) -> None:
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
        if keep or self.is_empty:
            return ()
        heads = [item.head for item in self._items if isinstance(item, _Packet)]
        if self._channel.drop_held():
            heads.append(self._channel.scanner.head)
        self._items.clear()
        self._bytes = self._messages = 0
        self._tell_changed()
        return tuple(heads)

    def halt(self) -> bool:
        """Wait for nothing any more; True once what waits here can be handed over."""
        self._halting = True
        self._tell_changed()
        return not self._sending

    def resume(self) -> None:
        """The opposite of `halt`."""
        self._halting = False

    def hand_over(self) -> list[dict[str, Any]]:
        """What waits here, in order, for another process."""
        return [
            {"message": [item.code, item.argument]}
            if isinstance(item, _Message)
            else {"head": item.head.name, "frame": packed(item.frame)}
            for item in self._items
        ]

    def go_on(self, record: Iterable[Mapping[str, Any]]) -> None:
        """Go on with what waited in another process; *record* is what `hand_over` returned there."""
        for one in record:
            if "message" in one:
                self._append_message(*one["message"])
            else:
                self._append_packet(PacketHead[one["head"]], unpacked(one["frame"]))

    def wake(self) -> None:
        """The link is ending: nothing waits here any longer."""
        self._tell_changed()

    def close(self) -> None:
        """The link has ended: ask its session nothing more."""
        self._closing, self._needs_kernel = _yes, _no

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
        if target is None and not self._needs_kernel():
            return
        was_empty = not self._items
        self._append_packet(head, ended(bytes(data)))  # a late `]` of it may come at any time, and is not needed then
        if target is not None and was_empty:
            target.update_fastpath()
        while self._bytes > self._limit() and not (self._connection.ended or self._closing() or self._halting):
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
        if self._bytes + self._channel.held_bytes <= self._limit() or self._halting:
            return True
        if self._target is None and not self._needs_kernel():
            self._channel.drop_held()
            return False
        self._wait_for_change()
        if self._connection.ended or self._closing():
            self._channel.drop_held()
        return False

    def message(self, code: int, argument: int) -> None:
        """Send an out-of-band message, or keep it behind the packets that wait for a kernel."""
        target = self._target
        if target is not None and target.is_open:
            target.kernel.send_message(code, argument)
        elif self._messages < MOST_MESSAGES:
            self._append_message(code, argument)

    def _goes_now(self, target: ClientPeer, head: PacketHead) -> bool:
        return target.is_open and not self._items and target.kernel.evaluation.may_go(head)

    def _wait_for_change(self) -> None:
        if self._changed is None:
            self._changed = Event()
        self._changed.clear()
        self._changed.wait()

    @staticmethod
    def _write(kernel: KernelSession, source: object, data: bytes | memoryview, *, begins: bool = True) -> None:
        try:
            kernel.writer.write(source, data, at_boundary=True, begins=begins)
        except ConnectionClosed:
            pass  # the kernel's own channel notices and ends the bridge

    # -- what has waited ---------------------------------------------------------------------------------------

    def release(self) -> None:
        """Send what can go now. What may have to wait is sent in a greenlet, because the kernel's channel must go on
        reading meanwhile. The bridge has C told afterwards what may pass by itself.
        """
        if self._items and not self._sending:
            self._send_evaluation()
            if self._items and not self._sending and self._can_go_on():
                self._sending = True
                gevent.spawn(self._send)
        self._tell_changed()

    def _send_evaluation(self) -> None:
        """Have C send the first packet, if that is an evaluation for an idle kernel. Most of what waits goes this way,
        when the evaluation before it is answered.
        """
        target, item = self._target, self._items[0]
        if target is None or not target.is_open or self._closing() or isinstance(item, _Message):
            return
        kernel = target.kernel
        evaluation = kernel.evaluation
        if evaluation.busy or evaluation.is_answer(item.head) or kernel.record.deferred:
            return
        unsent = self._channel.send_kept(item.frame, item.head)
        if unsent < 0:
            return
        self._drop_first(item)
        evaluation.sent(item.head)
        if unsent:
            kernel.writer.begun(self._sender)
            self._sending = True
            gevent.spawn(self._send_rest, kernel, item.frame[-unsent:])

    def _can_go_on(self) -> bool:
        """Whether anything of what waits can be sent now: the first packet, or messages behind it."""
        item = self._items[0]
        if self._messages or self._target is None or isinstance(item, _Message):
            return True
        return self._target.kernel.evaluation.may_go(item.head)

    def _send_rest(self, kernel: KernelSession, rest: bytes) -> None:
        self._write(kernel, self._sender, rest, begins=False)
        self._send()

    def _send(self) -> None:
        try:
            while self._items and self._target is not None and self._target.is_open and not self._closing():
                kernel = self._target.kernel
                item = self._items[0]
                if isinstance(item, _Message):
                    self._items.popleft()
                    self._messages -= 1
                    kernel.send_message(item.code, item.argument)
                elif kernel.evaluation.may_go(item.head):
                    kernel.evaluation.sent(item.head)
                    self._drop_first(item)
                    self._write(kernel, self._sender, item.frame)
                else:
                    self._send_messages(kernel)
                    break
        finally:
            self._sending = False
        if self._target is not None:
            self._target.update_fastpath()
        self._tell_changed()

    def _tell_changed(self) -> None:
        if self._changed is not None:
            self._changed.set()

    def _append_packet(self, head: PacketHead, frame: bytes) -> None:
        self._append(_Packet(head, frame))
        self._bytes += len(frame) + QUEUED_PACKET_COST

    def _append_message(self, code: int, argument: int) -> None:
        self._append(_Message(code, argument))
        self._messages += 1

    def _append(self, item: _Packet | _Message) -> None:
        if self._items is _NOTHING:
            self._items = deque()
        self._items.append(item)

    def _drop_first(self, packet: _Packet) -> None:
        self._items.popleft()
        self._bytes -= len(packet.frame) + QUEUED_PACKET_COST

    def _send_messages(self, kernel: KernelSession) -> None:
        """Send the messages that stand behind an evaluation that waits for one before it: they may be what ends it."""
        if not self._messages:
            return
        messages = [item for item in self._items if isinstance(item, _Message)]
        self._items = deque(item for item in self._items if isinstance(item, _Packet))
        self._messages = 0
        for message in messages:
            kernel.send_message(message.code, message.argument)


class ClientSession:
    """One client link.

    Args:
        owner: Hears of what the client wants.
        record: What the registry knows of the client.
        name: The client in the log: its number and address.
        data: The data connection.
        messages: The message connection.
        acknowledgements: Acknowledges what the client sent where no answer does.
        greeting_version: The version of the greeting that both sides agreed on.
        address: The address of the client.
        queue_limit: Returns how many bytes of the client may wait (EvaluationQueueLimit).
        header: What a proxy says of the client; None if it connected by itself.
    """

    #: A dictionary of so many attributes would be the largest thing of an idle client.
    __slots__ = (
        "_acknowledgements", "_announcements", "_announcing", "_commanded_at", "_data", "_header", "_last", "_linger",
        "_message_writer", "_messages", "_messages_in_hand", "_owner", "_reader", "address", "awaits_replacement",
        "channel", "closing", "command", "finishing", "greeting_version", "has_commanded", "leaving", "name", "opened",
        "peer", "queue", "record", "replied", "takes_kernels_itself", "was_robbed", "writer",
    )  # fmt: skip

    def __init__(
        self,
        owner: ClientOwner,
        record: Client,
        name: str,
        data: Connection,
        messages: Connection,
        acknowledgements: LateAcknowledgements,
        greeting_version: int,
        address: str,
        queue_limit: Callable[[], int],
        header: ProxyHeader | None = None,
    ) -> None:
        self.greeting_version = greeting_version
        self.address = address
        self._header = header
        self._owner = owner
        self.record = record
        self.name = name
        self._data = data
        self._messages = messages
        self._message_writer = MessageWriter(messages)
        self._acknowledgements = acknowledgements
        self.writer = FrameWriter(data)
        self.channel = ClientChannel(data, self._handle, self._passed)
        self.queue = EvaluationQueue(
            data, self.channel, queue_limit, self.is_closing, self._needs_kernel
        )
        self.peer: ClientPeer | None = None
        self.closing = False
        #: True once the client's message connection has ended.
        self.leaving = False
        #: Writes the last bytes to a client whose link is closing.
        self.finishing: gevent.Greenlet | None = None
        self._linger: Any = None
        #: True once the client has sent a command.
        self.has_commanded = False
        #: When the link was opened, and when the client last commanded something, by the monotonic clock, in seconds.
        self.opened = self._commanded_at = time.monotonic()
        #: Not set while a command of this client is being carried out and has no reply yet.
        self.replied = _REPLIED
        #: Packets of the server that are to be written when no reply is due, and the greenlet that does it.
        self._announcements = b""
        self._announcing: gevent.Greenlet | None = None
        #: True if the client said in its greeting that it takes its kernels itself.
        self.takes_kernels_itself = False
        #: True if such a client has lost its kernel to another client and has asked for no other one since.
        self.was_robbed = False
        #: True if its kernel has died, another one is to take that one's place, and it does not know yet.
        self.awaits_replacement = False
        #: The command that is being carried out and may have to wait.
        self.command: CommandInHand | None = None
        #: What is written last, when the link is being closed and nothing was written for that yet.
        self._last = b""
        #: Made for the first message.
        self._reader: MessageReader | None = None
        #: Messages that were received and have not been passed on yet.
        self._messages_in_hand = 0

    def _needs_kernel(self) -> bool:
        return self._owner.client_needs_kernel(self)

    def is_closing(self) -> bool:
        """Whether the server is closing the link."""
        return self.closing

    @property
    def has_ended(self) -> bool:
        """Whether its connections have been ended on this side."""
        return self._data.ended

    @property
    def kernel(self) -> KernelSession | None:
        """The kernel at the other end of the bridge."""
        return self.peer.kernel if self.peer is not None else None

    def is_administrator(self) -> bool:
        """Whether the user that the server runs as, or root, is at the other end of the link."""
        return access.is_administrator(self._data.socket, self._header)

    @property
    def origin(self) -> str:
        """What wrong access tokens of this client are counted for."""
        return access.origin(self._data.socket, self._header)

    def idle_since(self) -> float | None:
        """When the last thing ended that it had under way, by the monotonic clock; None while something is."""
        kernel = self.record.kernel
        if self.closing or self.record.waiting is not None or self.record.pending is not None:
            return None
        if self.queue.waits or self._kernel_is_busy() or not self.replied.is_set() or self.channel.is_in_large_frame:
            return None
        since = self._commanded_at
        return since if kernel is None else max(since, kernel.since, kernel.idle_since)

    def has_been_idle_for(self, seconds: float) -> bool:
        """Whether nothing has been under way for so long, as far as can be told: nor has anything come that is not read
        yet.
        """
        since = self.idle_since()
        if since is None or time.monotonic() - since < seconds:
            return False
        silent = self.seconds_silent()
        return silent is None or silent >= seconds

    def seconds_silent(self) -> float | None:
        """For how long nothing has come from the client; None where the system does not say."""
        received = [self._data.seconds_since_received(), self._messages.seconds_since_received()]
        return min((seconds for seconds in received if seconds is not None), default=None)

    # -- from one process to the next --------------------------------------------------------------------------

    def halt(self) -> bool:
        """Receive nothing more, and wait for nothing that is to be sent. To be called until it returns True: then the
        client can be handed over.
        """
        self._data.keep_unsent()
        halted = self.channel.halt() or (self.command is not None and self.channel.in_hand is not None)
        return self.queue.halt() and halted and not self._messages_in_hand

    def resume(self) -> None:
        """The opposite of `halt`."""
        self.writer.resume()
        if self.closing and self.finishing is not None and self.finishing.ready():
            self.finishing = gevent.spawn(self._finish)
        self.queue.resume()
        self.channel.go_on()

    def hand_over(self, wait: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What another process needs to go on with it (`handover`), once it is halted.

        Args:
            wait: What `WaitingClients.hand_over` says, if the client waits.
        """
        command, received = b"", self.channel.in_hand or b""
        if self.command is not None and self.command.again:
            received = self.command.packet + received
        elif self.command is not None:
            command = self.command.packet
        link = link_record(
            self._data,
            self._messages,
            self.greeting_version,
            self.address,
            received=received,
            messages_received=self._reader.pending if self._reader is not None else b"",
            messages_unsent=self._message_writer.unsent,
            open_tail=self.writer.has_open_tail,
        )
        record: dict[str, Any] = {"link": link}
        if self.queue.waits:
            record["queue"] = self.queue.hand_over()
        for name, data in (("command", command), ("announcements", self._announcements), ("last", self._last)):
            if data:
                record[name] = packed(data)
        if wait is not None:
            record["wait"] = dict(wait)
        for name in (*_FLAGS, "closing"):
            if getattr(self, name):
                record[name] = True
        if self._header is not None:
            record["header"] = list(self._header)
        return record

    def go_on(self, record: Mapping[str, Any]) -> None:
        """Go on where another process has stopped, before anything is received; *record* is what `hand_over` returned
        there.
        """
        link = record["link"]
        for name in _FLAGS:
            setattr(self, name, record.get(name, False))
        self.queue.go_on(record.get("queue", ()))
        self.writer.go_on(unpacked(link.get("unsent", "")), object() if link.get("open_tail") else None)
        self._message_writer.go_on(unpacked(link.get("messages_unsent", "")))
        if "command" in record:
            self.replied = Event()  # its greenlet goes on with the command
        self.announce(unpacked(record.get("announcements", "")))
        if record.get("closing"):
            self.close_link(unpacked(record.get("last", "")))

    # -- life --------------------------------------------------------------------------------------------------

    def run(self, leftover: bytes) -> str:
        """Pass the client's frames on until its link ends.

        Args:
            leftover: What was received behind the greeting.

        Returns:
            Why it ended, for the log.
        """
        try:
            self.channel.run(leftover)
        except RemoteProtocolError as error:
            return f"it left the protocol: {error}"
        except ConnectionClosed:
            return "its connection broke"
        if self.closing:
            return "the server closed it"
        self.closing = True  # nothing of what waits is sent any more
        if self.queue.waits or self._kernel_is_busy():
            if self.peer is not None:
                self.peer.update_fastpath()  # C counts no more answers with this channel
            # An abort that was sent just before the end is here already, on the other connection: one look at it, and
            # one turn of the greenlet that reads it.
            yield_to_loop()
            yield_to_loop()
        return "it closed its link"

    def run_messages(self, leftover: bytes) -> None:
        """Pass on the client's messages until the message connection ends."""
        self._reader = reader = MessageReader()
        run_messages(self._messages, self._message, leftover, reader)
        self.messages_ended()

    def messages_ended(self) -> None:
        """The message connection has ended."""
        self.leaving = True
        self._owner.client_leaving(self)
        self._end_later()

    def close_link(self, last: bytes = b"") -> None:
        """Close the link so that the client still reads everything that was sent to it, and *last* after that.

        Returns at once. What the client still sends is thrown away.
        """
        if self.closing:
            return
        self.closing = True
        if self.peer is not None:
            self.peer.update_fastpath()
        self.queue.wake()
        self._last = last
        self.finishing = gevent.spawn(self._finish)
        self._end_later()

    def _finish(self) -> None:
        self.replied.wait()
        last, self._last = self._last, b""
        self.send(self._take_announcements() + last)
        self.writer.finish()

    def _end_later(self) -> None:
        if self._linger is None:
            self._linger = get_hub().loop.timer(self._owner.grace.client)
            self._linger.start(gevent.spawn, self._end_overdue)

    def _end_overdue(self) -> None:
        """The client does not read, or its channel waits for a kernel that does not: part them all the same."""
        why = "the server closed it" if self.closing else "its message connection ended"
        self.closing = True  # its channel may still have frames in hand
        self.end()
        self._owner.close_session(self, why)

    def end(self) -> None:
        """End both connections now."""
        self._data.end()
        self._messages.end()
        self.queue.wake()

    def release(self) -> None:
        """Give the descriptors back; the greenlets that read them have ended."""
        if self._linger is not None:
            self._linger.stop()
            self._linger.close()
        self.writer.give_up()
        self._data.close()
        self._messages.close()
        # which would keep it alive until the garbage collector comes
        self.channel.close()
        self.queue.close()

    # -- what is written to the client -------------------------------------------------------------------------

    def send(self, data: bytes | bytearray) -> None:
        """Write whole frames of the server's own to the client, between other frames."""
        if not data:
            return
        try:
            self.writer.write(object(), data, at_boundary=True)  # several greenlets may be here
        except ConnectionClosed:
            pass

    def send_first(self, greeting: bytes, packets: bytes) -> None:
        """Write the end of the *greeting*, and the whole frames that came with it."""
        if packets:
            self.send(greeting + packets)
        elif greeting:
            try:
                self._data.send(greeting)
            except ConnectionClosed:
                pass

    def announce(self, packets: bytes) -> None:
        """Write whole frames soon: behind the reply that is due, and in order with other announcements."""
        self._announcements += packets
        if packets and self._announcing is None:
            self._announcing = gevent.spawn(self._announce)

    def _announce(self) -> None:
        self.replied.wait()
        self._announcing = None
        self.send(self._take_announcements())

    def _take_announcements(self) -> bytes:
        packets, self._announcements = self._announcements, b""
        return packets

    def welcome(self, greeting: bytes, packets: bytes) -> None:
        """Write what a client is told when its bridge begins, behind what was announced before."""
        if self._announcements:
            packets = self._take_announcements() + packets
        self.send_first(greeting, packets)

    def send_message(self, code: int, argument: int) -> None:
        """Send an out-of-band message to the client."""
        self._message_writer.send(code, argument)

    # -- what the client sends ---------------------------------------------------------------------------------

    def _handle(self, event: ChannelEvent, head: PacketHead, data: memoryview | bytes | None) -> bool:
        if event is _FRAME:
            assert data is not None
            self.queue.packet(data, head)
        elif event is _ROUND_ENDED:
            if self.peer is not None and self.peer.kernel.evaluation.busy:
                self._acknowledgements.add(self._data, self.peer.kernel.evaluation)
            else:
                self._data.acknowledge()
        elif event is _COMMAND:
            assert data is None or isinstance(data, bytes)
            if not self.closing:
                self.has_commanded = True
                self._owner.client_commanded(self, data)
                self._commanded_at = time.monotonic()
        elif event is _MAY_STREAM:
            return self.queue.may_stream(head)
        else:
            return self.queue.may_hold()
        return True

    def _passed(self, head: PacketHead, begun: int, answered: int) -> bool:
        bridge = self.peer
        assert bridge is not None
        answer_left = bridge.client_passed(head, begun, answered)
        evaluation = bridge.kernel.evaluation
        if evaluation.busy:
            self._acknowledgements.add(self._data, evaluation)
        return answer_left

    def _kernel_is_busy(self) -> bool:
        return self.peer is not None and self.peer.kernel.evaluation.busy

    def _message(self, code: int, argument: int) -> None:
        self._messages_in_hand += 1
        try:
            self._pass_message(code, argument)
        finally:
            self._messages_in_hand -= 1

    def _pass_message(self, code: int, argument: int) -> None:
        kernel = self.kernel
        # What the client sent before this message is here already, but on the other connection: it goes first, or an
        # abort would reach the kernel before the evaluation that it is meant for.
        yield_to_loop()
        if self.peer is None and kernel is not None and kernel.peer is None:
            kernel.send_message(code, argument)  # the client has left meanwhile, and no other client has the kernel yet
        else:
            self.queue.message(code, argument)
