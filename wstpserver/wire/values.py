"""The values an expression is made of (docs/wire-protocol.md, section 3).

A Python value stands for what it looks like: an int, a float or a str for an integer, a machine real or a string. What
Python has no type for is here: symbols, functions (`head[arguments...]`), and, re-exported, the numbers of `numbers`
and the packed arrays of `packed`.

A peer may send an expression a million levels deep. Python's own methods for nested containers recurse in C and end
with RecursionError (or worse), so equality, hash and repr of trees walk with a stack of their own here. A *node* is
whatever has children: a `Function`, or a Python list or tuple.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeAlias, Union, final

from wstpserver.wire.numbers import BigReal, Int8, Int16, Int64, LongDouble, Real32, format_decimal
from wstpserver.wire.packed import PackedArray

__all__ = [
    "BigReal", "Expression", "Function", "Int8", "Int16", "Int64", "LongDouble", "PackedArray", "Real32",
    "Symbol",
]  # fmt: skip


class Symbol:
    """A symbol by its full name as it was sent: `Plus`, ``System`Plus``. The two are not equal."""

    __slots__ = ("name",)
    name: str

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "name", name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("Symbol is immutable")

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, Symbol) else NotImplemented

    def __hash__(self) -> int:
        return hash((Symbol, self.name))

    def __repr__(self) -> str:
        return f"Symbol({self.name!r})"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[type[Symbol], tuple[str]]:
        return Symbol, (self.name,)


@final
class Function:
    """`head[args...]`; the head is any expression, `args` a tuple.

    Equality, hash and repr do not recurse, so any depth will do; repr() is cut to some 200 characters.
    Leaves are compared with ==, as in Python's own containers, so `f[1]` equals `f[1.0]`.
    """

    __slots__ = ("args", "head")
    head: Expression
    args: tuple[Expression, ...]

    def __init__(self, head: Expression, args: tuple[Expression, ...] = ()) -> None:
        _set_head(self, head)
        _set_args(self, args if type(args) is tuple else tuple(args))

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("Function cannot be subclassed: what walks over trees knows it by its exact type")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("Function is immutable")

    def __eq__(self, other: object) -> bool:
        return same_structure(self, other) if isinstance(other, Function) else NotImplemented

    def __hash__(self) -> int:
        return structure_hash(self)

    def __repr__(self) -> str:
        return bounded_repr(self)

    def __str__(self) -> str:
        return wolfram_text(self)

    def __reduce__(self) -> tuple[type[Function], tuple[Any, ...]]:
        return Function, (self.head, self.args)


# The quickest way past __setattr__: functions are made by the million.
_slots: Any = Function
_set_head, _set_args = _slots.head.__set__, _slots.args.__set__

Expression: TypeAlias = Union[
    int, float, str, Symbol, Function, BigReal, LongDouble, PackedArray, "list[Any]", "tuple[Any, ...]"
]


# -- trees without recursion ------------------------------------------------------------------------------------------

#: How much of an expression repr() shows.
REPR_LENGTH: Final = 200

Children: TypeAlias = "tuple[Any, ...] | list[Any]"

#: What hangs below a node, by its type; other types are leaves.
NODES: Final[dict[type, Callable[[Any], Children]]] = {
    list: lambda node: node,
    tuple: lambda node: node,
    Function: lambda function: (function.head, *function.args),
}


def same_structure(one: Any, other: Any) -> bool:
    """Whether two trees are equal: same nodes, and leaves that are identical or ==, as in Python's containers."""
    pending = [(one, other)]
    while pending:
        left, right = pending.pop()
        if left is right:
            continue
        kind = type(left)
        below = NODES.get(kind)
        if below is None or kind is not type(right):
            if left != right:
                return False
            continue
        below_left, below_right = below(left), below(right)
        if len(below_left) != len(below_right):
            return False
        pending.extend(zip(below_left, below_right))  # noqa: B905 - lengths compared above
    return True


def structure_hash(root: Any) -> int:
    """A hash that equal trees share. TypeError where a leaf, or a Python list within, has none."""
    hashes: list[int] = []
    pending = [root]
    while pending:
        value = pending.pop()
        below = NODES.get(type(value))
        if below is None or type(value) is list:
            hashes.append(hash(value))
        else:
            children = below(value)
            hashes.append(len(children))  # with the counts, the order of visit determines the tree
            pending.extend(children)
    return hash(tuple(hashes))


def bounded_repr(root: Any) -> str:
    """repr() of a tree, cut to about REPR_LENGTH characters."""
    parts: list[str] = []
    length = 0
    pending: list[tuple[str | None, Any]] = [(None, root)]  # (punctuation, None) or (None, value)
    while pending:
        text, value = pending.pop()
        if text is None:
            below = NODES.get(type(value))
            if below is not None:
                pending.extend(_spelled(value, below(value)))
                continue
            text = _leaf_repr(value)
        parts.append(text)
        length += len(text)
        if length > REPR_LENGTH:
            return "".join(parts)[:REPR_LENGTH] + "..."
    return "".join(parts)


def _leaf_repr(value: Any) -> str:
    """repr() of a leaf that costs no more than it shows; Python refuses to write out integers of many digits."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"<integer of {value.bit_length()} bits>"
    return repr(value[: REPR_LENGTH + 1] if isinstance(value, str) else value)


def _spelled(value: Any, below: Children) -> list[tuple[str | None, Any]]:
    """A node as items for bounded_repr's stack, last one first; no more children than repr can show."""
    if type(value) is list:
        opening, closing = "[", "]"
    elif type(value) is tuple:
        opening, closing = "(", ",)" if len(below) == 1 else ")"
    else:
        opening, closing = f"{type(value).__name__}(", ")"
    shown = below[:REPR_LENGTH]
    items: list[tuple[str | None, Any]] = [(opening, None)]
    for index, child in enumerate(shown):
        if index:
            items.append((", ", None))
        items.append((None, child))
    items.append((closing if len(shown) == len(below) else ", ...", None))
    return items[::-1]


# -- Wolfram Language text --------------------------------------------------------------------------------------------

_ESCAPES: Final = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n", ord("\t"): "\\t", ord("\r"): "\\r"}
_INFINITIES: Final[dict[tuple[Any, ...], str]] = {(): "ComplexInfinity", (1,): "Infinity", (-1,): "-Infinity"}


def wolfram_text(root: Any) -> str:
    """The whole of an expression as Wolfram Language text, which ToExpression reads.

    Functions are written as `head[arguments...]`; lists, rules and associations as `{...}`, `->` and `<|...|>`. Symbols
    of the context `System` are written without it. Like everything here it does not recurse.
    """
    parts: list[str] = []
    pending: list[tuple[str | None, Any]] = [(None, root)]  # (text, None) or (None, value)
    while pending:
        text, value = pending.pop()
        if text is not None:
            parts.append(text)
        elif isinstance(value, Function):
            name = value.head.name.removeprefix("System`") if isinstance(value.head, Symbol) else ""
            if name == "DirectedInfinity" and value.args in _INFINITIES:
                parts.append(_INFINITIES[value.args])
            else:
                pending.extend(_written(value, name))
        elif isinstance(value, (list, tuple)):
            pending.extend(_between("{", value, "}"))
        elif isinstance(value, PackedArray):
            pending.extend(_written_array(value))
        else:
            parts.append(_leaf_text(value))
    return "".join(parts)


def _between(opening: str, below: Children, closing: str) -> list[tuple[str | None, Any]]:
    """Items for the stack of `wolfram_text`, last one first."""
    items: list[tuple[str | None, Any]] = [(closing, None)]
    for index, child in enumerate(reversed(below)):
        if index:
            items.append((", ", None))
        items.append((None, child))
    items.append((opening, None))
    return items


def _written(value: Function, name: str) -> list[tuple[str | None, Any]]:
    if name == "List":
        return _between("{", value.args, "}")
    if name == "Association" and all(_is_rule(argument) for argument in value.args):
        return _between("<|", value.args, "|>")
    if _is_rule(value):
        items: list[tuple[str | None, Any]] = [(None, value.args[1]), (" -> ", None), (None, value.args[0])]
        if isinstance(value.args[0], Function) and _is_rule(value.args[0]):  # the arrow groups to the right
            items[2:] = [(")", None), (None, value.args[0]), ("(", None)]
        return items
    return [*_between("[", value.args, "]"), (None, value.head)]


def _is_rule(value: Any) -> bool:
    return isinstance(value, Function) and len(value.args) == 2 and value.head in _RULES


_RULES: Final = (Symbol("Rule"), Symbol("System`Rule"))


def _written_array(value: PackedArray) -> list[tuple[str | None, Any]]:
    heads = value.heads or ("List",) * len(value.shape)
    parts: list[Any] = value.flat()
    for level in range(len(value.shape) - 1, -1, -1):
        size, count = value.shape[level], math.prod(value.shape[:level])
        parts = [Function(Symbol(heads[level]), tuple(parts[row * size : (row + 1) * size])) for row in range(count)]
    return [(None, parts[0])]


def _leaf_text(value: Any) -> str:
    if isinstance(value, Symbol):
        return value.name.removeprefix("System`")
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return format_decimal(value)
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, BigReal):
        return value.text
    if isinstance(value, (float, LongDouble)):
        return _real_text(float(value))
    return repr(value)


def _real_text(value: float) -> str:
    if math.isnan(value):
        return "Indeterminate"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    digits, _, exponent = float.__repr__(value).partition("e")
    digits = digits.removesuffix(".0") + "." if digits.endswith(".0") or "." not in digits else digits
    return f"{digits}*^{int(exponent)}" if exponent else digits
