"""Many machine numbers at once: lists that are held as NumPy arrays, and arithmetic on them.

A `PackedList` is a list of the language like any other. Its elements are made when something looks at one of them, so
that what knows about arrays (arithmetic, functions of `builtins.numerics`, the conversion to the wire) never makes
them: a million reals are 8 MB as an array, and 200 MB and half a second as elements.

Mathics keeps every number it makes in a table for ever, so that equal numbers are one object. Only speed depends on
that, and for the many numbers of an array the table is a loss: those are made without it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy
from mathics.core.atoms import Integer, MachineReal, Rational
from mathics.core.element import BaseElement, ElementsProperties
from mathics.core.expression import Expression, ExpressionCache
from mathics.core.keycomparable import GENERAL_EXPRESSION_ELT_ORDER
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolList
from mathics.core.systemsymbols import SymbolDirectedInfinity, SymbolIndeterminate

#: Integers of this size are so common that the copies in Mathics' table are used.
SMALL_INTEGERS: Final = range(-256, 1025)

#: A rectangular list of at least so many machine numbers is packed, as by Wolfram kernels.
PACK_FROM: Final = 250

#: Integers of packed lists; sums and products that may reach this are left to Python's integers.
_INTEGER_LIMIT: Final = 2**63


# Numbers.


def machine_real(value: float) -> BaseElement:
    """A machine real; infinities and not-a-number as the expressions a kernel has for them."""
    if math.isfinite(value):
        return MachineReal(value)
    if math.isnan(value):
        return SymbolIndeterminate
    return Expression(SymbolDirectedInfinity, Integer(1 if value > 0 else -1))


def machine_reals(values: Sequence[float]) -> list[BaseElement]:
    """Many machine reals, made without Mathics' table (0.4 us each)."""
    if not all(map(math.isfinite, values)):
        return [machine_real(value) for value in values]
    new, kind = object.__new__, MachineReal
    reals: list[BaseElement] = []
    for value in values:
        real = new(kind)
        real._value = value
        real.hash = hash((kind, value))
        reals.append(real)
    return reals


def integers(values: Sequence[int]) -> list[BaseElement]:
    """Many integers, made without Mathics' table (1 us each). `evaluator` supplies their SymPy counterparts."""
    new, kind = object.__new__, Integer
    numbers: list[BaseElement] = []
    for value in values:
        if value in SMALL_INTEGERS:
            numbers.append(Integer(value))
            continue
        number = new(kind)
        number._value = value
        number.hash = hash((kind, value))
        numbers.append(number)
    return numbers


def list_of_numbers(elements: list[BaseElement]) -> ListExpression:
    """A list; for numbers, what Mathics would find out by looking at each of them is told."""
    kind = type(elements[0]) if elements else None
    if kind not in (MachineReal, Integer) or not all(type(element) is kind for element in elements):
        return ListExpression(*elements)
    known = ElementsProperties(elements_fully_evaluated=True, is_flat=True, is_ordered=False, is_uniform=True)
    return ListExpression(*elements, elements_properties=known, literal_values=tuple(e._value for e in elements))


# Lists.


class PackedList(ListExpression):
    """A rectangular list of machine numbers. Made by `list_of_array`.

    Once an element has been replaced, the object is a list like any other.

    Attributes:
        array: The numbers, float64 (all finite) or int64, at least one in each dimension. Nobody writes into it.
    """

    array: Any

    def __init__(self, array: Any) -> None:
        self.array = array
        self._made: tuple[BaseElement, ...] | None = None
        self.options = None
        self.pattern_sequence = False
        self.unevaluated = False
        self.location = None
        self.original = None
        self._head = SymbolList
        self._sympy = None
        self._sequences = None
        # Mathics wants the values of a literal as a tuple. It evaluates what is no literal, which takes no time here.
        self._is_literal = False
        self._build_elements_properties()
        self._rebuild_cache()

    @property
    def _elements(self) -> tuple[BaseElement, ...]:
        if self._made is None:
            self._made = tuple(_elements_of(self.array))
        return self._made

    @_elements.setter
    def _elements(self, values: Sequence[BaseElement]) -> None:
        self.__class__ = ListExpression
        self._elements = tuple(values)
        self._cache = self.elements_properties = self.array = self._made = None

    def _build_elements_properties(self) -> None:
        self.elements_properties = ElementsProperties(
            elements_fully_evaluated=True, is_flat=self.array.ndim == 1, is_ordered=False, is_uniform=True
        )

    def _rebuild_cache(self) -> ExpressionCache:
        self._cache = ExpressionCache(None, {"System`List"}, [])
        return self._cache

    def is_uncertain_final_definitions(self, definitions: Any) -> bool:
        """No definition changes the value of a list of numbers."""
        return False

    def evaluate(self, evaluation: Any) -> BaseElement | None:
        """The value: this list."""
        return self

    def evaluate_elements(self, evaluation: Any) -> Expression:
        """The list with its elements evaluated: this list."""
        return self

    def rewrite_apply_eval_step(self, evaluation: Any) -> tuple[Expression, bool]:
        """Nothing is to be done."""
        return self, False

    def has_form(self, heads: Any, *element_counts: int | None) -> bool:
        """Whether this is a list with one of so many elements."""
        if not element_counts or element_counts[0] is None:
            return bool(super().has_form(heads, *element_counts))
        count = len(self.array)
        fits = count in element_counts or (element_counts[1:] == (None,) and count >= element_counts[0])
        return fits and bool(super().has_form(heads, None))

    def has_symbol(self, symbol_name: str) -> bool:
        """Whether a symbol occurs."""
        return symbol_name == "System`List"

    def sameQ(self, other: BaseElement) -> bool:  # noqa: N802 - the interface of Mathics
        """Whether both are the same list."""
        if not other.has_form("List", len(self.array)):
            return False
        array = array_of_list(other)
        if array is None:
            return bool(super().sameQ(other))
        return array is self.array or (array.dtype == self.array.dtype and numpy.array_equal(array, self.array))

    @property
    def element_order(self) -> tuple[Any, ...]:
        """Where this list comes among others: by its length, then by its elements."""
        return (GENERAL_EXPRESSION_ELT_ORDER, SymbolList, len(self.array), _ElementOrder(self), 1)

    def copy(self, reevaluate: bool = False) -> Expression:  # noqa: FBT001, FBT002 - the interface of Mathics
        """A copy, on the same array."""
        return PackedList(self.array)

    def shallow_copy(self) -> ListExpression:
        """A copy, on the same array."""
        return PackedList(self.array)

    def replace_vars(self, *arguments: Any, **options: Any) -> Expression:
        """The list with symbols replaced: it has none."""
        return self

    def replace_slots(self, slots: Any, evaluation: Any) -> Expression:
        """The list with slots replaced: it has none."""
        return self


@functools.total_ordering
class _ElementOrder:
    """The elements of a list in a comparison, which are rarely looked at: lengths are compared first."""

    def __init__(self, whole: PackedList) -> None:
        self._whole = whole

    def __eq__(self, other: object) -> bool:
        arrays = self._arrays(other)
        return numpy.array_equal(*arrays) if arrays else bool(self._whole._elements == _compared(other))

    def __lt__(self, other: object) -> bool:
        arrays = self._arrays(other)
        if arrays is None:
            return bool(self._whole._elements < _compared(other))
        differ = numpy.flatnonzero(arrays[0] != arrays[1])
        return bool(differ.size) and bool(arrays[0].flat[differ[0]] < arrays[1].flat[differ[0]])

    def _arrays(self, other: object) -> tuple[Any, Any] | None:
        """Both arrays, if they can be compared whole."""
        if not isinstance(other, _ElementOrder):
            return None
        first, second = self._whole.array, other._whole.array
        return (first, second) if first.shape == second.shape and first.dtype == second.dtype else None

    __hash__ = None  # type: ignore[assignment]


def _compared(other: object) -> Any:
    return other._whole._elements if isinstance(other, _ElementOrder) else other


def _elements_of(array: Any) -> Sequence[BaseElement]:
    if array.ndim > 1:
        return [list_of_array(row) for row in array]
    values = array.tolist()
    return machine_reals(values) if array.dtype.kind == "f" else integers(values)


def list_of_array(array: Any) -> ListExpression:
    """The list of a NumPy array of machine reals or integers of at most 64 bits; packed if it is long enough.

    Args:
        array: Any shape but (). The list keeps it.
    """
    if array.dtype.kind == "f":
        array = numpy.asarray(array, dtype=float)
        can_pack = bool(numpy.isfinite(array).all())
    else:
        can_pack = array.dtype != numpy.uint64 or not array.size or int(array.max()) < _INTEGER_LIMIT
        array = numpy.asarray(array, dtype=numpy.int64) if can_pack else array
    if can_pack and array.size >= PACK_FROM:
        return PackedList(array)
    elements = list(_elements_of(array))
    return ListExpression(*elements) if array.ndim > 1 else list_of_numbers(elements)


def packed_list(elements: list[BaseElement]) -> ListExpression:
    """A list of elements; packed if they are enough machine numbers of one kind."""
    if len(elements) >= PACK_FROM:
        kinds = set(map(type, elements))
        values = [element._value for element in elements] if kinds in ({MachineReal}, {Integer}) else []
        if set(map(type, values)) == {float} and all(map(math.isfinite, values)):
            return PackedList(numpy.array(values))
        if kinds == {Integer} and max(map(abs, values)) < _INTEGER_LIMIT:
            return PackedList(numpy.array(values, dtype=numpy.int64))
    return ListExpression(*elements)


def array_of_list(element: BaseElement) -> Any:
    """The array of a packed list; None for anything else."""
    return element.array if type(element) is PackedList else None


# Arithmetic. An operand is an array, or a number of Python: int and int64 are exact, as they are in the language.


class Unsuited(Exception):
    """Arrays give no value here, or not the one of the language: the elements have to be evaluated one by one."""


_FUNCTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "System`Sin": numpy.sin, "System`Cos": numpy.cos, "System`Tan": numpy.tan, "System`ArcTan": numpy.arctan,
    "System`ArcSin": numpy.arcsin, "System`ArcCos": numpy.arccos, "System`Log": numpy.log, "System`Exp": numpy.exp,
    "System`Sinh": numpy.sinh, "System`Cosh": numpy.cosh, "System`Tanh": numpy.tanh, "System`ArcSinh": numpy.arcsinh,
    "System`Sqrt": numpy.sqrt,
}  # fmt: skip

_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "System`Greater": numpy.greater, "System`Less": numpy.less, "System`GreaterEqual": numpy.greater_equal,
    "System`LessEqual": numpy.less_equal,
}  # fmt: skip

#: Functions whose values are integers.
_TO_INTEGERS: Final[dict[str, Callable[[Any], Any]]] = {
    "System`Floor": numpy.floor, "System`Ceiling": numpy.ceil, "System`Round": numpy.rint, "System`Sign": numpy.sign,
}  # fmt: skip


def operate(name: str, operands: Sequence[Any]) -> Any:
    """The value of a function of arrays and numbers.

    Args:
        name: The full name of the function.
        operands: float64 and int64 arrays, floats, ints, and `Exact`; arrays whose shapes begin alike.

    Returns:
        An array or number.

    Raises:
        Unsuited: There is no such function, or its value is not of machine numbers.
    """
    aligned = _aligned(operands)
    with numpy.errstate(all="ignore"):
        if name in ("System`Plus", "System`Subtract", "System`Minus"):
            kept = {"System`Subtract": 1, "System`Minus": 0}.get(name, len(aligned))
            if kept < len(aligned) - 1:
                raise Unsuited
            return _checked(_sum([*aligned[:kept], *(_product([-1, part]) for part in aligned[kept:])]))
        if name == "System`Times":
            return _checked(_product(aligned))
        if name in ("System`Power", "System`Divide", "System`Mod", "System`Quotient") and len(aligned) == 2:
            return _checked(_OF_TWO[name](*aligned))
        if len(aligned) != 1:
            raise Unsuited
        (part,) = aligned
        if name == "System`Abs":
            return abs(part) if not isinstance(part, Exact) and _bound(part) < _INTEGER_LIMIT else _give_up()
        if not _is_float(part):
            return part if name in _TO_INTEGERS and name != "System`Sign" and _is_integer(part) else _give_up()
        if name in _TO_INTEGERS:
            if _bound(part) >= 2**53:
                raise Unsuited
            found = _TO_INTEGERS[name](part)
            return found.astype(numpy.int64) if isinstance(found, numpy.ndarray) else int(found)
        if name in _FUNCTIONS:
            return _checked(_FUNCTIONS[name](part))
    raise Unsuited


def _give_up() -> Any:
    raise Unsuited


class Exact(float):
    """An exact number that is no integer, as Pi or 1/2: among floats it is a float, alone it gives no array."""


def operand(element: BaseElement) -> Any:
    """A number or packed list as an operand.

    Raises:
        Unsuited: It is none.
    """
    kind = type(element)
    if kind is PackedList and element.array is not None:
        return element.array
    if kind is Integer:
        return element._value
    if kind is MachineReal and type(element._value) is float:
        return element._value
    if kind is Rational:
        return Exact(float(element.value))
    if isinstance(element, Symbol) and element.get_name() in _CONSTANTS:
        return _CONSTANTS[element.get_name()]
    raise Unsuited


_CONSTANTS: Final = {
    "System`Pi": Exact(math.pi), "System`E": Exact(math.e), "System`Degree": Exact(math.pi / 180),
    "System`GoldenRatio": Exact((1 + math.sqrt(5)) / 2), "System`EulerGamma": Exact(0.57721566490153286),
}  # fmt: skip


def element_of(value: Any) -> BaseElement:
    """The list or number of an operand.

    Raises:
        Unsuited: It is no machine number.
    """
    if isinstance(value, numpy.ndarray):
        return list_of_array(value)
    if isinstance(value, Exact):
        raise Unsuited
    return Integer(int(value)) if _is_integer(value) else machine_real(float(value))


def _is_integer(part: Any) -> bool:
    return part.dtype.kind == "i" if isinstance(part, numpy.ndarray) else isinstance(part, int | numpy.integer)


def _is_float(part: Any) -> bool:
    if isinstance(part, numpy.ndarray):
        return bool(part.dtype.kind == "f")
    return isinstance(part, float) and not isinstance(part, Exact)


def _bound(part: Any) -> Any:
    """The largest absolute value, as a number of Python."""
    if not isinstance(part, numpy.ndarray):
        return abs(part)
    return max(abs(part.max().item()), abs(part.min().item())) if part.size else 0


def _aligned(operands: Sequence[Any]) -> list[Any]:
    """Operands with as many dimensions as the one that has most: a function threads over the first dimensions."""
    shapes = [part.shape for part in operands if isinstance(part, numpy.ndarray)]
    whole = max(shapes, key=len, default=())
    if any(whole[: len(shape)] != shape for shape in shapes):
        raise Unsuited
    return [
        part.reshape(part.shape + (1,) * (len(whole) - part.ndim)) if isinstance(part, numpy.ndarray) else part
        for part in operands
    ]


def _mixed(parts: Sequence[Any]) -> Sequence[Any]:
    """The same as floats. Without a float among them their value is no machine number."""
    if not any(map(_is_float, parts)):
        raise Unsuited
    try:
        return [part if isinstance(part, numpy.ndarray) else float(part) for part in parts]
    except OverflowError:
        raise Unsuited from None


def _sum(parts: Sequence[Any]) -> Any:
    if not all(map(_is_integer, parts)):
        parts = _mixed(parts)
    elif sum(map(_bound, parts)) >= _INTEGER_LIMIT:
        raise Unsuited
    return sum(parts[1:], parts[0])


def _product(parts: Sequence[Any]) -> Any:
    if not all(map(_is_integer, parts)):
        if any(_is_integer(part) and not numpy.all(part) for part in parts):  # an exact zero stays one
            raise Unsuited
        parts = _mixed(parts)
    elif math.prod(map(_bound, parts)) >= _INTEGER_LIMIT:
        raise Unsuited
    result = parts[0]
    for part in parts[1:]:
        result = result * part
    return result


def _power(base: Any, exponent: Any) -> Any:
    if _is_integer(base) and _is_integer(exponent):
        largest = _bound(exponent)
        if numpy.any(numpy.less(exponent, 1)) or largest * math.log2(max(2, _bound(base))) >= 62:
            raise Unsuited
        return numpy.power(base, exponent) if isinstance(base, numpy.ndarray) or isinstance(
            exponent, numpy.ndarray) else base**exponent  # fmt: skip
    if not isinstance(exponent, numpy.ndarray) and exponent == 0:
        raise Unsuited
    if isinstance(base, Exact) and base == math.e and _is_float(exponent):
        return numpy.exp(exponent)
    if not isinstance(exponent, numpy.ndarray) and exponent == 2 and _is_float(base):
        return base * base
    base, exponent = _mixed((base, exponent))
    return numpy.power(base, exponent)


def _divided(first: Any, second: Any) -> Any:
    if _is_integer(first) and not numpy.all(first):
        raise Unsuited
    first, second = _mixed((first, second))
    return numpy.divide(first, second)


def _of_integers(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def value(first: Any, second: Any) -> Any:
        both = _is_integer(first) and _is_integer(second)
        if not both or not numpy.all(second) or max(_bound(first), _bound(second)) >= _INTEGER_LIMIT:
            raise Unsuited
        return function(first, second)

    return value


_OF_TWO: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "System`Power": _power,
    "System`Divide": _divided,
    "System`Mod": _of_integers(lambda first, second: first % second),
    "System`Quotient": _of_integers(lambda first, second: first // second),
}


def _checked(value: Any) -> Any:
    """The value, if all of it is finite: for the rest, the language has messages and complex numbers."""
    if not _is_integer(value) and not numpy.isfinite(value).all():
        raise Unsuited
    return value if isinstance(value, numpy.ndarray) or _is_integer(value) else float(value)


# Expressions.


def value_over(body: BaseElement, places: Mapping[str, Any], evaluation: Any) -> Any:
    """The values of an expression for all values of what varies in it.

    Args:
        body: An expression that has not been evaluated.
        places: Operands by the full name of the symbol that they stand for; "#" stands for the first slot.
        evaluation: Gives the values of other symbols.

    Returns:
        An array; a number if nothing varies.

    Raises:
        Unsuited: The values have to be found one by one.
    """
    if isinstance(body, Symbol):
        name = body.get_name()
        if name in places:
            return places[name]
        return operand(body if name in _CONSTANTS else body.evaluate(evaluation) or body)
    if not isinstance(body, Expression) or type(body) is PackedList:
        return operand(body)
    name, count = body.get_head_name(), len(body.elements)
    if name == "System`Slot" and count == 1 and body.elements[0].get_int_value() == 1 and "#" in places:
        return places["#"]
    if name == "System`N" and count == 1:
        return _numerical(body.elements[0], places, evaluation)
    if name == "System`Part" and count == 2:
        return _part(*(value_over(part, places, evaluation) for part in body.elements))
    if name not in _KNOWN:
        raise Unsuited
    operands = [value_over(part, places, evaluation) for part in body.elements]
    if any(isinstance(part, numpy.ndarray) and part.ndim > 1 for part in operands):
        raise Unsuited
    return operate(name, operands)


_KNOWN: Final = frozenset(
    {"System`Plus", "System`Times", "System`Subtract", "System`Minus", "System`Abs", *_OF_TWO, *_FUNCTIONS,
     *_TO_INTEGERS}
)  # fmt: skip


def truth_over(body: BaseElement, places: Mapping[str, Any], evaluation: Any) -> Any:
    """Where a condition is true, as an array of Booleans; see `value_over`.

    Raises:
        Unsuited: It is no comparison of arithmetic, and none of such conditions.
    """
    if not isinstance(body, Expression):
        raise Unsuited
    name, parts = body.get_head_name(), body.elements
    if name in _COMPARISONS and len(parts) == 2:
        first, second = (value_over(part, places, evaluation) for part in parts)
        if not isinstance(first, numpy.ndarray) and not isinstance(second, numpy.ndarray):
            raise Unsuited
        return _COMPARISONS[name](first, second)
    if name == "System`Not" and len(parts) == 1:
        return ~truth_over(parts[0], places, evaluation)
    if name in ("System`And", "System`Or") and parts:
        combine = numpy.logical_and if name == "System`And" else numpy.logical_or
        return combine.reduce([truth_over(part, places, evaluation) for part in parts])
    raise Unsuited


def _numerical(body: BaseElement, places: Mapping[str, Any], evaluation: Any) -> Any:
    """N[body]. The argument of a function is exact and then rounded, so that Sin[Pi n] is left to exact arithmetic."""
    function = body.get_head_name() if body.get_head_name() in _FUNCTIONS and len(body.elements) == 1 else None
    value = value_over(body.elements[0] if function else body, places, evaluation)
    if not (_is_integer(value) or _is_float(value)):
        raise Unsuited
    value = value.astype(float) if isinstance(value, numpy.ndarray) else float(value)
    return operate(function, [value]) if function else value


def _part(items: Any, place: Any) -> Any:
    """Elements of a list at varying places."""
    if not isinstance(items, numpy.ndarray) or items.ndim != 1 or not isinstance(place, numpy.ndarray):
        raise Unsuited
    if not _is_integer(place) or place.min() < 1 or place.max() > len(items):
        raise Unsuited
    return items[place - 1]
