"""Where a value of the settings comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wstpserver.settings.problems import Problem


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from: ``source`` in words, and the place if it is a file."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"

    def problem(self, key: str, message: str) -> Problem:
        """What is wrong with the value that came from here."""
        file = None if self.line is None else self.source
        return Problem(file, self.line, self.column, key, message)


DEFAULT = Origin("default")
AUTOMATIC_ORIGIN = Origin("automatic")

#: Origin of values that a program wrote, see ``ServerSettings.build``.
PROGRAM = Origin("program")


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody gave for an option, already converted and in range."""

    value: Any
    origin: Origin


@dataclass(frozen=True, slots=True)
class GivenPool:
    """What was given for one pool, by key."""

    name: str
    origin: Origin
    values: Mapping[str, Given] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """What was given for the whole server; ``pools`` in the order of the file."""

    root: Mapping[str, Given]
    pools: tuple[GivenPool, ...]
