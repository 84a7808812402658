"""From expressions to Python values; the table is in `conversions`. Nothing here recurses."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from wstpserver.client.numeric_array import numeric_array
from wstpserver.client.packed_values import is_complex, nested, unpacked
from wstpserver.wire.values import Expression, Function, PackedArray, Symbol

_CONSTANTS: Final[dict[str, object]] = {"True": True, "False": False, "Null": None}
_CONSTANTS.update({f"System`{name}": value for name, value in tuple(_CONSTANTS.items())})
_CONSTANTS.update({"Indeterminate": math.nan, "System`Indeterminate": math.nan})

_LISTS: Final = ("List", "System`List")
_ASSOCIATIONS: Final = ("Association", "System`Association")
_RULES: Final = ("Rule", "System`Rule")


class _Build:
    """A mark on the stack: the `count` values before it are the parts of `whole`."""

    __slots__ = ("count", "make", "whole")

    def __init__(self, make: Callable[[list[Any], Expression], Any], count: int, whole: Expression) -> None:
        self.make = make
        self.count = count
        self.whole = whole


def to_python(expression: Expression, numpy: bool = False) -> Any:
    """The Python value of `expression`; what Python has nothing for stays an expression (see `conversions`).

    `numpy`: a list whose elements are all integers below 2**63, all machine reals or all complex machine numbers
    becomes a NumPy array (int64, float64, complex128), whatever its size; arrays of one shape within a list become
    one. ImportError without NumPy.
    """
    make_list = _numpy_list if numpy else _list
    waiting: list[Any] = [expression]
    done: list[Any] = []
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind is _Build:
            start = len(done) - item.count
            parts = done[start:]
            del done[start:]
            done.append(item.make(parts, item.whole))
        elif kind is int or kind is str or kind is float:
            done.append(item)
        elif kind is Symbol:
            done.append(_CONSTANTS.get(item.name, item))
        elif kind is Function:
            name = item.head.name if type(item.head) is Symbol else ""
            if name in _LISTS:
                waiting.append(_Build(make_list, len(item.args), item))
                waiting.extend(reversed(item.args))
            elif name in _ASSOCIATIONS:
                _open_association(item, waiting, done)
            else:
                done.append(_function(name, item, numpy))
        elif kind is PackedArray:
            _array(item, numpy, waiting, done)
        elif kind is list or kind is tuple:
            waiting.append(_Build(make_list, len(item), item))
            waiting.extend(reversed(item))
        else:
            done.append(_number(item))
    return done.pop()


def _number(item: Any) -> Any:
    """A number of forced width as the plain one; anything else as it is."""
    if isinstance(item, int) and not isinstance(item, bool):
        return int(item)
    return float(item) if isinstance(item, float) else item


def _list(parts: list[Any], _: Expression) -> list[Any]:
    return parts


def _numpy_list(parts: list[Any], _: Expression) -> Any:
    from wstpserver.client.numpy_values import array_of

    return array_of(parts)


# Associations


def _open_association(item: Function, waiting: list[Any], done: list[Any]) -> None:
    """Put its keys and values on the stack; or the association itself among what is done, if it is not of rules."""
    rules = [unpacked(rule) if isinstance(rule, PackedArray) else rule for rule in item.args]
    pairs = [rule.args for rule in rules if isinstance(rule, Function) and _is_rule(rule)]
    if len(pairs) != len(rules):
        done.append(item)
        return
    waiting.append(_Build(_dict, 2 * len(pairs), item))
    for key, value in reversed(pairs):
        waiting.extend((value, key))


def _is_rule(rule: Function) -> bool:
    return type(rule.head) is Symbol and rule.head.name in _RULES and len(rule.args) == 2


def _dict(parts: list[Any], whole: Expression) -> Any:
    """A dict, unless a key cannot be one, or two of them are one for Python (1, 1. and True are)."""
    try:
        pairs = dict(zip(parts[::2], parts[1::2], strict=True))
    except TypeError:
        return whole
    return pairs if 2 * len(pairs) == len(parts) else whole


# Functions that stand for one value


def _function(name: str, item: Function, numpy: bool) -> Any:
    reader = _READERS.get(name.removeprefix("System`"))
    if reader is not None:
        value = reader(item.args)
        if value is not None:
            return value
    if name in ("NumericArray", "System`NumericArray"):
        array = numeric_array(item.args)
        if array is not None:
            return array.to_numpy() if numpy else array
    return item


def _rational(arguments: tuple[Expression, ...]) -> Fraction | None:
    match arguments:
        case (int(numerator), int(denominator)) if denominator > 1 and math.gcd(numerator, denominator) == 1:
            return Fraction(int(numerator), int(denominator))
    return None


def _complex(arguments: tuple[Expression, ...]) -> complex | None:
    match arguments:
        case (float(real), float(imaginary)):
            return complex(real, imaginary)
    return None


def _directed_infinity(arguments: tuple[Expression, ...]) -> float | None:
    match arguments:
        case (int(sign),) if sign in (1, -1):
            return math.inf * sign
    return None


def _byte_array(arguments: tuple[Expression, ...]) -> bytes | None:
    match arguments:
        case (str(text),):
            try:
                data = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                return None
            return data if base64.b64encode(data).decode("ascii") == text else None
    return None


_READERS: Final[dict[str, Callable[[tuple[Expression, ...]], Any]]] = {
    "Rational": _rational,
    "Complex": _complex,
    "DirectedInfinity": _directed_infinity,
    "ByteArray": _byte_array,
}


# Packed arrays


def _array(item: PackedArray, numpy: bool, waiting: list[Any], done: list[Any]) -> None:
    if item.heads is None:
        if numpy and item.data.nbytes:
            from wstpserver.client.numpy_values import array_of_packed

            done.append(array_of_packed(item))
        else:
            done.append(item.tolist())
        return
    if is_complex(item):
        if numpy and len(item.shape) > 1:
            from wstpserver.client.numpy_values import array_of_packed

            done.append(array_of_packed(item))
        else:
            numbers = item.flat()
            done.append(nested(list(map(complex, numbers[::2], numbers[1::2])), item.shape[:-1]))
    elif _keeps_heads(item.heads):
        done.append(item)
    else:
        waiting.append(unpacked(item))


def _keeps_heads(heads: tuple[str, ...]) -> bool:
    """Whether the outermost head is one that Python has nothing for, so that the array stays one."""
    outermost = heads[0].removeprefix("System`")
    return outermost not in ("List", "Association", *_READERS)
