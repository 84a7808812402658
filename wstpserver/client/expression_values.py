"""From Python values to expressions; the table is in `conversions`. Nothing here recurses."""

from __future__ import annotations

import array
import base64
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from wstpserver.wire.values import (
    BigReal,
    Expression,
    Function,
    Int8,
    Int16,
    Int64,
    LongDouble,
    PackedArray,
    Real32,
    Symbol,
)

#: A rectangular list of machine numbers with as many of them is sent packed, as kernels do.
PACK_FROM: Final = 250
#: Dimensions beyond which no packing is tried.
_PACK_DEPTH: Final = 8
_INT64: Final = range(-(1 << 63), 1 << 63)

_LIST, _RULE, _ASSOCIATION = Symbol("List"), Symbol("Rule"), Symbol("Association")
_READY: Final = frozenset((int, str, Symbol, BigReal, LongDouble, PackedArray, Int8, Int16, Int64, Real32))


class _Build:
    """A mark on the stack: the head and `count` arguments before it are done. `source` is what they come from."""

    __slots__ = ("count", "source")

    def __init__(self, count: int, source: object) -> None:
        self.count = count
        self.source = source


def to_expression(value: Any) -> Expression:
    """The expression that `value` stands for (see `conversions`).

    Raises TypeError for what no expression stands for, ValueError for a container that contains itself.
    """
    waiting: list[Any] = [value]
    done: list[Any] = []
    open_containers: set[int] = set()
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind in _READY:
            done.append(item)
        elif kind is _Build:
            arguments = tuple(done[len(done) - item.count :])
            del done[len(done) - item.count :]
            done.append(Function(done.pop(), arguments))
            open_containers.discard(id(item.source))
        elif kind is float:
            done.append(_real(item))
        else:
            parts = _opened(item)
            if parts is None:
                writer = _writer(kind)
                if writer is not None:
                    done.append(writer(item))
                else:
                    waiting.append(_other_value(item))
                continue
            if id(item) in open_containers:
                raise ValueError(f"a {kind.__name__} contains itself: no expression is that large")
            open_containers.add(id(item))
            waiting.append(_Build(len(parts) - 1, item))
            waiting.extend(reversed(parts))
    result: Expression = done.pop()
    return result


def _opened(item: Any) -> list[Any] | None:
    """The head and the arguments of what has parts; None if it has none, or is packed."""
    if isinstance(item, Function):
        return [item.head, *item.args]
    if isinstance(item, (list, tuple)):
        return None if _is_packable(item) else [_LIST, *item]
    if isinstance(item, range):
        return [_LIST, *item]
    if isinstance(item, Mapping):
        return [_ASSOCIATION, *(Function(_RULE, pair) for pair in item.items())]
    return None


def _writer(kind: type) -> Callable[[Any], Expression] | None:
    """What makes an expression of a value of this type or one that it derives from."""
    return next((writer for base in kind.__mro__ if (writer := _WRITERS.get(base)) is not None), None)


def _other_value(item: Any) -> Any:
    """Another Python value or expression that says the same, still to be converted. TypeError."""
    as_expression = getattr(item, "as_expression", None)
    if as_expression is not None and not isinstance(item, type):
        return as_expression()
    if type(item).__module__ == "numpy" and hasattr(item, "dtype"):
        from wstpserver.client.numpy_values import plain_value

        return plain_value(item)
    if isinstance(item, array.array):
        return item.tounicode() if item.typecode in "uw" else item.tolist()
    name = type(item).__name__
    advice = " Write Function(Symbol('DateObject'), ...)" if name in ("date", "datetime") else ""
    raise TypeError(f"no expression stands for a Python {name}.{advice}")


def _real(value: float) -> Expression:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return Symbol("Indeterminate")
    return Function(Symbol("DirectedInfinity"), (1 if value > 0 else -1,))


def _complex(value: complex) -> Function:
    return Function(Symbol("Complex"), (value.real, value.imag))


def _fraction(value: Fraction) -> Expression:
    if value.denominator == 1:
        return value.numerator
    return Function(Symbol("Rational"), (value.numerator, value.denominator))


def _decimal(value: Decimal) -> Expression:
    return BigReal.from_decimal(value) if value.is_finite() else _real(float(value))


def _byte_array(value: Any) -> Function:
    return Function(Symbol("ByteArray"), (base64.b64encode(value).decode("ascii"),))


#: What is a list or a tuple here can be packed.
_WRITERS: Final[dict[type, Callable[[Any], Expression]]] = {
    type(None): lambda _: Symbol("Null"),
    bool: lambda value: Symbol("True" if value else "False"),
    int: int,
    str: str.__str__,
    float: lambda value: _real(float(value)),
    complex: _complex,
    Fraction: _fraction,
    Decimal: _decimal,
    bytes: _byte_array,
    bytearray: _byte_array,
    memoryview: _byte_array,
    list: PackedArray.from_list,
    tuple: PackedArray.from_list,
}


def _is_packable(item: list[Any] | tuple[Any, ...]) -> bool:
    """Whether this is a rectangular list of enough integers below 2**63, or of enough finite reals."""
    count, depth, first = len(item), 1, item
    while first and isinstance(first[0], (list, tuple)) and depth <= _PACK_DEPTH:
        first = first[0]
        count, depth = count * len(first), depth + 1
    if count < PACK_FROM or type(first[0]) not in (int, float):
        return False
    flat: Any = item
    for _ in range(1, depth):
        size = len(flat[0])
        if not all(isinstance(row, (list, tuple)) and len(row) == size for row in flat):
            return False
        flat = [value for row in flat for value in row]
    kinds = set(map(type, flat))
    if kinds == {float}:
        return all(map(math.isfinite, flat))
    return kinds == {int} and min(flat) in _INT64 and max(flat) in _INT64
