"""Graphics on a terminal that shows text: each is saved to a file, which is named."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

from wstpserver.client import Callbacks, Session
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Function, Symbol

#: How kernels write a picture as text.
_PICTURE = re.compile(r"-(?:Graphics|Graphics3D|GraphicsBox|Image)-")
_LINE = re.compile(r"Out\[(\d+)\]")
#: Seconds that drawing it may take.
_TIMEOUT: Final = 30.0
_FORMAT: Final = "SVG"


class GraphicsFolder:
    """A temporary folder for the pictures of one session, made for the first one. It stays, so that one can look."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._folder: Path | None = None

    def save(self, label: str, text: str) -> Path | None:
        """Save the result with this label if its text says that it is a picture; the file, None if there is none."""
        line = _LINE.search(label)
        if line is None or not _PICTURE.fullmatch(text.strip()):
            return None
        picture = self._draw(int(line[1]))
        return None if picture is None else self._write(f"Out{line[1]}.{_FORMAT.lower()}", picture)

    def _draw(self, line: int) -> str | None:
        """What the kernel makes of Out[line]; None if it cannot draw it."""
        drawing = Function(Symbol("ExportString"), (Function(Symbol("Out"), (line,)), _FORMAT))
        silent = Callbacks(on_print=lambda text: None, on_message=lambda message: None)
        try:
            value = self._session.evaluate(drawing, _TIMEOUT, callbacks=silent)
        except WSTPError:  # a link that ended is noticed by the next input
            return None
        return value if isinstance(value, str) and "<svg" in value else None

    def _write(self, name: str, picture: str) -> Path | None:
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="wstpscript-"))
            path = self._folder / name
            path.write_text(picture.lstrip(), encoding="utf-8")
        except OSError:
            return None
        return path
