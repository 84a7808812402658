"""The form in which a session gives the values of evaluations."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, TypeAlias, get_args

from wstpserver.client.python_values import to_python
from wstpserver.wire.values import Expression

#: "python": Python values, see `wstpserver.client.conversions`; "numpy": NumPy arrays among them; "expression": as
#: they come.
Results: TypeAlias = Literal["python", "numpy", "expression"]


def converter(results: Results) -> Callable[[Expression], Any]:
    """What gives an expression that form. ValueError for a word that is none of them, ImportError without NumPy."""
    if results == "python":
        return to_python
    if results == "numpy":
        import_module("numpy")  # if it is missing that is better known before an evaluation
        return _with_arrays
    if results == "expression":
        return _as_it_is
    raise ValueError(f"results={results!r}: it is one of {', '.join(map(repr, get_args(Results)))}")


def _with_arrays(expression: Expression) -> Any:
    return to_python(expression, numpy=True)


def _as_it_is(expression: Expression) -> Any:
    return expression
