"""How a frame that broke off in the middle is made complete.

A sender that vanished leaves a frame without its end, and its reader waits for ever. The bytes made here continue such
a frame from any byte to its end: what was begun is filled up with harmless bytes, every expression that is still
missing becomes the symbol `$Aborted`, and `]` ends the packet. What is known about the position are the fields of
`struct wstpscan` (cext/wstpscan.h), called `state` below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from wstpserver._native import lib
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.text import TEXT_START, UNCOUNTED
from wstpserver.wire.tokens import BYTE_LIMIT, NUMBER_TOKENS

#: Most bytes a completion may have unless the caller says otherwise.
COMPLETION_LIMIT: Final = 64 * 1024 * 1024

#: Size of the parts that `complete_in_parts` makes, in bytes.
PART_SIZE: Final = 65536

_ABORTED: Final = b"#KD~H$Aborted\n"
_INT8: Final = 0xA1
_WIDTHS: Final = {token: kind.width for token, (kind, _) in NUMBER_TOKENS.items()}


class _Rest:
    """Pieces of a completion, and what is still missing after them.

    Pieces are kept as (bytes, repetitions), so that the length is known before the memory is taken: a broken sender may
    have announced any number.

    Attributes:
        missing: Expressions that are missing.
        array_missing: Leaves that the array in progress lacks.
        length: Bytes of all pieces.
    """

    __slots__ = ("_pieces", "array_missing", "length", "missing")

    def __init__(self, missing: int, array_missing: int) -> None:
        self.missing = missing
        self.array_missing = array_missing
        self.length = 0
        self._pieces: list[tuple[bytes, int]] = []

    def put(self, piece: bytes, times: int = 1) -> None:
        self._pieces.append((piece, times))
        self.length += len(piece) * times

    def parts(self, size: int) -> Iterator[bytes]:
        """The pieces one after the other in parts of about `size` bytes, so that they are never all in memory."""
        for piece, times in self._pieces:
            together = max(1, size // max(1, len(piece)))
            for start in range(0, times, together):
                yield piece * min(together, times - start)


# -- sizes and counts, written whole or continued from the middle (docs/wire-protocol.md, 3.1) ------------------------

_MAX_DIGITS: Final = int(lib.WSTPSCAN_MAX_SIZE_DIGITS)


def _size_field(size: int, digits: int = 0) -> bytes:
    """`size` in its shortest form; with `digits` as a decimal number of at least so many digits."""
    if size < BYTE_LIMIT and not digits:
        return bytes([0x40 + size])
    return b"%0*d " % (digits, size)


def _continuations(state: Any, at_most: int) -> Iterator[tuple[bytes, int]]:
    """Every (rest of the field, size) that the size in progress can still become, sizes up to `at_most`.

    In the order of the number of bytes to write. `state`: the scanner at WSTPSCAN_AT_SIZE.
    """
    if state.digits == 0:
        for size in range(min(at_most + 1, BYTE_LIMIT)):
            yield bytes([0x40 + size]), size
        for size in range(BYTE_LIMIT, at_most + 1):
            yield b"%d " % size, size
        return
    for added in range(_MAX_DIGITS - state.digits + 1):
        base = state.size * 10**added
        if base > at_most:
            return
        for tail in range(min(10**added, at_most - base + 1)):
            yield (b"%0*d " % (added, tail) if added else b" "), base + tail


def _finished_size(state: Any, default: int, at_least: int) -> tuple[bytes, int]:
    """(rest of the field, size): the digits so far if they are at least `at_least`, else one more digit.

    `default` if there are no digits yet.
    """
    if state.digits == 0:
        return _size_field(default), default
    if state.size >= at_least or state.digits == _MAX_DIGITS:
        return b" ", state.size
    return b"%d " % at_least, state.size * 10 + at_least


# -- texts (section 3.3) ----------------------------------------------------------------------------------------------
#
# A text says twice how long it is: in bytes outside, in characters inside. Its reader takes as many characters as the
# inner number says and finds the next item by the outer one, so the bytes that are filled in must hold at least as many
# characters as the missing ones would have; too many do no harm. (Found by feeding such texts to the vendor's library:
# with too few characters it waits for ever or gives the link up.) One byte for each character is therefore always
# enough, as long as the character at the break is finished first.

#: Tokens of the items that are texts.
_TEXT_TOKENS: Final = '"#+*'
#: Bytes of the smallest text with a character in it: letter, `~`, size, character.
_SMALLEST_TEXT: Final = 4

_NUMBERS: Final = "+*"
#: Formats whose characters have a fixed width, in bytes.
_CHARACTER_WIDTHS: Final = {b"C": 2, b"E": 2, b"F": 4}
_ENCODINGS: Final = {b"C": "utf-16-be", b"E": "utf-16-le", b"F": "utf-32-le"}

#: One character, two code units of format E.
_SURROGATE_PAIR: Final = "\U0001f600".encode("utf-16-le")
#: Beyond it, the bytes of a character in format F are in the other order: some programs make the library write them so.
_LAST_CHARACTER: Final = 0x10FFFF

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


def _whole_text(token: int, size: int) -> bytes:
    """A text of exactly `size` bytes with letter A; `size` below 3 (no text is so short) gives filler alone."""
    filler = _filler(token)
    for digits in range(len(str(size)) + 1):
        count = size - 3 - digits
        if count >= 0:
            field = _size_field(count, digits)
            if len(field) == 1 + digits:
                return b"A~" + field + filler * count
    return filler * size


def _rest_of_text(state: Any, left: int) -> bytes:
    """The last `left` bytes of the text in progress in `state`, for one that is known to be short."""
    rest = _Rest(0, 0)
    _put_rest_of_text(state, rest, left)
    return b"".join(rest.parts(left or 1))


def _put_rest_of_text(state: Any, rest: _Rest, left: int) -> None:
    """Put the last `left` bytes of the text in progress in `state`."""
    seen = state.size - left
    if seen == 0 or left == 0:
        rest.put(_whole_text(state.token, left))
        return
    start = bytes(state.text[0 : min(seen, len(state.text))])
    letter, width = start[:1], _CHARACTER_WIDTHS.get(start[:1], 1)
    characters = TEXT_START.match(start)
    pairs = 0
    if characters:
        tail = start if seen == len(start) else bytes(state.tail[0 : state.tail_length])
        begun = _finish_character(letter, tail, (seen - characters.end()) % width)
    else:
        begun, pairs = _finish_count(start, left, width)
    begun = begun[:left]
    rest.put(begun)
    rest.put(_SURROGATE_PAIR, pairs)
    left -= len(begun) + len(_SURROGATE_PAIR) * pairs
    filler = _filler(state.token).decode("ascii").encode(_ENCODINGS.get(letter, "ascii"))
    if letter == b"F" and characters and int.from_bytes(start[characters.end() :][:4], "little") > _LAST_CHARACTER:
        filler = filler[::-1]
    count, odd = divmod(left, width)
    rest.put(filler, count)
    rest.put(b"\0", odd)


def _finish_count(start: bytes, left: int, width: int) -> tuple[bytes, int]:
    """What is missing of the letter, `~`, and the number of characters.

    Args:
        start: What there is of them, not empty.
        left: Bytes that the text lacks.
        width: Bytes of a character, of a UTF-16 code unit in format E.

    Returns:
        (bytes, surrogate pairs that must follow them for the number to be right, in format E)
    """
    tilde = b"~" if len(start) == 1 else b""
    digits = start[2:]
    if digits and not digits.isdigit():
        return b"", 0
    room = left - len(tilde)
    if start[:1] in UNCOUNTED and not digits and room > BYTE_LIMIT * width:
        return tilde + b" ", 0
    other = None
    for added in range(_MAX_DIGITS - len(digits) + 1):
        units, odd = divmod(room - added - 1, width)
        if odd or units < 0:
            continue
        if not digits and not added:
            if units < BYTE_LIMIT:
                return tilde + _size_field(units), 0
            continue
        lowest = int(digits or b"0") * 10**added
        count = min(units, lowest + 10**added - 1)
        # More characters than the number says do no harm in A and D; in E two code units can be one character.
        if count < max(lowest, (units + 1) // 2 if start[:1] == b"E" else units if width > 1 else BYTE_LIMIT):
            continue
        field = b"%0*d" % (len(digits) + added, count)
        finished = tilde + field[len(digits) :] + b" ", units - count if start[:1] == b"E" else 0
        if count == units:
            return finished
        other = other or finished
    return other or (tilde, 0)


def _finish_character(letter: bytes, tail: bytes, of_wide: int) -> bytes:
    """What is missing of the character at the break. `of_wide`: bytes of it there are, in formats of fixed width."""
    if letter == b"A":
        return _finish_escape(tail)
    if letter == b"D":
        return _finish_utf8(tail)
    if of_wide:
        return b"\0" * (_CHARACTER_WIDTHS[letter] - of_wide)
    is_high_surrogate = letter == b"E" and len(tail) > 1 and 0xD8 <= tail[-1] < 0xDC
    return b"\0\xdc" if is_high_surrogate else b""


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


# -- the header of an array (section 3.5) -----------------------------------------------------------------------------
#
# The header has announced its own length and the number of leaves, and its dimensions must multiply to that number.
# Filling it up therefore means to find dimensions and names of exactly the right product and length. One more dimension
# for what the product still lacks, with a name as long as needed, nearly always does; where a number broke off, its
# continuations are tried in turn.

_LIST: Final = b"#GA~DList\n"
_SYMBOL: Final = ord("#")
#: Bytes of the shortest symbol that has a text with a letter, `~` and a number: token, size, 3 bytes, line feed.
_SHORTEST_SYMBOL: Final = 6
#: Continuations of one number that are tried before giving up.
_ATTEMPTS: Final = 200_000


def _whole_header(total: int) -> bytes:
    """The header of a list of `total` leaves."""
    return b"F" + _size_field(total) + _LIST + b"."


def _rest_of_array_start(state: Any) -> tuple[bytes, int]:
    """(From a break in an array's header, or in its size, to the line feed after it; number of leaves)."""
    if state.step == lib.WSTPSCAN_AT_SIZE and state.token == ord("D"):
        return _sized_header(state) + b"\n", state.array_total
    header = b"" if state.step == lib.WSTPSCAN_AT_HEADER_LINE_FEED else _rest_of_header(state)
    return header + b"\n", state.array_total


def _sized_header(state: Any) -> bytes:
    """A header whose size has been begun, with that size."""
    if state.digits == 0:
        whole = _whole_header(state.array_total)
        return _size_field(len(whole)) + whole
    shortest = len(_whole_header(state.array_total)) + len(_size_field(64))
    for rest, size in _continuations(state, lib.WSTPSCAN_MAX_ARRAY_HEADER):
        if size >= shortest and (header := _dimensions(size, state.array_total)):
            return rest + header
    raise _impossible(state)


def _rest_of_header(state: Any) -> bytes:
    room = state.array_header_end - state.consumed
    lacking = _lacking(state)
    for header in _candidates(state, room, lacking):
        if header is not None:
            return header
    raise _impossible(state)


def _lacking(state: Any) -> int:
    """What the dimensions to come must multiply to. 1 if anything would do, as the product is 0 already."""
    total, product = state.array_total, state.array_product
    if product == 0:
        if total:
            raise _impossible(state)
        return 1
    if total % product:
        raise _impossible(state)
    return int(total // product)


def _candidates(state: Any, room: int, lacking: int) -> Iterator[bytes | None]:
    """Ways to finish the header in exactly `room` bytes; None for one that does not work."""
    if state.step == lib.WSTPSCAN_AT_DIMENSION:
        yield _dimensions(room, lacking)
    elif state.step == lib.WSTPSCAN_AT_DIMENSION_HEAD:
        yield _symbol_and_dimensions(room, lacking)
    elif state.step in (lib.WSTPSCAN_AT_DIMENSION_TEXT, lib.WSTPSCAN_AT_DIMENSION_LINE_FEED):
        # Nothing is left of the text at AT_DIMENSION_LINE_FEED.
        text = _rest_of_text(state, state.left) + b"\n"
        yield _joined(text, _dimensions(room - len(text), lacking))
    elif state.token == lib.WSTPSCAN_DIMENSION:
        yield from _dimension_begun(state, room, lacking)
    else:
        yield from _symbol_begun(state, room, lacking)


def _dimension_begun(state: Any, room: int, lacking: int) -> Iterator[bytes | None]:
    if state.digits == 0:
        field = _size_field(lacking)
        yield _joined(field, _symbol_and_dimensions(room - len(field), 1))
    for attempt, (rest, dimension) in enumerate(_continuations(state, lacking)):
        if attempt == _ATTEMPTS:
            return
        if lacking != dimension and (dimension == 0 or lacking % dimension):
            continue
        left = lacking // dimension if dimension else 1
        yield _joined(rest, _symbol_and_dimensions(room - len(rest), left))


def _symbol_begun(state: Any, room: int, lacking: int) -> Iterator[bytes | None]:
    for rest, size in _continuations(state, room):
        text = _whole_text(_SYMBOL, size) + b"\n"
        if size >= _SHORTEST_SYMBOL - 3:
            yield _joined(rest + text, _dimensions(room - len(rest) - len(text), lacking))


def _dimensions(room: int, lacking: int) -> bytes | None:
    """At most one dimension and the `.`, in exactly `room` bytes; None if that cannot be."""
    if room == 1:
        return b"." if lacking == 1 else None
    start = b"F" + _size_field(lacking)
    return _joined(start, _symbol_and_dimensions(room - len(start), 1))


def _symbol_and_dimensions(room: int, lacking: int) -> bytes | None:
    if lacking == 1:
        symbol = _symbol(room - 1)
        return symbol + b"." if symbol else None
    symbol = _symbol(_SHORTEST_SYMBOL)
    return _joined(symbol, _dimensions(room - _SHORTEST_SYMBOL, lacking))


def _symbol(length: int) -> bytes | None:
    """A symbol that takes exactly `length` bytes on the wire."""
    for digits in range(6):
        size = length - 3 - digits
        if size < _SHORTEST_SYMBOL - 3:
            return None
        field = _size_field(size, digits)
        if len(field) == 1 + digits:
            return b"#" + field + _whole_text(_SYMBOL, size) + b"\n"
    return None


def _joined(start: bytes | None, end: bytes | None) -> bytes | None:
    return None if start is None or end is None else start + end


def _impossible(state: Any) -> LocalProtocolError:
    return LocalProtocolError("the header of the array in progress cannot be finished", state.consumed)


# -- whole frames: each function continues from some steps of the scanner ---------------------------------------------


def _item(_state: Any, _rest: _Rest) -> None:
    """Everything that is missing is counted already."""


def _line_feed(_state: Any, rest: _Rest) -> None:
    rest.put(b"\n")


def _size(state: Any, rest: _Rest) -> None:
    _SIZES[chr(state.token)](state, rest)


def _function_size(state: Any, rest: _Rest) -> None:
    text, count = _finished_size(state, 0, 0)
    rest.put(text)
    rest.missing += count


def _text_size(state: Any, rest: _Rest) -> None:
    text, size = _finished_size(state, _SMALLEST_TEXT, _SMALLEST_TEXT)
    rest.put(text + _whole_text(state.token, size) + b"\n")


def _packed_size(state: Any, rest: _Rest) -> None:
    text, count = _finished_size(state, 1, 1)
    rest.put(text)
    if count > (rest.array_missing or rest.missing):
        raise LocalProtocolError("the packed block in progress announces more values than are missing")
    _put_block(state, rest, count)


def _dictionary_size(state: Any, rest: _Rest) -> None:
    text, count = _finished_size(state, 1, 1)
    rest.put(text)
    _put_block(state, rest, count)


def _array_total(state: Any, rest: _Rest) -> None:
    text, total = _finished_size(state, 1, 1)
    rest.put(text)
    _put_header(rest, total)


def _array_mark(state: Any, rest: _Rest) -> None:
    _put_header(rest, state.array_total)


def _put_header(rest: _Rest, total: int) -> None:
    header = _whole_header(total)
    rest.put(b"D" + _size_field(len(header)) + header + b"\n")
    rest.array_missing = total


def _header(state: Any, rest: _Rest) -> None:
    text, rest.array_missing = _rest_of_array_start(state)
    rest.put(text)


def _number_token(state: Any, rest: _Rest) -> None:
    _put_block(state, rest, state.size)


def _put_block(state: Any, rest: _Rest, count: int) -> None:
    """A block from its number token on, for P and O."""
    token = _INT8
    if chr(state.token) == "P":
        if rest.array_missing:
            token = state.number_token or _INT8
            rest.array_missing -= count
        else:
            rest.missing -= count
    rest.put(bytes([token]))
    rest.put(bytes(_WIDTHS[token]), count)
    rest.put(b"\n")


def _opaque(state: Any, rest: _Rest) -> None:
    if chr(state.token) in _TEXT_TOKENS:
        _put_rest_of_text(state, rest, state.opaque)
    else:
        rest.put(b"\0", state.opaque)
    rest.put(b"\n")


def _head_text(state: Any, rest: _Rest) -> None:
    _put_rest_of_text(state, rest, state.left)
    rest.put(b"\n")


_SIZES: Final[dict[str, Callable[[Any, _Rest], None]]] = {
    "F": _function_size,
    "P": _packed_size,
    "O": _dictionary_size,
    "A": _array_total,
    "D": _header,
    chr(lib.WSTPSCAN_DIMENSION): _header,
    chr(lib.WSTPSCAN_DIMENSION_SYMBOL): _header,
    **dict.fromkeys(_TEXT_TOKENS, _text_size),
}

_CONTINUE: Final[dict[int, Callable[[Any, _Rest], None]]] = {
    lib.WSTPSCAN_AT_ITEM: _item,
    lib.WSTPSCAN_AT_SIZE: _size,
    lib.WSTPSCAN_AT_NUMBER_TOKEN: _number_token,
    lib.WSTPSCAN_AT_OPAQUE: _opaque,
    lib.WSTPSCAN_AT_HEAD_TEXT: _head_text,
    lib.WSTPSCAN_AT_LINE_FEED: _line_feed,
    lib.WSTPSCAN_AT_ARRAY_MARK: _array_mark,
    lib.WSTPSCAN_AT_DIMENSION: _header,
    lib.WSTPSCAN_AT_DIMENSION_HEAD: _header,
    lib.WSTPSCAN_AT_DIMENSION_TEXT: _header,
    lib.WSTPSCAN_AT_DIMENSION_LINE_FEED: _header,
    lib.WSTPSCAN_AT_HEADER_LINE_FEED: _header,
}


def complete_in_parts(state: Any, limit: int) -> Iterator[bytes]:
    """The completion of the frame in progress; nothing between frames.

    Args:
        state: The scanner's position, cffi `struct wstpscan *`.
        limit: Most bytes of all parts together.

    Returns:
        Parts of at most about `PART_SIZE` bytes, made when they are asked for.

    Raises:
        LocalProtocolError: At once, if the completion takes more than `limit` bytes, if the stream is in error, or if
            what was begun cannot become an expression any more (a packed block that announces more values than are
            missing).
    """
    return _rest(state, limit).parts(PART_SIZE)


def _rest(state: Any, limit: int) -> _Rest:
    if state.error:
        raise LocalProtocolError("a stream in error cannot be completed", state.error_offset)
    rest = _Rest(state.missing, state.array_missing)
    if state.step == lib.WSTPSCAN_AT_BOUNDARY:
        return rest
    _CONTINUE[state.step](state, rest)
    _put_leaves(state, rest)
    rest.put(_ABORTED, rest.missing)
    rest.put(b"]")
    if rest.length > limit:
        raise LocalProtocolError(f"completing the frame takes {rest.length} bytes, allowed are {limit}")
    return rest


def _put_leaves(state: Any, rest: _Rest) -> None:
    """What the array in progress lacks, as one block of the type of its earlier blocks."""
    count = rest.array_missing
    if count:
        token = state.number_token or _INT8
        rest.put(b"P" + _size_field(count) + bytes([token]))
        rest.put(bytes(_WIDTHS[token]), count)
        rest.put(b"\n")
