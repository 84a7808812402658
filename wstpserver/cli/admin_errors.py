"""The exit codes of wstpserver-admin, and the error that carries one."""

from __future__ import annotations

from typing import Final

from wstpserver.wire.errors import WSTPError

EXIT_OK: Final = 0
EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 64
EXIT_UNAVAILABLE: Final = 69
EXIT_TIMEOUT: Final = 75
EXIT_INTERRUPTED: Final = 130
EXIT_CLOSED_PIPE: Final = 141


class AdminError(WSTPError):
    """Something that ends the program with this exit code, after its text went to stderr."""

    def __init__(self, text: str, code: int = EXIT_REFUSED) -> None:
        super().__init__(text)
        self.code = code
