"""What one configuration option is: its key, its kind of value, its range and its default.

The table of all options is in ``options.py``; parsing, validation, defaults, the documentation
page and ``conf.example`` are all made from it.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Automatic(Enum):
    """The default of an option whose value is found out when the settings are made."""

    AUTOMATIC = "automatic"

    def __repr__(self) -> str:
        return self.value


AUTOMATIC = Automatic.AUTOMATIC


class Level(Enum):
    """Where in the file a key stands."""

    ROOT = "root"
    POOL = "pool"


class Kind(Enum):
    """The kind of value an option takes; the text says what an error message expects."""

    BOOLEAN = "true or false"
    INTEGER = "an integer"
    NUMBER = "a number"
    TEXT = "a string"
    WORDS = "a string of command-line options"
    POOLS = "an object with one member for each pool"


@dataclass(frozen=True)
class Option:
    """One row of the table.

    ``summary`` is a noun phrase as in the documentation's tables; ``details`` are whole sentences.
    ``automatic`` is the rule in words when the default is AUTOMATIC. ``minimum`` and ``maximum``
    are inclusive, in the option's ``unit``, and given together. ``sample`` is the value that
    ``conf.example`` shows, as JSON text. An option that is not ``reloadable`` keeps its value until the
    server is restarted.
    """

    key: str
    level: Level
    kind: Kind
    default: Any
    summary: str
    details: str = ""
    automatic: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ""
    pattern_meaning: str = ""
    required: bool = False
    reloadable: bool = True
    extension: bool = False
    sample: str = ""

    @property
    def field(self) -> str:
        """Name of the option in the settings dataclasses: the key in snake case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.key).lower()

    @property
    def expected(self) -> str:
        """What a value must be, as an error message says it."""
        text = self.pattern_meaning or self.kind.value
        if self.minimum is not None and self.maximum is not None:
            text += f" from {_number_text(self.minimum)} to {_number_text(self.maximum)}"
        return text

    def convert(self, value: Any) -> Any:
        """The value as the settings hold it.

        ``value`` is what JSON gave (or a test wrote). Raises ValueError with a message for the user.
        ``"automatic"`` stands for leaving the key out, where the default is automatic.
        """
        if value is AUTOMATIC:
            return value
        if self.default is AUTOMATIC and isinstance(value, str) and value.lower() == "automatic":
            return AUTOMATIC
        converted = _CONVERTERS[self.kind](self, value)
        self._check_range(converted)
        return converted

    def _check_range(self, value: Any) -> None:
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise ValueError(f"expected {self.expected}, got {describe(value)}")
        too_small = self.minimum is not None and value < self.minimum
        too_large = self.maximum is not None and value > self.maximum
        if too_small or too_large:
            raise ValueError(f"expected {self.expected}, got {describe(value)}")


def _number_text(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)


def describe(value: Any) -> str:
    """A value in the words of an error message, cut to one short line."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        shown = value if len(value) <= 40 else value[:37] + "..."
        return f"the string {shown!r}"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def split_words(text: str, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """Command-line words as a shell splits them.

    On Windows a backslash is part of a path and quotes only group. Raises ValueError for a quote
    that is never closed.
    """
    if "\0" in text:
        raise ValueError("a command-line option cannot hold a NUL character")
    try:
        words = shlex.split(text, posix=not windows)
    except ValueError as error:
        raise ValueError(f"{str(error).lower()} in {describe(text)}") from None
    if windows:
        words = [re.sub(r'"([^"]*)"', r"\1", word) for word in words]
    return tuple(words)


def _wrong(option: Option, value: Any) -> ValueError:
    message = f"expected {option.expected}, got {describe(value)}"
    if option.kind is Kind.BOOLEAN and isinstance(value, str) and value.lower() in ("true", "false"):
        message += " (write it without the quotes)"
    return ValueError(message)


def _boolean(option: Option, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(option, value)
    return value


def _integer(option: Option, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(option, value)
    return value


def _number(option: Option, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong(option, value)
    try:
        number = float(value)
    except OverflowError:
        raise _wrong(option, value) from None
    if math.isnan(number):
        raise _wrong(option, value)
    return number


def _text(option: Option, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(option, value)
    return value


def _words(option: Option, value: Any) -> tuple[str, ...]:
    if isinstance(value, tuple) and all(isinstance(word, str) for word in value):
        return value
    return split_words(_text(option, value))


def _pools(option: Option, value: Any) -> Any:
    if not isinstance(value, dict):
        raise _wrong(option, value)
    return value


_CONVERTERS: dict[Kind, Callable[[Option, Any], Any]] = {
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.TEXT: _text,
    Kind.WORDS: _words,
    Kind.POOLS: _pools,
}
