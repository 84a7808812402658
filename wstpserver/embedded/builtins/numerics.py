"""Arrays: linear algebra of machine numbers by NumPy, loops over integers, and functions of lists of anything."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy
from mathics.core.atoms import Complex, Integer, MachineReal, Rational
from mathics.core.definitions import Definition
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.interrupt import BreakInterrupt, ContinueInterrupt, ReturnInterrupt
from mathics.core.list import ListExpression
from mathics.core.rules import Rule
from mathics.core.symbols import Symbol, SymbolNull
from mathics.core.systemsymbols import SymbolPlus, SymbolSequence

from wstpserver.embedded.arrays import (
    PACK_FROM,
    PackedList,
    Unsuited,
    array_of_list,
    element_of,
    list_of_array,
    list_of_numbers,
    machine_real,
    machine_reals,
    operand,
    operate,
    packed_list,
)
from wstpserver.embedded.builtins.collections import (
    SymbolNothing,
    call,
    entries_of,
    from_pairs,
    in_order,
    is_association,
)
from wstpserver.embedded.builtins.library import Library
from wstpserver.embedded.builtins.packed import array_of_values, sums_are_safe, table_of_arrays

NUMERICS = Library()

SymbolTable = Symbol("System`Table")

#: Values up to which an iterator over machine reals is run through here.
LONGEST_ITERATION = 1_000_000

#: Terms up to which a sum with numbers as bounds is added up; longer ones are left to SymPy's closed forms.
LONGEST_SUM = 20_000


# Numbers in and out.


def number_of(element: BaseElement) -> float | complex | None:
    """A number as a Python number; None for anything else."""
    if isinstance(element, MachineReal | Integer | Rational):
        try:
            return float(element.value)
        except OverflowError:
            return None
    if isinstance(element, Complex):
        real, imaginary = number_of(element.real), number_of(element.imag)
        return None if real is None or imaginary is None else complex(float(real.real), float(imaginary.real))
    return None


def array_of(element: BaseElement) -> Any:
    """A NumPy array of a rectangular list of numbers with at least one machine number; None for anything else.

    Shape: that of the list. Type: float64, or complex128 if there is a complex number.
    """
    packed = array_of_list(element)
    if packed is not None:
        return packed if packed.dtype.kind == "f" else None
    rows: list[Any] = [element]
    shape: list[int] = []
    while rows and all(isinstance(row, ListExpression) for row in rows):
        size = len(rows[0].elements)
        if any(len(row.elements) != size for row in rows):
            return None
        shape.append(size)
        rows = [part for row in rows for part in row.elements]
    if not shape or not rows or not any(_is_machine(part) for part in rows):
        return None
    values = [number_of(part) for part in rows]
    if any(value is None for value in values):
        return None
    return numpy.array(values).reshape(shape)


def _is_machine(element: BaseElement) -> bool:
    return isinstance(element, MachineReal) or (isinstance(element, Complex) and isinstance(element.real, MachineReal))


def expression_of(value: Any) -> BaseElement:
    """A NumPy array or number as an expression; complex numbers without imaginary part stay complex."""
    if isinstance(value, numpy.ndarray) and value.ndim:
        if value.dtype.kind == "f":
            return list_of_array(value)
        return ListExpression(*map(expression_of, value))
    if isinstance(value, complex | numpy.complexfloating):
        return Complex(MachineReal(float(value.real)), MachineReal(float(value.imag)))
    return machine_real(float(value))


def _matrix(element: BaseElement, *, square: bool = True) -> Any:
    """A matrix of machine numbers; None for anything else."""
    if not isinstance(element, ListExpression) or not element.elements:
        return None
    array = array_of(element)
    if array is None or array.ndim != 2 or (square and array.shape[0] != array.shape[1]):
        return None
    return array


# Linear algebra.


@NUMERICS.define("Dot", 2)
def dot(evaluation: Any, left: BaseElement, right: BaseElement) -> BaseElement | None:
    """Products of machine matrices and vectors."""
    first, second = array_of(left), array_of(right)
    if first is None or second is None or first.shape[-1] != second.shape[0] or max(first.ndim, second.ndim) > 2:
        return None
    return expression_of(first @ second)


def _by_numpy(name: str, function: Callable[[Any], Any], singular: str = "") -> None:
    """Define a function of one square machine matrix."""

    @NUMERICS.define(name, 1)
    def of_matrix(evaluation: Any, matrix: BaseElement) -> BaseElement | None:
        array = _matrix(matrix)
        if array is None:
            return None
        try:
            return expression_of(function(array))
        except numpy.linalg.LinAlgError:
            if singular:
                evaluation.message(name, singular, matrix)
            return Expression(Symbol(f"System`{name}"), matrix)


def _real_if_real(values: Any) -> Any:
    return values.real if numpy.iscomplexobj(values) and not values.imag.any() else values


def _sorted_eigenvalues(array: Any) -> Any:
    """Eigenvalues in the order of decreasing absolute value, as kernels give them."""
    values = numpy.linalg.eigvals(array)
    return _real_if_real(values[numpy.argsort(-numpy.abs(values), kind="stable")])


def _eigensystem(array: Any) -> tuple[Any, Any]:
    values, vectors = numpy.linalg.eig(array)
    order = numpy.argsort(-numpy.abs(values), kind="stable")
    return _real_if_real(values[order]), _real_if_real(vectors[:, order].T)


_by_numpy("Inverse", numpy.linalg.inv, "sing")
_by_numpy("Det", numpy.linalg.det)
_by_numpy("Eigenvalues", _sorted_eigenvalues)
_by_numpy("Eigenvectors", lambda array: _eigensystem(array)[1])
_by_numpy("MatrixExp", lambda array: __import__("scipy.linalg").linalg.expm(array))


@NUMERICS.define("Eigensystem", 1)
def eigensystem(evaluation: Any, matrix: BaseElement) -> BaseElement | None:
    """Eigenvalues and eigenvectors of a machine matrix."""
    array = _matrix(matrix)
    return None if array is None else ListExpression(*map(expression_of, _eigensystem(array)))


@NUMERICS.define("SingularValueList", 1, usage="SingularValueList[m] gives the singular values of a matrix.")
def singular_values(evaluation: Any, matrix: BaseElement) -> BaseElement | None:
    """Singular values that are not zero, the largest first."""
    array = _matrix(matrix, square=False)
    if array is None:
        return None
    values = numpy.linalg.svd(array, compute_uv=False)
    return expression_of(values[values > values[0] * 1e-14])


@NUMERICS.define("LinearSolve", 2)
def linear_solve(evaluation: Any, matrix: BaseElement, right: BaseElement) -> BaseElement | None:
    """The solution of a machine system of equations."""
    first, second = array_of(matrix), array_of(right)
    if first is None and second is not None:
        first = _exact_array(matrix)
    if second is None and first is not None:
        second = _exact_array(right)
    if first is None or second is None or first.ndim != 2 or first.shape[0] != first.shape[1]:
        return None
    if second.shape[0] != first.shape[0]:
        return None
    try:
        return expression_of(numpy.linalg.solve(first, second))
    except numpy.linalg.LinAlgError:
        return None


@NUMERICS.define("LeastSquares", 2)
def least_squares(evaluation: Any, matrix: BaseElement, right: BaseElement) -> BaseElement | None:
    """The least-squares solution of a machine system."""
    first, second = array_of(matrix), array_of(right)
    first = _exact_array(matrix) if first is None and second is not None else first
    second = _exact_array(right) if second is None and first is not None else second
    if first is None or second is None or first.ndim != 2 or len(first) != len(second):
        return None
    return expression_of(numpy.linalg.lstsq(first, second, rcond=None)[0])


def _exact_array(element: BaseElement) -> Any:
    """A list of exact numbers as an array of floats."""
    packed = array_of_list(element)
    if packed is not None:
        return packed.astype(float)
    rows = element.elements if isinstance(element, ListExpression) else ()
    if not rows:
        return None
    if all(isinstance(row, ListExpression) for row in rows):
        parts = [_exact_array(row) for row in rows]
        if any(part is None for part in parts) or len({part.shape for part in parts}) != 1:
            return None
        return numpy.array(parts)
    values = [number_of(row) for row in rows]
    return None if any(value is None for value in values) else numpy.array(values)


def numbers_of(element: BaseElement) -> Any:
    """A rectangular list of numbers, exact or not, as an array; None for anything else."""
    return _exact_array(element)


@NUMERICS.define("Fourier", 1, usage="Fourier[list] gives the discrete Fourier transform of a list.")
def fourier(evaluation: Any, items: BaseElement) -> BaseElement | None:
    """1/Sqrt[n] Sum u_r Exp[2 Pi I (r - 1)(s - 1)/n]"""
    array = numbers_of(items)
    return None if array is None else expression_of(numpy.fft.ifftn(array, norm="ortho").astype(complex))


@NUMERICS.define("InverseFourier", 1, usage="InverseFourier[list] gives the inverse discrete Fourier transform.")
def inverse_fourier(evaluation: Any, items: BaseElement) -> BaseElement | None:
    """The inverse of Fourier; real numbers where no imaginary part is left."""
    array = numbers_of(items)
    if array is None:
        return None
    values = numpy.fft.fftn(array, norm="ortho")
    small = numpy.abs(values.imag).max() <= 1e-12 * max(1.0, float(numpy.abs(values).max()))
    return expression_of(values.real if small else values)


# Lists without Nothing, and functions that thread over associations.


def install_nothing() -> None:
    """Let Nothing disappear from lists, and Sequence be spliced into them, when they have been evaluated.

    Mathics evaluates the elements of a list without asking for rules, and splices a Sequence that they give later, so
    that Length[{Sequence @@ {1, 2}}] is 1.
    """
    original = ListExpression.evaluate_elements

    def evaluate_elements(self: ListExpression, evaluation: Any) -> Any:
        evaluated = original(self, evaluation)
        elements = evaluated._elements
        if any(type(element) is Expression and element._head is SymbolSequence for element in elements):
            spliced = [part.elements if part.has_form("Sequence", None) else (part,) for part in elements]
            elements = tuple(itertools.chain.from_iterable(spliced))
        if SymbolNothing in elements:
            elements = tuple(element for element in elements if element is not SymbolNothing)
        return evaluated if elements is evaluated._elements else ListExpression(*elements)

    ListExpression.evaluate_elements = evaluate_elements


def _over_associations(expression: Expression, evaluation: Any) -> BaseElement | None:
    """A listable function of associations with the same keys, and of what is the same for all keys."""
    given = [part for part in expression.elements if is_association(part)]
    entries = [entries_of(part) for part in given]
    if any(other.keys() != entries[0].keys() for other in entries[1:]):
        return None
    if any(isinstance(part, ListExpression) for part in expression.elements):
        return None
    pairs = []
    for key in entries[0]:
        parts = [entries_of(p)[key].elements[1] if p in given else p for p in expression.elements]
        pairs.append((key, call(evaluation, expression.head, *parts)))
    return from_pairs(pairs)


# Arithmetic of lists of machine numbers.

#: Lists from which on an operation on all elements is left to NumPy.
FAST_FROM = 32

_COMBINE: dict[str, Callable[[list[int]], int]] = {"System`Plus": sum, "System`Times": math.prod}


def install_fast_arithmetic() -> None:
    """Let functions that Mathics threads over lists thread over associations, and take lists of numbers whole."""
    original = Expression.thread

    def thread(self: Expression, evaluation: Any, head: Any = None) -> Any:
        if head is None and any(is_association(part) for part in self._elements):
            value = _over_associations(self, evaluation)
            if value is not None:
                return True, value
        if head is None and any(_is_long(part) for part in self._elements):
            value = _of_integers(self) or _of_arrays(self)
            if value is not None:
                return True, value
        return original(self, evaluation, head)

    Expression.thread = thread


def _is_long(part: BaseElement) -> bool:
    if type(part) is PackedList:
        return True
    return type(part) is ListExpression and len(part.elements) >= FAST_FROM


def _of_arrays(expression: Expression) -> BaseElement | None:
    """The value of a function of lists of machine numbers; None where Mathics has to find it."""
    try:
        operands = [_operand(part) for part in expression.elements]
        value = operate(expression.get_head_name(), operands)
    except Unsuited:
        return None
    return element_of(value)


def _of_integers(expression: Expression) -> BaseElement | None:
    """Sums and products of lists of integers, and integers; None for anything else."""
    combine = _COMBINE.get(expression.get_head_name())
    if combine is None or any(type(part) not in (ListExpression, Integer) for part in expression.elements):
        return None
    lists = [part.elements for part in expression.elements if type(part) is ListExpression]
    if len({len(part) for part in lists}) != 1 or not all({*map(type, part)} == {Integer} for part in lists):
        return None
    rest = [part._value for part in expression.elements if type(part) is Integer]
    return list_of_numbers([Integer(combine([*(e._value for e in row), *rest])) for row in zip(*lists, strict=True)])


def _operand(element: BaseElement) -> Any:
    if type(element) is not ListExpression:
        return operand(element)
    array = _real_array(element)
    if array is None:
        raise Unsuited
    return array


def _real_array(element: ListExpression) -> Any:
    packed = array_of_list(element)
    if packed is not None:
        return packed if packed.dtype.kind == "f" else None
    parts = element.elements
    if all(type(part) is MachineReal for part in parts):
        values = [part._value for part in parts]
        return numpy.array(values) if values and set(map(type, values)) == {float} else None
    if parts and all(isinstance(part, ListExpression) for part in parts):
        rows = [_real_array(part) for part in parts]
        if all(row is not None for row in rows) and len({row.shape for row in rows}) == 1:
            return numpy.array(rows)
    return None


# Loops.


@contextlib.contextmanager
def _loop_variable(evaluation: Any, name: str) -> Iterator[Callable[[BaseElement], None]]:
    """Give a symbol a value of its own within the block; the function sets it, in half a microsecond."""
    definitions = evaluation.definitions
    with evaluation.interrupts.masked() if hasattr(evaluation, "interrupts") else contextlib.nullcontext():
        original = definitions.get_user_definition(name)
        rule = Rule(Symbol(name), SymbolNull)
        definitions.reset_user_definition(name)
        definition = Definition(name=name)
        definition.ownvalues = [rule]
        definitions.add_user_definition(name, definition)

    def assign(value: BaseElement) -> None:
        rule.replace = value
        current = definitions.user.get(name)
        if current is not definition or len(definition.ownvalues) != 1 or definition.ownvalues[0] is not rule:
            definition.ownvalues = [rule]  # the body assigned to the variable
            definitions.add_user_definition(name, definition)
        definitions.mark_changed(definition)

    try:
        yield assign
    finally:
        with evaluation.interrupts.masked() if hasattr(evaluation, "interrupts") else contextlib.nullcontext():
            definitions.add_user_definition(name, original)


def _integers(iterator: BaseElement, evaluation: Any) -> tuple[str, range] | None:
    """The symbol's name and the values of {i, max}, {i, min, max} or {i, min, max, step} with integers as bounds."""
    found = _iteration(iterator, evaluation)
    return (found[0], found[1]) if found is not None and isinstance(found[1], range) else None


def _iteration(iterator: BaseElement, evaluation: Any) -> tuple[str, range | Sequence[BaseElement]] | None:
    """The symbol's name and the values of an iterator; None for one that is left to Mathics.

    The values are a range for integers as bounds; elements for {x, {a, b, ...}}, and for bounds with a machine real.
    """
    if not isinstance(iterator, ListExpression) or not 2 <= len(iterator.elements) <= 4:
        return None
    symbol, *bounds = iterator.elements
    if not isinstance(symbol, Symbol):
        return None
    values = [bound.evaluate(evaluation) or bound for bound in bounds]
    if len(values) == 1 and isinstance(values[0], ListExpression):
        return symbol.get_name(), values[0].elements
    if not all(isinstance(value, Integer | MachineReal) for value in values):
        return None
    first, last, step = [Integer(1), *values, Integer(1)] if len(values) == 1 else [*values, Integer(1)][:3]
    if step.value == 0:
        return None
    if isinstance(first, Integer) and isinstance(step, Integer):
        rounded = math.floor if step.value > 0 else math.ceil
        end = last.value if isinstance(last, Integer) else rounded(last.value)
        return symbol.get_name(), range(first.value, end + (1 if step.value > 0 else -1), step.value)
    count = math.floor((float(last.value) - float(first.value)) / float(step.value) + 1e-10) + 1
    if count > LONGEST_ITERATION:
        return None
    begin, size = float(first.value), float(step.value)
    return symbol.get_name(), machine_reals([begin + size * number for number in range(count)])


def _elements(values: range | Sequence[BaseElement]) -> Iterator[BaseElement]:
    return map(Integer, values) if isinstance(values, range) else iter(values)


@NUMERICS.define("Do", 2, None)
def do(evaluation: Any, body: BaseElement, iterator: BaseElement, *rest: BaseElement) -> BaseElement | None:
    """Do over numbers and lists."""
    found = _iteration(iterator, evaluation)
    if found is None:
        return None
    if rest:
        body = Expression(Symbol("System`Do"), body, *rest)
    name, values = found
    with _loop_variable(evaluation, name) as assign:
        for value in _elements(values):
            evaluation.check_stopped()
            assign(value)
            try:
                body.evaluate(evaluation)
            except ContinueInterrupt:
                continue
            except BreakInterrupt:
                break
            except ReturnInterrupt as returned:
                return returned.expr
    return SymbolNull


@NUMERICS.define("Table", 2, None)
def table(evaluation: Any, body: BaseElement, iterator: BaseElement, *rest: BaseElement) -> BaseElement | None:
    """Table over numbers and lists."""
    found = _iteration(iterator, evaluation)
    if found is None:
        return None
    if rest:
        body = Expression(SymbolTable, body, *rest)
    name, values = found
    whole = table_of_arrays(evaluation, body, name, values)
    if whole is not None:
        return whole
    results: list[BaseElement] = []
    with _loop_variable(evaluation, name) as assign:
        for value in _elements(values):
            evaluation.check_stopped()
            assign(value)
            results.append(body.evaluate(evaluation) or body)
    return packed_list(results)


@NUMERICS.define("Sum", 2)
def add_up(evaluation: Any, body: BaseElement, iterator: BaseElement) -> BaseElement | None:
    """Sum over not too many integers."""
    found = _integers(iterator, evaluation)
    if found is None or len(found[1]) > LONGEST_SUM:
        return None
    terms = table(evaluation, body, iterator)
    if terms is None:
        return None
    array = array_of_list(terms)
    if array is not None and array.dtype.kind == "i" and sums_are_safe(array):
        return Integer(int(array.sum()))
    if all(type(term) is Integer for term in terms.elements):
        return Integer(sum(term.value for term in terms.elements))
    added: BaseElement = Expression(SymbolPlus, *terms.elements).evaluate(evaluation)
    return added


@NUMERICS.define("Range", 1, 3)
def number_range(evaluation: Any, *bounds: BaseElement) -> BaseElement | None:
    """Range of integers and of machine reals, told that it is a list of numbers."""
    if all(isinstance(bound, Integer) for bound in bounds):
        found = _integers(ListExpression(Symbol("System`Private`i"), *bounds), evaluation)
        if found is None:
            return None
        array = array_of_values(found[1]) if len(found[1]) >= PACK_FROM else None
        return list_of_array(array) if array is not None else list_of_numbers([Integer(value) for value in found[1]])
    if not all(isinstance(bound, Integer | MachineReal) for bound in bounds) or len(bounds) < 2:
        return None
    first, last, step = (float(bound.value) for bound in (*bounds, Integer(1))[:3])
    count = math.floor((last - first) / step + 1e-10) + 1 if step else 0
    if not isinstance(bounds[0], MachineReal) or count < 1:  # exact numbers up to a real bound; an empty list
        return None
    return list_of_array(first + step * numpy.arange(count))


@NUMERICS.define("MemoryInUse", 0)
def memory_in_use(evaluation: Any) -> BaseElement | None:
    """Bytes of this process in memory, by the system where it tells."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except OSError:
        return None
    return Integer(pages * __import__("resource").getpagesize())


# Lists of anything.


@NUMERICS.define("Ordering", 1, 3, usage="Ordering[list] gives the positions that sort a list.")
def ordering(
    evaluation: Any, items: BaseElement, count: BaseElement | None = None, order: BaseElement | None = None
) -> BaseElement | None:
    """Positions in the order of the elements; the first or last n of them."""
    if not isinstance(items, Expression) or order is not None:
        return None
    places = in_order(range(len(items.elements)), evaluation, lambda place: items.elements[place])
    if isinstance(count, Integer):
        places = places[: count.value] if count.value >= 0 else places[count.value :]
    return ListExpression(*(Integer(place + 1) for place in places))


@NUMERICS.define("ArrayReshape", 2, 3, usage="ArrayReshape[list, dims] arranges the elements of a list in an array.")
def array_reshape(
    evaluation: Any, items: BaseElement, dimensions: BaseElement, padding: BaseElement | None = None
) -> BaseElement | None:
    """An array with given dimensions, filled up with zeros."""
    if not (isinstance(items, ListExpression) and isinstance(dimensions, ListExpression)):
        return None
    shape = [size.value for size in dimensions.elements if isinstance(size, Integer)]
    if len(shape) != len(dimensions.elements) or any(size < 0 for size in shape):
        return None
    flat: list[BaseElement] = []
    waiting = list(reversed(items.elements))
    while waiting:
        item = waiting.pop()
        if isinstance(item, ListExpression):
            waiting.extend(reversed(item.elements))
        else:
            flat.append(item)
    needed = 1
    for size in shape:
        needed *= size
    flat = flat[:needed] + [padding or Integer(0)] * (needed - len(flat))
    for size in reversed(shape[1:]):
        flat = [ListExpression(*flat[start : start + size]) for start in range(0, len(flat), size)] if size else []
    return ListExpression(*flat)


@NUMERICS.define("Total", 1)
def total(evaluation: Any, items: BaseElement) -> BaseElement | None:
    """The sum of the integers or machine reals of a list, without a term for each."""
    if not isinstance(items, ListExpression) or type(items) is PackedList:
        return None
    kinds = {type(item) for item in items.elements}
    if kinds == {Integer}:
        return Integer(sum(item.value for item in items.elements))
    return machine_real(sum(float(item.value) for item in items.elements)) if kinds == {MachineReal} else None


@NUMERICS.define("Partition", 2)
def partition(evaluation: Any, items: BaseElement, size: BaseElement) -> BaseElement | None:
    """Pieces of UpTo[n] elements, the last one shorter."""
    step = size.elements[0].get_int_value() if size.has_form("UpTo", 1) else None
    if not isinstance(items, ListExpression) or step is None or step < 1:
        return None
    return ListExpression(*(ListExpression(*items.elements[i : i + step]) for i in range(0, len(items.elements), step)))


@NUMERICS.define("Cases", 4)
def cases(
    evaluation: Any, items: BaseElement, pattern: BaseElement, level: BaseElement, count: BaseElement
) -> BaseElement | None:
    """The first n cases."""
    most = count.get_int_value()
    found = call(evaluation, Symbol("System`Cases"), items, pattern, level)
    return ListExpression(*found.elements[:most]) if most is not None and isinstance(found, ListExpression) else None


@NUMERICS.define("RandomChoice", 1)
def random_choice(evaluation: Any, items: BaseElement) -> BaseElement | None:
    """One element of a list, not a list of one."""
    if not isinstance(items, ListExpression) or not items.elements:
        return None
    chosen = call(evaluation, Symbol("System`RandomChoice"), items, Integer(1))
    return chosen.elements[0] if isinstance(chosen, ListExpression) else None

