"""What an interactive program asks of a session beside values: pictures and formulas, whole inputs, and names.

Graphics and formulas in IPython: expressions that a session returned are drawn by that kernel. A session that is opened
in IPython registers itself (`register`); nothing has to be loaded. IPython asks for SVG and LaTeX when it shows the
value of a cell. The session that was opened last and is still open draws.

What a user types for a kernel: whether it is a whole input yet (`completeness`), and the names that may complete it.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import weakref
import zlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, Literal, Protocol, TypeAlias

from wstpserver.client.evaluation import Callbacks
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression, Function, Symbol

#: Seconds for the kernel to draw a picture, or to write a formula.
DRAW_TIMEOUT: Final = 30.0
FORMULA_TIMEOUT: Final = 5.0

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: Number of channels of an image -> colour type of PNG.
_COLOUR_TYPES: Final = {1: 0, 2: 4, 3: 2, 4: 6}

#: Heads of expressions that are pictures.
PICTURES: Final = frozenset(
    {
        "GeoGraphics", "Graph", "Graphics", "Graphics3D", "GraphicsColumn", "GraphicsComplex", "GraphicsGrid",
        "GraphicsRow", "Image", "Image3D", "Legended",
    }
)  # fmt: skip

#: Heads whose LaTeX says less than their text.
_NO_FORMULAS: Final = PICTURES | {"Association", "Failure", "Hold", "HoldComplete", "HoldForm"}


class Evaluates(Protocol):
    """Evaluates expressions; a `Session` does."""

    def evaluate(
        self, expression: Any, timeout: float | None = None, *, callbacks: Callbacks | None = None, results: Any = None
    ) -> Any:
        """See `Session.evaluate`."""


def svg(session: Evaluates, expression: Expression) -> str | None:
    """Have the kernel draw a picture.

    Args:
        session: The session that draws.
        expression: The expression.

    Returns:
        The SVG text; None for an expression that is no picture, or that the kernel cannot draw.
    """
    if _head(expression) not in PICTURES:
        return None
    value = _evaluated(session, Function(Symbol("ExportString"), (expression, "SVG")), DRAW_TIMEOUT)
    return value if isinstance(value, str) and "<svg" in value else None


def latex(session: Evaluates, expression: Expression) -> str | None:
    """Have the kernel write a formula.

    Args:
        session: The session that writes.
        expression: The expression.

    Returns:
        LaTeX text between dollar signs; None for a picture, and if the kernel cannot write it.
    """
    head = _head(expression)
    if not head or head in _NO_FORMULAS:
        return None
    form = Function(Symbol("TeXForm"), (Function(Symbol("HoldForm"), (expression,)),))
    value = _evaluated(session, Function(Symbol("ToString"), (form,)), FORMULA_TIMEOUT)
    if not isinstance(value, str) or not value or "TeXForm" in value:
        return None
    return f"$\\displaystyle {value}$"


def png_of(pixels: object) -> bytes:
    """Make a PNG file of 8 bits a channel.

    Args:
        pixels: Rows of pixels, of shape (height, width) or (height, width, channels), channels from 1 to 4; values
            from 0 to 255.

    Returns:
        The bytes of the file.

    Raises:
        ValueError: It is something else.
    """
    tolist = getattr(pixels, "tolist", None)
    rows = tolist() if tolist is not None else pixels
    if not isinstance(rows, list) or not rows or not isinstance(rows[0], list) or not rows[0]:
        raise ValueError("an image is rows of pixels")
    first = rows[0][0]
    channels = len(first) if isinstance(first, list) else 1
    if channels not in _COLOUR_TYPES:
        raise ValueError(f"an image has 1 to 4 channels, not {channels}")
    width = len(rows[0])
    lines = []
    for row in rows:
        values = [part for pixel in row for part in pixel] if channels > 1 else row
        line = bytes(values)  # ValueError for what is no byte
        if len(line) != width * channels:
            raise ValueError("the rows of an image are equally long")
        lines.append(b"\0" + line)
    header = struct.pack(">IIBBBBB", width, len(rows), 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b""))
    return _PNG_SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


class RasterError(ValueError):
    """A drawing that cannot be made an image."""


def png_of_svg(drawing: str, zoom: float = 2.0) -> bytes:
    """Make a PNG file of a drawing, on white paper, as a browser shows it. Needs resvg_py.

    Args:
        drawing: The SVG text.
        zoom: Pixels for each unit of the drawing.

    Returns:
        The bytes of the file.

    Raises:
        ImportError: resvg_py is not installed.
        RasterError: It is no SVG, or it has no size.
    """
    import resvg_py

    try:
        return bytes(
            resvg_py.svg_to_bytes(
                svg_string=drawing.lstrip(),
                background="white",
                zoom=zoom,
                font_dirs=_font_folders(),
                font_family=_SANS,
                sans_serif_family=_SANS,
                serif_family="DejaVu Serif",
                monospace_family="DejaVu Sans Mono",
            )
        )
    except (ValueError, OSError) as error:
        raise RasterError(str(error)) from None


#: What is drawn where a drawing names no font, or a kind of font.
_SANS: Final = "DejaVu Sans"


@cache
def _font_folders() -> list[str]:
    """Matplotlib brings fonts along, for computers that have none."""
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        return []
    folder = os.path.join(os.path.dirname(found.origin), "mpl-data", "fonts", "ttf")
    return [folder] if os.path.isdir(folder) else []


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _evaluated(session: Evaluates, expression: Expression, timeout: float) -> Any:
    """The value, without output; None if there is none, since the value of a cell is shown as text then."""
    try:
        return session.evaluate(expression, timeout, callbacks=Callbacks.quiet(), results="expression")
    except WSTPError:
        return None


def _head(expression: Expression) -> str:
    if isinstance(expression, Symbol):
        return expression.name.removeprefix("System`")
    if isinstance(expression, Function):
        return _head(expression.head) if isinstance(expression.head, Symbol) else "function"
    return ""


#: The sessions that draw, the last one first.
_sessions: list[weakref.ref[Any]] = []


def register(session: Evaluates) -> None:
    """Have this session draw what IPython shows from now on. Does nothing outside IPython."""
    shell = _shell()
    if shell is None:
        return
    _sessions.insert(0, weakref.ref(session))
    formatters = shell.display_formatter.formatters
    for mime_type, draw in (("image/svg+xml", svg), ("text/latex", latex)):
        for kind in (Function, Symbol):
            formatters[mime_type].for_type(kind, _drawn_by(draw))
    for kind in (Function, Symbol):
        formatters["text/plain"].for_type(kind, lambda value, printer, _: printer.text(str(value)))


def _drawn_by(draw: Callable[[Any, Expression], str | None]) -> Callable[[Expression], str | None]:
    def show(expression: Expression) -> str | None:
        while _sessions:
            session = _sessions[0]()
            if session is not None and not session.link.closed:
                return draw(session, expression)
            del _sessions[0]
        return None

    return show


def _shell() -> Any:
    """IPython's shell; None outside IPython."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


#: "invalid": a bracket closes what is not open.
Completeness: TypeAlias = Literal["complete", "incomplete", "invalid"]


_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*(?P<closed>")?)'
    r"|(?P<comment>\(\*)"
    r"|(?P<open><\||[(\[{])"
    r"|(?P<close>\|>|[)\]}])"
    r"|(?P<space>\s+)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_COMMENT_MARK = re.compile(r"\(\*|\*\)")
_CLOSES: Final = {"(": ")", "[": "]", "{": "}", "<|": "|>"}
#: Operators that want something on their right. What may also end an expression (++, &, ;, !, .., =.) is none of them.
_OPERATOR = re.compile(r"(?:(?<!\+)\+|(?<!-)-|[*/^,=<>|~@]|:|&&|/\.|/;|<>)$")


def is_incomplete(text: str) -> bool:
    """Whether `text` cannot be a whole input yet. What is wrong in itself counts as complete: the kernel says why."""
    return completeness(text) == "incomplete"


def completeness(text: str) -> Completeness:
    """Look at the brackets, strings, comments and the last operator of an input.

    Args:
        text: The input so far.

    Returns:
        What it is. A question such as ``?String*`` is complete with its line.
    """
    if text.lstrip().startswith("?"):
        return "complete"
    expected: list[str] = []
    code: list[str] = []  # a window on what has been read last, to find an operator at the end
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None, "the last alternative takes any character"
        position = match.end()
        if match["string"] is not None:
            if match["closed"] is None:
                return "incomplete"
            code.append('"')
        elif match["comment"] is not None:
            end = _comment_end(text, position)
            if end is None:
                return "incomplete"
            position = end
        elif match["open"] is not None:
            expected.append(_CLOSES[match["open"]])
            code.append("(")
        elif match["close"] == "|>" and expected[-1:] != ["|>"]:
            code.append("|>")  # two operators, or the end of an input that is wrong anyway
        elif match["close"] is not None:
            if not expected or expected.pop() != match["close"]:
                return "invalid"
            code.append(")")
        else:
            code.append(match[0][:1])
    if expected or _OPERATOR.search("".join(code[-40:]).rstrip()) is not None:
        return "incomplete"
    return "complete"


def _comment_end(text: str, position: int) -> int | None:
    """Where the comment ends whose text begins at `position`; comments nest."""
    depth = 1
    while depth:
        mark = _COMMENT_MARK.search(text, position)
        if mark is None:
            return None
        depth += 1 if mark[0] == "(*" else -1
        position = mark.end()
    return position


#: Seconds that a kernel has to answer: it is idle, and somebody waits at the keyboard.
_NAMES_TIMEOUT: Final = 2.0
_MOST_NAMES: Final = 500
_LIST_HEADS: Final = (Symbol("List"), Symbol("System`List"))


def names_beginning(session: Evaluates, beginning: str) -> list[str]:
    """Ask a kernel for names.

    Args:
        session: The session with the kernel.
        beginning: The beginning of a symbol's name.

    Returns:
        The symbols whose names begin so, sorted, 500 at most; none if the kernel does not answer in 2 s.
    """
    if any(character in '*@\\"' for character in beginning):
        return []
    try:
        question = Function(Symbol("Names"), (beginning + "*",))
        value = session.evaluate(question, _NAMES_TIMEOUT, callbacks=Callbacks.quiet(), results="expression")
    except WSTPError:
        return []
    if not isinstance(value, Function) or value.head not in _LIST_HEADS:
        return []
    return sorted({name for name in value.args if isinstance(name, str)})[:_MOST_NAMES]
