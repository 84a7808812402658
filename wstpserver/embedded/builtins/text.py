"""Text as a Wolfram kernel writes it: options of ToString, characters of all planes, named characters, Run."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import re
import subprocess
import urllib.parse
import uuid
from typing import Any

import mathics_scanner.tokeniser as tokeniser
from mathics.builtin.box.layout import StyleBox
from mathics.core.atoms import Integer, MachineReal, Rational, String
from mathics.core.convert import op
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolNull, SymbolTrue
from mathics.core.systemsymbols import (
    SymbolAssociation,
    SymbolFailed,
    SymbolFullForm,
    SymbolInputForm,
    SymbolOutputForm,
    SymbolRule,
)
from mathics.eval.strings import eval_ToString
from mathics_scanner.characters import NAME_TO_WL_UNICODE
from mathics_scanner.escape_sequences import parse_escape_sequence

from wstpserver.embedded.arrays import machine_real
from wstpserver.embedded.builtins.library import Library, value_by_other_rules
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


# Delayed rules of strings.


def _with_delayed_rules(name: str) -> None:
    symbol = Symbol(f"System`{name}")

    @TEXT.define(name, 2)
    def delayed(evaluation: Any, text: BaseElement, rules: BaseElement) -> BaseElement | None:
        """Mathics takes immediate rules only: a delayed one becomes one whose right side is not evaluated yet."""
        given = rules.elements if isinstance(rules, ListExpression) else [rules]
        if not any(rule.has_form("RuleDelayed", 2) for rule in given):
            return None
        immediate = [Expression(SymbolRule, *r.elements) if r.has_form("RuleDelayed", 2) else r for r in given]
        argument = ListExpression(*immediate) if isinstance(rules, ListExpression) else immediate[0]
        return value_by_other_rules(Expression(symbol, text, argument), evaluation)


_with_delayed_rules("StringReplace")
_with_delayed_rules("StringCases")


# Templates, numbers in words, dates, JSON.


@TEXT.define("TemplateApply", 1, 2, usage="TemplateApply[template, args] fills the slots of a string template.")
def template_apply(evaluation: Any, template: BaseElement, arguments: BaseElement | None = None) -> BaseElement | None:
    """A string with `` ` ``, `n` and `name` replaced."""
    if template.has_form("StringTemplate", 1):
        template = template.elements[0]
    if not isinstance(template, String):
        return None
    if isinstance(arguments, ListExpression):
        given = list(arguments.elements)
    else:
        given = [] if arguments is None else [arguments]
    named = {}
    for association in (part for part in given if part.has_form("Association", None)):
        named.update({_plain_text(rule.elements[0], evaluation): rule.elements[1] for rule in association.elements})
    count = 0

    def fill(match: re.Match[str]) -> str:
        nonlocal count
        key = match[1]
        if not key:
            count += 1
            key = str(count)
        if key in named:
            return _plain_text(named[key], evaluation)
        if key.isdecimal() and 1 <= int(key) <= len(given):
            return _plain_text(given[int(key) - 1], evaluation)
        return match[0]

    return String(re.sub(r"`(\w*)`", fill, template.value))


def _plain_text(element: BaseElement, evaluation: Any) -> str:
    return element.value if isinstance(element, String) else str(evaluation.format_output(element, "text"))


@TEXT.define("URLDecode", 1, usage="URLDecode[string] decodes the escapes of a URL.")
def url_decode(evaluation: Any, text: BaseElement) -> BaseElement | None:
    """Text without percent escapes."""
    return String(urllib.parse.unquote_plus(text.value)) if isinstance(text, String) else None


_ROMAN = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"),
          (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))  # fmt: skip


@TEXT.define("RomanNumeral", 1, usage="RomanNumeral[n] writes an integer in Roman numerals.")
def roman_numeral(evaluation: Any, number: BaseElement) -> BaseElement | None:
    """A number from 0 to 4999 as a string."""
    if not isinstance(number, Integer) or not 0 <= number.value < 5000:
        return None
    left, text = number.value, ""
    for value, sign in _ROMAN:
        text += sign * (left // value)
        left %= value
    return String(text or "N")


@TEXT.define("FromRomanNumeral", 1, usage="FromRomanNumeral[string] reads Roman numerals.")
def from_roman_numeral(evaluation: Any, text: BaseElement) -> BaseElement | None:
    """The integer Roman numerals stand for."""
    if not isinstance(text, String) or not re.fullmatch(r"[MDCLXVI]+", text.value.upper()):
        return None
    values = {sign: value for value, sign in _ROMAN}
    numbers = [values[sign] for sign in text.value.upper()]
    return Integer(sum(-n if n < max(numbers[i:]) else n for i, n in enumerate(numbers)))


_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_THOUSANDS = ("", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion")


@TEXT.define("IntegerName", 1, usage="IntegerName[n] writes an integer in English words.")
def integer_name(evaluation: Any, number: BaseElement) -> BaseElement | None:
    """Below a thousand all in words, above in groups with digits, as Wolfram kernels do."""
    if not isinstance(number, Integer) or abs(number.value) >= 10**21:
        return None
    value = abs(number.value)
    if value < 1000:
        text = _below_thousand(value)
    else:
        groups: list[str] = []
        for word in _THOUSANDS:
            value, part = divmod(value, 1000)
            if part:
                groups.insert(0, f"{part} {word}".strip())
        text = " ".join(groups)
    return String(f"negative {text}" if number.value < 0 else text)


def _below_thousand(value: int) -> str:
    if value < 20:
        return _UNITS[value]
    if value < 100:
        tens, units = divmod(value, 10)
        return _TENS[tens - 2] + (f"\u2010{_UNITS[units]}" if units else "")
    hundreds, rest = divmod(value, 100)
    return f"{_UNITS[hundreds]} hundred" + (f" {_below_thousand(rest)}" if rest else "")


#: Dates as lists or objects, and what strftime writes for a format's name.
_DATE_FORMATS = {
    "ISODate": "%Y-%m-%d", "ISODateTime": "%Y-%m-%dT%H:%M:%S", "ISOWeekDate": "%G-W%V-%u", "ISOOrdinalDate": "%Y-%j",
}  # fmt: skip


@TEXT.define("DateString", 1, 2)
def date_string(evaluation: Any, date: BaseElement, form: BaseElement | None = None) -> BaseElement | None:
    """DateString with one of the ISO forms."""
    if isinstance(date, String) and date.value in _DATE_FORMATS and form is None:
        return String(datetime.datetime.now().strftime(_DATE_FORMATS[date.value]))
    if not isinstance(form, String) or form.value not in _DATE_FORMATS:
        return None
    found = _date_of(date, evaluation)
    return None if found is None else String(found.strftime(_DATE_FORMATS[form.value]))


@TEXT.define("DayName", 0, 1, usage="DayName[date] gives the day of the week of a date.")
def day_name(evaluation: Any, date: BaseElement | None = None) -> BaseElement | None:
    """The day of the week as a symbol."""
    found = datetime.datetime.now() if date is None else _date_of(date, evaluation)
    return None if found is None else Symbol("System`" + found.strftime("%A"))


@TEXT.define("UnixTime", 0, 1, usage="UnixTime[] gives the seconds since the beginning of 1970.")
def unix_time(evaluation: Any, date: BaseElement | None = None) -> BaseElement | None:
    """Seconds since 1970, of dates in the local time zone."""
    found = datetime.datetime.now() if date is None else _date_of(date, evaluation)
    return None if found is None else Integer(int(found.timestamp()))


def _date_of(date: BaseElement, evaluation: Any) -> datetime.datetime | None:
    """The date of {y, m, d, ...}, DateObject[{y, ...}] or a string Mathics understands."""
    if date.has_form("DateObject", None) and date.elements:
        date = date.elements[0]
    if isinstance(date, String):
        date = Expression(Symbol("System`DateList"), date).evaluate(evaluation)
    if not isinstance(date, ListExpression) or not 1 <= len(date.elements) <= 6:
        return None
    numbers = [float(part.value) for part in date.elements if isinstance(part, Integer | MachineReal | Rational)]
    if len(numbers) != len(date.elements):
        return None
    year, month, day, hour, minute, second = [*numbers, *[1.0, 1.0, 1.0, 0.0, 0.0, 0.0][len(numbers) :]]
    try:
        begin = datetime.datetime(int(year), int(month), 1)
        return begin + datetime.timedelta(days=day - 1, hours=hour, minutes=minute, seconds=second)
    except (ValueError, OverflowError):
        return None


#: Formats of text that are written here.
EXPORT_FORMATS = ("JSON", "RawJSON", "CompactJSON", "CSV", "TSV", "Table", "Text", "Package")

#: What separates the columns of a table.
_SEPARATORS = {"CSV": ",", "TSV": "\t", "Table": "\t"}


def exported_text(value: BaseElement, form: str, evaluation: Any) -> str | None:
    """A value in a format of text.

    Args:
        value: What is to be written.
        form: One of `EXPORT_FORMATS`.
        evaluation: The evaluation.

    Returns:
        The text; None for a format that is not written here.

    Raises:
        ValueError: The value has no such form.
    """
    if value.has_form("Dataset", 1):
        value = value.elements[0]
    if form in ("JSON", "RawJSON"):
        return json.dumps(_to_json(value), ensure_ascii=False, indent="\t", allow_nan=False)
    if form == "CompactJSON":
        return json.dumps(_to_json(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if form in _SEPARATORS:
        return _table_text(value, _SEPARATORS[form], evaluation)
    if form == "Text":
        return _plain_text(value, evaluation)
    if form == "Package":
        return str(eval_ToString(value, SymbolInputForm, "Unicode", evaluation).value) + "\n"
    return None


def _table_text(value: BaseElement, separator: str, evaluation: Any) -> str:
    """Rows of cells; associations with the same keys become rows under a row of keys."""
    if value.has_form("Association", None):
        value = ListExpression(*value.elements)
    if not isinstance(value, ListExpression):
        raise ValueError("a table is a list of rows")
    rows: list[list[BaseElement]] = []
    for part in value.elements:
        if part.has_form("Association", None):
            if not rows:
                rows.append([rule.elements[0] for rule in part.elements])
            known = {rule.elements[0]: rule.elements[1] for rule in part.elements}
            rows.append([known.get(key, String("")) for key in rows[0]])
        elif part.has_form(["List", "Rule"], None):
            rows.append(list(part.elements))
        else:
            rows.append([part])
    written = io.StringIO()
    writer = csv.writer(written, delimiter=separator, lineterminator="\n")
    writer.writerows([[_cell_text(cell, evaluation) for cell in row] for row in rows])
    return written.getvalue()


def _cell_text(cell: BaseElement, evaluation: Any) -> str:
    if isinstance(cell, String):
        return str(cell.value)
    if isinstance(cell, MachineReal):
        return repr(cell.value).removesuffix("0") if repr(cell.value).endswith(".0") else repr(cell.value)
    return str(eval_ToString(cell, SymbolInputForm, "Unicode", evaluation).value)


def imported_text(text: str, form: str, element: str, evaluation: Any) -> BaseElement:
    """The value of a text in JSON, or of a table.

    Args:
        text: The text.
        form: "JSON" (objects are lists of rules), "RawJSON" (associations), "CSV", "TSV" or "Table".
        element: "Dataset" for a table whose first row has the names of the columns; "" for the rows.
        evaluation: The evaluation.

    Raises:
        ValueError: The text is not JSON.
    """
    if form in ("JSON", "RawJSON"):
        value = _from_json(json.loads(text), raw=form == "RawJSON" or element == "Dataset")
        return Expression(Symbol("System`Dataset"), value) if element == "Dataset" else value
    if form == "Table":
        rows = [line.split() for line in text.splitlines()]
    else:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_SEPARATORS[form]))
    cells = [[_cell_of(cell) for cell in row] for row in rows]
    if element != "Dataset" or not cells:
        return ListExpression(*(ListExpression(*row) for row in cells))
    names = [cell if isinstance(cell, String) else String(word) for cell, word in zip(cells[0], rows[0], strict=True)]
    entries = [
        Expression(
            SymbolAssociation, *(Expression(SymbolRule, key, cell) for key, cell in zip(names, row, strict=False))
        )
        for row in cells[1:]
    ]
    return Expression(Symbol("System`Dataset"), ListExpression(*entries))


_INTEGER = re.compile(r"[+-]?\d+")
_REAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")


def _cell_of(text: str) -> BaseElement:
    word = text.strip()
    if _INTEGER.fullmatch(word):
        return Integer(int(word))
    return machine_real(float(word)) if _REAL.fullmatch(word) else String(text)


def _from_json(value: Any, *, raw: bool) -> BaseElement:
    if isinstance(value, dict):
        rules = [Expression(SymbolRule, String(k), _from_json(v, raw=raw)) for k, v in value.items()]
        return Expression(SymbolAssociation, *rules) if raw else ListExpression(*rules)
    if isinstance(value, list):
        return ListExpression(*(_from_json(part, raw=raw) for part in value))
    if value is None or isinstance(value, bool):
        return {None: SymbolNull, True: SymbolTrue, False: SymbolFalse}[value]
    if isinstance(value, str):
        return String(value)
    return Integer(value) if isinstance(value, int) else machine_real(value)


def _to_json(value: BaseElement) -> Any:
    if isinstance(value, String | Integer):
        return value.value
    if isinstance(value, MachineReal | Rational):
        return float(value.value)
    if value in (SymbolTrue, SymbolFalse, SymbolNull):
        return {SymbolTrue: True, SymbolFalse: False, SymbolNull: None}[value]
    parts = value.elements if isinstance(value, Expression) else []
    if value.has_form(["Association", "List"], None):
        rules = [part for part in parts if part.has_form(["Rule", "RuleDelayed"], 2)]
        if len(rules) == len(parts) and (parts or value.has_form("Association", None)):
            return {_json_key(rule.elements[0]): _to_json(rule.elements[1]) for rule in rules}
        if value.has_form("List", None):
            return [_to_json(part) for part in parts]
    raise ValueError(f"{value} has no form in JSON")


def _json_key(key: BaseElement) -> str:
    if isinstance(key, String):
        return str(key.value)
    raise ValueError(f"the key {key} is no string")


# Files and processes.


@TEXT.define("ReadString", 1, usage='ReadString["file"] gives the contents of a file.',
             messages={"noopen": "Cannot open `1`."})  # fmt: skip
def read_string(evaluation: Any, file: BaseElement) -> BaseElement | None:
    """The text of a file in UTF-8."""
    name = file.elements[0] if file.has_form("File", 1) else file
    if not isinstance(name, String):
        return None
    try:
        with open(os.path.expanduser(name.value), encoding="utf-8", errors="surrogateescape") as opened:
            return String(opened.read())
    except OSError:
        evaluation.message("ReadString", "noopen", name)
        return SymbolFailed


@TEXT.define("RunProcess", 1, 3, usage='RunProcess[{"command", "arg", ...}] runs a program.',
             messages={"pnfd": "Program `1` not found."})  # fmt: skip
def run_process(
    evaluation: Any, command: BaseElement, what: BaseElement | None = None, given: BaseElement | None = None
) -> BaseElement | None:
    """Run a program without a shell: exit code, output and errors, or one of them."""
    words = list(command.elements) if isinstance(command, ListExpression) else [command]
    if not words or not all(isinstance(word, String) for word in words):
        return None
    try:
        done = subprocess.run(
            [word.value for word in words], input=given.value if isinstance(given, String) else "",
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError:
        evaluation.message("RunProcess", "pnfd", words[0])
        return SymbolFailed
    results = {
        "ExitCode": Integer(done.returncode),
        "StandardOutput": String(done.stdout), "StandardError": String(done.stderr),
    }  # fmt: skip
    if isinstance(what, String):
        return results.get(what.value)
    return Expression(SymbolAssociation, *(Expression(SymbolRule, String(k), v) for k, v in results.items()))


@TEXT.define("CreateUUID", 0, 1, usage="CreateUUID[] makes a new universally unique identifier.")
def create_uuid(evaluation: Any, prefix: BaseElement | None = None) -> BaseElement | None:
    """A random identifier as a string."""
    return String((prefix.value if isinstance(prefix, String) else "") + str(uuid.uuid4()))


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


def _parse_escape_sequence(source_text: str, pos: int, is_in_string: Any) -> tuple[str, int]:
    """The scanner's function of this name, but for named characters in strings."""
    if is_in_string and source_text.startswith("[", pos):
        end = source_text.find("]", pos)
        character = NAME_TO_WL_UNICODE.get(source_text[pos + 1 : end]) if end > 0 else None
        if character is not None:
            return character, end + 1
    result: tuple[str, int] = parse_escape_sequence(source_text, pos, is_in_string)
    return result
