"""The data that ``wstpscript -map`` works on: a JSON array, or JSON values one a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from wstpserver.cli.options import UsageError


class Element(NamedTuple):
    """One value; or, where a line is no JSON, what is wrong with it."""

    value: Any
    problem: str | None = None


class Data(NamedTuple):
    """`number`: how many elements there are, None if that is not known before the end."""

    elements: Iterator[Element]
    number: int | None


_Lines = Iterator[tuple[int, str]]


@contextmanager
def opened(path: str) -> Iterator[Data]:
    """The elements of a file, or of standard input for ``-``. UsageError if there are none to be had.

    Text that begins with a bracket and is a JSON array is one, whatever its lines are. Anything else is a value a
    line, read as it is needed; empty lines do not count.
    """
    name = "standard input" if path == "-" else path
    if path == "-":
        yield _data(sys.stdin.buffer, name)
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UsageError(f"-over: cannot read {name}: {error.strerror}") from None
    with file:
        yield _data(file, name)


def _data(stream: BinaryIO, name: str) -> Data:
    lines = _lines(stream, name)
    number, first = next(lines, (0, ""))
    if first.lstrip().startswith("["):
        array = _array(first, lines, number, name)
        if isinstance(array, list):
            return Data((Element(value) for value in array), len(array))
        lines = array
    elif first:
        value = _value(number, first)
        if value.problem is not None:
            raise UsageError(f"-over: {name}: {value.problem} (a JSON array is needed, or a JSON value on each line)")
        lines = _before((number, first), lines)
    return Data((_value(place, line) for place, line in lines), None)


def _array(first: str, lines: _Lines, number: int, name: str) -> list[Any] | _Lines:
    """The whole as an array; as lines if the first of several is an array by itself. UsageError if it is neither."""
    rest = list(lines)
    text = "\n" * (number - 1) + first + "".join(line for _, line in rest)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if rest and _value(number, first).problem is None:
            return _before((number, first), iter(rest))
        raise UsageError(f"-over: {name} is no JSON: {_reason(error)}") from None
    assert isinstance(value, list), "it begins with a bracket"
    return value


def _before(first: tuple[int, str], rest: _Lines) -> _Lines:
    yield first
    yield from rest


def _lines(stream: BinaryIO, name: str) -> _Lines:
    """(number, text) of the lines that are not empty. UsageError where they are not UTF-8, or cannot be read."""
    number = 0
    try:
        for number, line in enumerate(stream, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                yield number, text
    except UnicodeDecodeError as error:
        raise UsageError(f"-over: cannot read {name}: line {number} is not UTF-8 ({error.reason})") from None
    except OSError as error:
        raise UsageError(f"-over: cannot read {name}: {error.strerror}") from None


def _value(number: int, line: str) -> Element:
    try:
        return Element(json.loads(line.rstrip("\r\n")))
    except json.JSONDecodeError as error:
        return Element(None, f"line {number} is no JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return Element(None, f"line {number} is no JSON: {_reason(error)}")


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
