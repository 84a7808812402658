"""How a text that broke off is filled up (the protocol notes, section 3.3).

A text says twice how long it is: in bytes outside, in characters inside. Whoever reads it takes as many
characters as the inner number says and finds the next item by the outer one, so the bytes that are filled in must
hold at least as many characters as the missing ones would have; too many do no harm. (Found by feeding such texts
to the vendor's library: with too few characters it waits for ever or gives the link up.) One byte for each
character is therefore always enough, as long as the character at the break is finished first.
"""

from __future__ import annotations

import re
from typing import Any, Final

from wstpserver.wire.completion_rest import Rest
from wstpserver.wire.completion_sizes import BYTE_LIMIT, MAX_DIGITS, size_field

#: Tokens of the items that are texts.
TOKENS: Final = '"#+*'
#: Bytes of the smallest text with a character in it: letter, ``~``, size, character.
SMALLEST: Final = 4

_NUMBERS: Final = "+*"
#: Formats whose characters have a fixed width, in bytes.
_WIDTHS: Final = {b"C": 2, b"E": 2, b"F": 4}
_ENCODINGS: Final = {b"C": "utf-16-be", b"E": "utf-16-le", b"F": "utf-32-be"}

#: Up to the first character.
_CHARACTERS: Final = re.compile(rb"[A-Z]~(?:[@-\x7f]|[0-9]+ )", re.DOTALL)
#: An odd number of backslashes begins an escape, an even one is made of complete ones.
_ESCAPE_BEGUN: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*\\(:[0-9A-Fa-f]{0,3}|\|[0-9A-Fa-f]{0,5}|[0-7]{0,2})\Z",
)
_HIGH_SURROGATE: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\:[Dd][89ABab][0-9A-Fa-f]{2}\Z")
_UTF8_BEGUN: Final = re.compile(
    rb"(?:[\xc0-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf7][\x80-\xbf]{0,2})\Z",
)


def _filler(token: int) -> bytes:
    return b"0" if chr(token) in _NUMBERS else b"x"


def whole_text(token: int, size: int) -> bytes:
    """A text of exactly ``size`` bytes with letter A; ``size`` below 3 (no text is so short) gives filler alone."""
    filler = _filler(token)
    for digits in range(len(str(size)) + 1):
        count = size - 3 - digits
        if count >= 0:
            field = size_field(count, digits)
            if len(field) == 1 + digits:
                return b"A~" + field + filler * count
    return filler * size


def rest_of_text(state: Any, left: int) -> bytes:
    """The last ``left`` bytes of the text in progress in ``state``, for one that is known to be short."""
    rest = Rest(0, 0)
    put_rest_of_text(state, rest, left)
    return rest.join()


def put_rest_of_text(state: Any, rest: Rest, left: int) -> None:
    """Put the last ``left`` bytes of the text in progress in ``state``."""
    seen = state.size - left
    if seen == 0 or left == 0:
        rest.put(whole_text(state.token, left))
        return
    start = bytes(state.text[0 : min(seen, len(state.text))])
    letter, width = start[:1], _WIDTHS.get(start[:1], 1)
    characters = _CHARACTERS.match(start)
    if characters:
        tail = start if seen == len(start) else bytes(state.tail[0 : state.tail_length])
        begun = _finish_character(letter, tail, (seen - characters.end()) % width)
    else:
        begun = _finish_count(start, left, width)
    begun = begun[:left]
    rest.put(begun)
    filler = _filler(state.token).decode("ascii").encode(_ENCODINGS.get(letter, "ascii"))
    count, odd = divmod(left - len(begun), width)
    rest.put(filler, count)
    rest.put(b"\0", odd)


def _finish_count(start: bytes, left: int, width: int) -> bytes:
    """What is missing of letter, ``~``, number of characters, if ``left`` bytes more are to hold exactly so many.

    ``start`` is not empty; ``width``: bytes of a character. The formats of fixed width cannot do with too many.
    """
    tilde = b"~" if len(start) == 1 else b""
    digits = start[2:]
    if digits and not digits.isdigit():
        return b""
    room = left - len(tilde)
    for added in range(MAX_DIGITS - len(digits) + 1):
        count, odd = divmod(room - added - 1, width)
        if odd or count < 0:
            continue
        if not digits and not added:
            if count < BYTE_LIMIT:
                return tilde + size_field(count)
            continue
        field = b"%0*d" % (len(digits) + added, count)
        if len(field) == len(digits) + added and field.startswith(digits):
            return tilde + field[len(digits) :] + b" "
    return tilde


def _finish_character(letter: bytes, tail: bytes, of_wide: int) -> bytes:
    """What is missing of the character at the break. ``of_wide``: bytes of it there are, in formats of fixed width."""
    if letter == b"A":
        return _finish_escape(tail)
    if letter == b"D":
        return _finish_utf8(tail)
    return b"\0" * (_WIDTHS[letter] - of_wide) if of_wide else b""


def _finish_escape(tail: bytes) -> bytes:
    match = _ESCAPE_BEGUN.search(tail)
    if match is None:
        return b"\\:DC00" if _HIGH_SURROGATE.search(tail) else b""
    begun = match.group(1)
    if not begun:
        return b"\\"
    full = {b":": 5, b"|": 7}.get(begun[:1], 3)
    rest = b"0" * (full - len(begun))
    return rest + _finish_escape(tail + rest)


def _finish_utf8(tail: bytes) -> bytes:
    match = _UTF8_BEGUN.search(tail)
    if match is None:
        return b""
    begun = match.group()
    length = 2 if begun[0] < 0xE0 else 3 if begun[0] < 0xF0 else 4
    rest = b"\x80" * (length - len(begun))
    # After these two a second byte of 0x80 would spell a character in more bytes than it takes.
    return {b"\xe0": b"\xa0", b"\xf0": b"\x90"}.get(begun, b"\x80") + rest[1:] if rest else b""
