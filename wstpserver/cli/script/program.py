"""A script: its text, what a kernel is made to evaluate for it, and how the answer is read.

Nothing here needs more of a kernel than the plain language: real kernels and the embedded one evaluate the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, NamedTuple

from wstpserver.cli.options import UsageError
from wstpserver.wire.values import Expression, Function, Symbol


def read_source(path: str) -> str:
    """The text of a script file, of standard input for ``-``; UsageError if it cannot be read or is no text.

    A byte order mark goes, and so does the content of a first line that names the interpreter (``#!``): the line
    itself stays, so that line numbers in messages are right.
    """
    name = "standard input" if path == "-" else path
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror}") from None
    text = _decoded(data, name)
    if not text.startswith("#!"):
        return text
    _, newline, rest = text.partition("\n")
    return newline + rest


def _decoded(data: bytes, name: str) -> str:
    if b"\0" in data:
        raise UsageError(f"cannot read {name}: it is no text (a zero byte in line {_line(data, data.index(0))})")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line(data, error.start)
        raise UsageError(f"cannot read {name}: line {line} is not UTF-8 ({error.reason})") from None


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


_VALUE: Final = "value"
_EXIT: Final = "exit"
_TAG: Final = Symbol("WSTPServer`Private`scriptExit")
_SLOT: Final = Function(Symbol("Slot"), (1,))


class ScriptOutcome(NamedTuple):
    """`text`: the result as text, None for Null. `status`: exit status."""

    text: str | None
    status: int


def _call(head: str, *arguments: Expression) -> Function:
    return Function(Symbol(head), arguments)


def program(code: str) -> Expression:
    """An expression that evaluates all of `code` and gives {"value", {...}} for its last value, or {"exit", {n}}.

    Exit and Quit are caught: a kernel that ends cannot say with what status. The value goes through a list, so that
    one that is a Sequence does no harm. ScriptForm is the plain text of wolframscript, in one line and without the
    quotes of strings; the embedded kernel writes OutputForm in such a way.
    """
    leave = _call("Function", _call("Throw", _call("List", _EXIT, _call("List", _call("SlotSequence", 1))), _TAG))
    blocked = _call("List", _call("Set", Symbol("Exit"), leave), _call("Set", Symbol("Quit"), leave))
    values = _call("Map", _show(), _call("List", _call("ToExpression", code)))
    return _call("Catch", _call("Block", blocked, _call("List", _VALUE, values)), _TAG)


def _show() -> Expression:
    """A function that gives a value's text, or the symbol itself where the value is one that means something here."""
    script_form = _call("MemberQ", Symbol("$PrintForms"), Symbol("ScriptForm"))
    form = _call("If", script_form, Symbol("ScriptForm"), Symbol("OutputForm"))
    special = [_call("SameQ", _SLOT, Symbol(name)) for name in _SPECIAL]
    return _call("Function", _call("If", _call("Or", *special), _SLOT, _call("ToString", _SLOT, form)))


_SPECIAL: Final = ("Null", "$Failed", "$Aborted")


def read_outcome(answer: Expression) -> ScriptOutcome:
    """The meaning of what `program` gave, or of what came in its place, such as $Aborted."""
    kind, values = _taken_apart(answer)
    if kind == _EXIT:
        status = values[0] if values and isinstance(values[0], int) else 0
        return ScriptOutcome(None, status % 256)
    if kind != _VALUE:
        return ScriptOutcome(answer.name if isinstance(answer, Symbol) else repr(answer), 1)
    shown = [_text(value) for value in values]
    texts = [text for text in shown if text is not None]
    failed = any(isinstance(value, Symbol) and _plain(value) != "Null" for value in values)
    return ScriptOutcome("\n".join(texts) if texts else None, int(failed))


def _taken_apart(answer: Expression) -> tuple[str | None, tuple[Expression, ...]]:
    """("value" or "exit", the list that follows); (None, ()) for anything else."""
    if isinstance(answer, Function) and len(answer.args) == 2:
        kind, rest = answer.args
        if isinstance(kind, str) and isinstance(rest, Function):
            return kind, rest.args
        if kind == _EXIT and hasattr(rest, "tolist"):  # {3} may come as a packed array
            return _EXIT, tuple(rest.tolist())
    return None, ()


def _text(value: Expression) -> str | None:
    if isinstance(value, Symbol):
        return None if _plain(value) == "Null" else _plain(value)
    return value if isinstance(value, str) else repr(value)


def _plain(symbol: Symbol) -> str:
    return symbol.name.removeprefix("System`")
