"""Data: tables (Dataset, Query), and numerical models by SciPy: random variates, fits, interpolation, differential
equations, optimisation. And WXF, the binary form of expressions, by the functions of wolframclient, which is an extra.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import sympy
from mathics.core.atoms import ByteArray, Integer, MachineReal, String
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol
from mathics.core.systemsymbols import (
    SymbolAll,
    SymbolEqual,
    SymbolFailed,
    SymbolFunction,
    SymbolPlus,
    SymbolRule,
    SymbolSlot,
)

from wstpserver.client.wxf import expression_to_wxf, wxf_to_expression
from wstpserver.embedded.arrays import machine_real
from wstpserver.embedded.builtins.collections import call, from_pairs, is_association, pairs_of
from wstpserver.embedded.builtins.library import Library
from wstpserver.embedded.builtins.mathematics import NO_ANSWER, solution_rules, to_sympy
from wstpserver.embedded.builtins.numerics import expression_of, number_of, numbers_of
from wstpserver.embedded.convert import FromWire, ToWire

DATA = Library()

SymbolN, SymbolReplaceAll = Symbol("System`N"), Symbol("System`ReplaceAll")
SymbolInterpolatingFunction = Symbol("System`InterpolatingFunction")

#: Points of a solution of differential equations, between which it is interpolated.
POINTS_OF_SOLUTION = 400

#: Rows and columns of a table that are shown.
SHOWN_ROWS, SHOWN_COLUMNS = 20, 20

# Tables.

SymbolDataset = Symbol("System`Dataset")

#: Operators that choose or arrange parts: they come before the operators for deeper levels, all others after them.
_DESCENDING = frozenset(
    f"System`{name}" for name in (
        "Select", "SortBy", "GroupBy", "Take", "Drop", "DeleteDuplicates", "DeleteDuplicatesBy", "TakeLargestBy",
        "TakeSmallestBy", "MaximalBy", "MinimalBy", "ReverseSortBy", "KeyTake", "KeyDrop", "KeySelect", "KeySort",
        "DeleteMissing", "DeleteCases", "Cases", "Sort", "ReverseSort", "Reverse", "RandomSample", "Values",
    )
)  # fmt: skip


@DATA.define("Dataset", 1, None, head=True)
def dataset_query(evaluation: Any, dataset: BaseElement, *operators: BaseElement) -> BaseElement | None:
    """dataset[op1, op2, ...]: parts and functions for each level."""
    if not dataset.has_form("Dataset", 1) or not operators:
        return None
    return _wrapped(queried(evaluation, dataset.elements[0], operators))


@DATA.define("Query", 1, None, head=True)
def query(evaluation: Any, operators: BaseElement, data: BaseElement) -> BaseElement | None:
    """Query[op1, op2, ...][data]"""
    if not isinstance(operators, Expression) or not operators.has_form("Query", None):
        return None
    if data.has_form("Dataset", 1):
        return _wrapped(queried(evaluation, data.elements[0], operators.elements))
    return queried(evaluation, data, operators.elements)


def _wrapped(value: BaseElement) -> BaseElement:
    return Expression(SymbolDataset, value) if value.has_form(["List", "Association"], None) else value


def queried(evaluation: Any, data: BaseElement, operators: Sequence[BaseElement]) -> BaseElement:
    """The value of a query: each operator works one level deeper than the one before."""
    if not operators:
        return data
    first, rest = operators[0], operators[1:]
    if first is SymbolAll:
        return _each(evaluation, data, rest)
    if isinstance(first, Integer) or _names_part(first):
        return queried(evaluation, _part(evaluation, data, first), rest)
    if first.has_form("Span", None) or (isinstance(first, ListExpression) and all(map(_is_index, first.elements))):
        return _each(evaluation, _part(evaluation, data, first), rest)
    if isinstance(first, ListExpression):
        return ListExpression(*(queried(evaluation, data, (one, *rest)) for one in first.elements))
    function = _with_slots(first)
    if _operator_name(first) in _DESCENDING:
        return _each(evaluation, call(evaluation, function, data), rest)
    return call(evaluation, function, _each(evaluation, data, rest))


def _names_part(index: BaseElement) -> bool:
    return isinstance(index, String) or bool(index.has_form("Key", 1))


def _is_index(index: BaseElement) -> bool:
    return isinstance(index, Integer) or _names_part(index)


def _part(evaluation: Any, data: BaseElement, index: BaseElement) -> BaseElement:
    if not is_association(data) and (_names_part(index) or not isinstance(data, ListExpression)):
        key = index.elements[0] if index.has_form("Key", 1) else index
        return Expression(Symbol("System`Missing"), String("PartInvalid"), key)
    if isinstance(index, Integer) and not 1 <= abs(index.value) <= len(data.elements):
        return Expression(Symbol("System`Missing"), String("PartAbsent"), index)
    return call(evaluation, Symbol("System`Part"), data, index)


def _each(evaluation: Any, data: BaseElement, operators: Sequence[BaseElement]) -> BaseElement:
    """The operators for each element of a level."""
    if not operators:
        return data
    if is_association(data):
        return from_pairs((key, queried(evaluation, value, operators)) for key, value in pairs_of(data))
    if isinstance(data, ListExpression):
        return ListExpression(*(queried(evaluation, part, operators) for part in data.elements))
    return data


def _operator_name(operator: BaseElement) -> str:
    """The function an operator is a form of: Select[test], or Select[#, test] &, or Sort."""
    if operator.has_form("Function", 1):
        operator = operator.elements[0]
    return str(operator.get_name() or operator.get_head_name())


def _with_slots(operator: BaseElement) -> BaseElement:
    """SortBy["key"] means SortBy[#key &]."""
    body = operator.elements[0] if operator.has_form("Function", 1) else operator
    if not isinstance(body, Expression) or body.get_head_name() not in _DESCENDING | {"System`CountsBy"}:
        return operator
    by_key = [
        Expression(SymbolFunction, Expression(SymbolSlot, part)) if isinstance(part, String) else part
        for part in body.elements
    ]
    changed = Expression(body.head, *by_key)
    return Expression(SymbolFunction, changed) if body is not operator else changed


@DATA.define("Normal", 1)
def normal_dataset(evaluation: Any, target: BaseElement) -> BaseElement | None:
    """The data of a Dataset."""
    return target.elements[0] if target.has_form("Dataset", 1) else None


for _name in ("Length", "Keys", "Values", "Dimensions", "First", "Last"):

    @DATA.define(_name, 1)
    def of_dataset(evaluation: Any, target: BaseElement, *, _of: str = _name) -> BaseElement | None:
        """The function of the data."""
        if not target.has_form("Dataset", 1):
            return None
        value = call(evaluation, Symbol(f"System`{_of}"), target.elements[0])
        return _wrapped(value) if _of in ("First", "Last") else value


@DATA.define("Part", 2, None)
def part_of_dataset(evaluation: Any, target: BaseElement, *indices: BaseElement) -> BaseElement | None:
    """Parts of a Dataset, as a Dataset where they are collections."""
    if not target.has_form("Dataset", 1):
        return None
    return _wrapped(queried(evaluation, target.elements[0], indices))


@DATA.define("DateObject", 1, head=True)
def date_property(evaluation: Any, date: BaseElement, name: BaseElement) -> BaseElement | None:
    """date["Year"] and other elements of a date."""
    if not isinstance(date, Expression) or date.get_head_name() != "System`DateObject" or not date.elements:
        return None
    parts = ("Year", "Month", "Day", "Hour", "Minute", "Second")
    given = getattr(date.elements[0], "elements", ())
    wanted = name.value if isinstance(name, String) else ""
    if wanted == "DayName":
        return call(evaluation, Symbol("System`DayName"), ListExpression(*given[:3]))
    place = parts.index(wanted) if wanted in parts else len(given)
    return given[place] if place < len(given) else None


@DATA.text("Dataset")
def dataset_text(dataset: Any, evaluation: Any) -> str | None:
    """A table with the keys as headings."""
    if len(dataset.elements) != 1:
        return None
    data = dataset.elements[0]
    names: list[BaseElement] = [] if not is_association(data) else [key for key, _ in pairs_of(data)]
    rows = [value for _, value in pairs_of(data)] if names else list(getattr(data, "elements", ()))
    if not rows:
        return f"Dataset[{evaluation.format_output(data, 'text')}]"
    headings: list[BaseElement] = []
    for row in rows:
        if is_association(row):
            headings += [key for key, _ in pairs_of(row) if key not in headings]
    table: list[list[BaseElement | None]] = []
    for row in rows[:SHOWN_ROWS]:
        if headings:
            known = dict(pairs_of(row)) if is_association(row) else {headings[0]: row}
            table.append([known.get(heading) for heading in headings[:SHOWN_COLUMNS]])
        else:
            spread = isinstance(row, ListExpression) and not names
            table.append(list(row.elements[:SHOWN_COLUMNS]) if spread else [row])

    def text(cell: BaseElement | None) -> str:
        return "" if cell is None else str(evaluation.format_output(cell, "text")).replace("\n", " ")

    lines = [[text(name)] if names else [] for name in (names or rows)[:SHOWN_ROWS]]
    lines = [line + [text(cell) for cell in row] for line, row in zip(lines, table, strict=True)]
    if headings:
        lines.insert(0, ([""] if names else []) + [text(heading) for heading in headings[:SHOWN_COLUMNS]])
    count = max(map(len, lines))
    widths = [max(len(line[i]) if i < len(line) else 0 for line in lines) for i in range(count)]
    shown = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip()
             for line in lines]  # fmt: skip
    if headings:
        shown.insert(1, "-+-".join("-" * width for width in widths))
    if len(rows) > SHOWN_ROWS:
        shown.append(f"({len(rows)} rows, {SHOWN_ROWS} are shown)")
    return "\n".join(shown)


# Random variates.

#: The interval of UniformDistribution[].
UNIT = (0.0, 1.0)

#: Draws numbers of a distribution: called with a generator's methods, the parameters and a count.
_DRAW: dict[str, Callable[..., Any]] = {
    "NormalDistribution": lambda r, n, m=0.0, s=1.0: r.normal(m, s, n),
    "UniformDistribution": lambda r, n, span=UNIT: r.uniform(*span, n),
    "ExponentialDistribution": lambda r, n, rate: r.exponential(1 / rate, n),
    "GammaDistribution": lambda r, n, a, b: r.gamma(a, b, n),
    "BetaDistribution": lambda r, n, a, b: r.beta(a, b, n),
    "ChiSquareDistribution": lambda r, n, k: r.chisquare(k, n),
    "StudentTDistribution": lambda r, n, k: r.standard_t(k, n),
    "LogNormalDistribution": lambda r, n, m, s: r.lognormal(m, s, n),
    "WeibullDistribution": lambda r, n, a, b: b * r.weibull(a, n),
    "PoissonDistribution": lambda r, n, rate: r.poisson(rate, n),
    "BinomialDistribution": lambda r, n, k, p: r.binomial(int(k), p, n),
    "BernoulliDistribution": lambda r, n, p: r.binomial(1, p, n),
    "GeometricDistribution": lambda r, n, p: r.geometric(p, n) - 1,
    "DiscreteUniformDistribution": lambda r, n, span: r.randint(int(span[0]), int(span[1]) + 1, n),
}


def _parameters(distribution: BaseElement, evaluation: Any) -> tuple[str, list[Any]] | None:
    """The name and the numerical parameters of a distribution."""
    name = distribution.get_head_name().removeprefix("System`")
    if name not in _DRAW:
        return None
    values: list[Any] = []
    for part in distribution.elements:
        found = Expression(SymbolN, part).evaluate(evaluation)
        value = numbers_of(found) if isinstance(found, ListExpression) else number_of(found)
        if value is None:
            return None
        values.append(value)
    return name, values


@DATA.define("RandomVariate", 1, 2, usage="RandomVariate[dist, n] gives n random numbers of a distribution.")
def random_variate(evaluation: Any, distribution: BaseElement, count: BaseElement | None = None) -> BaseElement | None:
    """One random number, a list or an array of them, from the generator that SeedRandom sets."""
    found = _parameters(distribution, evaluation)
    sizes = [] if count is None else list(count.elements) if isinstance(count, ListExpression) else [count]
    if found is None or not all(isinstance(size, Integer) and size.value >= 0 for size in sizes):
        return None
    name, values = found
    drawn = _DRAW[name](numpy.random, tuple(size.value for size in sizes) or 1, *values)
    if drawn.dtype.kind in "iu":
        return _integers_of(drawn if sizes else drawn[0])
    return expression_of(drawn if sizes else float(drawn[0]))


def _integers_of(values: Any) -> BaseElement:
    if isinstance(values, numpy.ndarray):
        return ListExpression(*map(_integers_of, values))
    return Integer(int(values))


#: Distributions of SciPy, by name.
_FROZEN: dict[str, Callable[..., Any]] = {
    "NormalDistribution": lambda stats, m=0.0, s=1.0: stats.norm(m, s),
    "UniformDistribution": lambda stats, span=UNIT: stats.uniform(span[0], span[1] - span[0]),
    "ExponentialDistribution": lambda stats, rate: stats.expon(scale=1 / rate),
    "ChiSquareDistribution": lambda stats, k: stats.chi2(k),
    "StudentTDistribution": lambda stats, k: stats.t(k),
}


@DATA.define("InverseCDF", 2, usage="InverseCDF[dist, q] gives the quantile q of a distribution.")
def inverse_distribution(evaluation: Any, distribution: BaseElement, part: BaseElement) -> BaseElement | None:
    """The quantile of a normal, uniform, exponential, chi-square or Student distribution as a number."""
    from scipy import stats

    found, q = _parameters(distribution, evaluation), number_of(part)
    if found is None or q is None:
        return None
    name, values = found
    if name not in _FROZEN:
        return None
    return machine_real(float(_FROZEN[name](stats, *values).ppf(q)))


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


@DATA.define("Fit", 3, usage="Fit[data, {f1, f2, ...}, x] fits a linear combination of functions to data.")
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


@DATA.define("FindFit", 4, usage="FindFit[data, expr, {a, ...}, x] fits parameters to data.")
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


@DATA.define("Interpolation", 1, usage="Interpolation[data] makes a function that interpolates between points.")
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


@DATA.define("InterpolatingFunction", 1, head=True)
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


@DATA.define("NDSolve", 3, usage="NDSolve[{eqns}, y, {x, min, max}] solves ordinary differential equations.")
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


# Numerical optimisation.


def _optimum(name: str, sign: int) -> None:
    @DATA.define(name, 2)
    def optimum(evaluation: Any, problem: BaseElement, variables: BaseElement) -> BaseElement | None:
        names = list(variables.elements) if isinstance(variables, ListExpression) else [variables]
        function, *conditions = problem.elements if isinstance(problem, ListExpression) else [problem]
        given = to_sympy(function, evaluation)
        symbols = [to_sympy(n, evaluation) for n in names]
        if given is None or None in symbols or given.free_symbols - set(symbols):
            return None
        return _minimized(evaluation, given, symbols, names, conditions, sign)


def _minimized(
    evaluation: Any, given: Any, symbols: list[Any], names: list[BaseElement], conditions: list[BaseElement], sign: int
) -> BaseElement | None:
    """The numerical minimum of a function under conditions, from several starting points."""
    from scipy.optimize import minimize

    flat = [part for c in conditions for part in (c.elements if c.has_form(["And", "List"], None) else [c])]
    relations = [to_sympy(c, evaluation) for c in flat]
    if any(relation is None or not hasattr(relation, "lhs") for relation in relations):
        return None
    function = sympy.lambdify(symbols, given * sign, "numpy")
    constraints = []
    for relation in relations:
        low = relation.lhs - relation.rhs
        kind = "eq" if isinstance(relation, sympy.Eq) else "ineq"
        shifted = sympy.lambdify(symbols, -low if isinstance(relation, sympy.Lt | sympy.Le) else low, "numpy")
        constraints.append({"type": kind, "fun": lambda values, f=shifted: float(f(*values))})
    best = None
    generator = numpy.random.default_rng(0)
    with numpy.errstate(all="ignore"):
        for start in [numpy.zeros(len(symbols)), *generator.uniform(-5, 5, (12, len(symbols)))]:
            try:
                found = minimize(lambda v: float(function(*v)), start, constraints=constraints,
                                 method="SLSQP", options={"ftol": 1e-15, "maxiter": 500})  # fmt: skip
            except NO_ANSWER:
                continue
            if found.success and numpy.isfinite(found.fun) and (best is None or found.fun < best.fun - 1e-12):
                best = found
    if best is None:
        return None
    values = [machine_real(float(value)) for value in best.x]
    return ListExpression(machine_real(float(best.fun) * sign), solution_rules(names, values))


_optimum("NMinimize", 1)
_optimum("NMaximize", -1)


# WXF.


class _FullNames:
    """Definitions for which every name is whole: WXF has the context of each symbol."""

    @staticmethod
    def lookup_name(name: str) -> str:
        """The name itself."""
        return name

    @staticmethod
    def shorten_name(name: str) -> str:
        """The name itself."""
        return name


_WXF_MESSAGES = {
    "nowxf": "The package `1` is not installed where this kernel runs: pip install 'wstpserver[wolframclient]'.",
    "wxferr": "The data cannot be read: `1`.",
}


def _wxf_value(name: str, work: Callable[[], BaseElement], evaluation: Any) -> BaseElement:
    try:
        return work()
    except ModuleNotFoundError as error:
        evaluation.message(name, "nowxf", String(str(error.name)))
    except ValueError as error:
        evaluation.message(name, "wxferr", String(str(error)))
    return SymbolFailed


@DATA.define("BinarySerialize", 1, options=("PerformanceGoal",), messages=_WXF_MESSAGES,
             usage="BinarySerialize[expr] gives the WXF of an expression as a byte array.")  # fmt: skip
def binary_serialize(evaluation: Any, value: BaseElement, *, options: dict[str, BaseElement]) -> BaseElement:
    """WXF, compressed for the goal "Size"."""

    def work() -> BaseElement:
        written = expression_to_wxf(ToWire(_FullNames()).convert(value))
        goal = options.get("PerformanceGoal")
        if isinstance(goal, String) and goal.value == "Size":
            written = b"8C:" + zlib.compress(written[2:])
        return ByteArray(written)

    return _wxf_value("BinarySerialize", work, evaluation)


@DATA.define("BinaryDeserialize", 1, 2, messages=_WXF_MESSAGES,
             usage="BinaryDeserialize[bytes] gives the expression of a byte array of WXF.")  # fmt: skip
def binary_deserialize(evaluation: Any, data: BaseElement, head: BaseElement | None = None) -> BaseElement | None:
    """The expression of WXF, with a head around it where one is given, which is put there before it is evaluated."""
    if not isinstance(data, ByteArray):
        return None

    def work() -> BaseElement:
        value = FromWire(_FullNames()).convert(wxf_to_expression(bytes(data.value)))
        return value if head is None else Expression(head, value)

    return _wxf_value("BinaryDeserialize", work, evaluation)
