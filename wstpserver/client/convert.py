"""Conversions between expressions and Python values.

| expression | Python |
| --- | --- |
| integer | int |
| machine real, ``Infinity``, ``Indeterminate`` | float |
| real of more precision | `BigReal`: its text, ``.to_decimal()``, ``.precision`` |
| ``Rational[1, 3]`` | `fractions.Fraction` |
| ``Complex[1., 2.]``: both parts machine reals | complex |
| string | str |
| ``True``, ``False``, ``Null`` | True, False, None |
| ``{...}`` | list, or a NumPy array where that is asked for and all elements are machine numbers of one kind |
| ``<|key -> value, ...|>`` | dict |
| ``ByteArray["..."]`` | bytes |
| ``DateObject[{2026, 11, 27}, "Day"]`` | `datetime.date` |
| ``DateObject[{2026, 11, 27, 8, 30, 15.5}, "Instant", "Gregorian", zone]`` | `datetime.datetime`; `zone` is an offset,
  a name or None |
| ``NumericArray[..., "type"]`` | `NumericArray`, or a NumPy array of that type |
| anything else | stays an expression, with everything in it: `Symbol`, `Function`, `PackedArray` |

An exact complex number, an association with a key that cannot be one in a dict (a list) or with two keys that are equal
in Python (1 and 1.), a rational that is not in lowest terms: all of these stay expressions.

`to_expression` is the inverse: ``to_expression(to_python(e))`` is the same expression as `e`, up to how it travels
(widths of machine numbers, packed or element by element, ``System`` `` written or not). Three things are lost: the
calendar and time zone of a date, digits of seconds beyond the microsecond, and with NumPy arrays the difference between
a list and a NumericArray: both become an array, which is sent as a list.

`to_expression` takes some more types: tuple, range, Decimal (known to as many digits as it has), bytearray,
array.array, NumPy's arrays and numbers, and any object with a method ``as_expression()``. The arguments of a function
are converted, too.
"""

from __future__ import annotations

import array
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from wstpserver.client.arrays import (
    INT64,
    array_of,
    array_of_packed,
    complex_lists,
    is_complex,
    numeric_array,
    plain_value,
    unpacked,
)
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

if TYPE_CHECKING:  # the others take a while to import, and are imported where such a value is at hand
    import datetime
    from fractions import Fraction

#: The form of the values that a session returns. "python": Python values, see above; "numpy": NumPy arrays among them;
#: "expression": as they are on the wire.
Results: TypeAlias = Literal["python", "numpy", "expression"]


def converter(results: Results) -> Callable[[Expression], Any]:
    """Return the function that gives an expression a form.

    Args:
        results: The name of the form.

    Returns:
        A function from an expression to the value in that form.

    Raises:
        ValueError: `results` names no form.
        ImportError: NumPy is asked for and not installed.
    """
    if results == "python":
        return to_python
    if results == "numpy":
        import_module("numpy")  # if it is missing that is better known before an evaluation
        return _to_numpy
    if results == "expression":
        return _unchanged
    raise ValueError(f"results={results!r}: use one of {', '.join(map(repr, get_args(Results)))}")


def _to_numpy(expression: Expression) -> Any:
    return to_python(expression, numpy=True)


def _unchanged(expression: Expression) -> Any:
    return expression


# From Python values to expressions. Nothing here recurses: depth is limited by memory only.

#: A rectangular list of machine numbers with at least this many of them is sent packed, as kernels do.
PACK_FROM: Final = 250
#: Dimensions beyond which no packing is tried.
_PACK_DEPTH: Final = 8

_LIST, _RULE, _ASSOCIATION = Symbol("List"), Symbol("Rule"), Symbol("Association")
_READY: Final = frozenset((int, str, Symbol, BigReal, LongDouble, PackedArray, Int8, Int16, Int64, Real32))


class _FunctionMark:
    """A mark on the stack: the head and `count` arguments before it are done. `source` is what they come from."""

    __slots__ = ("count", "source")

    def __init__(self, count: int, source: object) -> None:
        self.count = count
        self.source = source


def to_expression(value: Any) -> Expression:
    """Convert a Python value to the expression that it stands for.

    Args:
        value: A value of the table at the top of this module, or an expression.

    Returns:
        The expression.

    Raises:
        TypeError: No expression stands for the value or for one of its parts.
        ValueError: A container contains itself.
    """
    waiting: list[Any] = [value]
    done: list[Any] = []
    open_containers: set[int] = set()
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind in _READY:
            done.append(item)
        elif kind is _FunctionMark:
            arguments = tuple(done[len(done) - item.count :])
            del done[len(done) - item.count :]
            done.append(Function(done.pop(), arguments))
            open_containers.discard(id(item.source))
        elif kind is float:
            done.append(_real_expression(item))
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
            waiting.append(_FunctionMark(len(parts) - 1, item))
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
    """The function for values of this type or of one that it derives from."""
    return next((writer for base in kind.__mro__ if (writer := _WRITERS.get(base) or _named(base)) is not None), None)


def _named(kind: type) -> Callable[[Any], Expression] | None:
    """The function for a type of a module that is not imported here."""
    return _WRITERS_BY_NAME.get(f"{kind.__module__}.{kind.__name__}")


def _other_value(item: Any) -> Any:
    """Another Python value or expression that says the same, still to be converted. TypeError."""
    as_expression = getattr(item, "as_expression", None)
    if as_expression is not None and not isinstance(item, type):
        return as_expression()
    if type(item).__module__ == "numpy" and hasattr(item, "dtype"):
        return plain_value(item)
    if isinstance(item, array.array):
        return item.tounicode() if item.typecode in "uw" else item.tolist()
    name = type(item).__name__
    advice = _ADVICE.get(name, "Give it a method as_expression(), or convert it first")
    raise TypeError(f"no expression stands for a Python {name}. {advice}")


_ADVICE: Final = {
    "time": "Write Function(Symbol('TimeObject'), ([hours, minutes, seconds],))",
    "timedelta": "Write Function(Symbol('Quantity'), (value.total_seconds(), 'Seconds'))",
}


def _real_expression(value: float) -> Expression:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return Symbol("Indeterminate")
    return Function(Symbol("DirectedInfinity"), (1 if value > 0 else -1,))


def _complex_expression(value: complex) -> Function:
    return Function(Symbol("Complex"), (value.real, value.imag))


def _fraction_expression(value: Fraction) -> Expression:
    if value.denominator == 1:
        return value.numerator
    return Function(Symbol("Rational"), (value.numerator, value.denominator))


def _decimal_expression(value: Decimal) -> Expression:
    return BigReal.from_decimal(value) if value.is_finite() else _real_expression(float(value))


def _byte_array_expression(value: Any) -> Function:
    return Function(Symbol("ByteArray"), (_base64(bytes(value)),))


def _base64(data: bytes) -> str:
    from binascii import b2a_base64

    return b2a_base64(data, newline=False).decode("ascii")


def _date_expression(value: datetime.date) -> Function:
    return Function(_DATE_OBJECT, (Function(_LIST, (value.year, value.month, value.day)), "Day"))


def _datetime_expression(value: datetime.datetime) -> Function:
    seconds = (1_000_000 * value.second + value.microsecond) / 1_000_000
    moment = (value.year, value.month, value.day, value.hour, value.minute, seconds)
    return Function(_DATE_OBJECT, (Function(_LIST, moment), "Instant", "Gregorian", _time_zone_expression(value)))


def _time_zone_expression(value: datetime.datetime) -> Expression:
    """The name of the time zone, or its offset in hours at that moment; the symbol None where there is none."""
    offset = value.utcoffset()
    if offset is None:
        return Symbol("None")
    name = getattr(value.tzinfo, "key", None)  # of a zoneinfo.ZoneInfo
    if isinstance(name, str) and name and not value.fold:
        return name
    return offset.total_seconds() / 3600


_DATE_OBJECT: Final = Symbol("DateObject")

#: A list or a tuple that gets as far as this table can be packed.
_WRITERS: Final[dict[type, Callable[[Any], Expression]]] = {
    type(None): lambda _: Symbol("Null"),
    bool: lambda value: Symbol("True" if value else "False"),
    int: int,
    str: str.__str__,
    float: lambda value: _real_expression(float(value)),
    complex: _complex_expression,
    Decimal: _decimal_expression,
    bytes: _byte_array_expression,
    bytearray: _byte_array_expression,
    memoryview: _byte_array_expression,
    list: PackedArray.from_list,
    tuple: PackedArray.from_list,
}
#: The same for types of modules that take a while to import.
_WRITERS_BY_NAME: Final[dict[str, Callable[[Any], Expression]]] = {
    "fractions.Fraction": _fraction_expression,
    "datetime.datetime": _datetime_expression,
    "datetime.date": _date_expression,
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
    return kinds == {int} and min(flat) in INT64 and max(flat) in INT64


# From expressions to Python values. Nothing here recurses either.

_CONSTANTS: Final[dict[str, object]] = {"True": True, "False": False, "Null": None}
_CONSTANTS.update({f"System`{name}": value for name, value in tuple(_CONSTANTS.items())})
_CONSTANTS.update({"Indeterminate": math.nan, "System`Indeterminate": math.nan})

_LISTS: Final = ("List", "System`List")
_ASSOCIATIONS: Final = ("Association", "System`Association")
_RULES: Final = ("Rule", "System`Rule")


class _ValueMark:
    """A mark on the stack: the `count` values before it are the parts of `whole`."""

    __slots__ = ("count", "make", "whole")

    def __init__(self, make: Callable[[list[Any], Expression], Any], count: int, whole: Expression) -> None:
        self.make = make
        self.count = count
        self.whole = whole


def to_python(expression: Expression, *, numpy: bool = False) -> Any:
    """Convert an expression to a Python value.

    Args:
        expression: The expression.
        numpy: Whether a list whose elements are all integers below 2**63, all machine reals or all complex machine
            numbers becomes a NumPy array (int64, float64, complex128), whatever its size. Arrays of one shape within
            a list become one.

    Returns:
        The value; what Python has nothing for stays an expression (see the table at the top of this module).

    Raises:
        ImportError: `numpy` is true and NumPy is not installed.
    """
    reader = _numpy_reader if numpy else _list_reader
    return reader.value(expression)


class _Reader:
    """Makes Python values of expressions.

    Args:
        make_list: Makes the value of a list of its parts.
        make_array: Makes the value of a packed array of numbers.
        make_complex: Makes the value of a packed array of complex numbers with at least one dimension.
        make_numeric: Makes the value of a NumericArray.
    """

    def __init__(
        self,
        make_list: Callable[[list[Any], Expression], Any],
        make_array: Callable[[PackedArray], Any],
        make_complex: Callable[[PackedArray], Any],
        make_numeric: Callable[[Any], Any],
    ) -> None:
        self._make_list = make_list
        self._make_array = make_array
        self._make_complex = make_complex
        self._make_numeric = make_numeric

    def value(self, expression: Expression) -> Any:
        """Return the Python value of `expression`."""
        make_list = self._make_list
        waiting: list[Any] = [expression]
        done: list[Any] = []
        while waiting:
            item = waiting.pop()
            kind = type(item)
            if kind is _ValueMark:
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
                    waiting.append(_ValueMark(make_list, len(item.args), item))
                    waiting.extend(reversed(item.args))
                elif name in _ASSOCIATIONS:
                    _open_association(item, waiting, done)
                else:
                    done.append(self._function(name, item))
            elif kind is PackedArray:
                self._array(item, waiting, done)
            elif kind is list or kind is tuple:
                waiting.append(_ValueMark(make_list, len(item), item))
                waiting.extend(reversed(item))
            else:
                done.append(_plain_number(item))
        return done.pop()

    def _function(self, name: str, item: Function) -> Any:
        """The value of a function that stands for one value; else the function."""
        name = name.removeprefix("System`")
        reader = _READERS.get(name)
        if reader is not None:
            value = reader(item.args)
            if value is not None:
                return value
        if name == "NumericArray":
            numbers = numeric_array(item.args)
            if numbers is not None:
                return self._make_numeric(numbers)
        return item

    def _array(self, item: PackedArray, waiting: list[Any], done: list[Any]) -> None:
        if item.heads is None:
            done.append(self._make_array(item))
        elif is_complex(item):
            done.append(self._make_complex(item) if len(item.shape) > 1 else complex_lists(item))
        elif item.heads[0].removeprefix("System`") in ("List", "Association", *_READERS):
            waiting.append(unpacked(item))
        else:
            done.append(item)


def _plain_list(parts: list[Any], _: Expression) -> list[Any]:
    return parts


def _numpy_list(parts: list[Any], _: Expression) -> Any:
    return array_of(parts)


def _numpy_array(item: PackedArray) -> Any:
    return array_of_packed(item) if item.data.nbytes else item.tolist()


_list_reader: Final = _Reader(_plain_list, lambda item: item.tolist(), complex_lists, lambda numbers: numbers)
_numpy_reader: Final = _Reader(_numpy_list, _numpy_array, array_of_packed, lambda numbers: numbers.to_numpy())


def _plain_number(item: Any) -> Any:
    """A number of forced width as the plain one; anything else as it is."""
    if isinstance(item, int) and not isinstance(item, bool):
        return int(item)
    return float(item) if isinstance(item, float) else item


def _open_association(item: Function, waiting: list[Any], done: list[Any]) -> None:
    """Put its keys and values on the stack; or the association itself among what is done, if it is not of rules."""
    rules = [unpacked(rule) if isinstance(rule, PackedArray) else rule for rule in item.args]
    pairs = [rule.args for rule in rules if isinstance(rule, Function) and _is_rule(rule)]
    if len(pairs) != len(rules):
        done.append(item)
        return
    waiting.append(_ValueMark(_dict, 2 * len(pairs), item))
    for key, value in reversed(pairs):
        waiting.extend((value, key))


def _is_rule(rule: Function) -> bool:
    return type(rule.head) is Symbol and rule.head.name in _RULES and len(rule.args) == 2


def _dict(parts: list[Any], whole: Expression) -> Any:
    """A dict, unless a key cannot be one, or two of them are equal in Python (1, 1. and True are)."""
    try:
        pairs = dict(zip(parts[::2], parts[1::2], strict=True))
    except TypeError:
        return whole
    return pairs if 2 * len(pairs) == len(parts) else whole


def _rational(arguments: tuple[Expression, ...]) -> Fraction | None:
    match arguments:
        case (int(numerator), int(denominator)) if denominator > 1 and math.gcd(numerator, denominator) == 1:
            from fractions import Fraction

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
            import binascii

            try:
                data = binascii.a2b_base64(text)
            except ValueError:
                return None
            return data if _base64(data) == text else None
    return None


def _date(arguments: tuple[Expression, ...]) -> datetime.date | None:
    """A date or a datetime; None for other granularities and calendars, and for years that Python has not."""
    if len(arguments) not in (2, 4) or arguments[2:3] not in ((), ("Gregorian",)):
        return None
    import datetime

    parts = _elements(arguments[0])
    try:
        match arguments[1], parts:
            case "Day", [int(year), int(month), int(day)]:
                return datetime.date(year, month, day)
            case "Instant", [int(year), int(month), int(day), int(hour), int(minute), int(second) | float(second)]:
                if len(arguments) != 4:
                    return None
                zone = _time_zone(arguments[3])
                start = datetime.datetime(year, month, day, hour, minute, tzinfo=zone)
                if 0 <= second < 60:
                    # Arithmetic within one time zone is by the clock on the wall, which is what is meant.
                    return start + datetime.timedelta(microseconds=round(1_000_000 * second))
    except (LookupError, OverflowError, TypeError, ValueError):
        pass
    return None


def _elements(expression: Expression) -> list[Any] | None:
    if isinstance(expression, PackedArray) and expression.heads is None:
        values: list[Any] = expression.tolist()
        return values
    if isinstance(expression, Function) and expression.head in (_LIST, Symbol("System`List")):
        return [_plain_number(part) for part in expression.args]
    return None


def _time_zone(expression: Expression) -> datetime.tzinfo | None:
    """The time zone that a DateObject names. TypeError, ValueError, LookupError if Python has none like it."""
    if isinstance(expression, Symbol) and expression.name.removeprefix("System`") == "None":
        return None
    if isinstance(expression, str):
        import zoneinfo  # which takes a while, and dates are rare

        return zoneinfo.ZoneInfo(expression)
    if isinstance(expression, (int, float)):
        import datetime

        return datetime.timezone(datetime.timedelta(hours=expression))
    raise TypeError(f"no time zone: {expression!r}")


_READERS: Final[dict[str, Callable[[tuple[Expression, ...]], Any]]] = {
    "Rational": _rational,
    "Complex": _complex,
    "DirectedInfinity": _directed_infinity,
    "ByteArray": _byte_array,
    "DateObject": _date,
}
