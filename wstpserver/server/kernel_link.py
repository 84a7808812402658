"""The listening end of a kernel's link: two ports that only the process we started may connect to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from gevent.socket import wait_read

from wstpserver.server.ownership import belongs_to
from wstpserver.server.stream import Stream, peer_name
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.handshake import GreetingComplete, LinkIdentified, ListenHandshake
from wstpserver.wire.pairing import SPEAK_AFTER

LOOPBACK = "127.0.0.1"


class KernelLinkError(Exception):
    """The kernel did not make a link; the text says how far it came."""


@dataclass(slots=True)
class KernelLink:
    """A greeted link to a kernel. *leftover* came in behind the greeting."""

    data: Stream
    messages: Stream
    leftover: bytes

    def end(self) -> None:
        """End both connections; the kernel sees its link closed."""
        self.data.end()
        self.messages.end()


class KernelListener:
    """Waits for the two connections of one kernel."""

    def __init__(self) -> None:
        self._data = socket.create_server((LOOPBACK, 0), backlog=4)
        self._messages = socket.create_server((LOOPBACK, 0), backlog=4)
        for listener in (self._data, self._messages):
            listener.setblocking(False)

    def arguments(self) -> list[str]:
        """The link arguments that the vendor's library gives to a child it launches."""
        ports = (self._data.getsockname()[1], self._messages.getsockname()[1])
        name = ",".join(f"{port}@{LOOPBACK}" for port in ports)
        return ["-linkprotocol", "TCPIP", "-linkconnect", "-linkname", name]

    def accept(self, pid: int, warn: Callable[[str], None]) -> KernelLink:
        """Return the link that process *pid* makes. Waits; the caller sets the limit with a ``gevent.Timeout``.

        Strangers are turned away and reported to *warn*. Raises `KernelLinkError` if the kernel's greeting is
        none or its connection ends.
        """
        data = messages = None
        try:
            data = Stream(self._accept(self._data, pid, warn))
            handshake = ListenHandshake()
            seen: set[type] = set()
            # The kernel connects its second port when it has read our answer to its first line, so accepting
            # comes before the rest of the greeting.
            self._greet(data, handshake, LinkIdentified, seen)
            messages = Stream(self._accept(self._messages, pid, warn))
            self._greet(data, handshake, GreetingComplete, seen)
            return KernelLink(data, messages, handshake.leftover())
        except BaseException:
            for stream in (data, messages):
                if stream is not None:
                    stream.close()
            raise

    @staticmethod
    def _accept(listener: socket.socket, pid: int, warn: Callable[[str], None]) -> socket.socket:
        while True:
            try:
                connected, _ = listener.accept()
            except BlockingIOError:
                wait_read(listener.fileno())
                continue
            except ConnectionError:  # it went before we looked
                continue
            try:
                belongs = belongs_to(connected, pid)
            except OSError:  # gone already
                belongs = False
            if belongs:
                return connected
            warn(
                f"Turned away a connection from {peer_name(connected)} to the port of kernel process {pid}:"
                " it does not come from that process"
            )
            connected.close()

    @staticmethod
    def _greet(stream: Stream, handshake: ListenHandshake, until: type, seen: set[type]) -> None:
        """Go on with the greeting until an event of the type *until* is among the *seen* ones."""
        while until not in seen:
            if handshake.awaits_greeting:
                # The embedded kernel reads our greeting first, and the vendor's kernels send theirs at once.
                try:
                    wait_read(stream.socket.fileno(), timeout=SPEAK_AFTER)
                except TimeoutError:
                    handshake.speak()
                    stream.send(handshake.data_to_send())
            data = stream.receive_bytes()
            if not data:
                raise KernelLinkError("it closed its link during the greeting")
            try:
                events = handshake.receive_data(data)
            except RemoteProtocolError as error:
                raise KernelLinkError(f"it does not speak WSTP: {error}") from None
            for event in events:
                if isinstance(event, LinkIdentified) and (event.mode != "classic" or event.needs_message_port):
                    raise KernelLinkError("it did not connect in the mode that its link options name")
                seen.add(type(event))
            answer = handshake.data_to_send()
            if answer:
                stream.send(answer)

    def close(self) -> None:
        """Stop listening."""
        self._data.close()
        self._messages.close()

