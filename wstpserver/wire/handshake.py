"""The handshake that opens a link, for both roles and both modes (docs/wire-protocol.md, sections 1 and 2).

A handshake is a generator that yields wherever it must wait for the peer or for the caller, so it reads from top to
bottom as it goes over the wire. `wstpserver.wire.pairing` brings the two connections of a link together.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar

from wstpserver.wire.errors import LocalProtocolError, RemoteProtocolError

# -- protocol sniffing ------------------------------------------------------------------------------------------------

#: How conversations of other protocols begin. No link begins with any of these.
SIGNATURES: Final[dict[bytes, str]] = {
    **dict.fromkeys((b"GET ", b"POST ", b"HEAD ", b"PUT ", b"DELETE ", b"OPTIONS ", b"CONNECT "), "an HTTP request"),
    b"PRI * HTTP/2": "an HTTP/2 connection",
    b"HTTP/": "an HTTP response",
    b"<html": "an HTML page",
    b"<!DOCTYPE": "an HTML page",
    b"\x16\x03": "a TLS hello",
    b"\x15\x03": "a TLS alert",
    b"SSH-": "an SSH banner",
    b"PROXY ": "a PROXY protocol header",
    b"\r\n\r\n\x00\r\nQUIT\n": "a PROXY protocol header",
    b"220 ": "the banner of a mail or FTP server",
    b"Math Link ": "a greeting of the link protocol without the line that comes before it in TCPIP links",
}


def sniff(data: bytes) -> str | None:
    """The name of the protocol whose conversation begins with `data`; None for none of `SIGNATURES`."""
    for signature, name in SIGNATURES.items():
        if data.startswith(signature):
            return name
    return None


def _may_become_known(data: bytes) -> bool:
    """Whether `data` is the beginning of a signature: a few more bytes decide."""
    return any(len(data) < len(signature) and signature.startswith(data) for signature in SIGNATURES)


def _describe(data: bytes | bytearray) -> str:
    """What `data`, the first bytes of a connection, are, for an error message."""
    known = sniff(bytes(data))
    if known is not None:
        return known
    shown = repr(bytes(data[:40])) + ("..." if len(data) > 40 else "")
    return f"{len(data)} byte{'s' if len(data) != 1 else ''} that are no WSTP greeting: {shown}"


# -- the lines of a greeting (section 2) ------------------------------------------------------------------------------

#: The version we offer. Nothing less keeps a library since 2018 from crashing in WSTransferExpression.
OUR_VERSION: Final = 6
#: What we say to a peer below that: with 5 the library of 2015 sends symbols as numbers in a table of its own.
LOWER_VERSION: Final = 4
#: The lowest version we talk to, as the library does.
LOWEST_VERSION: Final = 3

#: What a greeting begins with. The library sends this, waits for ours, sends its version without a line feed, and waits
#: again, so the side that reads first has to say this much and to decide by the first digit.
_OPENING: Final = b"Math Link"
_BEFORE_VERSION: Final = _OPENING + b" "

#: agreed version -> the lines behind the three of every version. The last word is no option: it has no dash.
_FURTHER_LINES: Final = {
    3: b"",
    4: b"-envid ''\n",
    6: b"-envid ''\n-symboldicts 0 -stringdicts 0\nSupport6digitAsciiUnicode\n",
}


@lru_cache(maxsize=8)
def first_lines(version: int, *, without_kernel: bool = False) -> bytes:
    """The lines that every version has, for the version that we say, without what they begin with.

    -textid is a free date; -numericsid must be a name the library knows, and all of today's little-endian platforms
    send the same tokens. Link servers on the library ignore the word that asks a WSTPServer for no kernel.
    """
    return (
        b" %d\n-libraryid '!&*' -decoders 0\n" % version
        + b"-numericsid boxer -tokens 33,98,100,102,116,118,120 -textid 'Jan 01 2026, 00:00:00' -formats 1,2,3,4,5,6,7"
        + (b" -kernel none\n" if without_kernel else b"\n")
    )


LINE_LIMIT: Final = 4096  # bytes


class PeerGreeting(NamedTuple):
    """What the peer said about itself.

    Attributes:
        version: The version in its first line.
        words: Its words, `-key value` as {"key": "value"}; a word alone has the value "".
    """

    version: int
    words: Mapping[str, str] = MappingProxyType({})

    @property
    def formats(self) -> tuple[int, ...]:
        """The text formats it reads, 1 for A to 7 for G; (1,) if it does not say."""
        numbers = self.words.get("formats", "1").split(",")
        return tuple(int(number) for number in numbers if number.isdecimal() and len(number) < 4) or (1,)

    @property
    def without_kernel(self) -> bool:
        """Whether it wants no kernel until it asks for one."""
        return self.words.get("kernel") == "none"

    @property
    def seven_bit(self) -> bool:
        """Whether text must be sent to it in format A alone: it does not read UTF-8 (format D)."""
        return 4 not in self.formats


_FIRST_LINE: Final = re.compile(rb"Math Link ([0-9]{1,4})")


def _read_version(line: bytes, offset: int) -> int:
    """The number in `Math Link <number>`, a line at `offset` in the stream."""
    match = _FIRST_LINE.fullmatch(line)
    if match is None:
        raise RemoteProtocolError(f"a greeting begins with `Math Link` and a version, not {line[:60]!r}", offset)
    version = int(match[1])
    if version < LOWEST_VERSION:
        raise RemoteProtocolError(
            f"the peer greets with version {version}; {LOWEST_VERSION} is the lowest there is support for", offset
        )
    return version


#: Enough of a first line to know its version.
_VERSION: Final = re.compile(_OPENING + rb" (?:[12]?[^12]|[12]{2})", re.DOTALL)
_DIGITS: Final = re.compile(rb"[0-9]{0,2}")
_WORD: Final = re.compile(r"(?:'[^']*'|[^' ])+")
_LINE: Final = re.compile(rb"[ -~]*")
_KEY: Final = re.compile(r"-[A-Za-z]\w*")
_WORD_ALONE: Final = re.compile(r"[A-Za-z]\w*")


def read_words(line: bytes, offset: int) -> Mapping[str, str]:
    """Reads one line of a greeting after the first: words in any order, known or not.

    Args:
        line: The line without its line feed.
        offset: Where it begins in the stream, for the error.

    Returns:
        As `PeerGreeting.words`.

    Raises:
        RemoteProtocolError: It is no line of words. That keeps a peer that sends too few lines from losing the
            beginning of its first expression in here.
    """
    words = _words(line)
    if words is None:
        raise RemoteProtocolError(f"a greeting line holds {line[:60]!r}", offset)
    return words


@lru_cache(maxsize=64)  # all clients of one version on one platform send the same lines
def _words(line: bytes) -> Mapping[str, str] | None:
    if not _LINE.fullmatch(line):
        return None
    words: dict[str, str] = {}
    key = None
    for match in _WORD.finditer(line.decode()):
        word = match[0]
        if _KEY.fullmatch(word):
            key = word[1:]
            words[key] = ""
        elif key is not None:
            words[key] = word.replace("'", "")
            key = None
        elif _WORD_ALONE.fullmatch(word):
            words[word] = ""
        else:
            return None
    return MappingProxyType(words)


@lru_cache(maxsize=64)
def _known_greeting(version: int, lines: bytes) -> PeerGreeting | None:
    """What whole lines behind the first one say; None if one of them is wrong, which a look at each tells."""
    words: dict[str, str] = {}
    for line in lines.splitlines():
        found = _words(line) if len(line) < LINE_LIMIT else None
        if found is None:
            return None
        words.update(found)
    return PeerGreeting(version, MappingProxyType(words))


# -- what both roles share --------------------------------------------------------------------------------------------

Mode: TypeAlias = Literal["uuid", "classic"]
Channel: TypeAlias = Literal["data", "mesg"]


class LinkIdentified(NamedTuple):
    """An accepted connection has said what it is.

    Attributes:
        mode: How the link's two connections find each other.
        uuid: Pairs the two connections of a link in UUID mode (upper case); None in classic mode.
        channel: Which of the two this one is.
        needs_message_port: In classic mode: the peer waits for `ListenHandshake.set_message_port`.
    """

    mode: Mode
    uuid: str | None
    channel: Channel
    needs_message_port: bool = False


class MessagePort(NamedTuple):
    """The listening side of a classic link waits for the message connection on this port."""

    port: int


class GreetingComplete(NamedTuple):
    """Both sides have greeted; expressions follow."""

    peer: PeerGreeting


class ConnectAgain(NamedTuple):
    """We said a version that does not go with the link server: end both connections, begin again with this one."""

    version: int


Event: TypeAlias = LinkIdentified | MessagePort | GreetingComplete | ConnectAgain

T = TypeVar("T")
#: A step of the conversation: yields while it waits, returns what it read.
Step: TypeAlias = Generator[None, None, T]

#: The four 32-bit words both sides exchange in UUID mode. The library sends these and ignores what it gets.
WORDS: Final = b"\x03\0\0\0" + b"\0" * 12

#: Bytes a peer may send ahead of its turn.
_AHEAD_LIMIT: Final = 1 << 16


class Handshake(ABC):
    """The handshake on one connection; base of `ListenHandshake` and `ConnectHandshake`.

    Give it what comes in (`receive_data`, which returns events) and send what it has to say (`data_to_send`) after
    making it and after every call, until `complete`; then `leftover()` has the bytes that came after its end. A
    RemoteProtocolError, once raised, is raised by every further call.

    Attributes:
        complete: Whether the handshake is over for this connection.
        peer: The peer's greeting, once it is complete.
        version: The version both sides keep to, from then on: 3, 4 or 6. From a link at 6 to one at 4, characters above
            U+FFFF have to be rewritten: see `frames.EscapeRewriter`.
    """

    complete = False
    peer: PeerGreeting | None = None
    version: int | None = None
    #: Of _received[0] in the stream.
    _offset = 0
    _error: RemoteProtocolError | None = None

    def __init__(self) -> None:
        self._received = bytearray()
        self._outgoing = bytearray()
        self._events: list[Event] = []
        self._steps = self._conversation()

    @abstractmethod
    def _conversation(self) -> Step[None]:
        """The whole handshake; ends when this connection's part of it is over."""

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Takes bytes from the peer.

        Returns:
            What happened, in order.

        Raises:
            RemoteProtocolError: They are no handshake.
        """
        if self._error is not None:
            raise self._error
        self._received += data
        self._resume()
        events, self._events = self._events, []
        return events

    def receive_end(self) -> None:
        """Takes note that the peer has closed the connection.

        Raises:
            RemoteProtocolError: The handshake is not complete.
        """
        if self._error is not None:
            raise self._error
        if not self.complete:
            seen = self._offset + len(self._received)
            known = sniff(bytes(self._received))
            detail = f", after {known}" if known else f", after {seen} bytes of it" if seen else ""
            raise RemoteProtocolError("the peer closed the connection during the handshake" + detail, seen)

    def data_to_send(self) -> bytes:
        """The bytes to send now; each is handed out once."""
        outgoing = bytes(self._outgoing)
        self._outgoing.clear()
        return outgoing

    def leftover(self) -> bytes:
        """What came in behind the end of the handshake, handed out once; b"" before that end."""
        if not self.complete or not self._received:
            return b""
        leftover = bytes(self._received)
        self._offset += len(leftover)
        self._received.clear()
        return leftover

    @property
    def offset(self) -> int:
        """Bytes of the connection that were used: where `leftover()` begins in the stream."""
        return self._offset

    def _resume(self) -> None:
        """Runs the conversation as far as it goes."""
        if self.complete:
            return
        try:
            next(self._steps)
            if len(self._received) > _AHEAD_LIMIT:
                raise RemoteProtocolError(f"more than {_AHEAD_LIMIT} bytes ahead of the greeting", self._offset)
        except StopIteration:
            self.complete = True
        except RemoteProtocolError as error:
            self._error = error
            raise

    def _read(self, size: int) -> Step[bytes]:
        """Exactly `size` bytes."""
        while len(self._received) < size:
            yield
        return self._take(size)

    def _take(self, size: int) -> bytes:
        """The same, where so many are here."""
        data = bytes(self._received[:size])
        del self._received[:size]
        self._offset += size
        return data

    def _read_line(self) -> Step[bytes]:
        """A line, without its line feed."""
        while (end := self._received.find(b"\n", 0, LINE_LIMIT + 1)) < 0:
            if len(self._received) > LINE_LIMIT:
                raise RemoteProtocolError(f"a greeting line of more than {LINE_LIMIT} bytes", self._offset)
            yield
        return self._take(end + 1)[:-1]

    def _skip(self, size: int) -> None:
        """The same, where nobody wants to know them."""
        del self._received[:size]
        self._offset += size

    def _take_lines(self, number: int) -> bytes | None:
        """So many lines with their line feeds; None if they are not all here."""
        end = 0
        for _ in range(number):
            end = self._received.find(b"\n", end) + 1
            if end == 0:
                return None
        return self._take(end)

    def _await_version(self) -> Step[int]:
        """The peer's version by its first digit, or two if that is 1 or 2; nothing is consumed."""
        while not _VERSION.match(self._received):
            if not self._received.startswith(_BEFORE_VERSION[: len(self._received)]):
                what = _describe(self._received)
                raise RemoteProtocolError(f"instead of a greeting the peer sent {what}", self._offset)
            yield
        digits = _DIGITS.match(self._received, len(_BEFORE_VERSION))
        return int(digits[0]) if digits and digits[0] else 0

    def _conclude(self, ours: int) -> Step[None]:
        """What follows our first lines, when the peer's version is here: the lower one says what lines there are."""
        start = self._offset
        theirs = _read_version((yield from self._read_line()), start)
        self.version = min(ours, theirs)
        further = _FURTHER_LINES.get(self.version)
        if further is None:
            raise RemoteProtocolError(f"the peer greets with version {theirs}, which does not suit our {ours}", start)
        self._outgoing += further
        number = 2 + further.count(b"\n")
        # What usually comes, all lines at once and the same as those of the last client, needs no look at each.
        start = self._offset
        lines = self._take_lines(number)
        self.peer = None if lines is None else _known_greeting(theirs, lines)
        if self.peer is None:
            self._received[:0] = lines or b""
            self._offset = start
            words: dict[str, str] = {}
            for _ in range(number):
                start = self._offset
                words.update(read_words((yield from self._read_line()), start))
            self.peer = PeerGreeting(theirs, words)
        self._events.append(GreetingComplete(self.peer))

    def _answer(self, *, without_kernel: bool = False) -> Step[None]:
        """The greeting of the side that reads first (section 2), whose opening is out."""
        ours = OUR_VERSION if (yield from self._await_version()) >= OUR_VERSION else LOWER_VERSION
        self._outgoing += first_lines(ours, without_kernel=without_kernel)
        yield from self._conclude(ours)


# -- the listening side -----------------------------------------------------------------------------------------------

_ID_LINE: Final = re.compile(rb"id=([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}) connection=(data|mesg)")
_PORT_LINE: Final = re.compile(rb"need_msg_port([NY])")

#: The lines a connection may begin with. "X" is a hexadecimal digit, "?" is looked at when the line is complete.
_TEMPLATES: Final = (b"id=XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX connection=????", b"need_msg_port?")


class ListenHandshake(Handshake):
    """For one accepted connection, before it is known which link it belongs to.

    Events: LinkIdentified; then, except on a message connection, GreetingComplete. Where LinkIdentified says
    needs_message_port, call `set_message_port` with the port on which the message connection is awaited.

    It reads the peer's version before it greets. In classic mode the peer may do the same: see `speak`.
    """

    _message_port: int | None = None
    _spoken: int | None = None
    _awaits_greeting = False

    @property
    def awaits_greeting(self) -> bool:
        """Whether a classic link has been answered and no version has come since: the peer may be waiting for ours."""
        return self._awaits_greeting and _BEFORE_VERSION.startswith(self._received)

    def speak(self, version: int = LOWER_VERSION) -> None:
        """Says our version first, if the peer still does not say its own (`awaits_greeting`).

        The default suits every peer: a library whose greeting is late may be one that must not hear 6. A peer that is
        known to be of this package can be told `OUR_VERSION`.
        """
        if self.awaits_greeting:
            self._spoken = version
            self._resume()

    def set_message_port(self, port: int) -> None:
        """Answers a classic link that asks for the message port. May be called at any time before, too.

        Raises:
            LocalProtocolError: `port` is no port.
            RemoteProtocolError: What has come behind the question is no greeting.
        """
        if not 0 < port < 1 << 16:
            raise LocalProtocolError(f"{port} is no port")
        self._message_port = port
        self._resume()

    def _conversation(self) -> Step[None]:
        match = yield from self._first_line()
        if match.re is _ID_LINE:
            yield from self._uuid_mode(match)
        else:
            yield from self._classic_mode(needs_message_port=match[1] == b"Y")

    def _first_line(self) -> Step[re.Match[bytes]]:
        """The line without terminator that says which mode and connection this is, by `_ID_LINE` or `_PORT_LINE`."""
        while not self._received:
            yield
        while True:
            # What usually comes, the whole line at once, needs no look at each byte.
            line = bytes(self._received[: len(_TEMPLATES[0])])
            match = _ID_LINE.fullmatch(line)
            if match is not None:
                self._skip(len(line))
                return match
            template = _fitting_template(self._received)
            if template is not None:
                if len(self._received) >= len(template):
                    line = self._take(len(template))
                    match = _PORT_LINE.fullmatch(line)
                    if match is None:
                        raise RemoteProtocolError(f"a connection cannot begin with {line!r}", 0)
                    return match
            elif self._received.startswith(b"id="):
                raise RemoteProtocolError(f"the line that names the link is malformed: {line!r}", 0)
            elif not _may_become_known(bytes(self._received)):
                raise RemoteProtocolError(f"the peer opened the connection with {_describe(self._received)}", 0)
            yield

    def _uuid_mode(self, line: re.Match[bytes]) -> Step[None]:
        channel: Channel = "data" if line[2] == b"data" else "mesg"
        self._events.append(LinkIdentified("uuid", line[1].decode().upper(), channel))
        if channel == "data":
            while len(self._received) < len(WORDS):
                yield
            self._skip(len(WORDS))
            self._outgoing += WORDS + _OPENING
            yield from self._answer()

    def _classic_mode(self, *, needs_message_port: bool) -> Step[None]:
        self._events.append(LinkIdentified("classic", None, "data", needs_message_port))
        if needs_message_port:
            while self._message_port is None:
                yield
            self._outgoing += b"msg_port=%dY" % self._message_port
        else:
            self._outgoing += b"OKY"
        self._outgoing += _OPENING
        self._awaits_greeting = True
        while self.awaits_greeting and self._spoken is None:
            yield
        self._awaits_greeting = False
        if self._spoken is None:
            yield from self._answer()
        else:
            self._outgoing += first_lines(self._spoken)
            yield from self._await_version()
            yield from self._conclude(self._spoken)


def _fitting_template(data: bytearray) -> bytes | None:
    """The line that `data` may be the beginning of."""
    for template in _TEMPLATES:
        fitting = {ord("?"): bytes(range(256)), ord("X"): b"0123456789ABCDEFabcdef"}
        if all(byte in fitting.get(wanted, (wanted,)) for byte, wanted in zip(data, template, strict=False)):
            return template
    return None


# -- the connecting side ----------------------------------------------------------------------------------------------


class ConnectHandshake(Handshake):
    """For one connection of a link that we open.

    Begin with data_to_send(). Events: MessagePort as said below, then on a data connection GreetingComplete, or in UUID
    mode ConnectAgain, which ends the conversation.

    Args:
        mode: "uuid" for a link server (`-linkoptions 4`), "classic" for a plain listening link.
        channel: "data" or "mesg"; a classic message connection has no handshake.
        uuid: The same for both connections of a link in UUID mode, upper case: `str(uuid.uuid4()).upper()`.
        message_port_known: Whether the link name gave the message port (classic mode); if not, the listening side is
            asked for it, and the answer is the event MessagePort.
        without_kernel: Tell a WSTPServer that this link wants no kernel until it asks for one.
        version: What to say in UUID mode, 6 or 4. In classic mode the peer's version is read first.

    Raises:
        LocalProtocolError: There is no such connection, or `uuid` is none.
    """

    def __init__(
        self,
        mode: Mode,
        channel: Channel = "data",
        uuid: str | None = None,
        *,
        message_port_known: bool = False,
        without_kernel: bool = False,
        version: int = OUR_VERSION,
    ) -> None:
        if version not in (OUR_VERSION, LOWER_VERSION):
            raise LocalProtocolError(f"a link is not opened with version {version}")
        self._without_kernel, self._version = without_kernel, version
        if mode not in ("uuid", "classic") or channel not in ("data", "mesg"):
            raise LocalProtocolError(f"there is no {channel!r} connection in {mode!r} mode")
        self._mode, self._channel, self._message_port_known = mode, channel, message_port_known
        self._id_line = b""
        if mode == "uuid":
            self._id_line = f"id={uuid} connection={channel}".encode()
            if not _ID_LINE.fullmatch(self._id_line):
                raise LocalProtocolError(f"{uuid!r} is no UUID to name a link by")
        super().__init__()
        self._resume()  # it speaks first

    def _conversation(self) -> Step[None]:
        if self._mode == "uuid":
            yield from self._uuid_mode()
        elif self._channel == "data":
            yield from self._classic_mode()

    def _uuid_mode(self) -> Step[None]:
        self._outgoing += self._id_line
        if self._channel == "mesg":
            return
        # Link servers of both ages take it all in one piece.
        self._outgoing += WORDS + _OPENING + first_lines(self._version, without_kernel=self._without_kernel)
        words = yield from self._read(len(WORDS))  # the library ignores their values, and so do we
        if sniff(words) is not None:
            raise RemoteProtocolError(f"the peer is no link server: it sent {_describe(words)}", 0)
        if min(self._version, (yield from self._await_version())) == 5:
            self._events.append(ConnectAgain(LOWER_VERSION))
            while True:
                yield
        yield from self._conclude(self._version)

    def _classic_mode(self) -> Step[None]:
        if self._message_port_known:
            self._outgoing += b"need_msg_portN"
            yield from self._expect(b"OKY")
        else:
            self._outgoing += b"need_msg_portY"
            yield from self._expect(b"msg_port=")
            port = yield from self._read_port()
            self._events.append(MessagePort(port))
        self._outgoing += _OPENING
        yield from self._answer(without_kernel=self._without_kernel)

    def _expect(self, answer: bytes) -> Step[None]:
        """Exactly these bytes; anything else as soon as it shows."""
        while not self._received.startswith(answer):
            if not answer.startswith(self._received):
                received = bytes(self._received)
                raise RemoteProtocolError(f"{answer.decode()} was due, the peer sent {_describe(received)}", 0)
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
