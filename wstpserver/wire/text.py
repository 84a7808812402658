"""Text inside strings, symbols and written-out numbers: a format letter, `~`, a count, the characters.

docs/wire-protocol.md, section 3.3. The functions work on this *payload*; the token byte, the outer size and the line
feed around it are those of `tokens.text_item` and `tokens.read_payload`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.tokens import BYTE_LIMIT, encode_size, read_size


class TextStyle(Enum):
    """Which format letters we write."""

    #: Heads of functions and written-out numbers in A where they are ASCII, the rest in D: the library of 2015.
    MIXED = "mixed"
    #: Everything in D: the library of 2023 in a conversation of version 4.
    UTF8 = "utf8"
    #: Everything in A with escapes, for a peer whose greeting offers format 1 alone.
    SEVEN_BIT = "seven_bit"


#: Formats whose characters have a fixed width: from 64 characters on, their number follows from the size of the
#: payload, and a space stands in its place. Given a count there, the library's reader hands its program memory that is
#: not the text's.
UNCOUNTED: Final = b"BCF"

#: What stands before the characters of a payload: the format letter, `~`, and their number as far as it is given.
TEXT_START: Final = re.compile(rb"([A-F])~(?:[\x40-\x7f]|[0-9]{1,18} |(?<=[BCF]~) )", re.DOTALL)


def start_of_text(letter: bytes, count: int) -> bytes:
    """What stands before `count` characters in the format `letter`."""
    if count >= BYTE_LIMIT and letter in UNCOUNTED:
        return letter + b"~ "
    return letter + b"~" + encode_size(count)


def encode_text(text: str, style: TextStyle) -> bytes:
    """The payload for a string, or for a symbol that is no head."""
    if style is TextStyle.SEVEN_BIT:
        return encode_seven_bit(text)
    try:
        characters = text.encode()
    except UnicodeEncodeError:
        return _encode_surrogates(text)
    return start_of_text(b"D", len(text)) + characters


def encode_plain_text(text: str, style: TextStyle) -> bytes:
    """The payload for what the style MIXED writes in A: heads of functions and numbers."""
    return encode_seven_bit(text) if style is TextStyle.MIXED and text.isascii() else encode_text(text, style)


def _encode_surrogates(text: str) -> bytes:
    """Lone surrogates, which UTF-8 does not have: UCS-2 if all fits and no two would join up, else UTF-32."""
    units = text.encode("utf-16-be", "surrogatepass")
    if len(units) == 2 * len(text) and units.decode("utf-16-be", "surrogatepass") == text:
        return start_of_text(b"C", len(text)) + units
    return start_of_text(b"F", len(text)) + text.encode("utf-32-le", "surrogatepass")


_NOT_PLAIN: Final = re.compile(r"[^ -\[\]-~]")


def encode_seven_bit(text: str) -> bytes:
    """Format A. Characters beyond 16 bits as two surrogates, which every version reads; six digits only some do.

    Such a pair counts as two characters: every reader takes that, and takes one for it. Counted as one, it is an error
    of the link in WSTransferExpression of both libraries.
    """
    escaped, count = text, len(text)
    if _NOT_PLAIN.search(text):
        escaped = _NOT_PLAIN.sub(_escape, text)
        count += sum(character > "\uffff" for character in text)
    return start_of_text(b"A", count) + escaped.encode("ascii")


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if code < 0x100:
        return f"\\{code:03o}"
    if code < 0x10000:
        return f"\\:{code:04X}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\:{0xD800 + high:04X}\\:{0xDC00 + low:04X}"




def decode_text(payload: bytes, offset: int = 0) -> str:
    """The characters of a payload.

    The count in the payload is not compared with the characters: versions count surrogate pairs and escapes
    differently, and the outer size has already settled what belongs to the text.

    Args:
        payload: The bytes between the outer size and the line feed.
        offset: Where they begin, for the error.

    Raises:
        RemoteProtocolError: They are malformed.
    """
    if payload[:2] == b"D~" and payload[2:3] >= b"@" and payload.isascii():  # nearly always
        return payload[3:].decode()
    header = TEXT_START.match(payload)
    if header is None:
        if payload[:1] == b"G":  # format 7: Latin-1 right after the letter, without a count
            return payload[1:].decode("latin-1")
        raise RemoteProtocolError(f"text begins with {payload[:4]!r}, not with a format and a count", offset)
    start = header.end()
    try:
        return _DECODERS[header[1]](payload[start:])
    except _BadText as error:
        raise RemoteProtocolError(error.args[0], offset + start + error.args[1]) from None
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(
            f"text in format {header[1].decode()} is not {error.encoding}: {error.reason}",
            offset + start + error.start,
        ) from None


class _BadText(Exception):
    """Arguments: a message and a position in the characters."""


_ESCAPE: Final = re.compile(
    r"\\(?:(\\)|([0-3][0-7]{2})|:([0-9A-Fa-f]{4})|\|([0-9A-Fa-f]{6})|\.([0-9A-Fa-f]{2})|)", re.DOTALL
)


def _decode_seven_bit(characters: bytes) -> str:
    """Format A. A byte with the high bit set is its Latin-1 character, as the library reads it."""
    text = characters.decode("latin-1")
    if "\\" not in text:
        return text
    return _join_surrogates(_ESCAPE.sub(_unescape, text))


def _unescape(match: re.Match[str]) -> str:
    backslash, octal, four, six, two = match.groups()
    if backslash:
        return "\\"
    digits = four or six or two
    code = int(octal, 8) if octal else int(digits, 16) if digits else None
    if code is None:
        raise _BadText("text in format A has a backslash that begins no escape", match.start())
    if code > 0x10FFFF:
        raise _BadText(f"text in format A has the escape {match[0]}, beyond Unicode", match.start())
    return chr(code)


_ESCAPED: Final = re.compile(rb"\\(?:\|([0-9A-Fa-f]{6})|.)", re.DOTALL)


def without_six_digits(payload: bytes) -> bytes:
    r"""A payload for readers that do not know escapes of six digits: `\|01f600` becomes `\:d83d\:de00`.

    The pair counts as two characters, see `encode_seven_bit`.
    """
    start = TEXT_START.match(payload)
    if start is None or start[1] != b"A":
        return payload
    count, position = read_size(payload, 2)
    codes = (int(match[1], 16) for match in _ESCAPED.finditer(payload, position) if match[1])
    count += sum(0x10000 <= code <= 0x10FFFF for code in codes)
    return start_of_text(b"A", count) + _ESCAPED.sub(_four_digits, payload[position:])


def _four_digits(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        return match[0]
    code = int(match[1], 16)
    if code > 0x10FFFF:  # no character: left to the reader
        return match[0]
    if code < 0x10000:
        return b"\\:%04x" % code
    high, low = divmod(code - 0x10000, 0x400)
    return b"\\:%04x\\:%04x" % (0xD800 + high, 0xDC00 + low)


def without_surrogates(text: str) -> str:
    """Join each pair of surrogates to the character that it stands for; half a pair becomes U+FFFD, so that UTF-8 has
    all of the text.
    """
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _join_surrogates(text: str) -> str:
    """Pairs of surrogates as the one character they stand for; lone ones stay."""
    return text.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")


def _decode_utf32(characters: bytes) -> str:
    """Little-endian. A program that put its characters without a byte order mark makes the library write them
    big-endian; that is read too, where it is the only reading that gives Unicode.
    """
    try:
        return characters.decode("utf-32-le", "surrogatepass")
    except UnicodeDecodeError as error:
        try:
            return characters.decode("utf-32-be", "surrogatepass")
        except UnicodeDecodeError:
            raise error from None


_DECODERS: Final[dict[bytes, Callable[[bytes], str]]] = {
    b"A": _decode_seven_bit,
    b"B": lambda characters: characters.decode("latin-1"),
    b"C": lambda characters: characters.decode("utf-16-be", "surrogatepass"),
    b"D": lambda characters: characters.decode("utf-8", "surrogatepass"),
    b"E": lambda characters: characters.decode("utf-16-le", "surrogatepass"),
    b"F": _decode_utf32,
}
