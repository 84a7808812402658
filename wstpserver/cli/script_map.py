"""``wstpscript -map FUNCTION -over DATA``: a function of every element of some JSON, by several kernels at a time."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from wstpserver.cli.script_arguments import ScriptArguments
from wstpserver.cli.script_errors import EXIT_FAILED, EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE, ScriptError
from wstpserver.cli.script_map_data import Data, Element, opened
from wstpserver.cli.script_map_json import to_json
from wstpserver.cli.script_server import DISCOVERY_TIME
from wstpserver.cli.script_source import read_source
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import Address, Callbacks, ConnectError, LinkError, Symbol, connect, parse_address
from wstpserver.client.discover import discover
from wstpserver.client.parallel import KernelExecutor, KernelsGone, ParallelError
from wstpserver.wire.errors import WSTPError

_FAILURES = ("$Failed", "$Aborted")


def run_map(arguments: ScriptArguments, terminal: Terminal) -> int:
    """Print a line of JSON for each element, in order; returns the exit status, 1 if one of them failed.

    Raises UsageError for data that cannot be read, ScriptError.
    """
    assert arguments.map is not None and arguments.over is not None, "checked with the command line"
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)  # the numbers are the user's own
    code = read_source(arguments.file) if arguments.file is not None else arguments.code
    with opened(arguments.over) as data, _executor(arguments, code, terminal) as executor:
        _check_function(arguments.map, executor)
        return _Mapping(executor, arguments.map, terminal).run(data, arguments.progress)


def _executor(arguments: ScriptArguments, code: str | None, terminal: Terminal) -> KernelExecutor:
    turn = threading.Lock()  # kernels speak at once

    def say(text: str) -> None:
        with turn:
            terminal.error(text.rstrip("\n"))

    # What code prints must not come between the results.
    callbacks = Callbacks(on_print=say, on_message=lambda message: say(message.text.strip("\r\n")))
    try:
        return KernelExecutor(
            _server(arguments, terminal),
            arguments.kernels,
            initialisation=code or None,
            task_timeout=arguments.timeout,
            callbacks=callbacks,
        )
    except (LinkError, ParallelError) as error:
        raise ScriptError(str(error), EXIT_UNAVAILABLE) from None


def _server(arguments: ScriptArguments, terminal: Terminal) -> Address:
    """The server that is named, else that of this computer, else the first one that is advertised."""
    here = parse_address(arguments.address)
    if not arguments.address:
        try:
            connect(here, without_kernel=True).close()
        except ConnectError:
            for name, found in discover(DISCOVERY_TIME):
                terminal.error(f"wstpscript: using {name} at {found}")
                here = parse_address(found)
                break
            else:
                raise
    return Address(here.data, here.message, arguments.kernel_pool or here.pool)


def _check_function(text: str, executor: KernelExecutor) -> None:
    """A text that is no Wolfram Language is said so once, not for every element."""
    try:
        value = executor.submit(text).result()
    except WSTPError as error:
        raise ScriptError(f"-map {text!r}: {error}", EXIT_FAILED) from None
    if _failure(value):
        raise ScriptError(f"-map {text!r} is no function: it gives {value.name}", EXIT_USAGE)


def _failure(value: Any) -> bool:
    return isinstance(value, Symbol) and value.name.removeprefix("System`") in _FAILURES


class _Mapping:
    """Elements on their way through the kernels, and what came of them."""

    def __init__(self, executor: KernelExecutor, function: str, terminal: Terminal) -> None:
        self._executor = executor
        self._function = function
        self._terminal = terminal
        #: For each element that was read and whose result is not printed: what is wrong with its line, or None.
        self._read: deque[str | None] = deque()
        self._status = EXIT_OK
        self._index = 0

    def run(self, data: Data, progress: bool) -> int:
        values: Iterable[Any] = self._good(data.elements)
        if data.number is not None:
            values = list(values)  # of a length that a progress bar can show
        try:
            results = self._executor.map(self._function, values, progress=progress, return_exceptions=True)
            for result in results:
                self._print_bad()
                self._print(result)
            self._print_bad()
        except KernelsGone as error:
            raise ScriptError(f"element {self._index + 1}: {error}", EXIT_FAILED) from None
        except ImportError as error:
            raise ScriptError(str(error), EXIT_USAGE) from None
        return self._status

    def _good(self, elements: Iterable[Element]) -> Iterator[Any]:
        for element in elements:
            self._read.append(element.problem)
            if element.problem is None:
                yield element.value

    def _print_bad(self) -> None:
        """Lines that are no JSON, up to the next one that is."""
        while self._read and self._read[0] is not None:
            self._fail(self._read.popleft())

    def _print(self, result: Any) -> None:
        self._read.popleft()
        if isinstance(result, BaseException):
            self._fail(result)
        elif _failure(result):
            self._fail(result.name)
        else:
            self._index += 1
            self._terminal.write(to_json(result) + "\n")

    def _fail(self, reason: object) -> None:
        self._index += 1
        self._status = EXIT_FAILED
        self._terminal.error(f"wstpscript: element {self._index}: {reason}")
        self._terminal.write("null\n")

