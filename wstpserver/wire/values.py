"""The values an expression is made of.

A Python value stands for what it looks like: an int, a float or a str for an integer, a machine real or a
string. What Python has no type for is here: symbols, functions (`head[arguments...]`), and, re-exported,
the numbers of `scalars` and the packed arrays of `packed`. docs/wire-protocol.md, section 3.
"""
from __future__ import annotations

from typing import Any, NoReturn, TypeAlias, Union, final

from .packed import PackedArray
from .scalars import BigReal, Int8, Int16, Int64, LongDouble, Real32
from .structure import NODES, bounded_repr, same_structure, structure_hash

__all__ = [
    "BigReal", "Expression", "Function", "Int8", "Int16", "Int64", "LongDouble", "PackedArray", "Real32",
    "Symbol",
]  # fmt: skip


class Symbol:
    """A symbol by its full name as it was sent: ``Plus``, ``System`Plus``. The two are not equal."""

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

    def __reduce__(self) -> tuple[type[Function], tuple[Any, ...]]:
        return Function, (self.head, self.args)


# The quickest way past __setattr__: functions are made by the million.
_slots: Any = Function
_set_head, _set_args = _slots.head.__set__, _slots.args.__set__

NODES[Function] = lambda function: (function.head, *function.args)

Expression: TypeAlias = Union[
    int, float, str, Symbol, Function, BigReal, LongDouble, PackedArray, "list[Any]", "tuple[Any, ...]"
]
