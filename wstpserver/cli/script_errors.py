"""The exit statuses of wstpscript, and the error that carries one."""

from __future__ import annotations

from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNAVAILABLE: Final = 69
EXIT_INTERRUPTED: Final = 130
EXIT_CLOSED_PIPE: Final = 141


class ScriptError(Exception):
    """Something that ends the program with this exit status, after its text went to stderr."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status
