"""What a kernel sends while it evaluates, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from wstpserver.wire.values import Expression


class KernelMessage(NamedTuple):
    """A message such as ``Power::infy``: its symbol ("Power"), its tag ("infy") and its text as the kernel prints it.

    `text` ends as the kernel ends it, usually without a line feed.
    """

    symbol: str
    tag: str
    text: str


class TextOutput(NamedTuple):
    """What entering a line of text gave.

    `name`: the label, "Out[1]= ", None for a Null result. `text`: the result as text, None for Null. `prompt`: the
    kernel's next prompt, "In[2]:= ". `syntax_error`: position of the first wrong character, counted from 1, or None.
    """

    name: str | None
    text: str | None
    prompt: str
    syntax_error: int | None


class ExpressionOutput(NamedTuple):
    """What entering a line as an expression gave; as `TextOutput`, with the value in the session's form of results."""

    name: str | None
    value: Any
    prompt: str


@dataclass(frozen=True)
class Callbacks:
    """Functions called while an evaluation runs, in the thread that waits for it.

    An exception raised in one of them aborts the evaluation and goes on to the caller.
    """

    #: Text that is printed, as the kernel sends it (`Print` ends it with a line feed).
    on_print: Callable[[str], object] | None = None
    #: A message.
    on_message: Callable[[KernelMessage], object] | None = None
    #: `Input` and `InputString`: gets the prompt, returns the line. Without it the evaluation is aborted.
    on_input: Callable[[str], str] | None = None
    #: The menu of an interrupted kernel: gets the prompt, returns the choice; "c" (continue) without it.
    on_menu: Callable[[str], str] | None = None
    #: The kernel calls an installed function: gets its number and its arguments as an expression, returns the value
    #: (see `conversions`); $Failed without it.
    on_call: Callable[[int, Expression], object] | None = None
    #: A result of a line that was entered: gets its label, "Out[1]= " or "", and the result. Each as it comes: a
    #: line of several expressions has several.
    on_result: Callable[[str, Expression], object] | None = None
    #: A line that was entered opens a dialog: gets its prompt. With it that prompt ends the line, and what is entered
    #: next goes to the dialog; without it the dialog is left at once.
    on_dialog: Callable[[str], object] | None = None

    def over(self, other: Callbacks) -> Callbacks:
        """These, and where one is missing that of `other`."""
        return Callbacks(*(getattr(self, field.name) or getattr(other, field.name) for field in fields(self)))
