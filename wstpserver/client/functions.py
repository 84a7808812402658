"""Functions of a kernel that are called like functions of Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wstpserver.client.convert import Results, to_expression
from wstpserver.client.events import Callbacks
from wstpserver.wire.values import Expression, Function, Symbol

_OWN_KEYWORDS = ", and a call takes timeout, callbacks and results"


class KernelFunction:
    """A function of a session's kernel: ``session.Plus``, ``session.function("Developer`ToPackedArray")``.

    Calling it evaluates ``name[arguments...]`` and returns the value, as `Session.evaluate` does. Arguments are Python
    values or expressions (`conversions`); a str is a string. Keywords that begin with a capital are options:
    ``session.StringSplit(a, b, IgnoreCase=True)`` is ``StringSplit[a, b, IgnoreCase -> True]``; `timeout`, `callbacks`
    and `results` are those of `Session.evaluate`.

    As an argument of another function it stands for its symbol: ``session.Map(session.Sin, [1, 2])``.
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
        **options: Any,
    ) -> Any:
        return self._evaluate(self.of(*arguments, **options), timeout, callbacks=callbacks, results=results)

    def of(self, *arguments: Any, **options: Any) -> Function:
        """The expression that a call would evaluate; nothing is sent. TypeError."""
        for name in options:
            if not name[:1].isupper():
                raise TypeError(f"{name}= is no option of {self.name}: options begin with a capital{_OWN_KEYWORDS}")
        rules = [Function(Symbol("Rule"), (Symbol(name), to_expression(value))) for name, value in options.items()]
        return Function(Symbol(self.name), (*map(to_expression, arguments), *rules))

    def as_expression(self) -> Expression:
        """Its symbol."""
        return Symbol(self.name)

    def __repr__(self) -> str:
        return f"<KernelFunction {self.name}>"


def function_name(attribute: str) -> str:
    """The name of the function that an attribute of a session stands for; AttributeError if it stands for none."""
    if attribute.startswith("_"):
        raise AttributeError(f"a session has no attribute {attribute!r}")
    if "_" in attribute:
        raise AttributeError(
            f"{attribute!r} is no attribute of a session and no function: Wolfram Language names have no underscore, "
            "it stands for a pattern"
        )
    if not attribute[0].isupper():
        raise AttributeError(
            f"a session has no attribute {attribute!r}. Functions of the kernel begin with a capital; "
            f"for others write session.function({attribute!r})"
        )
    return attribute
