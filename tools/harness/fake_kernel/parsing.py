"""Text to expressions: the little that a test types (arithmetic, calls, lists, strings, = ; ->)."""
import re

from tools.harness.fake_kernel.codec import Function, Symbol

TOKEN = re.compile(
    r"""\s*(?:(?P<real>\d+\.\d*|\.\d+)|(?P<integer>\d+)|(?P<string>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<symbol>[A-Za-z$`][A-Za-z0-9$`]*)|(?P<mark>->|==|[-+*/^=;,\[\]{}()]))"""
)
#: infix mark -> (strength to the left, strength to the right, head)
INFIX = {
    ";": (1, 2, "CompoundExpression"), "=": (4, 3, "Set"), "->": (6, 5, "Rule"), "==": (7, 8, "Equal"),
    "+": (10, 11, "Plus"), "-": (10, 11, "Subtract"), "*": (12, 13, "Times"), "/": (12, 13, "Divide"),
    "^": (17, 16, "Power"),
}  # fmt: skip
CALL = 20
NEGATION = 14


class SyntaxProblem(ValueError):
    """`position`: characters read before the fault."""

    def __init__(self, text, position):
        super().__init__(f"syntax error in {text[:100]!r} at character {position}")
        self.position = position


def parse(text):
    """The expression of one input; blank text is Null; raises SyntaxProblem."""
    reader = _Reader(text)
    if reader.kind == "end":
        return Symbol("Null")
    expression = reader.expression(0)
    reader.expect("end")
    return expression


class _Reader:
    """A precedence climber with one token of look-ahead (kind, value)."""

    def __init__(self, text):
        self._text, self._position = text, 0
        self.advance()

    def advance(self):
        rest = self._text[self._position :]
        if not rest.strip():
            self.kind, self.value = "end", ""
            return
        match = TOKEN.match(rest)
        if match is None:
            raise SyntaxProblem(self._text, self._position)
        self._position += match.end()
        self.kind, self.value = match.lastgroup, match[match.lastgroup]
        if self.kind == "mark":
            self.kind = self.value

    def expect(self, kind):
        if self.kind != kind:
            raise SyntaxProblem(self._text, self._position)
        self.advance()

    def expression(self, strength):
        left = self.operand()
        while True:
            if self.kind == "[" and strength < CALL:
                left = Function(left, *self.sequence("]"))
            elif self.kind in INFIX and INFIX[self.kind][0] > strength:
                left = self.infix(left)
            else:
                return left

    def infix(self, left):
        _, strength, head = INFIX[self.kind]
        self.advance()
        if head == "CompoundExpression" and self.kind in ("end", ")", "]", "}", ","):
            return _joined(head, left, Symbol("Null"))
        right = self.expression(strength)
        if head == "Subtract":
            return Function("Plus", left, Function("Times", -1, right))
        return _joined(head, left, right)

    def operand(self):
        kind, value = self.kind, self.value
        if kind == "{":
            return Function("List", *self.sequence("}"))
        self.advance()
        if kind == "integer":
            return int(value)
        if kind == "real":
            return float(value)
        if kind == "string":
            return re.sub(r"\\(.)", lambda mark: {"n": "\n", "t": "\t"}.get(mark[1], mark[1]), value[1:-1])
        if kind == "symbol":
            return Symbol(value)
        if kind == "-":
            operand = self.expression(NEGATION)
            return -operand if isinstance(operand, (int, float)) else Function("Times", -1, operand)
        if kind == "(":
            inner = self.expression(0)
            self.expect(")")
            return inner
        raise SyntaxProblem(self._text, self._position)

    def sequence(self, end):
        """Arguments up to the closing mark; the opening one is the current token."""
        self.advance()
        items = []
        while self.kind != end:
            items.append(self.expression(0))
            if self.kind != end:
                self.expect(",")
        self.advance()
        return items


def _joined(head, left, right):
    """a + b + c is one Plus of three."""
    if head in ("Plus", "Times", "CompoundExpression") and isinstance(left, Function) and left.is_head(head):
        return Function(head, *left.args, right)
    return Function(head, left, right)
