"""Text as a Wolfram kernel writes it: options of ToString, characters of all planes, named characters, Run."""

from __future__ import annotations

import subprocess
from typing import Any

import mathics_scanner.tokeniser as tokeniser
from mathics.builtin.box.layout import StyleBox
from mathics.core.atoms import Integer, String
from mathics.core.convert import op
from mathics.core.element import BaseElement
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolTrue
from mathics.core.systemsymbols import SymbolFullForm, SymbolInputForm, SymbolOutputForm
from mathics.eval.strings import eval_ToString
from mathics_scanner.characters import NAME_TO_WL_UNICODE
from mathics_scanner.escape_sequences import parse_escape_sequence

from wstpserver.embedded.builtins.library import Library
from wstpserver.embedded.format import full_form_text

TEXT = Library()

#: The largest code point.
LAST_CODE_POINT = 0x10FFFF

#: What begins a continuation line, by form: as in the text of Wolfram kernels.
_CONTINUATION = {SymbolInputForm: "\n ", SymbolFullForm: "\n ", SymbolOutputForm: "\n \n>    "}

#: Options of ToString. Heights are accepted without effect: text is never cut.
_TO_STRING_OPTIONS = (
    "CharacterEncoding", "FormatType", "NumberMarks", "PageHeight", "PageWidth", "TotalHeight", "TotalWidth",
)  # fmt: skip


@TEXT.define("ToString", 1, 2, options=_TO_STRING_OPTIONS)
def to_string(
    evaluation: Any, expression: BaseElement, form: BaseElement | None = None, *, options: dict[str, BaseElement]
) -> BaseElement | None:
    """ToString with the options FormatType and PageWidth."""
    if form is None:
        form = options.get("FormatType", SymbolOutputForm)
    if not isinstance(form, Symbol):
        return None
    if form is SymbolFullForm:
        text = String(full_form_text(expression, evaluation))
    else:
        encoding = options.get("CharacterEncoding")
        name = encoding.value if isinstance(encoding, String) else "Unicode"
        text = eval_ToString(expression, form, name, evaluation)
    width = options.get("PageWidth")
    if isinstance(width, Integer) and width.value > 0:
        return String(wrapped(text.value, width.value, _CONTINUATION.get(form, "\n")))
    return text


def wrapped(text: str, width: int, continuation: str) -> str:
    """Break lines that are longer than `width` after a space outside of strings.

    Args:
        text: Text of an expression, of one or more lines.
        width: Characters a line may have. A line without a place for a break stays longer.
        continuation: What stands for each break: a line break and the beginning of the next line.
    """
    return "\n".join(_wrapped_line(line, width, continuation) for line in text.split("\n"))


def _wrapped_line(line: str, width: int, continuation: str) -> str:
    indent = len(continuation.rpartition("\n")[2])
    pieces: list[str] = []
    start, room = 0, width
    place = 0  # after the last space at which the line can be broken
    quoted = escaped = False
    for position, character in enumerate(line):
        if position - start >= room and place > start:
            pieces.append(line[start:place])
            start, room = place, width - indent
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == " " and not quoted:
            place = position + 1
    pieces.append(line[start:])
    return continuation.join(pieces)


@TEXT.define("FromCharacterCode", 1)
def from_character_code(evaluation: Any, codes: BaseElement) -> BaseElement | None:
    """FromCharacterCode for characters of all planes; encodings and errors are left to Mathics."""
    if isinstance(codes, Integer):
        text = _characters([codes])
        return None if text is None else String(text)
    if not isinstance(codes, ListExpression) or not codes.elements:
        return None
    if not isinstance(codes.elements[0], ListExpression):
        text = _characters(codes.elements)
        return None if text is None else String(text)
    texts = [_characters(e.elements if isinstance(e, ListExpression) else [e]) for e in codes.elements]
    return None if None in texts else ListExpression(*(String(text) for text in texts))


def _characters(codes: Any) -> str | None:
    if not all(isinstance(code, Integer) and 0 <= code.value <= LAST_CODE_POINT for code in codes):
        return None
    return "".join(chr(code.value) for code in codes)


@TEXT.define("Run", 1, None)
def run(evaluation: Any, *command: BaseElement) -> BaseElement | None:
    """Run a command line by the system's shell; arguments are joined with spaces. The value is the exit code."""
    words = [e.value if isinstance(e, String) else evaluation.format_output(e, "text") for e in command]
    return Integer(subprocess.call(" ".join(words), shell=True))


def install_text() -> None:
    r"""Give named characters in strings the code points of a Wolfram kernel, and InputForm of strings its escapes.

    The code point of \[Rule] is U+F522. Mathics puts look-alikes of the Unicode standard into strings, which other
    programs on the link do not take for the same characters. Outside of strings both kinds are parsed already.
    """
    tokeniser.parse_escape_sequence = _parse_escape_sequence
    for name, character in NAME_TO_WL_UNICODE.items():
        if len(character) == 1 and ord(character) > 127:
            op.CHARACTER_TO_NAME.setdefault(character, rf"\[{name}]")
    String.atom_to_boxes = _string_to_boxes
    tokens, indices = tokeniser.Tokeniser.modes["expr"]
    # The arrow of x |-> body before the bar, which the scanner would take first.
    indices["|"] = sorted(indices["|"], key=lambda index: tokens[index][0] == "Alternatives")


#: How InputForm writes characters of strings.
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"})

_mathics_string_to_boxes = String.atom_to_boxes


def _string_to_boxes(string: String, form: Symbol, evaluation: Any) -> BaseElement:
    """Mathics' method, with escapes for control characters in InputForm and FullForm."""
    if form not in (SymbolInputForm, SymbolFullForm):
        boxes: BaseElement = _mathics_string_to_boxes(string, form, evaluation)
        return boxes
    options = {"NumberMarks": SymbolTrue, "ShowSpecialCharacters": SymbolFalse, "ShowStringCharacters": SymbolTrue}
    return StyleBox(
        String(f'"{string.value.translate(_ESCAPES)}"'), **{f"System`{name}": v for name, v in options.items()}
    )


def _parse_escape_sequence(source_text: str, pos: int, is_in_string: bool) -> tuple[str, int]:  # noqa: FBT001
    """The scanner's function of this name, but for named characters in strings."""
    if is_in_string and source_text.startswith("[", pos):
        end = source_text.find("]", pos)
        character = NAME_TO_WL_UNICODE.get(source_text[pos + 1 : end]) if end > 0 else None
        if character is not None:
            return character, end + 1
    result: tuple[str, int] = parse_escape_sequence(source_text, pos, is_in_string)
    return result
