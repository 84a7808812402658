"""Symbolic mathematics by SymPy that Mathics lacks: equations, polynomials, transforms, trigonometry, number theory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sympy
from mathics.core.atoms import Integer, MachineReal, PrecisionReal, Rational
from mathics.core.convert.sympy import from_sympy
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolFalse, SymbolTrue
from mathics.core.systemsymbols import SymbolEqual, SymbolIndeterminate, SymbolRule
from sympy.polys.matrices import DomainMatrix
from sympy.simplify.fu import TR8, TR9

from wstpserver.embedded.arrays import machine_real
from wstpserver.embedded.builtins.collections import call, in_order
from wstpserver.embedded.builtins.library import Library, value_by_other_rules
from wstpserver.embedded.builtins.numerics import expression_of

MATHEMATICS = Library()

#: What SymPy raises where it has no answer.
NO_ANSWER = (
    NotImplementedError, ValueError, TypeError, ZeroDivisionError, AttributeError, KeyError, IndexError,
    sympy.PolynomialError, sympy.SympifyError,
)  # fmt: skip


def to_sympy(element: BaseElement, evaluation: Any) -> Any:
    """The SymPy expression of an expression, a list for a list; None if there is none."""
    if isinstance(element, ListExpression):
        parts = [to_sympy(part, evaluation) for part in element.elements]
        return None if None in parts else parts
    try:
        return element.to_sympy(evaluation=evaluation)
    except NO_ANSWER:
        return None


def evaluated(result: Any, evaluation: Any) -> BaseElement | None:
    """A SymPy result as an evaluated expression; None for what contains SymPy's own objects without a counterpart."""
    if result is None:
        return None
    if isinstance(result, list | tuple | sympy.Tuple):
        parts = [evaluated(part, evaluation) for part in result]
        return None if None in parts else ListExpression(*parts)
    expression = from_sympy(result)
    value: BaseElement = expression.evaluate(evaluation) or expression
    return value


def _by_sympy(name: str, least: int, most: int, function: Callable[..., Any], usage: str = "") -> None:
    """Define a function whose arguments and value are SymPy expressions. `function` returns None for no answer."""

    @MATHEMATICS.define(name, least, most, usage=usage)
    def of_sympy(evaluation: Any, *arguments: BaseElement) -> BaseElement | None:
        given = [to_sympy(argument, evaluation) for argument in arguments]
        if any(argument is None for argument in given):
            return None
        try:
            return evaluated(function(*given), evaluation)
        except NO_ANSWER:
            return None


@MATHEMATICS.define("Mod", 2, 3)
def mod(evaluation: Any, number: BaseElement, modulus: BaseElement, offset: BaseElement | None = None) -> Any:
    """Mod of numbers that are no integers, and with an offset; Mathics has that of two integers."""
    parts = [number, modulus] if offset is None else [number, modulus, offset]
    if any(isinstance(part, ListExpression) for part in parts) or not all(_is_real(part, evaluation) for part in parts):
        return None
    if all(isinstance(part, Integer) for part in parts[:2]) and offset is None and modulus.get_int_value():
        return Integer(number.value % modulus.value)
    if call(evaluation, Symbol("System`PossibleZeroQ"), modulus) is SymbolTrue:
        evaluation.message("Mod", "indet", Expression(Symbol("System`Mod"), *parts))
        return SymbolIndeterminate
    plus, times = Symbol("System`Plus"), Symbol("System`Times")
    above = number if offset is None else call(evaluation, plus, number, call(evaluation, times, Integer(-1), offset))
    ratio = call(evaluation, times, above, call(evaluation, Symbol("System`Power"), modulus, Integer(-1)))
    count = call(evaluation, Symbol("System`Floor"), ratio)
    if not isinstance(count, Integer):
        return None
    rest: Any = call(evaluation, plus, number, call(evaluation, times, Integer(-count.value), modulus))
    if isinstance(rest, Integer) and any(isinstance(part, MachineReal) for part in parts):
        return machine_real(float(rest.value))
    return rest


@MATHEMATICS.define("IntegerDigits", 1, 3)
def integer_digits(evaluation: Any, numbers: BaseElement, *rest: BaseElement) -> BaseElement | None:
    """IntegerDigits of the elements of a list."""
    if not isinstance(numbers, ListExpression):
        return None
    function = Symbol("System`IntegerDigits")
    return ListExpression(*(call(evaluation, function, number, *rest) for number in numbers.elements))


def _is_real(element: BaseElement, evaluation: Any) -> bool:
    if isinstance(element, Integer | Rational | MachineReal):
        return True
    return isinstance(element, Symbol | Expression | PrecisionReal) and (
        call(evaluation, Symbol("System`NumericQ"), element) is SymbolTrue
        and call(evaluation, Symbol("System`Im"), element).get_int_value() == 0
    )


def _polynomial(function: Callable[..., Any]) -> Callable[..., Any]:
    """Only for polynomials, so that SymPy takes no other expression for a generator."""

    def checked(first: Any, second: Any, *rest: Any) -> Any:
        gens = [argument for argument in rest if isinstance(argument, sympy.Symbol)]
        if not all(sympy.sympify(polynomial).is_polynomial(*gens) for polynomial in (first, second)):
            return None
        return function(first, second, *rest)

    return checked


_by_sympy("PolynomialQuotient", 3, 3, _polynomial(sympy.quo))
_by_sympy("PolynomialRemainder", 3, 3, _polynomial(sympy.rem))
_by_sympy("PolynomialQuotientRemainder", 3, 3, _polynomial(sympy.div))
_by_sympy("PolynomialGCD", 2, 2, sympy.gcd, "PolynomialGCD[p, q] gives the greatest common divisor of polynomials.")
_by_sympy("PolynomialLCM", 2, 2, sympy.lcm, "PolynomialLCM[p, q] gives the least common multiple of polynomials.")
_by_sympy("Resultant", 3, 3, _polynomial(sympy.resultant))
_by_sympy("Discriminant", 2, 2, sympy.discriminant)
_by_sympy("TrigExpand", 1, 1, lambda e: sympy.expand(sympy.expand_trig(e)))
_by_sympy("TrigReduce", 1, 1, lambda e: sympy.expand(TR8(sympy.expand(e))))
_by_sympy("TrigFactor", 1, 1, lambda e: sympy.factor(TR9(e)))
_by_sympy("TrigToExp", 1, 1, lambda e: sympy.expand(e.rewrite(sympy.exp)))
_by_sympy("ExpToTrig", 1, 1, lambda e: e.rewrite(sympy.cos).rewrite(sympy.cos) if e.has(sympy.I)
          else e.replace(sympy.exp, lambda x: sympy.cosh(x) + sympy.sinh(x)))  # fmt: skip
_by_sympy("FactorTerms", 1, 1, lambda e: sympy.Mul(*sympy.factor_terms(e).as_content_primitive(), evaluate=False))
_by_sympy("Decompose", 2, 2, lambda p, x: sympy.decompose(p, x) if p.is_polynomial(x) else None)
_by_sympy("Cyclotomic", 2, 2, sympy.cyclotomic_poly)
_by_sympy("ErfInverse", 1, 1, lambda x: sympy.erfinv(x) if x.is_number else None)
_by_sympy("SinIntegral", 1, 1, lambda x: sympy.Si(x).evalf() if x.is_Float else (sympy.Si(x) if x == 0 else None))
_by_sympy("LogIntegral", 1, 1, lambda x: sympy.li(x).evalf() if x.is_Float else None)
_by_sympy("CarmichaelLambda", 1, 1, lambda n: sympy.reduced_totient(n) if n.is_Integer and n > 0 else None)
_by_sympy("MultiplicativeOrder", 2, 2, lambda k, n: sympy.n_order(k, n))
_by_sympy("PrimitiveRoot", 1, 1, lambda n: sympy.primitive_root(n))
_by_sympy("FunctionExpand", 1, 1, sympy.expand_func)
_by_sympy("RootReduce", 1, 1, lambda e: sympy.nsimplify(sympy.radsimp(sympy.sqrtdenest(e))) if e.is_number else None)
_by_sympy("Factorial2", 1, 1, lambda n: sympy.factorial2(n) if n.is_Integer and n >= -1 else None)


@MATHEMATICS.define("GroebnerBasis", 2)
def groebner_basis(evaluation: Any, polynomials: BaseElement, variables: BaseElement) -> BaseElement | None:
    """A Groebner basis in lexicographic order, with integer coefficients."""
    given, names = to_sympy(polynomials, evaluation), to_sympy(variables, evaluation)
    if not given or not names:
        return None
    try:
        basis = sympy.groebner(list(given), *list(names), order="lex")
    except NO_ANSWER:
        return None
    cleared = [sympy.Poly(p, *list(names)).clear_denoms(convert=True)[1].as_expr() for p in reversed(basis.exprs)]
    return evaluated(cleared, evaluation)


@MATHEMATICS.define("MonomialList", 1, 2)
def monomial_list(evaluation: Any, polynomial: BaseElement, variables: BaseElement | None = None) -> BaseElement | None:
    """The terms of a polynomial in lexicographic order."""
    given = to_sympy(polynomial, evaluation)
    names = None if variables is None else to_sympy(variables, evaluation)
    if given is None:
        return None
    gens = sorted(given.free_symbols, key=str) if names is None else [names]
    if isinstance(names, list):
        gens = names
    try:
        poly = sympy.Poly(given, *gens)
    except NO_ANSWER:
        return None
    monomials = [sympy.Mul(c, *(g**e for g, e in zip(gens, powers, strict=True))) for powers, c in poly.terms()]
    return evaluated(monomials, evaluation)


@MATHEMATICS.define("CoefficientRules", 1, 2)
def coefficient_rules(
    evaluation: Any, polynomial: BaseElement, variables: BaseElement | None = None
) -> BaseElement | None:
    """{{exponent, ...} -> coefficient, ...} in lexicographic order."""
    given = to_sympy(polynomial, evaluation)
    names = None if variables is None else to_sympy(variables, evaluation)
    if given is None:
        return None
    gens = sorted(given.free_symbols, key=str) if names is None else names if isinstance(names, list) else [names]
    try:
        terms = sympy.Poly(given, *gens).terms()
    except NO_ANSWER:
        return None
    rules = [(evaluated(list(powers), evaluation), evaluated(factor, evaluation)) for powers, factor in terms]
    if any(None in rule for rule in rules):
        return None
    return ListExpression(*(Expression(SymbolRule, *rule) for rule in rules))


@MATHEMATICS.define("InterpolatingPolynomial", 2)
def interpolating_polynomial(evaluation: Any, data: BaseElement, variable: BaseElement) -> BaseElement | None:
    """The polynomial through points, expanded."""
    given, name = to_sympy(data, evaluation), to_sympy(variable, evaluation)
    if not given or name is None:
        return None
    points = [tuple(p) if isinstance(p, list) else (i, p) for i, p in enumerate(given, 1)]
    return evaluated(sympy.expand(sympy.interpolate(points, name)), evaluation)


# Assumptions.

_SIGNS = {"Greater": "positive", "GreaterEqual": "nonnegative", "Less": "negative", "LessEqual": "nonpositive"}
_DOMAINS = {"Reals": "real", "Integers": "integer", "Rationals": "rational", "Complexes": "complex"}


def _assumed(conditions: BaseElement) -> dict[str, dict[str, bool]] | None:
    """What conditions say of symbols, by name: sign and domain; None for conditions of another kind."""
    flat = list(conditions.elements) if conditions.has_form(["And", "List"], None) else [conditions]
    found: dict[str, dict[str, bool]] = {}
    for condition in flat:
        kind = condition.get_head_name().removeprefix("System`")
        if condition is SymbolTrue:
            continue
        if kind in _SIGNS and len(condition.elements) == 2 and isinstance(condition.elements[0], Symbol):
            bound = condition.elements[1].get_int_value()
            if bound is None or (bound < 0) == kind.startswith("Greater") and bound != 0:
                return None
            found.setdefault(condition.elements[0].get_name(), {})[_SIGNS[kind]] = True
        elif kind == "Element" and condition.elements[1].get_name().removeprefix("System`") in _DOMAINS:
            domain = _DOMAINS[condition.elements[1].get_name().removeprefix("System`")]
            names = condition.elements[0]
            for name in names.elements if names.has_form(["Alternatives", "List"], None) else [names]:
                found.setdefault(name.get_name(), {})[domain] = True
        else:
            return None
    return found


def _under_assumptions(name: str, simplify: Callable[[Any], Any]) -> None:
    """Let a function obey conditions on the sign and the domain of symbols."""

    @MATHEMATICS.define(name, 1, 2)
    def simplified(
        evaluation: Any, expression: BaseElement, conditions: BaseElement | None = None
    ) -> BaseElement | None:
        if conditions is None:
            conditions = Symbol("System`$Assumptions").evaluate(evaluation)
            if conditions is None or conditions is SymbolTrue or isinstance(conditions, Symbol):
                return None
        known = _assumed(conditions)
        given = to_sympy(expression, evaluation)
        if not known or not isinstance(given, sympy.Basic):
            return None
        names = {to_sympy(Symbol(name), evaluation): facts for name, facts in known.items()}
        substitutes = {s: sympy.Dummy(s.name, **names[s]) for s in given.free_symbols if s in names}
        try:
            result = simplify(given.subs(substitutes))
        except NO_ANSWER:
            return None
        return evaluated(result.subs({dummy: symbol for symbol, dummy in substitutes.items()}), evaluation)


_under_assumptions("Simplify", sympy.simplify)
_under_assumptions("FullSimplify", sympy.simplify)
_under_assumptions("Refine", lambda given: given.doit())


@MATHEMATICS.define("Variables", 1)
def variables_of(evaluation: Any, polynomial: BaseElement) -> BaseElement | None:
    """The variables of a polynomial in order, which Mathics gives in any order."""
    found = value_by_other_rules(Expression(Symbol("System`Variables"), polynomial), evaluation)
    if not isinstance(found, ListExpression):
        return None
    return ListExpression(*in_order(found.elements, evaluation))


# Equations.


def _numeric_order(value: Any) -> tuple[float, float]:
    number = complex(value)
    return round(number.real, 12), round(number.imag, 12)


@MATHEMATICS.define("NSolve", 2, 3, usage="NSolve[eqns, vars] finds numerical solutions of polynomial equations.")
def nsolve(
    evaluation: Any, equations: BaseElement, variables: BaseElement, domain: BaseElement | None = None
) -> BaseElement | None:
    """Numerical roots of a polynomial, or the exact solutions of a system as numbers."""
    names = list(variables.elements) if isinstance(variables, ListExpression) else [variables]
    only_real = domain is not None and domain.get_name() == "System`Reals"
    given = list(equations.elements) if isinstance(equations, ListExpression) else [equations]
    if any(not equation.has_form("Equal", 2) for equation in given):
        return None
    if len(names) == 1 and len(given) == 1:
        roots = _roots(given[0], names[0], evaluation)
        if roots is not None:
            shown = [root for root in roots if not only_real or not isinstance(root, complex)]
            return ListExpression(*(solution_rules(names, [_number(root)]) for root in shown))
    solved = Expression(Symbol("System`Solve"), equations, variables).evaluate(evaluation)
    if not isinstance(solved, ListExpression):
        return None
    found: BaseElement = Expression(Symbol("System`N"), solved).evaluate(evaluation)
    return found


def _roots(equation: Any, variable: BaseElement, evaluation: Any) -> list[float | complex] | None:
    """Roots of a polynomial equation, each as often as its multiplicity, by real, then imaginary part."""
    sides = [to_sympy(side, evaluation) for side in equation.elements]
    name = to_sympy(variable, evaluation)
    if None in sides or name is None:
        return None
    difference = sympy.expand(sides[0] - sides[1])
    if difference.free_symbols - {name} or not difference.is_polynomial(name):
        return None
    try:
        roots = sympy.Poly(difference, name).nroots(n=17, maxsteps=200)
    except NO_ANSWER:
        return None
    numbers = [complex(root) for root in roots]
    return [n.real if abs(n.imag) < 1e-15 * max(1.0, abs(n)) else n for n in sorted(numbers, key=_numeric_order)]


def _number(value: float | complex) -> BaseElement:
    return expression_of(value) if isinstance(value, complex) else machine_real(value)


def solution_rules(names: Sequence[BaseElement], values: Sequence[BaseElement]) -> ListExpression:
    """{name -> value, ...}"""
    return ListExpression(*(Expression(SymbolRule, n, v) for n, v in zip(names, values, strict=True)))


@MATHEMATICS.define("Reduce", 2, 3, usage="Reduce[expr, x] gives the values of x for which expr is true.")
def reduce(
    evaluation: Any, statement: BaseElement, variable: BaseElement, domain: BaseElement | None = None
) -> BaseElement | None:
    """Equations and inequalities in one variable, and systems of equations."""
    parts = list(statement.elements) if statement.has_form(["List", "And"], None) else [statement]
    if not parts or not all(_is_relation(part) for part in parts):
        return None
    if isinstance(variable, ListExpression) and len(variable.elements) > 1:
        solved = Expression(Symbol("System`Solve"), ListExpression(*parts), variable).evaluate(evaluation)
        if not isinstance(solved, ListExpression) or any(not part.has_form("Equal", 2) for part in parts):
            return None
        solutions = [[Expression(SymbolEqual, *rule.elements) for rule in s.elements] for s in solved.elements]
        return _any(evaluation, [_all(evaluation, solution) for solution in solutions])
    name = variable.elements[0] if isinstance(variable, ListExpression) else variable
    symbol = to_sympy(name, evaluation)
    relations = [to_sympy(part, evaluation) for part in parts]
    if symbol is None or None in relations:
        return None
    real = domain is not None and domain.get_name() == "System`Reals"
    only_equations = all(part.has_form("Equal", 2) for part in parts)
    try:
        whole = sympy.S.Reals if real or not only_equations else sympy.S.Complexes
        found = whole
        for part, relation in zip(parts, relations, strict=True):
            if relation in (True, False):
                one = whole if relation else sympy.S.EmptySet
            elif part.has_form("Equal", 2):
                one = sympy.solveset(relation.lhs - relation.rhs, symbol, whole)
            else:
                one = sympy.solveset(relation, symbol, sympy.S.Reals)
            found = found.intersect(one)
        return _set_statement(found, symbol, name, evaluation)
    except NO_ANSWER:
        return None


_RELATIONS = ["Equal", "Less", "LessEqual", "Greater", "GreaterEqual", "Unequal"]


def _is_relation(part: BaseElement) -> bool:
    return bool(part.has_form(_RELATIONS, 2)) or part in (SymbolTrue, SymbolFalse)


def _any(evaluation: Any, statements: list[BaseElement]) -> BaseElement:
    joined: BaseElement = Expression(Symbol("System`Or"), *statements).evaluate(evaluation)
    return joined if statements else SymbolFalse


def _all(evaluation: Any, statements: list[BaseElement]) -> BaseElement:
    joined: BaseElement = Expression(Symbol("System`And"), *statements).evaluate(evaluation)
    return joined


def _set_statement(found: Any, symbol: Any, name: BaseElement, evaluation: Any) -> BaseElement | None:
    """A set of numbers as a statement about the variable; None if SymPy did not come to an end."""
    if found is sympy.S.EmptySet:
        return SymbolFalse
    if found in (sympy.S.Reals, sympy.S.Complexes):
        return SymbolTrue
    if isinstance(found, sympy.FiniteSet):
        values = sorted(found, key=_numeric_order) if all(v.is_number for v in found) else list(found)
        converted = [evaluated(value, evaluation) for value in values]
        return _any(evaluation, [Expression(SymbolEqual, name, value) for value in converted if value is not None])
    if isinstance(found, sympy.Interval):
        return _interval(found, name, evaluation)
    if isinstance(found, sympy.Union):
        pieces = sorted(found.args, key=lambda piece: float(piece.inf if piece.inf.is_finite else -10**300))
        parts = [_set_statement(piece, symbol, name, evaluation) for piece in pieces]
        return None if None in parts else _any(evaluation, [part for part in parts if part is not None])
    return None


def _interval(interval: Any, name: BaseElement, evaluation: Any) -> BaseElement | None:
    low, high = evaluated(interval.start, evaluation), evaluated(interval.end, evaluation)
    less = {True: "Less", False: "LessEqual"}
    greater = {True: "Greater", False: "GreaterEqual"}
    if low is None or high is None:
        return None
    if interval.start == -sympy.oo:
        return Expression(Symbol(f"System`{less[bool(interval.right_open)]}"), name, high)
    if interval.end == sympy.oo:
        return Expression(Symbol(f"System`{greater[bool(interval.left_open)]}"), name, low)
    if interval.left_open == interval.right_open:
        return Expression(Symbol(f"System`{less[bool(interval.left_open)]}"), low, name, high)
    signs = [Symbol(f"System`{less[bool(side)]}") for side in (interval.left_open, interval.right_open)]
    return Expression(Symbol("System`Inequality"), low, signs[0], name, signs[1], high)


def _exact_optimum(name: str) -> None:
    symbol = Symbol(f"System`{name}")

    @MATHEMATICS.define(name, 2)
    def exact(evaluation: Any, problem: BaseElement, variables: BaseElement) -> BaseElement | None:
        """What Mathics finds: it gives a list of all extrema, a Wolfram kernel the first one."""
        found = value_by_other_rules(Expression(symbol, problem, variables), evaluation)
        if isinstance(found, ListExpression) and found.elements and found.elements[0].has_form("List", 2):
            return found.elements[0]
        return None


_exact_optimum("Minimize")


@MATHEMATICS.define("Maximize", 2)
def maximize(evaluation: Any, problem: BaseElement, variables: BaseElement) -> BaseElement | None:
    """The minimum of the negative function."""
    parts = list(problem.elements) if isinstance(problem, ListExpression) else [problem]
    negative = Expression(Symbol("System`Times"), Integer(-1), parts[0])
    turned = ListExpression(negative, *parts[1:]) if isinstance(problem, ListExpression) else negative
    found = Expression(Symbol("System`Minimize"), turned, variables).evaluate(evaluation)
    if not found.has_form("List", 2):
        return None
    value, place = found.elements
    return ListExpression(Expression(Symbol("System`Times"), Integer(-1), value).evaluate(evaluation), place)


# Transforms and sums.


@MATHEMATICS.define("LaplaceTransform", 3, usage="LaplaceTransform[f, t, s] gives the Laplace transform of f.")
def laplace_transform(evaluation: Any, function: BaseElement, t: BaseElement, s: BaseElement) -> BaseElement | None:
    """The unilateral Laplace transform, without conditions."""
    return _transformed(evaluation, function, t, s, lambda f, x, y: sympy.laplace_transform(f, x, y, noconds=True))


@MATHEMATICS.define("InverseLaplaceTransform", 3)
def inverse_laplace_transform(
    evaluation: Any, function: BaseElement, s: BaseElement, t: BaseElement
) -> BaseElement | None:
    """The inverse Laplace transform, for positive times."""

    def inverse(f: Any, x: Any, y: Any) -> Any:
        positive = sympy.Symbol(y.name, positive=True)
        return sympy.inverse_laplace_transform(f, x, positive, noconds=True).subs(positive, y).replace(
            sympy.Heaviside, lambda *a: sympy.S.One)  # fmt: skip

    return _transformed(evaluation, function, s, t, inverse)


@MATHEMATICS.define("FourierTransform", 3)
def fourier_transform(evaluation: Any, function: BaseElement, t: BaseElement, w: BaseElement) -> BaseElement | None:
    """1/Sqrt[2 Pi] Integrate[f Exp[I w t], {t, -Infinity, Infinity}]"""

    def transform(f: Any, x: Any, y: Any) -> Any:
        real_x, real_y = sympy.Symbol(x.name, real=True), sympy.Symbol(y.name, real=True)
        kernel = f.subs(x, real_x) * sympy.exp(sympy.I * real_y * real_x)
        return sympy.simplify(
            (sympy.integrate(kernel, (real_x, -sympy.oo, sympy.oo)) / sympy.sqrt(2 * sympy.pi)).subs(real_y, y)
        )

    return _transformed(evaluation, function, t, w, transform)


def _transformed(
    evaluation: Any, function: BaseElement, source: BaseElement, target: BaseElement, transform: Callable[..., Any]
) -> BaseElement | None:
    given = [to_sympy(part, evaluation) for part in (function, source, target)]
    if any(part is None for part in given):
        return None
    try:
        result = transform(*given)
    except NO_ANSWER:
        return None
    unfinished = (sympy.Integral, sympy.LaplaceTransform, sympy.InverseLaplaceTransform)
    if result is None or result.has(*unfinished) or result.has(sympy.Piecewise):
        return None
    return evaluated(sympy.factor(result), evaluation)


@MATHEMATICS.define("Residue", 2)
def residue(evaluation: Any, function: BaseElement, place: BaseElement) -> BaseElement | None:
    """The residue at a point."""
    if not place.has_form("List", 2):
        return None
    given = [to_sympy(part, evaluation) for part in (function, *place.elements)]
    try:
        return None if None in given else evaluated(sympy.residue(*given), evaluation)
    except NO_ANSWER:
        return None


def _numeric_series(name: str, total: Callable[[Any, list[Any]], Any]) -> None:
    @MATHEMATICS.define(name, 2)
    def series(evaluation: Any, body: BaseElement, iterator: BaseElement) -> BaseElement | None:
        if not iterator.has_form("List", 3):
            return None
        given = [to_sympy(part, evaluation) for part in (body, *iterator.elements)]
        if None in given:
            return None
        import mpmath

        function = sympy.lambdify(given[1], given[0], "mpmath")
        bounds = [mpmath.inf if b == sympy.oo else int(b) if b.is_Integer else float(b) for b in given[2:]]
        try:
            return machine_real(float(total(function, bounds)))
        except NO_ANSWER:
            return None


def _mpmath(name: str) -> Callable[[Any, list[Any]], Any]:
    import mpmath

    return lambda function, bounds: getattr(mpmath, name)(function, bounds)


_numeric_series("NSum", _mpmath("nsum"))
_numeric_series("NProduct", _mpmath("nprod"))


# Exact matrices.


def _exact_matrix(element: BaseElement) -> DomainMatrix | None:
    if not isinstance(element, ListExpression) or not element.elements:
        return None
    rows = []
    for row in element.elements:
        if not isinstance(row, ListExpression) or not all(isinstance(e, Integer | Rational) for e in row.elements):
            return None
        rows.append([sympy.QQ.from_sympy(sympy.sympify(e.to_sympy())) for e in row.elements])
    if len({len(row) for row in rows}) != 1 or len(rows) != len(rows[0]):
        return None
    return DomainMatrix(rows, (len(rows), len(rows)), sympy.QQ)


@MATHEMATICS.define("Inverse", 1)
def exact_inverse(evaluation: Any, matrix: BaseElement) -> BaseElement | None:
    """The inverse of a matrix of rational numbers."""
    found = _exact_matrix(matrix)
    if found is None:
        return None
    try:
        inverse = found.inv()
    except Exception:  # singular: Mathics has the message
        return None
    return evaluated(inverse.to_Matrix().tolist(), evaluation)


@MATHEMATICS.define("Det", 1)
def exact_determinant(evaluation: Any, matrix: BaseElement) -> BaseElement | None:
    """The determinant of a matrix of rational numbers."""
    found = _exact_matrix(matrix)
    return None if found is None else evaluated(sympy.QQ.to_sympy(found.det()), evaluation)


# Integers.


def _bits(name: str, combine: Callable[[int, int], int], usage: str) -> None:
    @MATHEMATICS.define(name, 1, None, usage=usage)
    def bits(evaluation: Any, *numbers: BaseElement) -> BaseElement | None:
        if not all(isinstance(n, Integer) for n in numbers):
            return None
        result = numbers[0].value
        for n in numbers[1:]:
            result = combine(result, n.value)
        return Integer(result)


_bits("BitAnd", lambda a, b: a & b, "BitAnd[m, n, ...] gives the bitwise and of integers.")
_bits("BitOr", lambda a, b: a | b, "BitOr[m, n, ...] gives the bitwise or of integers.")
_bits("BitXor", lambda a, b: a ^ b, "BitXor[m, n, ...] gives the bitwise exclusive or of integers.")
_bits("BitShiftLeft", lambda a, b: a << b if b >= 0 else a >> -b, "BitShiftLeft[n, k] shifts the bits of n by k.")
_bits("BitShiftRight", lambda a, b: a >> b if b >= 0 else a << -b, "BitShiftRight[n, k] shifts the bits of n by k.")


@MATHEMATICS.define("BitNot", 1, usage="BitNot[n] gives the bitwise complement of an integer.")
def bit_not(evaluation: Any, number: BaseElement) -> BaseElement | None:
    """-n - 1"""
    return Integer(~number.value) if isinstance(number, Integer) else None


@MATHEMATICS.define("ChineseRemainder", 2)
def chinese_remainder(evaluation: Any, remainders: BaseElement, moduli: BaseElement) -> BaseElement | None:
    """The smallest number that is not negative with given remainders."""
    from sympy.ntheory.modular import crt

    if not (isinstance(remainders, ListExpression) and isinstance(moduli, ListExpression)):
        return None
    if not all(isinstance(e, Integer) for e in (*remainders.elements, *moduli.elements)):
        return None
    found = crt([m.value for m in moduli.elements], [r.value for r in remainders.elements])
    return None if found is None else Integer(int(found[0]))


@MATHEMATICS.define("ExtendedGCD", 2)
def extended_gcd(evaluation: Any, first: BaseElement, second: BaseElement) -> BaseElement | None:
    """{g, {r, s}} with g = r m + s n"""
    if not (isinstance(first, Integer) and isinstance(second, Integer)):
        return None
    r, s, g = sympy.gcdex(first.value, second.value)
    return ListExpression(Integer(int(g)), ListExpression(Integer(int(r)), Integer(int(s))))
