"""Connections that a listener has accepted, up to the point where two of them make a link."""

from __future__ import annotations

import socket
from typing import Final

from wstpserver.client.connection import Connection
from wstpserver.client.deadline import Deadline
from wstpserver.client.errors import LinkError
from wstpserver.client.sockets import prepare
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.handshake import LinkIdentified, ListenHandshake
from wstpserver.wire.pairing import SPEAK_AFTER

#: Seconds in which a connection must say what it is, greet, and find its other half.
GREETING_TIMEOUT: Final = 10.0


class Refused(Exception):
    """The connection is none of ours; the reason in words."""


class Arrival:
    """One accepted connection and how far its handshake has come."""

    def __init__(self, sock: socket.socket, peer: str) -> None:
        prepare(sock)
        self.peer = peer
        self.connection = Connection(sock, peer)
        self.handshake = ListenHandshake()
        self.deadline = Deadline(GREETING_TIMEOUT)
        #: What it said it is, once it has.
        self.identity: LinkIdentified | None = None
        #: Whether answers are kept back until it is this connection's turn.
        self.on_hold = False
        #: When the peer of a classic link has been silent for so long that it waits for us to greet first.
        self.silence: Deadline | None = None

    @property
    def is_classic(self) -> bool:
        return self.identity is not None and self.identity.mode == "classic"

    @property
    def is_message(self) -> bool:
        return self.identity is not None and self.identity.channel == "mesg"

    @property
    def greeted(self) -> bool:
        """Whether its own part of the handshake is over."""
        return self.handshake.complete

    def receive(self) -> LinkIdentified | None:
        """Take in what has come and answer it; the identity, if that is now known. Refused."""
        data = self.connection.receive_now()
        if data is None:
            return None
        try:
            if not data:
                self.handshake.receive_end()
            events = self.handshake.receive_data(data)
        except RemoteProtocolError as error:
            raise Refused(error.message) from error
        for event in events:
            if isinstance(event, LinkIdentified):
                self.identity = event
                # A classic link has its answer kept back until the listener gives it its turn.
                self.on_hold = event.mode == "classic"
        self.answer()
        return self.identity

    def answer(self) -> None:
        """Send what the handshake has to say, unless the connection is on hold. Refused if the peer takes nothing."""
        if self.on_hold:
            return
        outgoing = self.handshake.data_to_send()
        if outgoing and self.handshake.awaits_greeting:
            self.silence = Deadline(SPEAK_AFTER)
        try:
            if outgoing and self.connection.send(outgoing, Deadline(0)):
                raise Refused("it does not read the greeting")
        except LinkError as error:
            raise Refused(error.message) from error

    def speak(self) -> None:
        """Greet first if it is time to. Refused, as `answer`."""
        if self.silence is not None and self.silence.expired:
            self.silence = None
            self.handshake.speak()
            self.answer()

    def leftover(self) -> bytes:
        """Bytes that came behind the handshake."""
        return self.handshake.leftover()
