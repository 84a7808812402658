"""The connecting side of the handshake (docs/wire-protocol.md, section 1)."""
from __future__ import annotations

from .errors import LocalProtocolError, RemoteProtocolError
from .foreign import describe, looks_like
from .greeting_lines import LINES_WITHOUT_KERNEL
from .handshake import WORDS, Channel, Handshake, MessagePort, Mode, Step
from .listen_handshake import ID_LINE


class ConnectHandshake(Handshake):
    """For one connection of a link we open.

    mode     "uuid" for a link server (`-linkoptions 4`), "classic" for a plain listening link
    channel  "data" or "mesg"; a classic message connection has no handshake
    uuid     the same for both connections of a link in UUID mode, upper case: `str(uuid.uuid4()).upper()`
    message_port_known  whether the link name gave the message port (classic mode); if not, the listening
             side is asked for it, and the answer is the event MessagePort
    without_kernel  tell a WSTPServer that this link wants no kernel until it asks for one

    Begin with data_to_send(). Events: MessagePort as said, then GreetingComplete on a data connection.
    """

    def __init__(
        self,
        mode: Mode,
        channel: Channel = "data",
        uuid: str | None = None,
        message_port_known: bool = False,
        without_kernel: bool = False,
    ) -> None:
        if without_kernel:
            self._lines = LINES_WITHOUT_KERNEL
        if mode not in ("uuid", "classic") or channel not in ("data", "mesg"):
            raise LocalProtocolError(f"there is no {channel!r} connection in {mode!r} mode")
        self._mode, self._channel, self._message_port_known = mode, channel, message_port_known
        self._id_line = b""
        if mode == "uuid":
            self._id_line = f"id={uuid} connection={channel}".encode()
            if not ID_LINE.fullmatch(self._id_line):
                raise LocalProtocolError(f"{uuid!r} is no UUID to name a link by")
        super().__init__()

    def _conversation(self) -> Step[None]:
        if self._mode == "uuid":
            yield from self._uuid_mode()
        elif self._channel == "data":
            yield from self._classic_mode()

    def _uuid_mode(self) -> Step[None]:
        self._outgoing += self._id_line
        if self._channel == "mesg":
            return
        self._outgoing += WORDS + self._lines  # link servers of both ages take it all in one piece
        words = yield from self._read(len(WORDS))  # the library ignores their values, and so do we
        if looks_like(words) is not None:
            raise RemoteProtocolError(f"the peer is no link server: it sent {describe(words)}", 0)
        yield from self._hear_greeting()

    def _classic_mode(self) -> Step[None]:
        if self._message_port_known:
            self._outgoing += b"need_msg_portN"
            yield from self._expect(b"OKY")
        else:
            self._outgoing += b"need_msg_portY"
            yield from self._expect(b"msg_port=")
            port = yield from self._read_port()
            self._events.append(MessagePort(port))
        yield from self._greet()

    def _expect(self, answer: bytes) -> Step[None]:
        """Exactly these bytes; anything else as soon as it shows."""
        while not self._received.startswith(answer):
            if not answer.startswith(self._received):
                received = bytes(self._received)
                raise RemoteProtocolError(f"{answer.decode()} was due, the peer sent {describe(received)}", 0)
            yield
        yield from self._read(len(answer))

    def _read_port(self) -> Step[int]:
        """Decimal digits up to `Y`."""
        digits = b""
        while (byte := (yield from self._read(1))) != b"Y":
            digits += byte
            if not digits.isdigit() or len(digits) > 5:
                raise RemoteProtocolError(f"{digits!r} is no message port", self._offset - len(digits))
        if not digits or not 0 < int(digits) < 1 << 16:
            raise RemoteProtocolError(f"{digits!r} is no message port", self._offset - len(digits) - 1)
        return int(digits)
