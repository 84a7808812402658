"""How a frame that broke off in the middle is made complete.

A sender that vanished leaves a frame without its end, and whoever reads it waits for ever. The bytes made here
continue such a frame from any byte to its end: what was begun is filled up with harmless bytes, every expression
that is still missing becomes the symbol ``$Aborted``, and ``]`` ends the packet. What is known about the position
are the fields of ``struct wstpscan`` (cext/wstpscan.h); each function below continues from some of its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from wstpserver._native import lib
from wstpserver.wire import completion_array, completion_text
from wstpserver.wire.completion_rest import Rest
from wstpserver.wire.completion_sizes import finished_size, size_field
from wstpserver.wire.errors import LocalProtocolError

#: Most bytes a completion may have unless the caller says otherwise.
COMPLETION_LIMIT: Final = 64 * 1024 * 1024

#: Size of the parts that `complete_in_parts` makes, in bytes.
PART_SIZE: Final = 65536

# in UTF-8 (format D), as everything that we write ourselves: see server/replies.py
ABORTED: Final = b"#KD~H$Aborted\n"
_INT8: Final = 0xA1
_WIDTHS: Final = {
    0xA1: 1, 0xE2: 2, 0xE4: 4, 0xE6: 8, 0xF4: 4, 0xF6: 8, 0xF8: 16,
    0xA2: 2, 0xA4: 4, 0xA6: 8, 0xB4: 4, 0xB6: 8, 0xB8: 16,
}


def complete(state: Any, limit: int) -> bytes:
    """The completion for the scanner state ``state`` (cffi ``struct wstpscan *``), ``b""`` between frames.

    Raises LocalProtocolError if it takes more than ``limit`` bytes, if the stream is in error, or if what was begun
    cannot become an expression any more (a packed block that announces more values than are missing, say).
    """
    return _rest(state, limit).join()


def complete_in_parts(state: Any, limit: int) -> Iterator[bytes]:
    """The same bytes in parts of at most about `PART_SIZE`, made when they are asked for. Raises at once or never."""
    return _rest(state, limit).parts(PART_SIZE)


def _rest(state: Any, limit: int) -> Rest:
    if state.error:
        raise LocalProtocolError("a stream in error cannot be completed", state.error_offset)
    rest = Rest(state.missing, state.array_missing)
    if state.step == lib.WSTPSCAN_AT_BOUNDARY:
        return rest
    _CONTINUE[state.step](state, rest)
    _put_leaves(state, rest)
    rest.put(ABORTED, rest.missing)
    rest.put(b"]")
    if rest.length > limit:
        raise LocalProtocolError(f"completing the frame takes {rest.length} bytes, allowed are {limit}")
    return rest


def _put_leaves(state: Any, rest: Rest) -> None:
    """What the array in progress lacks, as one block of the type of its earlier blocks."""
    count = rest.array_missing
    if count:
        token = state.number_token or _INT8
        rest.put(b"P" + size_field(count) + bytes([token]))
        rest.put(bytes(_WIDTHS[token]), count)
        rest.put(b"\n")


def _item(_state: Any, _rest: Rest) -> None:
    """Everything that is missing is counted already."""


def _line_feed(_state: Any, rest: Rest) -> None:
    rest.put(b"\n")


def _size(state: Any, rest: Rest) -> None:
    _SIZES[chr(state.token)](state, rest)


def _function_size(state: Any, rest: Rest) -> None:
    text, count = finished_size(state, 0, 0)
    rest.put(text)
    rest.missing += count


def _text_size(state: Any, rest: Rest) -> None:
    text, size = finished_size(state, completion_text.SMALLEST, completion_text.SMALLEST)
    rest.put(text + completion_text.whole_text(state.token, size) + b"\n")


def _packed_size(state: Any, rest: Rest) -> None:
    text, count = finished_size(state, 1, 1)
    rest.put(text)
    if count > (rest.array_missing or rest.missing):
        raise LocalProtocolError("the packed block in progress announces more values than are missing")
    _put_block(state, rest, count)


def _dictionary_size(state: Any, rest: Rest) -> None:
    text, count = finished_size(state, 1, 1)
    rest.put(text)
    _put_block(state, rest, count)


def _array_total(state: Any, rest: Rest) -> None:
    text, total = finished_size(state, 1, 1)
    rest.put(text)
    _put_header(rest, total)


def _array_mark(state: Any, rest: Rest) -> None:
    _put_header(rest, state.array_total)


def _put_header(rest: Rest, total: int) -> None:
    header = completion_array.whole_header(total)
    rest.put(b"D" + size_field(len(header)) + header + b"\n")
    rest.array_missing = total


def _header(state: Any, rest: Rest) -> None:
    text, rest.array_missing = completion_array.rest_of_array_start(state)
    rest.put(text)


def _number_token(state: Any, rest: Rest) -> None:
    _put_block(state, rest, state.size)


def _put_block(state: Any, rest: Rest, count: int) -> None:
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


def _opaque(state: Any, rest: Rest) -> None:
    if chr(state.token) in completion_text.TOKENS:
        completion_text.put_rest_of_text(state, rest, state.opaque)
    else:
        rest.put(b"\0", state.opaque)
    rest.put(b"\n")


def _head_text(state: Any, rest: Rest) -> None:
    completion_text.put_rest_of_text(state, rest, state.left)
    rest.put(b"\n")


_SIZES: Final[dict[str, Callable[[Any, Rest], None]]] = {
    "F": _function_size,
    "P": _packed_size,
    "O": _dictionary_size,
    "A": _array_total,
    "D": _header,
    chr(lib.WSTPSCAN_DIMENSION): _header,
    chr(lib.WSTPSCAN_DIMENSION_SYMBOL): _header,
    **dict.fromkeys(completion_text.TOKENS, _text_size),
}

_CONTINUE: Final[dict[int, Callable[[Any, Rest], None]]] = {
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
