"""Functions of a kernel that are called like functions of Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from wstpserver.client.convert import Results, to_expression
from wstpserver.client.events import Callbacks
from wstpserver.wire.values import Expression, Function, Symbol

_OWN_KEYWORDS = ", and a call takes timeout, callbacks, results and check"


class KernelFunction:
    """A function of a session's kernel: ``session.Plus``, ``session.function("Developer`ToPackedArray")``.

    Calling it evaluates ``name[arguments...]`` and returns the value, as `Session.evaluate` does. Arguments are Python
    values or expressions (`wstpserver.client.convert`); a str is a string. Keywords that begin with a capital are
    options: ``session.StringSplit(a, b, IgnoreCase=True)`` is ``StringSplit[a, b, IgnoreCase -> True]``. The keywords
    `timeout`, `callbacks`, `results` and `check` are those of `Session.evaluate`.

    As an argument of another function it stands for its symbol: ``session.Map(session.Sin, [1, 2])``.

    Args:
        name: The name of the function, with a context where it needs one.
        evaluate: Evaluates an expression, as `Session.evaluate`.

    Attributes:
        name: The name of the function.
    """

    __slots__ = ("_evaluate", "name")

    def __init__(self, name: str, evaluate: Callable[..., Any]) -> None:
        self.name = name
        self._evaluate = evaluate

    def __call__(
        self,
        *arguments: Any,
        timeout: float | None = None,
        callbacks: Callbacks | None = None,
        results: Results | None = None,
        check: bool | None = None,
        **options: Any,
    ) -> Any:
        """Evaluate the function; see `Session.evaluate` for the keywords, the value and the exceptions."""
        return self._evaluate(
            self.of(*arguments, **options), timeout, callbacks=callbacks, results=results, check=check
        )

    def of(self, *arguments: Any, **options: Any) -> Function:
        """Return the expression that a call would evaluate; nothing is sent.

        Args:
            *arguments: The arguments.
            **options: Options, which are appended as rules.

        Returns:
            The expression.

        Raises:
            TypeError: No expression stands for an argument, or an option has a small first letter.
        """
        for name in options:
            if not name[:1].isupper():
                raise TypeError(f"{name}= is no option of {self.name}: options begin with a capital{_OWN_KEYWORDS}")
        rules = [Function(Symbol("Rule"), (Symbol(name), to_expression(value))) for name, value in options.items()]
        return Function(Symbol(self.name), (*map(to_expression, arguments), *rules))

    def as_expression(self) -> Expression:
        """Return the symbol of the function."""
        return Symbol(self.name)

    def __repr__(self) -> str:
        return f"<KernelFunction {self.name}>"


def function_name(attribute: str) -> str:
    """Return the name of the function that an attribute of a session stands for.

    Raises:
        AttributeError: It stands for none.
    """
    if attribute.startswith("_"):
        raise AttributeError(f"a session has no attribute {attribute!r}")
    if "_" in attribute:
        raise AttributeError(
            f"{attribute!r} is neither an attribute of a session nor a function: in names of the Wolfram Language an "
            "underscore stands for a pattern"
        )
    if not attribute[0].isupper():
        raise AttributeError(
            f"a session has no attribute {attribute!r}. Functions of the kernel begin with a capital; "
            f"for others write session.function({attribute!r})"
        )
    return attribute


def attribute_names(names: Iterable[object]) -> list[str]:
    """Return those of a kernel's names that can be attributes of a session, for completion."""
    return [name for name in names if isinstance(name, str) and name.isalnum() and name[:1].isupper()]
