"""From an accepted connection to a client's link: greeting, and finding the other connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import gevent
from gevent import get_hub

from wstpserver.server.classic import accept_messages
from wstpserver.server.pairing import Pairing, Rejected
from wstpserver.server.stream import Stream, StreamClosed
from wstpserver.wire.errors import ProtocolError
from wstpserver.wire.handshake import GreetingComplete, LinkIdentified, ListenHandshake

#: All greetings receive here, one at a time.
_buffer = memoryview(bytearray(4096))


@dataclass(slots=True)
class ClientLink:
    """The two greeted connections of a client."""

    data: Stream
    messages: Stream
    address: str
    data_leftover: bytes
    messages_leftover: bytes
    #: The client wants no kernel until it asks for one.
    without_kernel: bool = False
    #: The end of our greeting. It has to go out before anything else does, and can go together with that.
    unsent: bytes = b""


class Greeted(Protocol):
    """Hears how greetings end."""

    def paired(self, data: Greeting, messages: Greeting | None, link: ClientLink) -> None:
        """These connections are a link now; *messages* None: the second connection never was one of the greeted."""

    def failed(self, greeting: Greeting, error: Exception) -> None:
        """The connection becomes no link, and is closed."""


class Greeting:
    """One accepted connection, before it is a link or a part of one.

    It works in the hub, by what comes in, because most of a server's work with short-lived clients is done here and a
    greenlet's birth and death cost more than the greeting. None of its methods waits.
    """

    __slots__ = (
        "_greenlet", "_handshake", "_owner", "_pairing", "_running", "_uuid", "_watcher", "address", "since", "stream"
    )  # fmt: skip

    def __init__(
        self, owner: Greeted, pairing: Pairing[Greeting], stream: Stream, address: str, since: float
    ) -> None:
        self.stream = stream
        self.address = address
        #: When it was accepted.
        self.since = since
        self._owner = owner
        self._pairing = pairing
        self._handshake = ListenHandshake()
        self._uuid: str | None = None
        self._watcher: Any = None
        #: Does what has to wait, in classic mode.
        self._greenlet: gevent.Greenlet | None = None
        self._running = False

    def go_on(self) -> None:
        """Take what has come in."""
        try:
            size = self.stream.try_receive(_buffer)
            if size == 0:
                raise StreamClosed("it ended")
            waiting = not self._take(bytes(_buffer[:size])) if size else True
        except (Rejected, ProtocolError, StreamClosed, OSError) as error:
            self.fail(error)
        except Exception as error:  # a defect, but a client must not wait for ever
            self.fail(error)
            raise
        else:
            if waiting and self._watcher is None:
                self._watcher = get_hub().loop.io(self.stream.socket.fileno(), 1)
                self._watcher.start(self.go_on)

    def _take(self, data: bytes) -> bool:
        """Go on with the greeting; True if nothing more is to be read now."""
        handshake = self._handshake
        complete = False
        for event in handshake.receive_data(data):
            if isinstance(event, GreetingComplete):
                complete = True
            elif isinstance(event, LinkIdentified):
                if event.mode == "classic":
                    self._go_classic(event)
                    return True
                self._uuid = event.uuid
                if event.channel == "mesg":
                    self._pair_messages()
                    return True
        if complete:
            self._pair_data()
        else:
            self._answer()
        return complete

    def _answer(self) -> None:
        send_at_once(self.stream, self._handshake.data_to_send())

    def _pair_messages(self) -> None:
        assert self._uuid is not None
        self._stop_reading()
        data = self._pairing.take_data(self._uuid, self)
        if data is not None:
            self._owner.paired(data, self, data._link(self.stream, self._handshake.leftover(), b""))

    def _pair_data(self) -> None:
        assert self._uuid is not None
        self._stop_reading()
        try:
            messages = self._pairing.take_messages(self._uuid, self)
        except Rejected:
            self._answer()  # a peer that reads on sees what it would have seen otherwise, and then the end
            raise
        if messages is None:
            self._answer()  # the peer may wait for that before it opens its second connection
        else:
            rest = messages._handshake.leftover()
            self._owner.paired(self, messages, self._link(messages.stream, rest, self._handshake.data_to_send()))

    def _link(self, messages: Stream, messages_leftover: bytes, unsent: bytes) -> ClientLink:
        handshake, peer = self._handshake, self._handshake.peer
        without_kernel = peer is not None and peer.without_kernel
        return ClientLink(
            self.stream, messages, self.address, handshake.leftover(), messages_leftover, without_kernel, unsent
        )

    # -- classic mode --------------------------------------------------------------------------------------------

    def _go_classic(self, identified: LinkIdentified) -> None:
        if not identified.needs_message_port:
            raise Rejected(
                "it names a message port of its own, but this server has one port for everything; the client"
                " should use -linkoptions 4, or a link name with one port"
            )
        self._stop_reading()
        self._greenlet = gevent.spawn(self._run_classic)

    def _run_classic(self) -> None:
        self._running = True
        try:
            messages = accept_messages(self.stream, self._handshake)
        except (Rejected, ProtocolError, StreamClosed, OSError) as error:
            self._greenlet, self._running = None, False
            self.fail(error)
            return
        except Exception as error:  # as in `go_on`
            self._greenlet, self._running = None, False
            self.fail(error)
            raise
        self._owner.paired(self, None, self._link(messages, b"", b""))

    # -- the end -------------------------------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """This becomes no link."""
        if self._running:
            assert self._greenlet is not None
            self._greenlet.kill(error, block=False)  # it comes here again
            return
        if self._greenlet is not None:
            self._greenlet.kill(block=False)  # it has not begun, and will not
        self.close()
        self._owner.failed(self, error)

    def close(self) -> None:
        """Give everything back."""
        self._stop_reading()
        if self._uuid is not None:
            self._pairing.forget(self._uuid, self)
        self.stream.close()

    def _stop_reading(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.stop()
            watcher.close()


def send_at_once(stream: Stream, data: bytes) -> None:
    """Send our part of a greeting, which is far smaller than what a new connection takes without its peer's help.
    Raises `StreamClosed`."""
    if data and stream.try_send(data) < len(data):
        raise StreamClosed("it takes no data")
