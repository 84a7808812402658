"""In which form a result is printed: text of the language, or a format of ``Export``.

The kernel writes the value. Where it cannot draw a picture as an image (the embedded kernel draws SVG only), it gives
the drawing or the pixels, and the image is made of them here. In a session on a terminal, which shows text, graphics
are saved to files, which are named.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
from typing import Final, NamedTuple

from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal
from wstpserver.client import Callbacks, Session
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression, Function, Symbol

#: Names of forms of the language, and other names for them, in lower case -> the form.
_FORMS: Final = {
    "tex": "TeXForm", "latex": "TeXForm", "texfragment": "TeXForm", "mathml": "MathMLForm", "c": "CForm",
    "wl": "InputForm", "wolfram": "InputForm", "mathematica": "InputForm", "package": "InputForm", "m": "InputForm",
    "inputform": "InputForm", "outputform": "OutputForm", "texform": "TeXForm", "fullform": "FullForm",
    "cform": "CForm", "fortranform": "FortranForm", "mathmlform": "MathMLForm", "standardform": "StandardForm",
    "traditionalform": "TraditionalForm", "scriptform": "", "text": "", "string": "", "plaintext": "",
}  # fmt: skip
#: Formats of images, in lower case -> the name that `Export` and Pillow know.
_IMAGES: Final = {
    "png": "PNG", "jpeg": "JPEG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "tiff": "TIFF", "tif": "TIFF",
    "pdf": "PDF", "webp": "WebP",
}  # fmt: skip
#: Other formats that are bytes and no text.
_BINARY: Final = frozenset(
    {"mx", "wdx", "wxf", "zip", "gzip", "xlsx", "xls", "hdf5", "wav", "mp3", "flac", "ogg", "mp4"}
)
#: Names of ``$CharacterEncodings`` that Python has under another one.
_ENCODINGS: Final = {
    "isolatin1": "latin-1", "isolatin2": "iso8859-2", "isolatin3": "iso8859-3", "isolatin4": "iso8859-4",
    "isolatincyrillic": "iso8859-5", "macintoshroman": "mac_roman", "windowsansi": "cp1252", "windowsbaltic": "cp1257",
    "windowseasteurope": "cp1250", "windowsgreek": "cp1253", "windowscyrillic": "cp1251", "windowsturkish": "cp1254",
    "printableascii": "ascii", "shiftjis": "shift_jis", "euc": "euc_jp", "koi8-r": "koi8_r",
}  # fmt: skip

_TEXT: Final = "text"
_PIXELS: Final = "pixels"
_DRAWING: Final = "drawing"


class Format(NamedTuple):
    """How a result is written.

    Attributes:
        name: As the user says it; "" where nobody has said anything.
        show: Text of a function that makes of a value its text, or for images a list of a kind and what belongs to it;
            "" for plain text, as `program` writes it.
        image: The name of the image format; "" for none.
        binary: Whether what is written is bytes and no text.
        export: Whether it is a format of ``Export``, and no form of the language.
    """

    name: str = ""
    show: str = ""
    image: str = ""
    binary: bool = False
    export: bool = False


def format_of(name: str | None) -> Format:
    """The format that the user has named; plain text for None."""
    if name is None:
        return Format()
    form = _FORMS.get(name.lower())
    if form is not None:
        return Format(name, f"ToString[Unevaluated[#], {form}] &" if form else "")
    image = _IMAGES.get(name.lower())
    if image is None:
        return Format(name, f"ExportString[#, {_quoted(name)}] &", "", name.lower() in _BINARY, export=True)
    pixels = f'{{"{_PIXELS}", ImageData[#1, "Byte"]}}'
    drawing = f'{{"{_DRAWING}", ExportString[#1, "SVG"]}}'
    choice = f'If[StringQ[#2], {{"{_TEXT}", #2}}, If[Head[#1] === Image, {pixels}, {drawing}]]'
    return Format(name, f'({choice} &)[#, Quiet[ExportString[#, "{image}"]]] &', image, binary=True, export=True)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# What the kernel has written


class Result(NamedTuple):
    """What is written: text, or bytes."""

    text: str = ""
    data: bytes | None = None


def read_result(value: Expression, form: Format) -> Result:
    """What is to be written for a value that `Format.show` gave. ProgramError if it is nothing."""
    if isinstance(value, str):
        if form.binary:
            return Result(data=_bytes(value))
        return Result(_decoded(value).removesuffix("\n") if form.export else value)
    if isinstance(value, Function) and len(value.args) == 2 and value.args[0] in (_TEXT, _PIXELS, _DRAWING):
        kind, content = value.args
        if kind == _TEXT and isinstance(content, str):
            return Result(data=_bytes(content))
        if kind == _PIXELS:
            return Result(data=_from_pixels(content, form))
        if kind == _DRAWING and isinstance(content, str) and "<svg" in content:
            return Result(data=_from_drawing(content, form))
    raise ProgramError(f"the kernel cannot write this result as {form.name}")


def _bytes(text: str) -> bytes:
    """Bytes come as the characters from 0 to 255."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()


def _decoded(text: str) -> str:
    """Kernels write some formats, such as JSON, as the bytes of UTF-8."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _from_pixels(pixels: Expression, form: Format) -> bytes:
    from wstpserver.client import to_python
    from wstpserver.client.interactive import png_of

    try:
        return _converted(png_of(to_python(pixels)), form)
    except (TypeError, ValueError):
        raise ProgramError(f"the kernel cannot write this result as {form.name}") from None


def _from_drawing(drawing: str, form: Format) -> bytes:
    from wstpserver.client.interactive import RasterError, png_of_svg

    try:
        data = png_of_svg(drawing, zoom=2)  # the size on screens of today
    except ImportError:
        raise ProgramError(
            f"this kernel draws SVG only (-format SVG); for {form.name} install resvg_py here: "
            "pip install 'wstpserver[plots]'"
        ) from None
    except RasterError as error:
        raise ProgramError(f"this drawing cannot be made {form.name}: {error}") from None
    return _converted(data, form)


def _converted(png: bytes, form: Format) -> bytes:
    """The image in its format."""
    if form.image == "PNG":
        return png
    try:
        from PIL import Image
    except ImportError:
        raise ProgramError(
            f"this kernel draws SVG only (-format SVG); for {form.name} install Pillow here: "
            "pip install 'wstpserver[plots]'"
        ) from None
    from io import BytesIO

    written = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").save(written, form.image, resolution=144.0)
    return written.getvalue()


# Where it goes


def encoding_of(name: str | None) -> str | None:
    """Python's name of an encoding, latin-1 for None as a name, which writes bytes as they are; None for no name.

    Raises:
        ProgramError: There is no such encoding.
    """
    if name is None:
        return None
    if name.lower() in ("none", "{}"):
        return "latin-1"
    known = _ENCODINGS.get(name.lower().replace(" ", ""), name)
    try:
        found = codecs.lookup(known).name
        "".encode(found)
    except (LookupError, ValueError):
        raise ProgramError(f"-charset {name}: there is no such encoding", ExitCode.USAGE) from None
    if name.lower() == "unicode":
        raise ProgramError("-charset Unicode is not possible; UTF-8 or UTF-16 are", ExitCode.USAGE)
    return found


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Characters that an encoding lacks, as the language writes them in its own text."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    codes = (ord(character) for character in error.object[error.start : error.end])
    return "".join(f"\\:{code:04x}" if code < 0x10000 else f"\\|{code:06x}" for code in codes), error.end


#: The name under which codecs know how to write what an encoding lacks.
_ESCAPES: Final = "wstpserver-escapes"
codecs.register_error(_ESCAPES, _escape)


class ResultWriter:
    """Writes results to standard output or to a file.

    Args:
        terminal: Standard output.
        path: A file that is replaced; None for standard output.
        encoding: Python's name of it; None for UTF-8 in a file, and what the terminal has.
    """

    def __init__(self, terminal: Terminal, path: str | None, encoding: str | None) -> None:
        self._terminal = terminal
        self._path = path
        self._encoding = encoding
        self._written = False
        if encoding is not None and path is None:
            reconfigure = getattr(sys.stdout, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(encoding=encoding, errors=_ESCAPES)

    def write(self, result: Result) -> None:
        """Write one result; a text gets a line end.

        Raises:
            OutputError: Standard output cannot be written.
            ProgramError: The file cannot be written.
            BrokenPipeError: Nobody reads standard output.
        """
        if self._path is not None:
            self._write_file(self._path, result)
        elif result.data is None:
            self._terminal.write(result.text + "\n")
        else:
            self._terminal.write_bytes(result.data)

    def _write_file(self, path: str, result: Result) -> None:
        data = result.data
        if data is None:
            data = (result.text + "\n").encode(self._encoding or "utf-8", _ESCAPES)
        try:
            with open(os.path.expanduser(path), "ab" if self._written else "wb") as file:
                file.write(data)
        except OSError as error:
            raise ProgramError(f"cannot write {path}: {error.strerror}", ExitCode.IO) from None
        self._written = True


# Graphics of a session on a terminal


#: How kernels write a picture as text.
_PICTURE: Final = re.compile(r"-(?:Graphics|Graphics3D|GraphicsBox|Graphics3DBox|Image)-")
_IMAGE: Final = "-Image-"
_LINE: Final = re.compile(r"Out\[(\d+)\]")
#: Seconds that drawing a picture may take.
_TIMEOUT: Final = 30.0


class GraphicsFolder:
    """A temporary folder for the pictures of one session, made for the first one. It stays after the session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._folder: str | None = None

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
        # A drawing of an image holds its pixels, and few programs that show an image show that.
        drawing = None if text.strip() == _IMAGE else self._svg(result)
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
            from wstpserver.client import to_python
            from wstpserver.client.interactive import png_of

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
                import tempfile  # which takes a while

                self._folder = tempfile.mkdtemp(prefix="wstpscript-")
            path = os.path.join(self._folder, name)
            with open(path, "wb") as file:
                file.write(data)
        except OSError as error:
            return f"The picture cannot be saved: {error.strerror}"
        return f"Saved as {path}"
