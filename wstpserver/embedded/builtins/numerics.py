"""Machine numbers by NumPy and SciPy: linear algebra, loops over integers, random variates, differential equations."""

from __future__ import annotations

import contextlib
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
from mathics.core.systemsymbols import SymbolEqual, SymbolPlus, SymbolRule

from wstpserver.embedded.builtins.library import Library
from wstpserver.embedded.convert import list_of_numbers, machine_real, machine_reals

NUMERICS = Library()

SymbolN, SymbolReplaceAll = Symbol("System`N"), Symbol("System`ReplaceAll")
SymbolInterpolatingFunction = Symbol("System`InterpolatingFunction")

#: Points of a solution of differential equations, between which it is interpolated.
POINTS_OF_SOLUTION = 400

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
        if value.ndim > 1:
            return ListExpression(*map(expression_of, value))
        if value.dtype.kind == "f":
            return list_of_numbers(machine_reals(value.tolist()))
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


# Loops over integers.


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
    if not isinstance(iterator, ListExpression) or not 2 <= len(iterator.elements) <= 4:
        return None
    symbol, *bounds = iterator.elements
    if not isinstance(symbol, Symbol):
        return None
    values = [bound.evaluate(evaluation) for bound in bounds]
    if not all(isinstance(value, Integer) for value in values):
        return None
    numbers = [value.value for value in values]
    first, last = (1, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
    step = numbers[2] if len(numbers) == 3 else 1
    if step == 0:
        return None
    return symbol.get_name(), range(first, last + (1 if step > 0 else -1), step)


@NUMERICS.define("Do", 2)
def do(evaluation: Any, body: BaseElement, iterator: BaseElement) -> BaseElement | None:
    """Do over integers."""
    found = _integers(iterator, evaluation)
    if found is None:
        return None
    name, values = found
    with _loop_variable(evaluation, name) as assign:
        for value in values:
            evaluation.check_stopped()
            assign(Integer(value))
            try:
                body.evaluate(evaluation)
            except ContinueInterrupt:
                continue
            except BreakInterrupt:
                break
            except ReturnInterrupt as returned:
                return returned.expr
    return SymbolNull


@NUMERICS.define("Table", 2)
def table(evaluation: Any, body: BaseElement, iterator: BaseElement) -> BaseElement | None:
    """Table over integers."""
    found = _integers(iterator, evaluation)
    if found is None:
        return None
    name, values = found
    results: list[BaseElement] = []
    with _loop_variable(evaluation, name) as assign:
        for value in values:
            evaluation.check_stopped()
            assign(Integer(value))
            results.append(body.evaluate(evaluation) or body)
    return ListExpression(*results)


@NUMERICS.define("Sum", 2)
def add_up(evaluation: Any, body: BaseElement, iterator: BaseElement) -> BaseElement | None:
    """Sum over not too many integers."""
    found = _integers(iterator, evaluation)
    if found is None or len(found[1]) > LONGEST_SUM:
        return None
    terms = table(evaluation, body, iterator)
    if terms is None:
        return None
    if all(type(term) is Integer for term in terms.elements):
        return Integer(sum(term.value for term in terms.elements))
    added: BaseElement = Expression(SymbolPlus, *terms.elements).evaluate(evaluation)
    return added


@NUMERICS.define("Range", 1, 3)
def integer_range(evaluation: Any, *bounds: BaseElement) -> BaseElement | None:
    """Range of integers, told that it is a list of numbers."""
    if not all(isinstance(bound, Integer) for bound in bounds):
        return None
    found = _integers(ListExpression(Symbol("System`Private`i"), *bounds), evaluation)
    return None if found is None else list_of_numbers([Integer(value) for value in found[1]])


@NUMERICS.define("MemoryInUse", 0)
def memory_in_use(evaluation: Any) -> BaseElement | None:
    """Bytes of this process in memory, by the system where it tells."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
    except OSError:
        return None
    return Integer(pages * __import__("resource").getpagesize())


# Data: fits, interpolation, differential equations.


def points_of(data: BaseElement) -> tuple[Any, Any] | None:
    """Coordinates and values of {{x, y}, ...} or {y1, y2, ...}; None for anything else."""
    array = numbers_of(data)
    if array is None or array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 2):
        return None
    if array.ndim == 1:
        return numpy.arange(1.0, len(array) + 1), array
    return array[:, 0], array[:, 1]


def value_at(evaluation: Any, expression: BaseElement, variable: BaseElement, value: float) -> float | complex | None:
    """The number an expression gives for a value of a variable."""
    replaced = Expression(SymbolReplaceAll, expression, Expression(SymbolRule, variable, MachineReal(value)))
    return number_of(Expression(SymbolN, replaced).evaluate(evaluation))


@NUMERICS.define("Fit", 3, usage="Fit[data, {f1, f2, ...}, x] fits a linear combination of functions to data.")
def fit(evaluation: Any, data: BaseElement, basis: BaseElement, variable: BaseElement) -> BaseElement | None:
    """The least-squares combination of functions."""
    points = points_of(data)
    if points is None or not isinstance(basis, ListExpression):
        return None
    columns = [[value_at(evaluation, f, variable, float(x)) for x in points[0]] for f in basis.elements]
    if any(value is None for column in columns for value in column):
        return None
    found = numpy.linalg.lstsq(numpy.array(columns).T, points[1], rcond=None)[0]
    weighted = zip(map(float, found), basis.elements, strict=True)
    terms = [Expression(Symbol("System`Times"), machine_real(weight), function) for weight, function in weighted]
    fitted: BaseElement = Expression(SymbolPlus, *terms).evaluate(evaluation)
    return fitted


@NUMERICS.define("FindFit", 4, usage="FindFit[data, expr, {a, ...}, x] fits parameters to data.")
def find_fit(
    evaluation: Any, data: BaseElement, model: BaseElement, parameters: BaseElement, variable: BaseElement
) -> BaseElement | None:
    """Parameters by nonlinear least squares."""
    from scipy.optimize import least_squares as minimize_squares

    points = points_of(data)
    if points is None or not isinstance(parameters, ListExpression):
        return None
    names = [p.elements[0] if isinstance(p, ListExpression) else p for p in parameters.elements]
    start = [number_of(p.elements[1]) if isinstance(p, ListExpression) else 1.0 for p in parameters.elements]

    def residuals(values: Sequence[float]) -> Any:
        rules = [Expression(SymbolRule, n, MachineReal(float(v))) for n, v in zip(names, values, strict=True)]
        given = Expression(Symbol("System`ReplaceAll"), model, ListExpression(*rules)).evaluate(evaluation)
        found = [value_at(evaluation, given, variable, float(x)) for x in points[0]]
        return numpy.array([numpy.inf if value is None else value for value in found]) - points[1]

    result = minimize_squares(residuals, start, method="lm" if len(points[0]) >= len(names) else "trf")
    return ListExpression(
        *(Expression(SymbolRule, name, machine_real(float(v))) for name, v in zip(names, result.x, strict=True))
    )


@NUMERICS.define("Interpolation", 1, usage="Interpolation[data] makes a function that interpolates between points.")
def interpolation(evaluation: Any, data: BaseElement) -> BaseElement | None:
    """An interpolating function of the third order through points."""
    points = points_of(data)
    if points is None or len(points[0]) < 2:
        return None
    order = numpy.argsort(points[0])
    return interpolating(points[0][order], points[1][order])


def interpolating(places: Any, values: Any) -> Expression:
    """InterpolatingFunction[{{min, max}}, {places, values}]"""
    domain = ListExpression(ListExpression(machine_real(float(places[0])), machine_real(float(places[-1]))))
    return Expression(
        SymbolInterpolatingFunction, domain, ListExpression(expression_of(places * 1.0), expression_of(values * 1.0))
    )


@NUMERICS.define("InterpolatingFunction", 1, head=True)
def interpolated(evaluation: Any, function: BaseElement, argument: BaseElement) -> BaseElement | None:
    """The value between the four nearest points, by the polynomial through them."""
    if not isinstance(function, Expression) or len(function.elements) != 2:
        return None
    if isinstance(argument, ListExpression):
        return ListExpression(*(Expression(function, part).evaluate(evaluation) for part in argument.elements))
    at = number_of(argument)
    if at is None or isinstance(at, complex):
        return None
    places, values = (numbers_of(part) for part in function.elements[1].elements)
    size = min(4, len(places))
    first = int(numpy.searchsorted(places, at)) - size // 2
    first = max(0, min(first, len(places) - size))
    near, heights = places[first : first + size], values[first : first + size]
    total = 0.0
    for i in range(size):
        others = numpy.delete(near, i)
        total += float(heights[i]) * float(numpy.prod((at - others) / (near[i] - others)))
    return machine_real(total)


@NUMERICS.define("NDSolve", 3, usage="NDSolve[{eqns}, y, {x, min, max}] solves ordinary differential equations.")
def solve_differential(
    evaluation: Any, equations: BaseElement, functions: BaseElement, span: BaseElement
) -> BaseElement | None:
    """Initial value problems that are linear in the highest derivatives, by SciPy."""
    from scipy.integrate import solve_ivp

    if not isinstance(span, ListExpression) or len(span.elements) != 3:
        return None
    variable, *bounds = span.elements
    first, last = (number_of(Expression(SymbolN, bound).evaluate(evaluation)) for bound in bounds)
    wanted = functions.elements if isinstance(functions, ListExpression) else [functions]
    names = [f.head if isinstance(f, Expression) and f.elements == (variable,) else f for f in wanted]
    given = equations.elements if isinstance(equations, ListExpression) else [equations]
    system = _System(evaluation, variable, names, given)
    if first is None or last is None or not system.is_complete:
        return None
    solution = solve_ivp(
        system.derivatives, (first, last), system.start, rtol=1e-9, atol=1e-11, dense_output=True, method="DOP853"
    )
    places = numpy.linspace(first, last, POINTS_OF_SOLUTION)
    values = solution.sol(places)
    rules = []
    for function, name in zip(wanted, names, strict=True):
        found: BaseElement = interpolating(places, values[system.row(name)])
        rules.append(Expression(SymbolRule, function, found if function is name else Expression(found, variable)))
    return ListExpression(ListExpression(*rules))


class _System:
    """Equations of an initial value problem as one system of first order.

    The state holds each function and its derivatives below the highest, in the order of `names`.
    """

    def __init__(
        self, evaluation: Any, variable: BaseElement, names: Sequence[BaseElement], equations: Sequence[BaseElement]
    ) -> None:
        self._evaluation = evaluation
        self._variable = variable
        self._names = list(names)
        self._orders = [0] * len(self._names)
        self._values: dict[tuple[int, int], float] = {}
        self._right: list[BaseElement] = []
        conditions: list[Expression] = []
        self._equations: list[Expression] = []
        for equation in equations:
            if not (isinstance(equation, Expression) and equation.head is SymbolEqual and len(equation.elements) == 2):
                return
            (conditions if self._is_condition(equation.elements[0]) else self._equations).append(equation)
        for equation in conditions:
            place, value = self._derivative(equation.elements[0]), equation.elements[1]
            number = number_of(Expression(SymbolN, value).evaluate(evaluation))
            if place is None or number is None:
                return
            self._values[place] = float(number.real)
        self._find_orders(ListExpression(*self._equations))
        self._solve()

    def row(self, name: BaseElement) -> int:
        """The row of a function in the state."""
        return sum(self._orders[: self._names.index(name)])

    @property
    def start(self) -> list[float]:
        """The state at the beginning."""
        return [self._values[i, k] for i, order in enumerate(self._orders) for k in range(order)]

    @property
    def is_complete(self) -> bool:
        """Whether there are an equation and all initial values for each function."""
        needed = [(i, k) for i, order in enumerate(self._orders) for k in range(order)]
        return bool(needed) and len(self._right) == len(self._names) and all(key in self._values for key in needed)

    def derivatives(self, at: float, state: Sequence[float]) -> list[float]:
        """The derivative of the state."""
        rules = [Expression(SymbolRule, self._variable, MachineReal(float(at)))]
        rows = [(i, k) for i, order in enumerate(self._orders) for k in range(order)]
        values = dict(zip(rows, map(float, state), strict=True))
        rules += [Expression(SymbolRule, _state_symbol(*row), MachineReal(value)) for row, value in values.items()]
        result = []
        for i, order in enumerate(self._orders):
            for k in range(order):
                if k + 1 < order:
                    result.append(values[i, k + 1])
                    continue
                replaced = Expression(SymbolReplaceAll, self._right[i], ListExpression(*rules))
                number = number_of(Expression(SymbolN, replaced).evaluate(self._evaluation))
                result.append(float("nan") if number is None else float(number.real))
        return result

    def _is_condition(self, left: BaseElement) -> bool:
        return isinstance(left, Expression) and len(left.elements) == 1 and number_of(left.elements[0]) is not None

    def _derivative(self, left: BaseElement) -> tuple[int, int] | None:
        """(function, order) of y[x] or Derivative[n][y][x]."""
        head = left.head if isinstance(left, Expression) else None
        order = 0
        if isinstance(head, Expression) and head.head.has_form("Derivative", 1):
            order, head = head.head.elements[0].value, head.elements[0]
        return (self._names.index(head), order) if head in self._names else None

    def _find_orders(self, expression: BaseElement) -> None:
        place = self._derivative(expression)
        if place is not None:
            self._orders[place[0]] = max(self._orders[place[0]], place[1])
        elif isinstance(expression, Expression):
            for part in expression.elements:
                self._find_orders(part)

    def _solve(self) -> None:
        """Find the highest derivatives as expressions of the state."""
        equations = [self._with_symbols(equation) for equation in self._equations]
        unknown = [_state_symbol(i, order) for i, order in enumerate(self._orders)]
        solved = Expression(Symbol("System`Solve"), ListExpression(*equations), ListExpression(*unknown)).evaluate(
            self._evaluation
        )
        if not (isinstance(solved, ListExpression) and solved.elements and solved.elements[0].has_form("List", None)):
            return
        found = {rule.elements[0]: rule.elements[1] for rule in solved.elements[0].elements}
        self._right = [found[symbol] for symbol in unknown if symbol in found]

    def _with_symbols(self, expression: BaseElement) -> BaseElement:
        place = self._derivative(expression)
        if place is not None:
            return _state_symbol(*place)
        if not isinstance(expression, Expression):
            return expression
        return Expression(expression.head, *map(self._with_symbols, expression.elements))


def _state_symbol(function: int, order: int) -> Symbol:
    return Symbol(f"System`Private`y{function}d{order}")
