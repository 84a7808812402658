"""What a kernel and its server send while an evaluation runs, and the functions that are called with it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from wstpserver.client.errors import KernelWarning
from wstpserver.wire.values import Expression

if TYPE_CHECKING:
    import logging

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class KernelMessage(NamedTuple):
    """A message such as ``Power::infy``.

    Attributes:
        symbol: The name of its symbol, "Power".
        tag: Its tag, "infy".
        text: Its text as the kernel prints it, usually without a line feed at the end.
    """

    symbol: str
    tag: str
    text: str


class TextOutput(NamedTuple):
    """The result of a line of text that was entered.

    Attributes:
        name: The label, "Out[1]= "; None for a Null result.
        text: The result as text; None for Null.
        prompt: The kernel's next prompt, "In[2]:= ".
        syntax_error: The position of the first wrong character, counted from 1; None if the syntax is right.
    """

    name: str | None
    text: str | None
    prompt: str
    syntax_error: int | None


class ExpressionOutput(NamedTuple):
    """The result of an expression that was entered.

    Attributes:
        name: The label, "Out[1]= "; None for a Null result.
        value: The value, in the form of results that was asked for.
        prompt: The kernel's next prompt, "In[2]:= ".
    """

    name: str | None
    value: Any
    prompt: str


@dataclass(frozen=True)
class Callbacks:
    """Functions called while an evaluation runs, in the thread that waits for it.

    An exception raised in one of them aborts the evaluation and propagates to the caller.

    Attributes:
        on_print: Gets text that is printed, as the kernel sends it (`Print` ends it with a line feed). By default the
            text goes to `sys.stdout`.
        on_message: Gets a `KernelMessage`. By default the message becomes a warning, a `KernelWarning`.
        on_input: Gets the prompt of `Input` or `InputString` and returns the line. Without it the evaluation is
            aborted.
        on_menu: Gets the prompt of an interrupted kernel's menu and returns the choice. By default "c", continue.
        on_call: Gets the number and the arguments of an installed function that the kernel calls, and returns its value
            (see `wstpserver.client.convert`). By default $Failed.
        on_result: Gets the label, "Out[1]= " or "", and the value of each result of a line that was entered. A line of
            several expressions has several results.
        on_dialog: Gets the prompt of a dialog that a line opens. With it that prompt ends the line, and the next line
            goes to the dialog; without it the dialog is left at once.
        on_notice: Gets what the server says about itself and what the session waits for, such as "waiting for a kernel
            of pool Main". By default `on_print` gets a notice of the server if it is given; otherwise notices are
            logged as warnings of the logger "wstpserver.client".
    """

    on_print: Callable[[str], object] | None = None
    on_message: Callable[[KernelMessage], object] | None = None
    on_input: Callable[[str], str] | None = None
    on_menu: Callable[[str], str] | None = None
    on_call: Callable[[int, Expression], object] | None = None
    on_result: Callable[[str, Expression], object] | None = None
    on_dialog: Callable[[str], object] | None = None
    on_notice: Callable[[str], object] | None = None

    def over(self, other: Callbacks) -> Callbacks:
        """Return these callbacks, and where one is missing that of `other`."""
        return Callbacks(*(getattr(self, field.name) or getattr(other, field.name) for field in fields(self)))

    @classmethod
    def quiet(cls) -> Callbacks:
        """Return callbacks that drop what is printed, messages and notices."""
        return cls(on_print=drop, on_message=drop, on_notice=drop)


def drop(_: object) -> None:
    """A callback that does nothing."""


def print_text(text: str) -> None:
    """What is done with printed text where there is no `on_print`."""
    sys.stdout.write(text)


def warn_of_message(message: KernelMessage) -> None:
    """What is done with a message where there is no `on_message`: a warning at the line that called the library."""
    level = 1
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    text = message.text.strip() or f"{message.symbol}::{message.tag}"
    warnings.warn(text, KernelWarning, stacklevel=level)


def log_notice(text: str) -> None:
    """What is done with a notice where nobody else takes it."""
    logger("wstpserver.client").warning("%s", text)


def logger(name: str) -> logging.Logger:
    """What a module logs to. Few programs log anything, and `logging` takes a while to import."""
    import logging

    return logging.getLogger(name)
