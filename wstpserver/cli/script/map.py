"""``wstpscript -map FUNCTION -over DATA``: a function of every element of some JSON, by several kernels at a time."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple

from wstpserver.cli.options import UsageError
from wstpserver.cli.script.connect import DISCOVERY_TIME
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal
from wstpserver.client import (
    Address,
    Callbacks,
    ConnectError,
    EvaluationError,
    LinkError,
    NumericArray,
    Symbol,
    connect,
    parse_address,
    to_expression,
)
from wstpserver.client.discover import discover
from wstpserver.client.parallel import KernelExecutor, KernelsGone, ParallelError
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import PackedArray, wolfram_text


class MapTask(NamedTuple):
    """What to map.

    Attributes:
        function: Text of a function of one argument.
        over: File of the data; "-" for standard input.
        code: Code that each kernel evaluates first.
        address: The server, as for `wstpserver.client.parse_address`; "" where none is named.
        pool: The kernels' pool; None for the default pool for parallel kernels.
        kernels: Number of kernels; None for all that are free.
        timeout: Seconds for each element; None for no limit.
        progress: Whether to show a progress bar on stderr.
    """

    function: str
    over: str
    code: str | None = None
    address: str = ""
    pool: str | None = None
    kernels: int | None = None
    timeout: float | None = None
    progress: bool = False


_FAILURES = ("$Failed", "$Aborted")


def run_map(task: MapTask, terminal: Terminal) -> int:
    """Print a line of JSON for each element, in order; returns the exit status, 1 if one of them failed.

    Raises UsageError for data that cannot be read, ProgramError.
    """
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)  # the numbers are the user's own
    with opened(task.over) as data, _executor(task, terminal) as executor:
        _check_function(task.function, executor)
        return _Mapping(executor, task.function, terminal).run(data, progress=task.progress)


def _executor(task: MapTask, terminal: Terminal) -> KernelExecutor:
    turn = threading.Lock()  # kernels speak at once

    def say(text: str) -> None:
        with turn:
            terminal.error(text.rstrip("\n"))

    # What code prints must not come between the results.
    callbacks = Callbacks(
        on_print=say, on_message=lambda message: say(message.text.strip("\r\n")), on_notice=terminal.notice
    )
    try:
        return KernelExecutor(
            _server(task, terminal),
            task.kernels,
            initialisation=task.code or None,
            task_timeout=task.timeout,
            callbacks=callbacks,
        )
    except (LinkError, EvaluationError, ParallelError) as error:
        raise ProgramError(str(error), ExitCode.UNAVAILABLE) from None


def _server(task: MapTask, terminal: Terminal) -> Address:
    """The server that is named, else that of this computer, else the first one that is advertised."""
    here = parse_address(task.address)
    if not task.address:
        try:
            connect(here, without_kernel=True).close()
        except ConnectError:
            for name, found in discover(DISCOVERY_TIME):
                terminal.complain(f"using {name} at {found}")
                here = parse_address(found)._replace(token="")  # who advertises a server need not be trusted with it
                break
            else:
                raise
    return here._replace(pool=task.pool or here.pool)


def _check_function(text: str, executor: KernelExecutor) -> None:
    """A text that is no Wolfram Language is said so once, not for every element."""
    try:
        value = executor.submit(text).result()
    except WSTPError as error:
        raise ProgramError(f"-map {text!r}: {error}", ExitCode.FAILED) from None
    if _is_failure(value):
        raise ProgramError(f"-map {text!r} is no function: it gives {value.name}", ExitCode.USAGE)


def _is_failure(value: Any) -> bool:
    return isinstance(value, Symbol) and value.name.removeprefix("System`") in _FAILURES


class _Mapping:
    """Elements on their way through the kernels, and what came of them."""

    def __init__(self, executor: KernelExecutor, function: str, terminal: Terminal) -> None:
        self._executor = executor
        self._function = function
        self._terminal = terminal
        #: For each element that was read and whose result is not printed: what is wrong with its line, or None.
        self._read: deque[str | None] = deque()
        self._status = ExitCode.OK
        self._index = 0

    def run(self, data: MapData, *, progress: bool) -> int:
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
            raise ProgramError(f"element {self._index + 1}: {error}", ExitCode.FAILED) from None
        except ImportError as error:
            raise ProgramError(str(error), ExitCode.USAGE) from None
        return self._status

    def _good(self, elements: Iterable[MapElement]) -> Iterator[Any]:
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
        elif _is_failure(result):
            self._fail(result.name)
        else:
            self._index += 1
            self._terminal.write(to_json(result) + "\n")

    def _fail(self, reason: object) -> None:
        self._index += 1
        self._status = ExitCode.FAILED
        self._terminal.complain(f"element {self._index}: {reason}")
        self._terminal.write("null\n")


# The data


class MapElement(NamedTuple):
    """One value; or, where a line is no JSON, what is wrong with it."""

    value: Any
    problem: str | None = None


class MapData(NamedTuple):
    """`number`: how many elements there are, None if that is not known before the end."""

    elements: Iterator[MapElement]
    number: int | None


_Lines = Iterator[tuple[int, str]]


@contextmanager
def opened(path: str) -> Iterator[MapData]:
    """The elements of a file, or of standard input for ``-``. UsageError if there are none to be had.

    Text that begins with a bracket and is a JSON array is one, whatever its lines are. Anything else is a value a
    line, read as it is needed; empty lines do not count.
    """
    name = "standard input" if path == "-" else path
    if path == "-":
        yield _data(sys.stdin.buffer, name)
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UsageError(f"-over: cannot read {name}: {error.strerror}") from None
    with file:
        yield _data(file, name)


def _data(stream: BinaryIO, name: str) -> MapData:
    lines = _lines(stream, name)
    number, first = next(lines, (0, ""))
    if first.lstrip().startswith("["):
        array = _array(first, lines, number, name)
        if isinstance(array, list):
            return MapData((MapElement(value) for value in array), len(array))
        lines = array
    elif first:
        value = _value(number, first)
        if value.problem is not None:
            raise UsageError(f"-over: {name}: {value.problem} (a JSON array is needed, or a JSON value on each line)")
        lines = _before((number, first), lines)
    return MapData((_value(place, line) for place, line in lines), None)


def _array(first: str, lines: _Lines, number: int, name: str) -> list[Any] | _Lines:
    """The whole as an array; as lines if the first of several is an array by itself. UsageError if it is neither."""
    rest = list(lines)
    text = "\n" * (number - 1) + first + "".join(line for _, line in rest)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if rest and _value(number, first).problem is None:
            return _before((number, first), iter(rest))
        raise UsageError(f"-over: {name} is no JSON: {_reason(error)}") from None
    assert isinstance(value, list), "it begins with a bracket"
    return value


def _before(first: tuple[int, str], rest: _Lines) -> _Lines:
    yield first
    yield from rest


def _lines(stream: BinaryIO, name: str) -> _Lines:
    """(number, text) of the lines that are not empty. UsageError where they are not UTF-8, or cannot be read."""
    number = 0
    try:
        for number, line in enumerate(stream, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                yield number, text
    except UnicodeDecodeError as error:
        raise UsageError(f"-over: cannot read {name}: line {number} is not UTF-8 ({error.reason})") from None
    except OSError as error:
        raise UsageError(f"-over: cannot read {name}: {error.strerror}") from None


def _value(number: int, line: str) -> MapElement:
    try:
        return MapElement(json.loads(line.rstrip("\r\n")))
    except json.JSONDecodeError as error:
        return MapElement(None, f"line {number} is no JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return MapElement(None, f"line {number} is no JSON: {_reason(error)}")


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


# The results


def to_json(value: Any) -> str:
    """One line of JSON for the Python form of a value (`wstpserver.client.to_python`).

    What JSON has nothing for becomes a string: ``1/3`` and the like, ``Infinity``, and expressions as in
    ``Plus[a, {1, b}]``.
    """
    try:
        return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        return json.dumps(_text(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _text(value)
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _text(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (NumericArray, PackedArray)) and not getattr(value, "heads", None):
        return _plain(value.tolist())
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, Symbol):
        return value.name.removeprefix("System`").removeprefix("Global`")
    return wolfram_text(to_expression(value))
