"""What the frame scanner must report, read off the grammar in the plainest way.

One pass over bytes that are all there, one expression after the other, with a counter of the expressions that are still
missing. No state is kept between calls, nothing is fast, and no line is shared with the scanner. Offsets count from the
first byte.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.support.packets import HEAD_BY_NAME

WIDTHS = {0xA1: 1, 0xE2: 2, 0xE4: 4, 0xE6: 8, 0xF4: 4, 0xF6: 8, 0xF8: 16,
          0xA2: 2, 0xA4: 4, 0xA6: 8, 0xB4: 4, 0xB6: 8, 0xB8: 16}  # fmt: skip

# Numbers of the errors, as in cext/wstpscan.h.
TOKEN, SIZE, SIZE_DIGITS, LINE_FEED, NUMBER_TOKEN, PACKED_PLACE, PACKED_COUNT, ARGUMENTS = range(1, 9)
ARRAY_MARK, ARRAY_HEADER, ARRAY_HEADER_SIZE, ARRAY_TOTAL, ARRAY_LEAF, MISPLACED_END = range(9, 15)

LONGEST_HEAD_TEXT = 256
LONGEST_ARRAY_HEADER = 65536


class Event(NamedTuple):
    """kind: END or TAIL; offset: of the byte after it."""

    kind: str
    offset: int
    head: int
    head_name: bytes


class Reading(NamedTuple):
    """All events; bytes of an unfinished frame whose head is unknown; (error number, offset) or None."""

    events: list[Event]
    undecided: int
    error: tuple[int, int] | None
    boundary: bool


class _NeedMore(Exception):
    """The bytes end here."""


class _Wrong(Exception):
    """(error number, offset)"""


_CHARACTER = {
    ord("A"): rb"\\:[0-9A-Fa-f]{4}|\\\|[0-9A-Fa-f]{6}|\\[0-7]{3}|\\\\|.",
    ord("B"): rb".",
    ord("C"): rb"..|.",
    ord("D"): rb"[\x80-\xff][\x80-\xbf]*|.",
    ord("E"): rb"..|.",
    ord("F"): rb"....|.{1,3}",
}


def _code_point(letter: int, spelled: bytes) -> int:
    if letter == ord("A") and spelled[:1] == b"\\" and len(spelled) > 2:
        return int(spelled[1:], 8) if spelled[1] not in b":|" else int(spelled[2:], 16)
    if letter in b"CF" and len(spelled) == {ord("C"): 2, ord("F"): 4}[letter]:
        return int.from_bytes(spelled, "big")
    if letter == ord("E") and len(spelled) == 2:
        return int.from_bytes(spelled, "little")
    return spelled[0] if letter in b"ABD" else 0xFFFF


def symbol_name(text: bytes) -> bytes:
    """The whole name in ASCII, "?" for other characters; empty if the text is malformed."""
    match = re.match(rb"([A-F])~([@-\x7f]|[0-9]+ )", text, re.DOTALL)
    if match is None:
        return b""
    letter = text[0]
    spelled = re.findall(_CHARACTER[letter], text[match.end() :], re.DOTALL)
    points = [_code_point(letter, character) for character in spelled]
    return bytes(point if 0 < point < 0x80 else ord("?") for point in points)


def head_code(name: bytes) -> int:
    return int(HEAD_BY_NAME.get(name.decode("ascii").removeprefix("System`"), 0)) if len(name) < 64 else 0


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def peek(self) -> int:
        if self.at >= len(self.data):
            raise _NeedMore
        return self.data[self.at]

    def wrong(self, error: int) -> _Wrong:
        return _Wrong(error, self.at)

    def skip(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        self.at += count
        if len(piece) < count:
            raise _NeedMore
        return piece

    def expect(self, byte: str, error: int) -> None:
        if self.peek() != ord(byte):
            raise self.wrong(error)
        self.at += 1

    def size(self, limit: int | None = None) -> int:
        """A size; afterwards ``at`` is at its last byte, where errors about the size belong: call ``skip(1)``.

        limit: offset at which the header of the array ends, if this is inside one; one byte must follow before it.
        """
        digits = ""
        while True:
            byte = self.peek()
            if limit is not None and self.at + 1 >= limit:
                raise self.wrong(ARRAY_HEADER)
            if chr(byte).isdigit() and byte < 0x80:
                if len(digits) == 15:
                    raise self.wrong(SIZE_DIGITS)
                digits += chr(byte)
                self.at += 1
            elif digits and byte == ord(" "):
                return int(digits)
            elif not digits and 0x40 <= byte < 0x80:
                return byte - 0x40
            else:
                raise self.wrong(SIZE)

    def block(self, count: int) -> None:
        """A number token, so many values and the line feed; stops after the token if it is the only thing wanted."""
        width = WIDTHS.get(self.peek())
        if width is None:
            raise self.wrong(NUMBER_TOKEN)
        self.skip(1 + width * count)
        self.expect("\n", LINE_FEED)

    def text(self) -> None:
        size = self.size()
        self.skip(1 + size)
        self.expect("\n", LINE_FEED)

    def array_header(self) -> int:
        """From the number of leaves to the line feed after the header; returns the number of leaves."""
        total = self.size()
        self.skip(1)
        self.expect("D", ARRAY_MARK)
        length = self.size()
        if length > LONGEST_ARRAY_HEADER:
            raise self.wrong(ARRAY_HEADER_SIZE)
        self.skip(1)
        end = self.at + length
        product, dimensions = 1, 0
        while True:
            byte = self.peek()
            if byte == ord(".") and self.at + 1 == end and dimensions:
                break
            if byte != ord("F") or self.at + 1 >= end:
                raise self.wrong(ARRAY_HEADER)
            self.skip(1)
            product *= self.size(end)
            dimensions += 1
            self.skip(1)
            if self.peek() != ord("#") or self.at + 1 >= end:
                raise self.wrong(ARRAY_HEADER)
            self.skip(1)
            size = self.size(end)
            if self.at + 1 + size + 1 >= end:
                raise self.wrong(ARRAY_HEADER)
            self.skip(1 + size)
            self.expect("\n", LINE_FEED)
        self.skip(1)
        if self.peek() == ord("\n") and product != total:
            raise self.wrong(ARRAY_TOTAL)
        self.expect("\n", LINE_FEED)
        return total


class _Frame(_Reader):
    """Reads one frame."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data, at)
        self.start = at
        self.head, self.head_name = 0, b""
        self.decided = False

    def decide(self, offset: int, name: bytes = b"") -> None:
        self.head, self.head_name = head_code(name), name[:63]
        self.decided = True

    def head_symbol(self) -> None:
        """The symbol that is the frame's own head, after its "#"."""
        size = self.size()
        self.skip(1)
        if not 0 < size <= LONGEST_HEAD_TEXT:
            self.decide(self.at)
            self.skip(size)
        else:
            text = self.skip(size)
            self.decide(self.at, symbol_name(text))
        self.expect("\n", LINE_FEED)

    def read(self) -> None:
        missing, leaves, place = 1, 0, "frame"
        while missing or leaves:
            token = self.peek()
            if leaves and token not in WIDTHS and token != ord("P"):
                raise self.wrong(ARRAY_LEAF)
            if token == ord("P") and place != "argument":
                raise self.wrong(PACKED_PLACE)
            if token == ord("]"):
                raise self.wrong(MISPLACED_END)
            if token not in WIDTHS and token not in b'F#"+*PAO':
                raise self.wrong(TOKEN)
            if not self.decided and token != ord("F" if place == "frame" else "#"):
                self.decide(self.at + 1)
            place = "argument"
            if token == ord("P"):
                self.skip(1)
                count = self.size()
                if count > (leaves or missing):
                    raise self.wrong(PACKED_COUNT)
                self.skip(1)
                self.block(count)
                missing, leaves = (missing, leaves - count) if leaves else (missing - count, 0)
            elif token in WIDTHS:
                self.block(1)
                missing, leaves = (missing, leaves - 1) if leaves else (missing - 1, 0)
            elif token == ord("F"):
                self.skip(1)
                count = self.size()
                if missing + count >= 2**64:
                    raise self.wrong(ARGUMENTS)
                self.skip(1)
                missing += count
                place = "head"
            else:
                self.skip(1)
                missing -= 1
                if token == ord("A"):
                    leaves = self.array_header()
                elif token == ord("O"):
                    count = self.size()
                    self.skip(1)
                    self.block(count)
                elif not self.decided:
                    self.head_symbol()
                else:
                    self.text()


def read(data: bytes) -> Reading:
    """Everything there is to report about a stream that begins with ``data``."""
    events: list[Event] = []
    at, head, head_name = 0, 0, b""
    while at < len(data):
        if data[at] == ord("]"):
            at += 1
            events.append(Event("TAIL", at, head, head_name))
            continue
        frame = _Frame(data, at)
        try:
            frame.read()
        except _NeedMore:
            undecided = 0 if frame.decided else len(data) - at
            return Reading(events, undecided, None, False)
        except _Wrong as wrong:
            error, offset = wrong.args
            return Reading(events, 0, (error, offset), False)
        at, head, head_name = frame.at, frame.head, frame.head_name
        events.append(Event("END", at, head, head_name))
    return Reading(events, 0, None, True)
