"""Cells of Wolfram Language in Python notebooks, by the magic commands of `%load_ext wstpserver`.

    %%wl                       a cell, with results, pictures and formulas as in notebooks of the language itself
    %%wl -i data -o result     with Python's `data` as a symbol before, and a symbol as Python's `result` after
    %wl 2^100                  a line; its value is a Python value

Arrays of NumPy become packed lists, and lists of machine numbers become arrays.
"""

from __future__ import annotations

import atexit
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from wstpserver.client import Address, Callbacks, KernelLost, KernelMessage, Session, parse_address, to_expression
from wstpserver.gateways.cells import Cells, Shown, message_text, sendable
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Function, Symbol

USAGE: Final = """\
%%wl [-i NAME]... [-o NAME]... [-s ADDRESS] [-p POOL] [-t SECONDS]
  -i, --input NAME       give the kernel a Python variable under this name; several with commas
  -o, --output NAME      take the value of a symbol as a Python variable, after the cell
  -s, --server ADDRESS   the server, from now on; else the environment variable WSTPSERVER, or 31415@localhost
  -p, --pool POOL        a kernel of this pool, from now on
  -t, --timeout SECONDS  abort the cell after this time"""

#: Seconds to connect and to get a kernel.
_CONNECT_TIMEOUT: Final = 60.0
#: Seconds that an interrupted kernel has to react, once the user has asked twice.
_GRACE: Final = 2.0
_SYMBOL: Final = re.compile(r"[^\W\d_][^\W_]*(`[^\W\d_][^\W_]*)*")
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


class UsageProblem(Exception):
    """The line of a magic command is wrong, or names what is not there."""


def load(shell: Any) -> None:
    """Add the magic commands to IPython.

    Args:
        shell: IPython's shell.
    """
    magic = WolframMagic(shell)
    shell.register_magic_function(magic.line, "line", "wl")
    shell.register_magic_function(magic.cell, "cell", "wl")


class WolframMagic:
    """The commands, and the session that they share.

    Args:
        shell: IPython's shell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._cells: Cells | None = None
        self._address: Address | None = None
        atexit.register(self._close)

    def line(self, line: str) -> Any:
        """Evaluate a line; returns its value."""
        with self._reporting():
            session = self._connected().session
            with _aborting(session):
                return session.evaluate(line, callbacks=self._callbacks(), results="numpy")
        return None

    def cell(self, line: str, cell: str) -> None:
        """Evaluate a cell and show what it gives."""
        with self._reporting():
            options = _parsed(line)
            self._choose(options)
            cells = self._connected()
            with _aborting(cells.session):
                self._evaluate(cells, cell, options)

    def _evaluate(self, cells: Cells, cell: str, options: dict[str, Any]) -> None:
        session = cells.session
        for name in options["input"]:
            session.evaluate(Function(Symbol("Set"), (Symbol(name), self._variable(name))), check=True)
        outcome = cells.run(cell, options["timeout"], callbacks=self._callbacks())
        for shown in outcome.results:
            self._show(shown)
        if outcome.error is not None:
            self._complain(": ".join(outcome.error))
            return
        for name in options["output"]:
            self._shell.user_ns[name] = session.evaluate(Symbol(name), callbacks=self._callbacks(), results="numpy")

    def _choose(self, options: dict[str, Any]) -> None:
        """Another server or pool than before means another session."""
        if options["server"] is None and options["pool"] is None:
            return
        address = parse_address(options["server"] or "")
        if options["pool"] is not None:
            address = Address(address.data, address.message, options["pool"])
        if address != self._address:
            self._close()
            self._address = address

    def _variable(self, name: str) -> Any:
        if name not in self._shell.user_ns:
            raise UsageProblem(f"there is no Python variable {name}")
        try:
            return to_expression(self._shell.user_ns[name])
        except (TypeError, ValueError) as error:
            raise UsageProblem(f"{name}: {error}") from error

    def _connected(self) -> Cells:
        if self._cells is None:
            self._cells = Cells.connect(
                self._address or "", _CONNECT_TIMEOUT, callbacks=self._callbacks(), on_display=self._show,
                on_clear=_clear,
            )  # fmt: skip
        return self._cells

    def _close(self) -> None:
        cells, self._cells = self._cells, None
        if cells is not None:
            cells.close()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Say what goes wrong inside, without a traceback."""
        try:
            yield
        except UsageProblem as error:
            self._complain(f"{error}\n{USAGE}")
        except KernelLost as error:
            self._close()
            self._complain(f"KernelLost: {error}. The next command gets a new kernel.")
        except WSTPError as error:
            self._complain(f"{type(error).__name__}: {error}")

    def _callbacks(self) -> Callbacks:
        return Callbacks(
            on_print=lambda text: print(sendable(text), end=""), on_message=self._on_message, on_notice=self._complain,
            on_input=input,
        )  # fmt: skip

    def _on_message(self, message: KernelMessage) -> None:
        self._complain(message_text(message))

    def _complain(self, text: str) -> None:
        print(f"{_RED}{sendable(text)}{_PLAIN}", file=sys.stderr)

    def _show(self, shown: Shown) -> None:
        display: Any = import_module("IPython.display")
        display.publish_display_data(sendable(dict(shown.data)))


@contextmanager
def _aborting(session: Session) -> Iterator[None]:
    """Inside, an interrupt of Python's kernel aborts the evaluation; a second one gives it up if that does not help."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    grace: list[float | None] = [_GRACE, None]

    def interrupted(*_: object) -> None:
        # Not here: this thread may be in the middle of writing, and hold what abort() needs.
        threading.Thread(target=session.abort, args=(grace.pop() if grace else 0.0,), daemon=True).start()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _clear(wait: bool) -> None:  # noqa: FBT001 - the interface of `Cells`
    display: Any = import_module("IPython.display")
    display.clear_output(wait=wait)


def _parsed(line: str) -> dict[str, Any]:
    """The options of a cell's line. UsageProblem."""
    options: dict[str, Any] = {"input": [], "output": [], "server": None, "pool": None, "timeout": None}
    words = iter(line.split())
    for word in words:
        name = word.lstrip("-")
        found = [option for option in options if option == name or (len(name) == 1 and option[0] == name)]
        if not word.startswith("-") or not found:
            raise UsageProblem(f"{word} is no option of %%wl")
        value = next(words, None)
        if value is None:
            raise UsageProblem(f"{word} needs a value")
        if found[0] in ("input", "output"):
            options[found[0]] += [_symbol(part) for part in value.split(",") if part]
        elif found[0] == "timeout":
            options["timeout"] = _seconds(value)
        else:
            options[found[0]] = value
    return options


def _symbol(name: str) -> str:
    if not _SYMBOL.fullmatch(name):
        raise UsageProblem(f"{name} cannot be the name of a symbol, which has letters and digits only")
    return name


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not seconds > 0:
        raise UsageProblem(f"{text} is no number of seconds")
    return seconds
