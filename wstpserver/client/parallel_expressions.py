"""From what a caller wants evaluated to expressions, and from the value of a chunk to the values of its items."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Any, Final

from wstpserver.client.expression_values import to_expression
from wstpserver.wire.values import Expression, Function, PackedArray, Symbol

_LIST: Final = Symbol("List")
_LISTS: Final = (_LIST, Symbol("System`List"))
_TO_EXPRESSION: Final = Symbol("ToExpression")
#: A symbol, with or without context; letters are those of any alphabet.
_NAME: Final = re.compile(r"`?(?:(?!\d)(?:[^\W_]|\$)+`)*(?!\d)(?:[^\W_]|\$)+")


def task(function: Any, arguments: Sequence[Any]) -> Expression:
    """``function[arguments...]``, or `function` itself where there are none. A str is Wolfram Language text there.

    TypeError for a Python function, and for arguments that no expression stands for (see `conversions`).
    """
    head = _meaning(function)
    return Function(head, tuple(map(to_expression, arguments))) if arguments else head


def _meaning(function: Any) -> Expression:
    if isinstance(function, str):
        text = function.strip()
        return Symbol(text) if _NAME.fullmatch(text) else Function(_TO_EXPRESSION, (text,))
    if callable(function) and not hasattr(function, "as_expression"):
        raise TypeError(
            f"kernels evaluate Wolfram Language, not Python functions such as {function!r}: "
            "give a name or a pure function as text, \"Prime\" or \"#^2 &\""
        )
    return to_expression(function)


def chunk(expressions: Sequence[Expression]) -> Expression:
    """One expression that evaluates all of them. Each is a list of its own, which no Sequence or Nothing can break."""
    return Function(_LIST, tuple(Function(_LIST, (expression,)) for expression in expressions))


def values_of_chunk(value: Expression, size: int) -> list[tuple[Expression] | None]:
    """The value of each of the `size` expressions of a `chunk` as a tuple; None where it did not give just one."""
    rows = _parts(value)
    if rows is None or len(rows) != size:
        return [None] * size
    found: list[tuple[Expression] | None] = []
    for row in rows:
        parts = _parts(row)
        found.append((parts[0],) if parts is not None and len(parts) == 1 else None)
    return found


def _parts(value: Any) -> Sequence[Any] | None:
    """The elements of a list; None if it is no list."""
    if isinstance(value, Function):
        return value.args if value.head in _LISTS else None
    if not isinstance(value, PackedArray) or value.heads is not None:
        return None
    if len(value.shape) == 1:
        return value.flat()
    below = value.shape[1:]
    if value.kind == "real128":
        return value.tolist()
    size = prod(below)
    return [
        PackedArray(value.data[row * size : (row + 1) * size], value.kind, below) for row in range(value.shape[0])
    ]
