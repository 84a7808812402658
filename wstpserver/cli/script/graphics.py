"""Graphics on a terminal that shows text: each is saved to a file, which is named."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Final

from wstpserver.client import Callbacks, Session, to_python
from wstpserver.client.interactive import png_of
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression, Function, Symbol

#: How kernels write a picture as text.
_PICTURE: Final = re.compile(r"-(?:Graphics|Graphics3D|GraphicsBox|Graphics3DBox|Image)-")
_LINE: Final = re.compile(r"Out\[(\d+)\]")
#: Seconds that drawing a picture may take.
_TIMEOUT: Final = 30.0


class GraphicsFolder:
    """A temporary folder for the pictures of one session, made for the first one. It stays after the session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._folder: Path | None = None

    def save(self, label: str, text: str) -> str | None:
        """Save a result that is a picture.

        Args:
            label: The label of the result.
            text: The result as text.

        Returns:
            What became of it, for the user; None if it is no picture.
        """
        line = _LINE.search(label)
        if line is None or not _PICTURE.fullmatch(text.strip()):
            return None
        result = Function(Symbol("Out"), (int(line[1]),))
        name = f"Out{line[1]}"
        drawing = self._svg(result)
        if drawing is not None:
            return self._write(f"{name}.svg", drawing.lstrip().encode())
        pixels = self._png(result)
        if pixels is not None:
            return self._write(f"{name}.png", pixels)
        return f"This kernel cannot draw {text.strip()}; it is not saved"

    def _svg(self, picture: Expression) -> str | None:
        """The drawing; None if the kernel does not draw it, or only writes its name into the drawing."""
        value = self._evaluate(Function(Symbol("ExportString"), (picture, "SVG")))
        drawn = isinstance(value, str) and "<svg" in value and not _PICTURE.search(value)
        return value if drawn and isinstance(value, str) else None

    def _png(self, picture: Expression) -> bytes | None:
        """An image from its pixels; None if it has none."""
        value = self._evaluate(Function(Symbol("ImageData"), (picture, "Byte")))
        try:
            return None if value is None else png_of(to_python(value))
        except (TypeError, ValueError):
            return None

    def _evaluate(self, expression: Expression) -> Expression | None:
        """The value, without a word to the user; None if there is none."""
        try:
            value: Expression = self._session.evaluate(expression, _TIMEOUT, callbacks=Callbacks.quiet())
        except WSTPError:  # a link that ended is noticed by the next input
            return None
        return value

    def _write(self, name: str, data: bytes) -> str:
        try:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="wstpscript-"))
            path = self._folder / name
            path.write_bytes(data)
        except OSError as error:
            return f"The picture cannot be saved: {error.strerror}"
        return f"Saved as {path}"
