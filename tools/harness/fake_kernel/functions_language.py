"""Functions that calculate: numbers, strings, lists, symbols."""
from tools.harness.fake_kernel.codec import Function, Packed, Symbol
from tools.harness.fake_kernel.registry import FALSE, FUNCTIONS, NULL, TRUE, function, held


def _is_number(value):
    return isinstance(value, (int, float))


def _numbers_of(value):
    """The numbers of a list, packed or not."""
    for item in value.args:
        if isinstance(item, Packed):
            yield from item.numbers()
        elif isinstance(item, Function):
            yield from _numbers_of(item)
        else:
            yield item


@function("Plus")
def plus(session, *terms):
    if all(map(_is_number, terms)):
        return sum(terms)
    return Function("Plus", *terms)


@function("Times")
def times(session, *factors):
    product = 1
    for factor in factors:
        if not _is_number(factor):
            return Function("Times", *factors)
        product *= factor
    return product


@function("Power")
def power(session, base, exponent):
    if _is_number(base) and _is_number(exponent) and exponent >= 0:
        return base**exponent
    return Function("Power", base, exponent)


@function("Divide")
def divide(session, numerator, denominator):
    if isinstance(numerator, int) and isinstance(denominator, int):
        quotient, rest = divmod(numerator, denominator)
        return quotient if rest == 0 else Function("Rational", numerator, denominator)
    return numerator / denominator


@function("Equal", "SameQ")
def equal(session, left, right):
    return TRUE if left == right else FALSE


@function("Total")
def total(session, numbers):
    return sum(_numbers_of(numbers))


@function("Length")
def length(session, expression):
    return sum(item.count if isinstance(item, Packed) else 1 for item in expression.args)


@function("StringJoin")
def string_join(session, *strings):
    return "".join(strings)


@function("StringLength")
def string_length(session, string):
    return len(string)


@function("StringReverse")
def string_reverse(session, string):
    return string[::-1]


@function("MakeString")
def make_string(session, size):
    """MakeString[n]: n characters x."""
    return "x" * size


@function("MakeArray")
def make_array(session, size):
    """MakeArray[n]: the reals 0. ... n-1. as one packed block."""
    from array import array  # whose import takes longer than the start of most kernels should

    reals = array("d", range(size)).tobytes()
    return Function("List", *([Packed(0xF6, size, reals)] if size else []))


@held("Set")
def set_symbol(session, expression):
    symbol, value = expression.args
    if not isinstance(symbol, Symbol):
        raise TypeError("only a symbol can be set")
    session.symbols[symbol.short] = value = session.evaluate(value)
    return value


@held("Get")
def get_symbol(session, expression):
    """Get[x]: the value of the symbol, Null without one. Get["file"]: the value of the text of the file."""
    what = expression.args[0]
    if isinstance(what, Symbol):
        return session.symbols.get(what.short, NULL)
    try:
        with open(what, encoding="utf-8") as file:
            return to_expression(session, file.read())
    except OSError as error:
        session.message("Get", "noopen", f"Cannot open {what}: {error.strerror}.")
        return Symbol("$Failed")


@held("CompoundExpression")
def compound(session, expression):
    value = NULL
    for statement in expression.args:
        value = session.evaluate(statement)
    return value


@held("Hold", "HoldComplete")
def hold(session, expression):
    return expression


@held("Echo", "EchoReals")
def echo(session, expression):
    """Echo[expr]: expr unevaluated, with the very bytes in which it came."""
    return expression.raw[0] if expression.raw else expression.args[0]


@function("ToExpression")
def to_expression(session, text):
    from tools.harness.fake_kernel.parsing import SyntaxProblem, parse

    try:
        expression = parse(text)
    except SyntaxProblem as problem:
        session.message("ToExpression", "sntx", str(problem))
        return Symbol("$Failed")
    return session.evaluate(expression)


@function("ToString")
def to_string(session, value):
    from tools.harness.fake_kernel.printing import output_form

    return output_form(value)


@function("Evaluations")
def evaluations(session):
    """How many evaluations this kernel has begun, this one included."""
    return session.evaluations


@function("KnownFunctions")
def known_functions(session):
    return Function("List", *sorted(FUNCTIONS))
