"""How the header of an array that broke off is finished (the protocol notes, section 3.5).

The header has announced its own length and the number of leaves, and its dimensions must multiply to that number.
Filling it up therefore means to find dimensions and names of exactly the right product and length. One more
dimension for what the product still lacks, with a name as long as needed, nearly always does; where a number
broke off, its continuations are tried in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from wstpserver._native import lib
from wstpserver.wire.completion_sizes import continuations, size_field
from wstpserver.wire.completion_text import rest_of_text, whole_text
from wstpserver.wire.errors import LocalProtocolError

_LIST: Final = b"#GA~DList\n"
_SYMBOL: Final = ord("#")
#: Bytes of the shortest symbol that has a text with a letter, ``~`` and a number: token, size, 3 bytes, line feed.
_SHORTEST_SYMBOL: Final = 6
#: Continuations of one number that are tried before giving up.
_ATTEMPTS: Final = 200_000


def whole_header(total: int) -> bytes:
    """The header of a list of ``total`` leaves."""
    return b"F" + size_field(total) + _LIST + b"."


def rest_of_array_start(state: Any) -> tuple[bytes, int]:
    """(From a break in an array's header, or in its size, to the line feed after it; number of leaves)."""
    if state.step == lib.WSTPSCAN_AT_SIZE and state.token == ord("D"):
        return _sized_header(state) + b"\n", state.array_total
    header = b"" if state.step == lib.WSTPSCAN_AT_HEADER_LINE_FEED else _rest_of_header(state)
    return header + b"\n", state.array_total


def _sized_header(state: Any) -> bytes:
    """A header whose size has been begun, with that size."""
    if state.digits == 0:
        whole = whole_header(state.array_total)
        return size_field(len(whole)) + whole
    shortest = len(whole_header(state.array_total)) + len(size_field(64))
    for rest, size in continuations(state, lib.WSTPSCAN_MAX_ARRAY_HEADER):
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
    """Ways to finish the header in exactly ``room`` bytes; None for one that does not work."""
    if state.step == lib.WSTPSCAN_AT_DIMENSION:
        yield _dimensions(room, lacking)
    elif state.step == lib.WSTPSCAN_AT_DIMENSION_HEAD:
        yield _symbol_and_dimensions(room, lacking)
    elif state.step in (lib.WSTPSCAN_AT_DIMENSION_TEXT, lib.WSTPSCAN_AT_DIMENSION_LINE_FEED):
        # Nothing is left of the text at AT_DIMENSION_LINE_FEED.
        text = rest_of_text(state, state.left) + b"\n"
        yield _joined(text, _dimensions(room - len(text), lacking))
    elif state.token == lib.WSTPSCAN_DIMENSION:
        yield from _dimension_begun(state, room, lacking)
    else:
        yield from _symbol_begun(state, room, lacking)


def _dimension_begun(state: Any, room: int, lacking: int) -> Iterator[bytes | None]:
    if state.digits == 0:
        field = size_field(lacking)
        yield _joined(field, _symbol_and_dimensions(room - len(field), 1))
    for attempt, (rest, dimension) in enumerate(continuations(state, lacking)):
        if attempt == _ATTEMPTS:
            return
        if lacking != dimension and (dimension == 0 or lacking % dimension):
            continue
        left = lacking // dimension if dimension else 1
        yield _joined(rest, _symbol_and_dimensions(room - len(rest), left))


def _symbol_begun(state: Any, room: int, lacking: int) -> Iterator[bytes | None]:
    for rest, size in continuations(state, room):
        text = whole_text(_SYMBOL, size) + b"\n"
        if size >= _SHORTEST_SYMBOL - 3:
            yield _joined(rest + text, _dimensions(room - len(rest) - len(text), lacking))


def _dimensions(room: int, lacking: int) -> bytes | None:
    """At most one dimension and the ``.``, in exactly ``room`` bytes; None if that cannot be."""
    if room == 1:
        return b"." if lacking == 1 else None
    start = b"F" + size_field(lacking)
    return _joined(start, _symbol_and_dimensions(room - len(start), 1))


def _symbol_and_dimensions(room: int, lacking: int) -> bytes | None:
    if lacking == 1:
        symbol = _symbol(room - 1)
        return symbol + b"." if symbol else None
    symbol = _symbol(_SHORTEST_SYMBOL)
    return _joined(symbol, _dimensions(room - _SHORTEST_SYMBOL, lacking))


def _symbol(length: int) -> bytes | None:
    """A symbol that takes exactly ``length`` bytes on the wire."""
    for digits in range(6):
        size = length - 3 - digits
        if size < _SHORTEST_SYMBOL - 3:
            return None
        field = size_field(size, digits)
        if len(field) == 1 + digits:
            return b"#" + field + whole_text(_SYMBOL, size) + b"\n"
    return None


def _joined(start: bytes | None, end: bytes | None) -> bytes | None:
    return None if start is None or end is None else start + end


def _impossible(state: Any) -> LocalProtocolError:
    return LocalProtocolError("the header of the array in progress cannot be finished", state.consumed)
