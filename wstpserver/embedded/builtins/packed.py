"""Functions of packed lists, which leave the list packed. What is no packed list is left to the other definitions.

Assignment to parts of a list is here for lists of all kinds: that of Mathics changes the parts in place, which other
symbols share, takes no negative places, and replaces whole rows for x[[All, 1]] = v.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
from mathics.core.atoms import Integer, MachineReal
from mathics.core.attributes import A_PROTECTED
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolList, SymbolTrue
from mathics.core.systemsymbols import SymbolAssociation, SymbolRule
from mathics.eval.assignments import ASSIGNMENT_FUNCTION_MAP

from wstpserver.embedded.arrays import (
    PACK_FROM,
    PackedList,
    Unsuited,
    array_of_list,
    element_of,
    list_of_array,
    list_of_numbers,
    machine_real,
    operand,
    operate,
    packed_list,
    truth_over,
    value_over,
)
from wstpserver.embedded.builtins.library import Library

PACKED = Library()


def _of_packed(name: str, function: Callable[..., Any], most: int = 1) -> None:
    """Define what a function gives for a packed list and integers.

    Args:
        name: The function.
        function: Called with the array and the integers; gives an array or a number, or None for what is left to
            Mathics.
        most: The largest number of arguments.
    """

    @PACKED.define(name, 1, most)
    def of_packed(evaluation: Any, items: BaseElement, *rest: BaseElement) -> BaseElement | None:
        array = array_of_list(items)
        numbers = [part.get_int_value() for part in rest]
        if array is None or None in numbers:
            return None
        with numpy.errstate(all="ignore"):
            value = function(array, *numbers)
        if value is None or isinstance(value, bool):
            return None if value is None else SymbolTrue if value else SymbolFalse
        if isinstance(value, numpy.ndarray):
            return list_of_array(value) if value.size else None
        return Integer(int(value)) if isinstance(value, int | numpy.integer) else machine_real(float(value))


def sums_are_safe(array: Any, count: int = 0) -> bool:
    """Whether sums of `count` elements, of all by default, are no larger than an integer of NumPy."""
    if array.dtype.kind == "f" or not array.size:
        return True
    return max(abs(int(array.max())), abs(int(array.min()))) * (count or len(array)) < 2**62


def _flat_real(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda array: function(array) if array.ndim == 1 and array.dtype.kind == "f" else None


def _summed(array: Any) -> Any:
    if not sums_are_safe(array):
        return None
    return array.sum(axis=0)


def _place(array: Any, *places: int) -> Any:
    """Part with numbers; None for one that is not there, for which Mathics has a message."""
    for place in places:
        if not isinstance(array, numpy.ndarray) or place == 0 or not -len(array) <= place <= len(array):
            return None
        array = array[place - 1 if place > 0 else place]
    return array


def _taken(array: Any, count: int) -> Any:
    if abs(count) > len(array):
        return None
    return array[:count] if count >= 0 else array[count:]


def _dropped(array: Any, count: int) -> Any:
    if abs(count) > len(array):
        return None
    return array[count:] if count >= 0 else array[:count]


_of_packed("Length", len)
_of_packed("Total", _summed)
_of_packed("Mean", lambda array: _summed(array) / len(array) if array.dtype.kind == "f" else None)
_of_packed("Variance", _flat_real(lambda array: numpy.var(array, ddof=1)))
_of_packed("StandardDeviation", _flat_real(lambda array: numpy.std(array, ddof=1)))
_of_packed("Median", _flat_real(numpy.median))
_of_packed("Norm", _flat_real(numpy.linalg.norm))
_of_packed("Max", lambda array: array.max())
_of_packed("Min", lambda array: array.min())
_of_packed("Part", _place, 9)
_of_packed("First", lambda array: array[0])
_of_packed("Last", lambda array: array[-1])
_of_packed("Rest", lambda array: array[1:])
_of_packed("Most", lambda array: array[:-1])
_of_packed("Take", lambda array, *count: _taken(array, *count) if count else None, 2)
_of_packed("Drop", lambda array, *count: _dropped(array, *count) if count else None, 2)
_of_packed("Reverse", lambda array: array[::-1])
_of_packed("Sort", lambda array: numpy.sort(array) if array.ndim == 1 else None)
_of_packed("Accumulate", lambda array: numpy.cumsum(array, axis=0) if sums_are_safe(array) else None)
_of_packed("Differences", lambda array: numpy.diff(array, axis=0) if sums_are_safe(array, 2) else None)
_of_packed("Transpose", lambda array: numpy.ascontiguousarray(array.T) if array.ndim == 2 else None)
_of_packed("Flatten", lambda array: array.reshape(-1))
_of_packed("VectorQ", lambda array: array.ndim == 1)
_of_packed("MatrixQ", lambda array: array.ndim == 2)
_of_packed("ArrayQ", lambda array: True)
_of_packed("ListQ", lambda array: True)


@PACKED.define("Dimensions", 1)
def dimensions(evaluation: Any, items: BaseElement) -> BaseElement | None:
    """Dimensions of a packed list."""
    array = array_of_list(items)
    return None if array is None else list_of_numbers([Integer(size) for size in array.shape])


@PACKED.define("Part", 2)
def part_of_packed(evaluation: Any, items: BaseElement, span: BaseElement) -> BaseElement | None:
    """x[[a ;; b]] and x[[{a, b}]] of a packed list."""
    array = array_of_list(items)
    if array is None:
        return None
    if span.has_form("Span", 2, None):
        return _span(array, span.elements)
    if not isinstance(span, ListExpression) or not span.elements:
        return None
    places = array_of_list(span)
    if places is None:
        numbers = [part.get_int_value() for part in span.elements]
        if None in numbers:
            return None
        places = numpy.array(numbers)
    if places.dtype.kind != "i" or places.ndim != 1:
        return None
    if not 0 < numpy.abs(places).min() <= numpy.abs(places).max() <= len(array):
        return None
    return list_of_array(array[numpy.where(places > 0, places - 1, places)])


def _span(array: Any, bounds: Sequence[BaseElement]) -> BaseElement | None:
    numbers = [None if bound.get_name() == "System`All" else bound.get_int_value() for bound in bounds]
    first, last, step = [*numbers, 1][:3]
    if any(number is None and bound.get_name() != "System`All" for number, bound in zip(numbers, bounds, strict=True)):
        return None
    size = len(array)
    first, last = first or 1, size if last is None else last
    begin, end = (place + size + 1 if place < 0 else place for place in (first, last))
    if not step or step < 1 or not 1 <= begin <= end <= size:
        return None
    return list_of_array(array[begin - 1 : end : step])


@PACKED.define("Map", 2)
def map_packed(evaluation: Any, function: BaseElement, items: BaseElement) -> BaseElement | None:
    """Map of arithmetic and elementary functions over a packed list."""
    array = array_of_list(items)
    if array is None or array.ndim != 1:
        return None
    try:
        if isinstance(function, Symbol):
            name = function.get_name()
            return element_of(array.astype(float) if name == "System`N" else operate(name, [array]))
        value = value_over(*_applied(function, array), evaluation)
        return element_of(value) if isinstance(value, numpy.ndarray) else None
    except Unsuited:
        return None


@PACKED.define("Partition", 2, 3)
def partition(
    evaluation: Any, items: BaseElement, size: BaseElement, offset: BaseElement | None = None
) -> BaseElement | None:
    """Partition[list, n, d], of lists of all kinds: Mathics takes a millisecond for each part."""
    up_to = size.has_form("UpTo", 1)
    length = size.elements[0].get_int_value() if up_to else size.get_int_value()
    step = length if offset is None else offset.get_int_value()
    if not isinstance(items, Expression) or not length or not step or length < 1 or step < 1:
        return None
    count = len(items.elements) if array_of_list(items) is None else len(items.array)
    starts = range(0, count if up_to else count - length + 1, step)
    array = array_of_list(items)
    if array is not None and not up_to and starts:
        return list_of_array(array[numpy.add.outer(numpy.array(starts), numpy.arange(length))])
    elements = items.elements
    parts = [elements[start : start + length] for start in starts]
    if isinstance(items, ListExpression):
        return ListExpression(*(list_of_numbers(list(part)) for part in parts))
    return Expression(items.head, *(Expression(items.head, *part) for part in parts))


@PACKED.define("Partition", 4, 5)
def padded_partition(
    evaluation: Any, items: BaseElement, size: BaseElement, offset: BaseElement, align: BaseElement, *pad: BaseElement
) -> BaseElement | None:
    """Partition[list, n, d, 1, pad]: parts begin at every d-th element, and go on with `pad` at the end of the list."""
    length, step = size.get_int_value(), offset.get_int_value()
    aligned = align.get_int_value() == 1 or (
        align.has_form("List", 2) and all(part.get_int_value() == 1 for part in align.elements)
    )
    if not isinstance(items, ListExpression) or not length or not step or length < 1 or step < 1 or not aligned:
        return None
    elements = list(items.elements)
    following = [*pad[0].elements] if pad and isinstance(pad[0], ListExpression) else list(pad) or elements
    parts = []
    for start in range(0, len(elements), step):
        part = elements[start : start + length]
        if following:
            place = start + len(part)
            first = place % len(elements) if following is elements else 0
            part += [following[(first + extra) % len(following)] for extra in range(length - len(part))]
        parts.append(list_of_numbers(part))
    return ListExpression(*parts)


@PACKED.define("MapThread", 2)
def map_thread_packed(evaluation: Any, function: BaseElement, lists: BaseElement) -> BaseElement | None:
    """MapThread of arithmetic over packed lists."""
    if isinstance(lists, PackedList):
        arrays = list(lists.array)
    else:
        arrays = [array_of_list(items) for items in getattr(lists, "elements", ())]
    if not arrays or any(array is None for array in arrays) or len({array.shape for array in arrays}) != 1:
        return None
    try:
        return element_of(operate(function.get_name(), arrays))
    except Unsuited:
        return None


def _applied(function: BaseElement, array: Any) -> tuple[BaseElement, dict[str, Any]]:
    """The body of a pure function of one argument, and its places; see `value_over`.

    Raises:
        Unsuited: It is none.
    """
    if not function.has_form("Function", 1, 2):
        raise Unsuited
    *variables, body = function.elements
    if not variables:
        return body, {"#": array}
    names = variables[0].elements if isinstance(variables[0], ListExpression) else variables
    if len(names) != 1 or not isinstance(names[0], Symbol):
        raise Unsuited
    return body, {names[0].get_name(): array}


@PACKED.define("Select", 2)
def select_packed(evaluation: Any, items: BaseElement, condition: BaseElement) -> BaseElement | None:
    """The elements of a packed list for which a comparison is true."""
    array = array_of_list(items)
    if array is None or array.ndim != 1:
        return None
    try:
        found = array[truth_over(*_applied(condition, array), evaluation)]
    except Unsuited:
        return None
    return list_of_array(found)


@PACKED.define("Clip", 1, 2)
def clip_packed(evaluation: Any, items: BaseElement, bounds: BaseElement | None = None) -> BaseElement | None:
    """The elements of a packed list of reals, and the bounds, machine reals too, in place of what is beyond them."""
    array = array_of_list(items)
    limits = [MachineReal(-1.0), MachineReal(1.0)] if bounds is None else getattr(bounds, "elements", ())
    if array is None or array.dtype.kind != "f" or len(limits) != 2:
        return None
    if not all(isinstance(limit, MachineReal) for limit in limits) and (array < -1).any() | (array > 1).any():
        return None
    try:
        least, most = (float(operand(limit)) for limit in limits)
    except (Unsuited, OverflowError, TypeError):
        return None
    return list_of_array(numpy.clip(array, least, most))


@PACKED.define("Join", 2, None)
def join_packed(evaluation: Any, *lists: BaseElement) -> BaseElement | None:
    """Packed lists of one kind, one after the other."""
    arrays = [array_of_list(items) for items in lists]
    if any(array is None for array in arrays) or len({(a.shape[1:], a.dtype) for a in arrays}) != 1:
        return None
    return list_of_array(numpy.concatenate(arrays))


def _of_random(name: str, kinds: tuple[type, ...], draw: Callable[[Any, Any, Any], Any]) -> None:
    """Define random arrays: the same numbers as Mathics draws, from the same generator."""

    @PACKED.define(name, 2)
    def of_random(evaluation: Any, bounds: BaseElement, size: BaseElement) -> BaseElement | None:
        limits = bounds.elements if isinstance(bounds, ListExpression) else (Integer(0), bounds)
        sizes = [part.get_int_value() for part in (size.elements if isinstance(size, ListExpression) else (size,))]
        if len(limits) != 2 or not all(isinstance(limit, kinds) for limit in limits):
            return None
        if not sizes or any(number is None or number < 1 for number in sizes) or math.prod(sizes) < PACK_FROM:
            return None
        least, most = (limit.value for limit in limits)
        if max(abs(least), abs(most)) >= 2**62 or least > most:
            return None
        return list_of_array(draw(least, most, tuple(sizes)))


_of_random(
    "RandomReal", (Integer, MachineReal),
    lambda least, most, size: numpy.random.uniform(least, numpy.nextafter(most, 1), size),
)  # fmt: skip
_of_random("RandomInteger", (Integer,), lambda least, most, size: numpy.random.randint(least, most + 1, size))


def array_of_values(values: range | Sequence[Any]) -> Any:
    """The values of an iterator as an array; None if they are no machine numbers."""
    if not isinstance(values, range):
        reals = [value.value for value in values if isinstance(value, MachineReal)]
        return numpy.array(reals) if reals and len(reals) == len(values) else None
    small = max(abs(values.start), abs(values.stop)) < 2**62
    return numpy.arange(values.start, values.stop, values.step) if small else None


def table_of_arrays(
    evaluation: Any, body: BaseElement, name: str, values: range | Sequence[BaseElement]
) -> BaseElement | None:
    """The table of an expression of arithmetic and elementary functions; None for any other."""
    if len(values) < PACK_FROM:
        return None
    try:
        sample, array = array_of_values(values[:1]), None
        if sample is not None:
            value_over(body, {name: sample}, evaluation)  # tells whether the body is suited before there are many
            array = array_of_values(values)
        if array is None:
            return None
        found = value_over(body, {name: array}, evaluation)
        return element_of(found) if isinstance(found, numpy.ndarray) else None
    except Unsuited:
        return None


# Assignment to parts.


class _NoPart(Exception):
    """There is no such part, or the values do not fit it; the arguments are those of a message: symbol, tag, others."""


def install_part_assignment() -> None:
    """Have x[[...]] = value done here. Once per process."""
    ASSIGNMENT_FUNCTION_MAP["System`Part"] = assign_part


def assign_part(
    builtin: Any, left: Expression, _reference: Any, value: BaseElement, evaluation: Any, *_details: Any
) -> bool:
    """symbol[[indices...]] = value, for all functions that assign; the interface is that of Mathics.

    Returns:
        Whether there are such parts; if not, a message says so.
    """
    symbol = left.elements[0] if left.elements else left
    definitions = evaluation.definitions
    name = symbol.get_name() if isinstance(symbol, Symbol) else ""
    owned = definitions.get_ownvalues(name) if name else ()
    if not name:
        evaluation.message(builtin.get_name(), "setps", symbol)
    elif definitions.get_attributes(name) & A_PROTECTED:
        evaluation.message(builtin.get_name(), "wrsym", symbol)
    elif not owned:
        evaluation.message(builtin.get_name(), "noval", symbol)
    else:
        indices = [index.evaluate(evaluation) or index for index in left.elements[1:]]
        whole = owned[0].replace
        try:
            changed = _with_element(whole, indices, value)
            if changed is None:
                changed = _with_parts(whole, indices, value)
        except _NoPart as error:
            evaluation.say(*error.args)
            return False
        definitions.set_ownvalue(name, changed)
        return True
    return False


def _with_element(whole: BaseElement, indices: list[BaseElement], value: BaseElement) -> BaseElement | None:
    """A packed list with one number of its own kind replaced; None for everything else."""
    array = array_of_list(whole)
    if array is None or len(indices) != array.ndim or type(value) is not {"f": MachineReal, "i": Integer}.get(
        array.dtype.kind
    ):
        return None
    places = [index.get_int_value() for index in indices]
    if any(
        not place or not -size <= place <= size or index.get_head_name() != "System`Integer"
        for place, size, index in zip(places, array.shape, indices, strict=True)
    ):
        return None
    number = value.value
    if not (math.isfinite(number) if array.dtype.kind == "f" else abs(number) < 2**63):
        return None
    changed = array.copy()
    changed[tuple(place - 1 if place > 0 else place for place in places)] = number
    return list_of_array(changed)


def _with_parts(whole: BaseElement, indices: Sequence[BaseElement], value: BaseElement) -> BaseElement:
    """A copy of an expression with the parts at these indices replaced; what is not changed is shared.

    Raises:
        _NoPart: There are none.
    """
    if not indices:
        return value
    index, *rest = indices
    if not isinstance(whole, Expression):
        raise _NoPart("Part", "partd", "Part specification is longer than depth of object.")
    elements = list(whole.elements)
    if index.get_int_value() == 0:
        head = _with_parts(whole.head, rest, value)
        return ListExpression(*elements) if head is SymbolList else Expression(head, *elements)
    places = _places(index, whole)
    values = [value]
    if not isinstance(places, list):
        places = [places]
    elif isinstance(value, ListExpression):
        if len(value.elements) != len(places):
            raise _NoPart("Set", "shape", f"{len(places)} parts cannot be given {len(value.elements)} values.")
        values = list(value.elements)
    else:
        values = [value] * len(places)
    for place, new in zip(places, values, strict=True):
        old = elements[place]
        if whole.head is SymbolAssociation and old.has_form(("Rule", "RuleDelayed"), 2):
            elements[place] = Expression(SymbolRule, old.elements[0], _with_parts(old.elements[1], rest, new))
        else:
            elements[place] = _with_parts(old, rest, new)
    if isinstance(whole, ListExpression):
        return packed_list(elements)
    return Expression(whole.head, *elements)


def _places(index: BaseElement, whole: Expression) -> int | list[int]:
    """The places of an index in the tuple of elements, one or several.

    Raises:
        _NoPart: There are none, or it is no index.
    """
    size = len(whole.elements)
    if index.get_name() == "System`All":
        return list(range(size))
    if index.has_form("Span", 2, 3):
        bounds = [None if bound.get_name() == "System`All" else bound.get_int_value() for bound in index.elements]
        first, last = (1 if bounds[0] is None else bounds[0]), (size if bounds[1] is None else bounds[1])
        step = 1 if len(bounds) < 3 or bounds[2] is None else bounds[2]
        begin, end = (place + size + 1 if place < 0 else place for place in (first, last))
        if step and 1 <= begin <= size + 1 and 0 <= end <= size:
            return [place - 1 for place in range(begin, end + (1 if step > 0 else -1), step)]
        raise _NoPart("Part", "take", f"There are no positions {first} through {last} in {size} parts.")
    if isinstance(index, ListExpression):
        return [place for part in index.elements for place in [_places(part, whole)] if isinstance(place, int)]
    if whole.head is SymbolAssociation and type(index) is not Integer:
        key = index.elements[0] if index.has_form("Key", 1) else index
        for place, rule in enumerate(whole.elements):
            if isinstance(rule, Expression) and rule.elements[0] == key:
                return place
        raise _NoPart("Part", "keyw", "There is no such key in the association.")
    number = index.get_int_value()
    if not number or not -size <= number <= size:
        shown = index.get_int_value() if number is not None else "with this specification"
        raise _NoPart("Part", "partw", f"Part {shown} of an expression with {size} parts does not exist.")
    return int(number - 1 if number > 0 else number + size)
