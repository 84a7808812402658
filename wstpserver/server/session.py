"""A client link: its life, its bridge, its messages and commands. Its frames are the business of ``delivery``."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import gevent
from gevent import get_hub
from gevent.event import Event

from wstpserver.model.states import Client
from wstpserver.server.connection import Connection, ConnectionClosed, yield_to_loop
from wstpserver.server.delivery import Delivery
from wstpserver.server.message_channel import MessageWriter, run_messages
from wstpserver.server.relay.client_channel import ClientChannel
from wstpserver.server.relay.frame_writer import FrameWriter
from wstpserver.wire.errors import RemoteProtocolError

if TYPE_CHECKING:
    from wstpserver.server.broker import Broker
    from wstpserver.server.kernel import KernelServer

#: Seconds after which a link that is closing is ended, whether the other side has read everything or not.
LINGER = 10.0

class Purpose(Enum):
    """Why a client is to be bridged, when no command of its own asked for it."""

    AUTOMATIC = "its connection to the server"
    FIRST_FRAME = "its first expression"
    REPLACEMENT = "the death of its kernel"


class Session:
    """The server's side of one client link."""

    def __init__(self, broker: Broker, record: Client, name: str, data: Connection, messages: Connection) -> None:
        self._broker = broker
        self.record = record
        #: The client in the log: its number and address.
        self.name = name
        self._data = data
        self._messages = messages
        self._message_writer = MessageWriter(messages)
        self.writer = FrameWriter(data)
        self.closing = False
        self._delivery = Delivery(broker, self, data)
        #: Writes the last bytes to a client whose link is closing.
        self.finishing: gevent.Greenlet | None = None
        self._linger: Any = None
        #: Clear while a command of this client is being carried out and has no reply yet.
        self.replied = Event()
        self.replied.set()
        #: True while a bridge ends whose waiting frames are meant for the next one.
        self.keeps_queue = False
        #: What the next bridge is for; decides what the client is told when it begins.
        self.purpose = Purpose.AUTOMATIC
        #: True if its kernel has died, another one is to take that one's place, and it does not know yet.
        self.bereaved = False

    # -- life --------------------------------------------------------------------------------------------------

    def run_messages(self, leftover: bytes) -> None:
        """Pass on the client's messages until the message connection ends."""
        run_messages(self._messages, self._message, leftover)
        self.messages_ended()

    def messages_ended(self) -> None:
        """The message connection has ended."""
        self._broker.client_leaving(self)
        self._end_later()

    def run(self, leftover: bytes) -> str:
        """Pump the client's frames until its link ends; returns why, for the log."""
        try:
            self._delivery.channel.run(leftover)
        except RemoteProtocolError as error:
            return f"it left the protocol: {error}"
        except ConnectionClosed:
            return "its connection broke"
        return "it closed its link" if not self.closing else "the server closed it"

    def close_link(self, last: bytes = b"") -> None:
        """Close the link so that the client still reads everything that was sent to it, and *last* after that.

        Returns at once. What the client still sends is thrown away.
        """
        if not self.closing:
            self.closing = True
            self._delivery.wake()
            self.finishing = gevent.spawn(self._finish, last)
            self._end_later()

    def _finish(self, last: bytes) -> None:
        self.replied.wait()
        if last:
            self.send(last)
        self.writer.finish()

    def _end_later(self) -> None:
        if self._linger is None:
            self._linger = get_hub().loop.timer(LINGER)
            self._linger.start(gevent.spawn, self._end_overdue)

    def _end_overdue(self) -> None:
        """The client does not read, or its pump waits for a kernel that does not: part them all the same."""
        why = "the server closed it" if self.closing else "its message connection ended"
        self.closing = True  # its pump may still have frames in hand
        self.end()
        self._broker.close_session(self, why)

    def end(self) -> None:
        """End both connections now."""
        self._data.end()
        self._messages.end()
        self._delivery.wake()

    def release(self) -> None:
        """Give the descriptors back; both pumps have ended."""
        if self._linger is not None:
            self._linger.stop()
            self._linger.close()
        self.writer.give_up()
        self._data.close()
        self._messages.close()

    # -- the bridge ----------------------------------------------------------------------------------------------

    @property
    def channel(self) -> ClientChannel:
        """The reading side of the data connection."""
        return self._delivery.channel

    @property
    def kernel(self) -> KernelServer | None:
        """The kernel at the other end of the bridge."""
        return self._delivery.kernel

    def attach(self, kernel: KernelServer) -> None:
        """The bridge begins. Frames for the kernel wait until `resume`, when the client has been told."""
        self._delivery.attach(kernel)

    def hold(self) -> None:
        """Keep frames for the kernel back until `resume`."""
        self._delivery.hold()

    @property
    def held(self) -> bool:
        """True between `hold` and `resume`."""
        return self._delivery.held

    def resume(self) -> None:
        """The kernel can take an evaluation, or is new and the client knows it: what waits for that is sent."""
        self._delivery.resume()

    def detach(self, *, keep_queue: bool) -> int:
        """The bridge ends; returns how many frames are dropped because they were meant for this kernel."""
        return self._delivery.detach(keep_queue=keep_queue)

    def accept(self) -> None:
        """The kernel can take an evaluation."""
        if self._delivery.held_back:
            self._delivery.resume()
        else:
            self._delivery.update_fastpath()

    def update_fastpath(self) -> None:
        """Something has changed that decides what C may do by itself."""
        self._delivery.update_fastpath()

    @property
    def waits_for_kernel(self) -> bool:
        """True if frames are here that need a kernel."""
        return self._delivery.waiting

    def send(self, data: bytes) -> None:
        """Write whole frames of the server's own to the client, between other frames."""
        if not data:
            return
        try:
            self.writer.write(object(), data, at_boundary=True)  # several greenlets may be here
        except ConnectionClosed:
            pass

    def open(self, greeting: bytes, packets: bytes) -> None:
        """Write the first that the client gets: the end of the *greeting*, and whole frames in the same breath."""
        if packets:
            self.send(greeting + packets)
        elif greeting:
            try:
                self._data.send(greeting)
            except ConnectionClosed:
                pass

    def send_message(self, code: int, argument: int) -> None:
        """Send an out-of-band message to the client."""
        self._message_writer.send(code, argument)

    def _message(self, code: int, argument: int) -> None:
        # What the client sent before this message is here already, but on the other connection: it goes first, or an
        # abort would reach the kernel before the evaluation that it is meant for.
        yield_to_loop()
        if self.kernel is not None:
            self.kernel.send_message(code, argument)

    def commanded(self, packet: bytes | None) -> None:
        """The client sent a command, None for one that is too large; returns when it has its reply."""
        if not self.closing:
            self._broker.client_commanded(self, packet)
