"""The inputs of earlier sessions, in a file of the user's: one JSON string a line, the oldest first."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

#: Inputs kept; the file is cut to them when it has grown to twice as many.
LENGTH: Final = 1000


class History:
    """Kept in the file `path`; without one for this session only. A file that fails costs the history, no more."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        read = self._read()
        #: The oldest first.
        self.entries: list[str] = read[-LENGTH:]
        if len(read) >= 2 * LENGTH:
            self._rewrite()

    def append(self, entry: str) -> bool:
        """Remember an input; False if it is the same as the one before."""
        if self.entries and self.entries[-1] == entry:
            return False
        self.entries.append(entry)
        self._write(json.dumps(entry) + "\n", os.O_APPEND)
        return True

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        entries = [_entry(line) for line in lines]
        return [entry for entry in entries if entry]

    def _rewrite(self) -> None:
        self._write("".join(json.dumps(entry) + "\n" for entry in self.entries), os.O_TRUNC)

    def _write(self, text: str, flag: int) -> None:
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | flag, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            self._path = None


def _entry(line: str) -> str | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
