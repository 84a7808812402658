"""Parallel evaluation: kernels of the server's pool for parallel computing evaluate parts of a list.

The kernels are taken when they are needed for the first time, or by LaunchKernels, and are held until CloseKernels or
the end of this kernel. Each part is sent with the definitions that it uses. Where there are no such kernels a message
says so once, and everything is evaluated here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING, Any, Final

from mathics.core.atoms import Integer, String
from mathics.core.attributes import A_HOLD_ALL, A_PROTECTED
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.interrupt import AbortInterrupt
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolNull
from mathics.core.systemsymbols import SymbolAborted, SymbolFailed, SymbolRule

from wstpserver.embedded.builtins.collections import association_of, call, is_association, pairs_of
from wstpserver.embedded.builtins.library import Library
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.packets import packet
from wstpserver.wire.values import Symbol as WireSymbol

if TYPE_CHECKING:
    from wstpserver.client import KernelMessage
    from wstpserver.client.parallel import KernelExecutor

PARALLEL = Library()

#: The environment variable that names the server of a kernel.
SERVER_VARIABLE: Final = "WSTPSERVER"

#: Set in kernels that evaluate for another one: they do not ask for kernels themselves.
_WORKER: Final = "System`Private`$isParallelKernel"

#: What a kernel prints when it has taken its part of what all are to evaluate.
_GATE: Final = "WSTPServer`Private`taken"

#: Parts for each kernel, so that all of them end at about the same time.
_PARTS: Final = 4

#: Seconds between two checks for an abort.
_POLL: Final = 0.02

#: Seconds the server may take to have a kernel.
_KERNEL_TIMEOUT: Final = 30.0

#: Options that are accepted; the parts are always of the same size, and definitions are always sent.
_OPTIONS: Final = ("Method", "DistributedContexts", "ProgressReporting")

_MESSAGES: Final = {"nopar": "No parallel kernels available (`1`); proceeding with sequential evaluation."}


class NoKernels(Exception):
    """There are no kernels for parallel work. The text is the reason."""


class ParallelKernels:
    """The kernels that work for this one."""

    def __init__(self) -> None:
        self._executor: KernelExecutor | None = None
        self._refused = ""
        self._gate = threading.Barrier(1)

    @property
    def ids(self) -> tuple[str, ...]:
        """The IDs of the kernels at work."""
        return () if self._executor is None else self._executor.kernels

    def executor(self, evaluation: Any, number: int | None = None) -> KernelExecutor:
        """The executor, with its kernels.

        Args:
            evaluation: The evaluation.
            number: How many kernels, if there are none yet; None takes all that are free.

        Raises:
            NoKernels: There are none.
        """
        if self._executor is not None and self._executor.kernels:
            return self._executor
        if self._refused:
            raise NoKernels(self._refused)
        session = getattr(evaluation, "session", None)
        address = os.environ.get(SERVER_VARIABLE, "")
        if session is None or not address:
            raise NoKernels("this kernel is not one of a WSTPServer")
        if evaluation.definitions.get_ownvalues(_WORKER):
            self._refused = "this kernel is a parallel kernel itself"
            raise NoKernels(self._refused)
        from wstpserver.client import Callbacks
        from wstpserver.client.parallel import KernelExecutor

        def on_print(text: str) -> None:
            if text.strip() == _GATE:
                self._pass_gate()
            else:
                session.channel.write_from_thread(packet("TextPacket", text))

        def on_message(message: KernelMessage) -> None:
            session.channel.write_from_thread(
                packet("MessagePacket", WireSymbol(message.symbol), message.tag), packet("TextPacket", message.text)
            )

        try:
            self._executor = KernelExecutor(
                address, number, initialisation=f"{_WORKER} = True; Null", kernel_timeout=_KERNEL_TIMEOUT,
                results="expression",
                callbacks=Callbacks(on_print=on_print, on_message=on_message, on_notice=lambda text: None),
            )  # fmt: skip
        except (WSTPError, OSError, ValueError) as error:
            raise NoKernels(str(error).removesuffix(".")) from None
        return self._executor

    def close(self) -> None:
        """Give the kernels back."""
        if self._executor is not None:
            executor, self._executor = self._executor, None
            executor.shutdown(abort=True)

    def _pass_gate(self) -> None:
        """Wait, in the thread of a kernel, until each of the others has taken a part too."""
        try:
            self._gate.wait(_KERNEL_TIMEOUT)
        except threading.BrokenBarrierError:  # a kernel has died, or everything was aborted
            return

    def evaluate_on_each(self, evaluation: Any, expression: BaseElement) -> list[BaseElement]:
        """The values that each of the kernels gives for an expression.

        A kernel prints a line first, and its thread takes nothing else until all kernels have.

        Raises:
            NoKernels: There are none.
        """
        count = len(self.executor(evaluation).kernels)
        self._gate = threading.Barrier(count)
        gate = Expression(Symbol("System`Print"), String(_GATE))
        part = Expression(Symbol("System`CompoundExpression"), gate, expression)
        try:
            return self.evaluate(evaluation, [part] * count)
        finally:
            self._gate.abort()

    def evaluate(self, evaluation: Any, parts: Sequence[BaseElement]) -> list[BaseElement]:
        """The values of expressions, in their order.

        Args:
            evaluation: The evaluation; an abort of it aborts the kernels.
            parts: The expressions, not evaluated.

        Raises:
            NoKernels: There are none.
        """
        executor = self.executor(evaluation)
        session = evaluation.session
        wire = [session.to_wire.convert(part) for part in parts]
        futures = [executor.submit(one) for one in wire]
        try:
            self._wait(evaluation, futures)
        except BaseException:
            self.close()
            raise
        return [self._value(session, future) for future in futures]

    @staticmethod
    def _wait(evaluation: Any, futures: Iterable[Future[Any]]) -> None:
        left = set(futures)
        while left:
            _, left = wait(left, timeout=_POLL, return_when=FIRST_COMPLETED)
            evaluation.check_stopped()

    @staticmethod
    def _value(session: Any, future: Future[Any]) -> BaseElement:
        try:
            value: BaseElement = session.from_wire.convert(future.result())
        except WSTPError as error:
            session.send_message("General", "parker", f"A parallel kernel did not evaluate its part: {error}.")
            return SymbolFailed
        return value


#: One for each kernel; a forked kernel has not used it before.
KERNELS: Final = ParallelKernels()


# Definitions.


def definitions_for(evaluation: Any, expression: BaseElement) -> list[BaseElement]:
    """Expressions that make the definitions of a user which an expression needs, those of other definitions too."""
    made: list[BaseElement] = []
    seen: set[str] = set()
    waiting = [expression]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Expression):
            waiting.append(item.head)
            waiting.extend(item.elements)
        elif isinstance(item, Symbol) and item.name not in seen:
            seen.add(item.name)
            own = evaluation.definitions.user.get(item.name)
            if own is not None and not item.name.startswith("System`"):
                made += _definition(item, own, waiting)
    return made


def _definition(symbol: Symbol, own: Any, waiting: list[BaseElement]) -> list[BaseElement]:
    found: list[BaseElement] = []
    for kind in ("ownvalues", "downvalues", "subvalues", "upvalues"):
        for rule in getattr(own, kind):
            left = rule.pattern.expr
            right = getattr(rule, "replace", None)
            if right is None:
                continue
            waiting += [left, right]
            if left.has_form("HoldPattern", 1):
                left = left.elements[0]
            if kind == "upvalues":
                found.append(Expression(Symbol("System`TagSetDelayed"), symbol, left, right))
            else:
                found.append(Expression(Symbol("System`SetDelayed"), left, right))
    return found


def _parts_of(items: Sequence[BaseElement], count: int) -> list[Sequence[BaseElement]]:
    size = max(1, -(-len(items) // count))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _say(evaluation: Any, name: str, reason: NoKernels) -> None:
    """That everything is evaluated here; once for each reason."""
    told = evaluation.__dict__.setdefault("parallel_reasons", set())
    if str(reason) not in told:
        told.add(str(reason))
        evaluation.message(name, "nopar", String(str(reason)))


def evaluated_in_parts(
    evaluation: Any, name: str, items: Sequence[BaseElement], make: Any, needed: BaseElement
) -> list[BaseElement] | None:
    """The values of a function of each item, by the parallel kernels.

    Args:
        evaluation: The evaluation.
        name: The function that the user has called, for messages.
        items: What is distributed.
        make: Makes the expression for some of the items, which gives a list of as many values.
        needed: An expression with the symbols whose definitions are sent.

    Returns:
        The values; None where there are no kernels, after a message.
    """
    try:
        executor = KERNELS.executor(evaluation)
        before = definitions_for(evaluation, needed)
        parts = _parts_of(items, _PARTS * max(1, len(executor.kernels)))
        sent = [Expression(Symbol("System`CompoundExpression"), *before, make(part)) for part in parts]
        values = KERNELS.evaluate(evaluation, sent)
    except NoKernels as reason:
        _say(evaluation, name, reason)
        return None
    joined: list[BaseElement] = []
    for part, value in zip(parts, values, strict=True):
        if value is SymbolAborted:
            raise AbortInterrupt
        if not isinstance(value, ListExpression):  # a Throw that is caught here, or a kernel that has died
            value = make(part).evaluate(evaluation)
        joined += value.elements if isinstance(value, ListExpression) else [value]
    return joined


# Functions.

SymbolMap, SymbolTable = Symbol("System`Map"), Symbol("System`Table")


@PARALLEL.define("ParallelMap", 1, 3, options=_OPTIONS, messages=_MESSAGES,
                 usage="ParallelMap[f, list] applies f to the elements of a list, in parallel kernels.")  # fmt: skip
def parallel_map(
    evaluation: Any, function: BaseElement, items: BaseElement | None = None, level: BaseElement | None = None, *,
    options: dict[str, BaseElement],
) -> BaseElement | None:  # fmt: skip
    """Map over a list or an association; other levels are evaluated here."""
    if items is None or not isinstance(items, Expression):
        return items
    if level is not None or len(items.elements) < 2:
        return call(evaluation, SymbolMap, function, items, *([] if level is None else [level]))
    pairs = pairs_of(items) if is_association(items) else []
    given = [value for _, value in pairs] if is_association(items) else list(items.elements)

    def make(part: Sequence[BaseElement]) -> Expression:
        return Expression(SymbolMap, function, ListExpression(*part))

    values = evaluated_in_parts(evaluation, "ParallelMap", given, make, Expression(function, items))
    if values is None:
        return call(evaluation, SymbolMap, function, items)
    if is_association(items):
        if len(values) != len(pairs):  # one of them is Nothing, or a Sequence
            return call(evaluation, SymbolMap, function, items)
        keys = [key for key, _ in pairs]
        return association_of(Expression(SymbolRule, key, value) for key, value in zip(keys, values, strict=True))
    whole = Expression(items.get_head(), *values)
    return whole.evaluate(evaluation) or whole


def _iterations(evaluation: Any, iterator: BaseElement) -> tuple[BaseElement | None, list[BaseElement]] | None:
    """The variable and the values of an iterator; None if it is none."""
    if not isinstance(iterator, ListExpression) or not iterator.elements:
        bound = iterator.evaluate(evaluation) or iterator
        return (None, [Integer(0)] * bound.value) if isinstance(bound, Integer) and bound.value >= 0 else None
    variable, *bounds = iterator.elements
    given = [bound.evaluate(evaluation) or bound for bound in bounds]
    if not given:
        count = variable.evaluate(evaluation)
        return (None, [Integer(0)] * count.value) if isinstance(count, Integer) and count.value >= 0 else None
    if not isinstance(variable, Symbol):
        return None
    if len(given) == 1 and isinstance(given[0], ListExpression):
        return variable, list(given[0].elements)
    values = call(evaluation, Symbol("System`Range"), *given)
    return (variable, list(values.elements)) if isinstance(values, ListExpression) else None


def _table(evaluation: Any, name: str, body: BaseElement, iterators: Sequence[BaseElement]) -> list[BaseElement] | None:
    """The values of a table by its first iterator."""
    found = _iterations(evaluation, iterators[0])
    if found is None or len(found[1]) < 2:
        return None
    variable, values = found
    inner = body if len(iterators) == 1 else Expression(SymbolTable, body, *iterators[1:])

    def make(part: Sequence[BaseElement]) -> Expression:
        name_of = variable or Symbol("System`Private`k")
        return Expression(SymbolTable, inner, ListExpression(name_of, ListExpression(*part)))

    needed = Expression(SymbolTable, inner, *(value for value in values if isinstance(value, Expression)))
    if variable is not None:  # its value here, if it has one, does not matter
        needed = Expression(Symbol("System`Private`needed"), _without(needed, variable))
    return evaluated_in_parts(evaluation, name, values, make, needed)


def _without(expression: BaseElement, variable: Symbol) -> BaseElement:
    if expression is variable:
        return SymbolNull
    if not isinstance(expression, Expression):
        return expression
    parts = [_without(part, variable) for part in expression.elements]
    return Expression(_without(expression.head, variable), *parts)


def _by_table(name: str, sequential: str, combine: str, usage: str) -> None:
    @PARALLEL.define(name, 2, None, options=_OPTIONS, messages=_MESSAGES, usage=usage,
                     attributes=A_HOLD_ALL | A_PROTECTED)  # fmt: skip
    def by_table(
        evaluation: Any, body: BaseElement, *iterators: BaseElement, options: dict[str, BaseElement]
    ) -> BaseElement | None:
        inner = f"System`{sequential}"
        outer = iterators[:1]
        content = body
        if len(iterators) > 1 and sequential != "Table":
            content = Expression(Symbol(inner), body, *iterators[1:])
        used = iterators if sequential == "Table" else outer
        values = _table(evaluation, name, content, used)
        if values is None:
            return call(evaluation, Symbol(inner), body, *iterators)
        if combine == "Null":
            return SymbolNull
        return call(evaluation, Symbol(f"System`{combine}"), *values)


_by_table("ParallelTable", "Table", "List", "ParallelTable[expr, {i, n}] makes a table in parallel kernels.")
_by_table("ParallelSum", "Sum", "Plus", "ParallelSum[expr, {i, n}] adds up in parallel kernels.")
_by_table("ParallelProduct", "Product", "Times", "ParallelProduct[expr, {i, n}] multiplies in parallel kernels.")
_by_table("ParallelDo", "Do", "Null", "ParallelDo[expr, {i, n}] evaluates in parallel kernels.")


@PARALLEL.define("ParallelArray", 2, options=_OPTIONS, messages=_MESSAGES,
                 usage="ParallelArray[f, n] makes an array of f[i] in parallel kernels.")  # fmt: skip
def parallel_array(
    evaluation: Any, function: BaseElement, size: BaseElement, *, options: dict[str, BaseElement]
) -> BaseElement | None:
    """An array of one dimension."""
    if not isinstance(size, Integer):
        return call(evaluation, Symbol("System`Array"), function, size)
    return parallel_map(evaluation, function, call(evaluation, Symbol("System`Range"), size), options={})


@PARALLEL.define("Parallelize", 1, options=_OPTIONS, attributes=A_HOLD_ALL | A_PROTECTED,
                 usage="Parallelize[expr] evaluates Map and Table in parallel kernels.")  # fmt: skip
def parallelize(evaluation: Any, expression: BaseElement, *, options: dict[str, BaseElement]) -> BaseElement | None:
    """Map, Table, Sum, Product, Do and Array; anything else is evaluated here."""
    for name in ("Map", "Table", "Sum", "Product", "Do", "Array"):
        if expression.has_form(name, 2, None) or (name != "Map" and expression.has_form(name, 2)):
            return call(evaluation, Symbol(f"System`Parallel{name}"), *expression.elements)
    return expression.evaluate(evaluation) or expression


@PARALLEL.define("ParallelEvaluate", 1, messages=_MESSAGES, attributes=A_HOLD_ALL | A_PROTECTED,
                 usage="ParallelEvaluate[expr] evaluates an expression in every parallel kernel.")  # fmt: skip
def parallel_evaluate(evaluation: Any, expression: BaseElement) -> BaseElement | None:
    """The values of all kernels; {} where there are none."""
    try:
        before = definitions_for(evaluation, expression)
        part = Expression(Symbol("System`CompoundExpression"), *before, expression)
        return ListExpression(*KERNELS.evaluate_on_each(evaluation, part))
    except NoKernels as reason:
        _say(evaluation, "ParallelEvaluate", reason)
        return ListExpression()


@PARALLEL.define("LaunchKernels", 0, 1, messages={"nokern": "No kernels can be had: `1`."},
                 usage="LaunchKernels[n] takes n kernels of the server's pool for parallel computing.")  # fmt: skip
def launch_kernels(evaluation: Any, number: BaseElement | None = None) -> BaseElement | None:
    """The kernels as KernelObject[n, "ID"]."""
    if number is not None and not isinstance(number, Integer):
        return None
    try:
        KERNELS.executor(evaluation, None if number is None else max(1, number.value))
    except NoKernels as reason:
        evaluation.message("LaunchKernels", "nokern", String(str(reason)))
        return SymbolFailed
    return kernels(evaluation)


@PARALLEL.define("Kernels", 0, usage="Kernels[] gives the parallel kernels that are at work.")
def kernels(evaluation: Any) -> BaseElement:
    """KernelObject[n, "ID"] for each."""
    known = enumerate(KERNELS.ids, 1)
    return ListExpression(*(Expression(Symbol("System`KernelObject"), Integer(n), String(name)) for n, name in known))


@PARALLEL.define("CloseKernels", 0, usage="CloseKernels[] gives the parallel kernels back.")
def close_kernels(evaluation: Any) -> BaseElement:
    """The kernels that were at work."""
    found = kernels(evaluation)
    KERNELS.close()
    return found


@PARALLEL.define("DistributeDefinitions", 0, None, attributes=A_HOLD_ALL | A_PROTECTED,
                 usage="DistributeDefinitions[s, ...]: definitions are always sent with what needs them.")  # fmt: skip
def distribute_definitions(evaluation: Any, *symbols: BaseElement) -> BaseElement:
    """Nothing to do: each part is sent with the definitions that it uses."""
    return ListExpression(*(String(symbol.get_name()) for symbol in symbols if isinstance(symbol, Symbol)))
