"""Functions of the Wolfram Language written in Python, defined without Mathics' pattern matcher.

A `Library` collects functions of one area. Each becomes one rule that calls its Python function with the elements of
the expression. This is faster than a rule with a pattern, and defining it takes some 20 us instead of a millisecond,
so that hundreds of functions do not lengthen the start of a kernel. A function that returns None leaves the expression
to the rules that follow: those Mathics has for the same symbol, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mathics.core.atoms import String
from mathics.core.attributes import A_PROTECTED
from mathics.core.definitions import Definition, Definitions
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.rules import BaseRule, FunctionApplyRule, Rule
from mathics.core.symbols import Symbol, strip_context
from mathics.core.systemsymbols import SymbolBlankNullSequence, SymbolMessageName, SymbolRule, SymbolRuleDelayed

#: Called with the evaluation, the arguments, and `options`, a dictionary, if the function has any.
Implementation = Callable[..., "BaseElement | None"]


@dataclass(frozen=True)
class LibraryFunction:
    """One function.

    Attributes:
        name: The symbol's name without context.
        function: The implementation.
        least: The smallest number of arguments, options not counted.
        most: The largest number of arguments; None for any number.
        attributes: Attributes of the symbol; None keeps those Mathics has given it.
        options: Names of options; a rule for another name counts as an argument.
        usage: The text of ?name.
        messages: Message texts by tag.
        head: Whether the implementation defines name[...][...] instead of name[...].
    """

    name: str
    function: Implementation
    least: int
    most: int | None
    attributes: int | None = None
    options: frozenset[str] = frozenset()
    usage: str = ""
    messages: Mapping[str, str] = field(default_factory=dict)
    head: bool = False


class NativeRule(FunctionApplyRule):  # a subclass, for code that asks for the kind of a rule
    """The rule of a library function."""

    def __init__(self, symbol: Symbol, library_function: LibraryFunction) -> None:
        pattern = Expression(symbol, Expression(SymbolBlankNullSequence))
        if library_function.head:
            pattern = Expression(pattern, Expression(SymbolBlankNullSequence))
        super().__init__(symbol.name, pattern, library_function.function, None, system=True)
        self._least = library_function.least
        self._most = library_function.most
        self._options = library_function.options
        self._head = library_function.head

    def apply(
        self,
        expression: Any,
        evaluation: Any,
        fully: bool = True,  # noqa: FBT001, FBT002 - the interface of Mathics
        return_list: bool = False,  # noqa: FBT001, FBT002
        max_list: int | None = None,
    ) -> Any:
        """The value of the expression; None if this function does not apply."""
        arguments: Sequence[BaseElement] = expression.elements
        options: dict[str, BaseElement] = {}
        if self._options:
            arguments, options = split_options(arguments, self._options)
        if len(arguments) < self._least or (self._most is not None and len(arguments) > self._most):
            result = None
        else:
            if self._head:
                arguments = (expression.head, *arguments)
            given = {"options": options} if self._options else {}
            result = self.function(evaluation, *arguments, **given)
        if return_list:
            return [] if result is None else [result]
        return result


def split_options(
    arguments: Sequence[BaseElement], names: frozenset[str]
) -> tuple[Sequence[BaseElement], dict[str, BaseElement]]:
    """Separate the options at the end of an argument list.

    Returns:
        The arguments before them, and the values by option name without context.
    """
    options: dict[str, BaseElement] = {}
    count = len(arguments)
    while count:
        rule = arguments[count - 1]
        if not (isinstance(rule, Expression) and rule.head in (SymbolRule, SymbolRuleDelayed)):
            break
        if len(rule.elements) != 2:
            break
        left = rule.elements[0]
        name = left.value if isinstance(left, String) else strip_context(left.get_name())
        if name not in names:
            break
        options.setdefault(name, rule.elements[1])
        count -= 1
    return arguments[:count], options


class Library:
    """Functions of one area, collected by the decorator `define`."""

    def __init__(self, context: str = "System`") -> None:
        self._context = context
        self._functions: list[LibraryFunction] = []

    def define(self, name: str, least: int, most: int | None = -1, **details: Any) -> Callable[[Any], Any]:
        """Decorate the implementation of a function.

        Args:
            name: The symbol's name without context.
            least: The smallest number of arguments.
            most: The largest number of arguments; None for any number; `least` by default.
            **details: Other attributes of `LibraryFunction`.
        """
        if most == -1:
            most = least
        if "options" in details:
            details["options"] = frozenset(details["options"])

        def register(function: Any) -> Any:
            self._functions.append(LibraryFunction(name, function, least, most, **details))
            return function

        return register

    @property
    def names(self) -> list[str]:
        """Names of the functions, without context."""
        return [function.name for function in self._functions]

    def contribute(self, definitions: Definitions) -> None:
        """Define all functions. Rules come before those Mathics has for the same symbol."""
        for function in self._functions:
            _contribute(definitions, self._context + function.name, function)


def _contribute(definitions: Definitions, name: str, function: LibraryFunction) -> None:
    symbol = Symbol(name)
    definition = definitions.builtin.get(name)
    if definition is None:
        definition = definitions.builtin[name] = Definition(name=name, attributes=A_PROTECTED)
    if function.attributes is not None:
        definition.attributes = function.attributes
    values = definition.subvalues if function.head else definition.downvalues
    values.insert(0, NativeRule(symbol, function))
    texts = dict(function.messages)
    if function.usage:
        texts["usage"] = function.usage
    for tag, text in texts.items():
        left = Expression(SymbolMessageName, symbol, String(tag))
        definition.messages.insert(0, _message_rule(left, text))
    for option in function.options:
        # Otherwise the parser would create the option's name in Global`.
        full_name = f"System`{option}"
        if full_name not in definitions.builtin:
            definitions.builtin[full_name] = Definition(name=full_name)


def _message_rule(left: Expression, text: str) -> BaseRule:
    return Rule(left, String(text), system=True)
