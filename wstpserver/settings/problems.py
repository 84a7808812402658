"""What can be wrong with a configuration, and the error that carries all of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wstpserver.wire.errors import WSTPError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it is, and what was expected instead.

    ``line`` and ``column`` count from 1, columns in characters; both are None when the problem
    has no place in a file (a file that is missing, a value from the environment).
    ``key`` is the option, with its pool in front for a pool's: ``Pools.NAME.KernelPath``.
    """

    file: str | None
    line: int | None
    column: int | None
    key: str | None
    message: str

    def __str__(self) -> str:
        parts = []
        if self.file is not None:
            place = self.file
            if self.line is not None:
                place += f":{self.line}"
                if self.column is not None:
                    place += f":{self.column}"
            parts.append(place)
        if self.key is not None:
            parts.append(self.key)
        parts.append(self.message)
        return ": ".join(parts)


class ConfigurationError(WSTPError):
    """The configuration cannot be used; ``problems`` holds every reason, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems: tuple[Problem, ...] = tuple(problems)
