"""How the definitions of this kernel come about: in Python, in Wolfram Language, or as names without a definition.

A `Library` collects functions of one area. Each becomes one rule that calls its Python function with the elements of
the expression. This is faster than a rule with a pattern, and defining it takes some 20 us instead of a millisecond,
so that hundreds of functions do not lengthen the start of a kernel. A function that returns None leaves the expression
to the rules that follow: those Mathics has for the same symbol, or none.

The table of built-in definitions is asked for every symbol that is seen for the first time (`BuiltinTable`). A symbol
that is not defined is looked for here, in this order:

- in the definitions of the files `wl/*.wl`, which are parsed when they are used. In these files every definition begins
  at the start of a line with the symbol it is for, and continuation lines are indented.
- among the names of the language (`wl/names.wl`, collected from public lists of its symbols). A function of such a name
  says once a session that it is not implemented here, unless the user has defined it. Functions that a Wolfram kernel
  leaves as they are, such as styles, say nothing (`wl/inert.wl`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mathics.core.atoms import String
from mathics.core.attributes import A_NO_ATTRIBUTES, A_PROTECTED, attributes_bitset_to_list
from mathics.core.definitions import Definition, Definitions
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.parser.util import parse_builtin_rule
from mathics.core.rules import BaseRule, FunctionApplyRule, Rule
from mathics.core.symbols import Symbol, strip_context
from mathics.core.systemsymbols import SymbolBlankNullSequence, SymbolMessageName, SymbolRule, SymbolRuleDelayed
from mathics.format.form import outputform

#: What messages call the engine.
ENGINE = f"Mathics3 {version('Mathics3')}"

#: The files of definitions.
FOLDER = Path(__file__).parent / "wl"


_DEFINED = re.compile(r"(\$?[A-Z]\w*)")
_ATTRIBUTES = re.compile(r"Attributes\[[^]]*\] = \{(.*)\}")
_MESSAGE = re.compile(r"\w+::(\w+) = \"(.*)\"")
_COMMENT = re.compile(r"\(\*.*?\*\)", re.DOTALL)

#: Called with the evaluation, the arguments, and `options`, a dictionary, if the function has any.
Implementation = Callable[..., "BaseElement | None"]

#: Called with an expression and the evaluation; gives its text in OutputForm, or None for the usual one.
TextWriter = Callable[[Any, Any], "str | None"]


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


class _ValueRule(FunctionApplyRule):  # a subclass, for code that asks for the kind of a rule
    """A rule that decides by itself whether it applies."""

    def __init__(self, name: str, pattern: Expression) -> None:
        super().__init__(name, pattern, self.value, None, system=True)

    def value(self, expression: Any, evaluation: Any) -> Any:
        """The value of an expression; None if the rule does not apply."""
        raise NotImplementedError

    def apply(
        self,
        expression: Any,
        evaluation: Any,
        fully: Any = True,  # noqa: FBT002 - the interface of Mathics
        return_list: Any = False,  # noqa: FBT002
        max_list: int | None = None,
    ) -> Any:
        """The value of an expression; None if the rule does not apply."""
        result = self.value(expression, evaluation)
        if return_list:
            return [] if result is None else [result]
        return result


class NativeRule(_ValueRule):
    """The rule of a library function."""

    def __init__(self, symbol: Symbol, library_function: LibraryFunction) -> None:
        pattern = Expression(symbol, Expression(SymbolBlankNullSequence))
        if library_function.head:
            pattern = Expression(pattern, Expression(SymbolBlankNullSequence))
        super().__init__(symbol.name, pattern)
        self._definition = library_function

    def value(self, expression: Any, evaluation: Any) -> Any:
        """The value of the function."""
        definition = self._definition
        arguments: Sequence[BaseElement] = expression.elements
        given: dict[str, Any] = {}
        if definition.options:
            arguments, given["options"] = split_options(arguments, definition.options)
        if len(arguments) < definition.least or (definition.most is not None and len(arguments) > definition.most):
            return None
        if definition.head:
            arguments = (expression.head, *arguments)
        return definition.function(evaluation, *arguments, **given)


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


def value_by_other_rules(expression: Expression, evaluation: Any) -> BaseElement | None:
    """The value by the rules Mathics has, without those of the libraries; arguments are not evaluated again."""
    name = expression.get_head_name()
    for rule in evaluation.definitions.get_downvalues(name):
        if not isinstance(rule, NativeRule):
            found = rule.apply(expression, evaluation, fully=False)
            if found is not None:
                value: BaseElement = found.evaluate(evaluation) if isinstance(found, Expression) else found
                return value
    return None


class Library:
    """Functions of one area, collected by the decorator `define`."""

    def __init__(self, context: str = "System`") -> None:
        self._context = context
        self._functions: list[LibraryFunction] = []
        self._texts: dict[str, TextWriter] = {}

    def text(self, name: str) -> Callable[[TextWriter], TextWriter]:
        """Decorate what writes expressions with this head in OutputForm."""

        def register(function: TextWriter) -> TextWriter:
            self._texts[self._context + name] = function
            return function

        return register

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
        for name, writer in self._texts.items():
            outputform.EXPR_TO_OUTPUTFORM_TEXT_MAP[name] = _written_by(writer)


def _written_by(writer: TextWriter) -> Callable[..., str]:
    def write(element: Any, evaluation: Any, **options: Any) -> str:
        text = writer(element, evaluation)
        default: Callable[..., str] = outputform._default_render_output_form
        return default(element, evaluation, **options) if text is None else text

    return write


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


class _LanguageSources:
    """The texts of the files, by the symbol they define."""

    def __init__(self) -> None:
        self.definitions: dict[str, list[str]] = {}
        for path in sorted(FOLDER.glob("*.wl")):
            if path.stem not in ("names", "inert", "symbolic"):
                self._read(_COMMENT.sub("", path.read_text(encoding="utf-8")))
        self.inert = _listed("inert.wl")
        self.names = _listed("names.wl") - self.inert
        #: Functions that stay as they are for symbols, also in a Wolfram kernel.
        self.symbolic = _listed("symbolic.wl")

    def _read(self, text: str) -> None:
        for chunk in re.split(r"\n(?=\S)", text):
            match = _DEFINED.match(chunk.removeprefix("Attributes["))
            if match:
                self.definitions.setdefault(match[1], []).append(" ".join(chunk.split("\n")).strip())


def _listed(name: str) -> frozenset[str]:
    text = _COMMENT.sub("", (FOLDER / name).read_text(encoding="utf-8"))
    return frozenset(re.findall(r"\$?[A-Z]\w*", text))


class BuiltinTable(dict[str, Definition]):
    """Definitions by full name, completed from the sources when a name is asked for that is not there."""

    def __init__(self, known: dict[str, Definition]) -> None:
        super().__init__(known)
        self._sources = _LanguageSources()
        self._told: set[str] = set()
        general = self["System`General"]
        left = Expression(SymbolMessageName, Symbol("System`General"), String("partimpl"))
        general.messages.append(_message_rule(left, "`1`"))
        for short in [short for short in self._sources.definitions if f"System`{short}" in self]:
            self._extend(self[f"System`{short}"], self._sources.definitions.pop(short))

        for name, definition in self.items():
            if definition.downvalues and all(isinstance(r, NativeRule | _SourceRule) for r in definition.downvalues):
                self._speak(definition, name.removeprefix("System`"))

    def _speak(self, definition: Definition, short: str) -> None:
        """Let a function that nothing but our own definitions implements say where they do not apply."""
        if short not in self._sources.symbolic and short not in self._sources.inert:
            operator = bool(definition.subvalues)
            definition.downvalues.append(_PartialRule(definition.name, short, self._told, is_operator=operator))

    @staticmethod
    def _extend(definition: Definition, texts: list[str]) -> None:
        """Put definitions of the files between those in Python and those of Mathics."""
        source = _Source(definition, texts)
        place = sum(isinstance(rule, NativeRule) for rule in definition.downvalues)
        pattern = Expression(Symbol(definition.name), Expression(SymbolBlankNullSequence))
        definition.downvalues.insert(place, _SourceRule(pattern, source, "downvalues"))

    def get(self, name: str, default: Any = None) -> Any:
        """The definition of a symbol; for a name of the sources it is made now."""
        found = super().get(name)
        if found is not None or not name.startswith("System`"):
            return default if found is None else found
        short = name[len("System`") :]
        texts = self._sources.definitions.pop(short, None)
        if texts is not None:
            self[name] = definition = _declared(name, texts)
            self._speak(definition, short)
            return definition
        if short in self._sources.inert:
            self[name] = definition = Definition(name=name)
            return definition
        if short in self._sources.names:
            self[name] = definition = _unimplemented(name, short, self._told)
            return definition
        return default

    def load_all(self) -> None:
        """Parse every definition of the files now, for a process that forks kernels."""
        for short in list(self._sources.definitions):
            self.get(f"System`{short}")
        for definition in self.values():
            for rule in definition.downvalues:
                if isinstance(rule, _SourceRule):
                    rule.load()


class _FileNames:
    """Where the symbols of the files are: capitals in System`, others out of the way of a user's symbols."""

    def lookup_name(self, name: str) -> str:
        if "`" in name:
            return name
        return f"System`{name}" if name[0].isupper() or name[0] == "$" else f"System`Private`{name}"


def install_language(definitions: Definitions) -> None:
    """Let the definitions be completed on first use. Call after all libraries have contributed."""
    definitions.builtin = BuiltinTable(definitions.builtin)


def _declared(name: str, texts: list[str]) -> Definition:
    """A definition whose rules are parsed when the function is used: the parser cannot be called by itself."""
    attributes, rules = A_PROTECTED, []
    for text in texts:
        attribute = _ATTRIBUTES.fullmatch(text)
        if attribute:
            attributes |= _attributes(attribute[1].replace(" ", "").split(","))
        else:
            rules.append(text)
    definition = Definition(name=name, attributes=attributes)
    message_texts = [text for text in rules if _MESSAGE.match(text)]
    source = _Source(definition, [text for text in rules if text not in message_texts])
    for text in message_texts:
        tag, message = _MESSAGE.fullmatch(text).groups()  # type: ignore[union-attr]
        left = Expression(SymbolMessageName, Symbol(name), String(tag))
        definition.messages.append(Rule(left, String(message), system=True))
    any_arguments = Expression(SymbolBlankNullSequence)
    pattern = Expression(Symbol(name), any_arguments)
    definition.downvalues.append(_SourceRule(pattern, source, "downvalues"))
    if any("][" in text.partition(":=")[0] for text in rules):
        definition.subvalues.append(_SourceRule(Expression(pattern, any_arguments), source, "subvalues"))
    return definition


class _Source:
    """Definitions of one symbol, parsed at the first use."""

    def __init__(self, definition: Definition, texts: list[str]) -> None:
        self._definition = definition
        self._texts = texts
        self._parsed: Definition | None = None

    def rules(self, kind: str) -> list[Any]:
        """The rules of one kind: downvalues or subvalues."""
        if self._parsed is None:
            parsed = Definition(name=self._definition.name, attributes=self._definition.attributes)
            for text in self._texts:
                expression = parse_builtin_rule(text, _FileNames())
                if expression is None or expression.get_head_name() not in ("System`SetDelayed", "System`Set"):
                    raise ValueError(f"no definition: {text}")
                left, right = expression.elements
                parsed.add_rule(Rule(left, right, system=True, attributes=parsed.attributes))
            self._parsed = parsed
        return list(self._parsed.get_values_list(kind))


class _SourceRule(_ValueRule):
    """Stands for the rules of a symbol in the files."""

    def __init__(self, pattern: Expression, source: _Source, kind: str) -> None:
        super().__init__(pattern.get_lookup_name(), pattern)
        self._source = source
        self._kind = kind

    def load(self) -> None:
        """Parse the rules now."""
        self._source.rules(self._kind)

    def value(self, expression: Any, evaluation: Any) -> Any:
        """The value by the first rule that applies."""
        for rule in self._source.rules(self._kind):
            result = rule.apply(expression, evaluation, fully=False)
            if result is not None:
                return result
        return None


def _attributes(names: list[str]) -> int:
    bits = {1 << place: strip_context(*attributes_bitset_to_list(1 << place)) for place in range(17)}
    return sum(bit for bit, name in bits.items() if name in names)


class _PartialRule(_ValueRule):
    """The last rule of a function that only this kernel's own definitions implement: says once that none applied."""

    def __init__(self, name: str, short: str, told: set[str], *, is_operator: bool) -> None:
        super().__init__(name, Expression(Symbol(name), Expression(SymbolBlankNullSequence)))
        self._short = short
        self._told = told
        self._is_operator = is_operator

    def value(self, expression: Any, evaluation: Any) -> None:
        """None, after the message; an operator form, name[argument], is left alone."""
        if self.name not in self._told and not (self._is_operator and len(expression.elements) == 1):
            if not evaluation.quiet_all:
                self._told.add(self.name)
            text = f"{self._short} is not implemented for these arguments in this kernel ({ENGINE})."
            evaluation.message("General", "partimpl", String(text))


class _UnimplementedRule(_ValueRule):
    """Says once that a function is not implemented, and does not apply."""

    def __init__(self, name: str, short: str, told: set[str]) -> None:
        super().__init__(name, Expression(Symbol(name), Expression(SymbolBlankNullSequence)))
        self._short = short
        self._told = told

    def value(self, expression: Any, evaluation: Any) -> None:
        """None, after the message."""
        if self.name not in self._told and not _is_defined_by_user(evaluation.definitions, self.name):
            tell(evaluation, self.name, self._short, self._told)


def tell(evaluation: Any, name: str, short: str, told: set[str]) -> None:
    """Issue the message, unless messages are off."""
    if not evaluation.quiet_all:
        told.add(name)
    evaluation.message(short, "notimpl", String(short))


def _is_defined_by_user(definitions: Definitions, name: str) -> bool:
    own = definitions.user.get(name)
    return own is not None and bool(own.downvalues or own.subvalues or own.upvalues or own.ownvalues)


def _unimplemented(name: str, short: str, told: set[str]) -> Definition:
    text = f"`1` is not implemented in this kernel ({ENGINE})."
    definition = Definition(name=name, attributes=A_NO_ATTRIBUTES)
    definition.downvalues.append(_UnimplementedRule(name, short, told))
    left = Expression(SymbolMessageName, Symbol(name), String("notimpl"))
    definition.messages.append(Rule(left, String(text), system=True))
    return definition
