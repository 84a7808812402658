"""A script: its text, what a kernel is made to evaluate for it, and how the answer is read.

Nothing here needs more of a kernel than the plain language: real kernels and the embedded one evaluate the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from wstpserver.cli.options import UsageError
from wstpserver.cli.terminal import ExitCode, text_of
from wstpserver.wire.values import Expression, Function, PackedArray, Symbol


def read_source(path: str, *, is_script: bool = True) -> str:
    """Read a script, or text for one.

    A byte order mark is removed, and so is the content of a first line that names the interpreter (``#!``): the line
    itself stays, so that line numbers in messages are right.

    Args:
        path: The file; "-" for standard input.
        is_script: Whether it is a script: only there a first line ``#!`` means something.

    Raises:
        UsageError: It cannot be read, or is not text.
    """
    name = "standard input" if path == "-" else path
    if path == "-" and sys.stdin is None:
        return ""  # closed: there is nothing to read
    try:
        data = _content(path)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    text = _decoded(data, name)
    if not is_script or not text.startswith("#!"):
        return text
    _, newline, rest = text.partition("\n")
    return newline + rest


def _content(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()


def _decoded(data: bytes, name: str) -> str:
    if b"\0" in data:
        raise UsageError(f"cannot read {name}: it is not text (a zero byte in line {_line(data, data.index(0))})")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line(data, error.start)
        raise UsageError(f"cannot read {name}: line {line} is not UTF-8 ({error.reason})") from None


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


_COMMENT_MARK: Final = re.compile(r"\(\*|\*\)")


def is_blank(text: str) -> bool:
    """Whether there is nothing to evaluate: blanks and whole comments, which nest, and nothing else."""
    depth, position = 0, 0
    for mark in _COMMENT_MARK.finditer(text):
        if depth == 0 and text[position : mark.start()].strip():
            return False
        depth += 1 if mark[0] == "(*" else -1
        if depth < 0:
            return False
        position = mark.end()
    return depth == 0 and not text[position:].strip()


_VALUE: Final = "value"
_EXIT: Final = "exit"
_TAG: Final = Symbol("WSTPServer`Private`scriptExit")
_STATUS: Final = Symbol("WSTPServer`Private`status")
_SHOWN: Final = Symbol("WSTPServer`Private`shown")
_SLOT: Final = Function(Symbol("Slot"), (1,))
_SPECIAL: Final = ("Null", "$Failed", "$Aborted")


class ScriptOutcome(NamedTuple):
    """What a script gave.

    Attributes:
        text: The result as text; None for Null.
        status: The exit status.
        exits: Whether it has called Exit or Quit.
    """

    text: str | None
    status: int
    exits: bool = False


def _call(head: str, *arguments: Expression) -> Function:
    return Function(Symbol(head), arguments)


class ScriptVariables(NamedTuple):
    """What a script finds in the variables of the language that tell it how it was called.

    Attributes:
        file_name: ``$InputFileName``; "" to leave that alone.
        command_line: ``$ScriptCommandLine``; none to leave that alone.
        input: ``$ScriptInputString``; None to leave that alone.
    """

    file_name: str = ""
    command_line: tuple[str, ...] = ()
    input: str | None = None

    def settings(self) -> list[Expression]:
        """What `Block` makes of them."""
        found: list[Expression] = []
        if self.file_name:
            found.append(_call("Set", Symbol("$InputFileName"), self.file_name))
        if self.command_line:
            found.append(_call("Set", Symbol("$ScriptCommandLine"), _call("List", *self.command_line)))
        if self.input is not None:
            found.append(_call("Set", Symbol("$ScriptInputString"), self.input))
        return found


def program(code: str | Expression, variables: ScriptVariables = ScriptVariables(), show: str = "") -> Expression:  # noqa: B008
    """What a kernel evaluates for a script.

    Exit and Quit are caught while `code` is evaluated, because a kernel that ends cannot say with what status. They
    get a definition for their calls only, so that the symbols by themselves are what they always are. Uncaught control
    flow (Throw, Break) leaves all of this, and what it becomes at the top level of the kernel is the answer.
    The value goes through a list, so that one that is a Sequence does no harm.

    Args:
        code: Text of Wolfram Language, all of which is evaluated, or an expression.
        variables: What `code` finds in some variables.
        show: Text of a function that is applied to the value; "" for plain text.

    Returns:
        An expression that gives {"value", {...}} for the last value of `code`, or {"exit", {n}}.
    """
    left = _call("List", _EXIT, _call("List", _STATUS))
    local: list[Expression] = [Symbol("Exit"), Symbol("Quit")]
    steps: list[Expression] = [_call("Unprotect", *local)]
    for head in ("Exit", "Quit"):
        pattern = _call(head, _call("Pattern", _STATUS, _call("BlankNullSequence")))
        steps.append(_call("SetDelayed", pattern, _call("Throw", left, _TAG)))
    steps.append(_call("Protect", *local))
    value = _call("ToExpression", code) if isinstance(code, str) else code
    # Not a list at first, from which Nothing would vanish, but something that stays as it is.
    values = _call("Apply", Symbol("List"), _call("Map", _show(show), _call("Alternatives", value)))
    steps.append(_call("List", _VALUE, values))
    local += variables.settings()
    return _call("Catch", _call("Block", _call("List", *local), _call("CompoundExpression", *steps)), _TAG)


def _show(form: str) -> Expression:
    """A function that applies `form` to a value, or gives the symbol itself where it is one that means something here.
    The value is not evaluated again: one that stays as it is with a message, such as ``{1, 2}[[7]]``, would give the
    message twice.

    Without `form` it gives the value's text. ScriptForm is the plain text of wolframscript, in one line and without the
    quotes of strings; where it is missing OutputForm is the nearest. The symbol is looked for by its name: naming it
    would create it.
    """
    is_script_form = _call("Function", _call("SameQ", _call("SymbolName", _SLOT), "ScriptForm"))
    forms = _call("Append", _call("Select", Symbol("$PrintForms"), is_script_form), Symbol("OutputForm"))
    value = _call("Unevaluated", _SHOWN)
    special: list[Expression] = [_call("SameQ", value, Symbol(name)) for name in _SPECIAL]
    text = Function(_call("ToExpression", form), (value,)) if form else _call("ToString", value, _call("First", forms))
    return _call("Function", _SHOWN, _call("If", _call("Or", *special), _SHOWN, text), Symbol("HoldAllComplete"))


_NUMBER: Final = r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:(?:\*\^|[eE])[+-]?\d+)?\s*"
#: Types of arguments that need no `Interpreter` -> what they look like, and how they are made of their text.
_TYPES: Final = {
    "String": (r"(?s:.*)", None),
    "Integer": (r"\s*[+-]?\d+\s*", "ToExpression"),
    "Real": (_NUMBER, "ToExpression"),
    "Number": (_NUMBER, "ToExpression"),
    "Boolean": (r"(?i:\s*(?:true|false)\s*)", "Symbol"),
    "Expression": (r"(?s:.*)", "ToExpression"),
}


def function_call(function: str, values: Sequence[str], signature: Sequence[str]) -> Expression:
    """A function applied to words of the command line.

    Args:
        function: Text of the function.
        values: Its arguments.
        signature: Their types, as far as they are given; the others are strings.

    Raises:
        UsageError: A value is none of its type.
    """
    types = [*signature, *["String"] * (len(values) - len(signature))]
    if len(types) > len(values):
        raise UsageError(f"-signature names {len(types)} types, and there are {len(values)} arguments (-args)")
    arguments = [_argument(text, type_name) for text, type_name in zip(values, types, strict=True)]
    return Function(_call("ToExpression", function), tuple(arguments))


def _argument(text: str, type_name: str) -> Expression:
    known = next((name for name in _TYPES if name.lower() == type_name.lower()), None)
    if known is None:
        return Function(_call("Interpreter", type_name), (text,))
    pattern, head = _TYPES[known]
    if not re.fullmatch(pattern, text):
        raise UsageError(f"-args: {text!r} is no {known}")
    if head is None:
        return text
    if head == "Symbol":
        return Symbol(text.strip().capitalize())
    return _call(head, re.sub(r"[eE](?=[+-]?\d+\s*$)", "*^", text) if known != "Expression" else text)


def change_folder(folder: str) -> Expression:
    """What a kernel evaluates to make `folder` its current folder: True, or False if it has no such folder."""
    change = _call("Quiet", _call("SetDirectory", folder))
    return _call("And", _call("DirectoryQ", folder), _call("StringQ", change))


def read_outcome(answer: Expression) -> ScriptOutcome:
    """The meaning of what `program` gave, or of what came in its place, such as $Aborted or Hold[Throw[1]]."""
    kind, values = _taken_apart(answer)
    if kind == _EXIT:
        status = values[0] if values and isinstance(values[0], int) else 0
        return ScriptOutcome(None, status % 256, exits=True)
    if kind != _VALUE:
        values = (answer,)
    texts = [text_of(value) for value in values if not _is(value, "Null")]
    failed = any(_is(value, "$Failed") or _is(value, "$Aborted") for value in values)
    return ScriptOutcome("\n".join(texts) if texts else None, ExitCode.FAILED if failed else ExitCode.OK)


def shown_values(answer: Expression) -> tuple[Expression, ...]:
    """What `program` gave as the value, but for Null."""
    kind, values = _taken_apart(answer)
    return tuple(value for value in values if not _is(value, "Null")) if kind == _VALUE else ()


def _taken_apart(answer: Expression) -> tuple[str | None, tuple[Expression, ...]]:
    """("value" or "exit", the list that follows); (None, ()) for anything else."""
    if isinstance(answer, Function) and _is(answer.head, "List") and len(answer.args) == 2:
        kind, rest = answer.args
        if kind in (_VALUE, _EXIT) and isinstance(kind, str):
            if isinstance(rest, Function) and _is(rest.head, "List"):
                return kind, rest.args
            if isinstance(rest, PackedArray):  # {3} may come so
                return kind, tuple(rest.tolist())
    return None, ()


def _is(value: Expression, name: str) -> bool:
    return isinstance(value, Symbol) and value.name.removeprefix("System`") == name
