"""The listening side of the handshake (docs/wire-protocol.md, section 1)."""
from __future__ import annotations

import re

from .errors import LocalProtocolError, RemoteProtocolError
from .foreign import describe, may_become_known
from .handshake import WORDS, Handshake, LinkIdentified, Step

ID_LINE = re.compile(rb"id=([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}) connection=(data|mesg)")
ID_LINE_LENGTH = 55
_PORT_LINE = re.compile(rb"need_msg_port([NY])")
_PORT_LINE_LENGTH = 14

#: Each byte of the two lines a connection may begin with: "X" stands for a hexadecimal digit, "?" is
#: looked at when the line is complete.
_TEMPLATES = (b"id=XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX connection=????", b"need_msg_port?")


class ListenHandshake(Handshake):
    """For one accepted connection, before it is known which link it belongs to.

    Events: LinkIdentified; then, except on a message connection, GreetingComplete. Where LinkIdentified says
    needs_message_port, call `set_message_port` with the port on which the message connection is awaited.
    """

    def __init__(self) -> None:
        self._message_port: int | None = None
        super().__init__()

    def set_message_port(self, port: int) -> None:
        """Answer a classic link that asks for the message port. May be called at any time before, too."""
        if not 0 < port < 1 << 16:
            raise LocalProtocolError(f"{port} is no port")
        self._message_port = port
        self._resume()

    def _conversation(self) -> Step[None]:
        line = yield from self._first_line()
        match = ID_LINE.fullmatch(line)
        if match is not None:
            yield from self._uuid_mode(match[1].decode().upper(), match[2] == b"data")
            return
        match = _PORT_LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError(f"a connection cannot begin with {line!r}", 0)
        yield from self._classic_mode(match[1] == b"Y")

    def _first_line(self) -> Step[bytes]:
        """The line without terminator that says which mode and connection this is."""
        while not self._received:
            yield
        while True:
            # What usually comes, the whole line at once, needs no look at each byte.
            if ID_LINE.match(self._received):
                return (yield from self._read(ID_LINE_LENGTH))
            template = _fitting_template(self._received)
            if template is not None:
                if len(self._received) >= len(template):
                    return (yield from self._read(len(template)))
            elif not may_become_known(bytes(self._received)):
                raise RemoteProtocolError(_refusal(bytes(self._received)), 0)
            yield

    def _uuid_mode(self, uuid: str, is_data: bool) -> Step[None]:
        self._events.append(LinkIdentified("uuid", uuid, "data" if is_data else "mesg"))
        if is_data:
            yield from self._read(len(WORDS))
            self._outgoing += WORDS
            yield from self._greet()

    def _classic_mode(self, needs_message_port: bool) -> Step[None]:
        self._events.append(LinkIdentified("classic", None, "data", needs_message_port))
        if needs_message_port:
            while self._message_port is None:
                yield
            self._outgoing += b"msg_port=%dY" % self._message_port
        else:
            self._outgoing += b"OKY"
        yield from self._greet()


def _fitting_template(data: bytearray) -> bytes | None:
    """The line that `data` may be the beginning of."""
    for template in _TEMPLATES:
        if all(_fits(byte, wanted) for byte, wanted in zip(data, template, strict=False)):
            return template
    return None


def _fits(byte: int, wanted: int) -> bool:
    if wanted == ord("?"):
        return True
    if wanted == ord("X"):
        return byte in b"0123456789ABCDEFabcdef"
    return byte == wanted


def _refusal(data: bytes) -> str:
    if data.startswith(b"id="):
        return f"the line that names the link is malformed: {data[:ID_LINE_LENGTH]!r}"
    return f"the peer opened the connection with {describe(data)}"
