"""Tables for a terminal: columns as wide as they need to be; some are left out or cut if there is no room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

_GAP = "  "
#: A column that has to give way keeps so many characters.
_LEAST = 6


class Column(NamedTuple):
    """`right`: numbers, flush right. For a table that does not fit: `optional`: left out; `shrinks`: cut."""

    title: str
    right: bool = False
    shrinks: bool = False
    optional: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The lines of a table, titles first, none longer than `width` characters as far as that can be."""
    cells = [[column.title for column in columns], *rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    if width is not None and _excess(widths, width) > 0:
        optional = [place for place, column in enumerate(columns) if column.optional]
        if optional:
            kept = [place for place in range(len(columns)) if place != optional[-1]]
            return table([columns[place] for place in kept], [[row[place] for place in kept] for row in rows], width)
        _shrink(columns, widths, width)
    return [_line(columns, widths, row) for row in cells]


def _excess(widths: Sequence[int], width: int) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1) - width


def _shrink(columns: Sequence[Column], widths: list[int], width: int) -> None:
    """Take what is too much from the widest column that gives way, one character after the other."""
    excess = _excess(widths, width)
    while excess > 0:
        places = [place for place, column in enumerate(columns) if column.shrinks and widths[place] > _LEAST]
        if not places:
            return
        widths[max(places, key=widths.__getitem__)] -= 1
        excess -= 1


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[str]) -> str:
    cells = []
    for column, size, text in zip(columns, widths, row, strict=True):
        shown = text if len(text) <= size else text[: size - 1] + "…"
        cells.append(shown.rjust(size) if column.right else shown.ljust(size))
    return _GAP.join(cells).rstrip()
