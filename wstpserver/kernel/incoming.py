"""Expressions from the wire as Mathics expressions.

A link can carry an expression a million levels deep, so nothing recurses here. Symbols without a context are looked up
as the parser does, in $Context and $ContextPath at that moment.
"""

from __future__ import annotations

import base64
import binascii
from math import prod
from typing import Any

from mathics.core.atoms import ByteArray, Complex, Integer, MachineReal, Rational, String
from mathics.core.definitions import Definitions
from mathics.core.element import BaseElement, ElementsProperties
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolList
from mathics.core.systemsymbols import SymbolByteArray, SymbolComplex, SymbolRational

from wstpserver.kernel.numbers_in import integers, machine_real, machine_reals, real_from_text
from wstpserver.wire.values import BigReal, Function, LongDouble, PackedArray
from wstpserver.wire.values import Symbol as WireSymbol


class _Build:
    """A mark on the stack: the head and `count` arguments before it are done."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count


class Incoming:
    """Converts for one kernel."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def convert(self, value: Any) -> BaseElement:
        """The Mathics expression of a decoded value. TypeError for what the wire layer never hands out."""
        waiting: list[Any] = [value]
        done: list[BaseElement] = []
        names: dict[str, Symbol] = {}
        while waiting:
            item = waiting.pop()
            kind = type(item)
            if kind is _Build:
                arguments = done[len(done) - item.count :]
                del done[len(done) - item.count :]
                done.append(_build(done.pop(), arguments))
            elif kind is Function:
                waiting.append(_Build(len(item.args)))
                waiting.extend(reversed(item.args))
                waiting.append(item.head)
            elif kind is WireSymbol:
                symbol = names.get(item.name)
                if symbol is None:
                    symbol = names[item.name] = self.symbol(item.name)
                done.append(symbol)
            elif kind is list or kind is tuple:
                waiting.append(_Build(len(item)))
                waiting.extend(reversed(item))
                waiting.append(WireSymbol("System`List"))
            else:
                done.append(self._leaf(item))
        return done.pop()

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name, as if it had been typed."""
        return Symbol(self._definitions.lookup_name(name))

    def _leaf(self, value: Any) -> BaseElement:
        if isinstance(value, str):
            return String(value)
        if isinstance(value, int):
            return Integer(int(value))
        if isinstance(value, float):
            return machine_real(float(value))
        if isinstance(value, PackedArray):
            return self._array(value)
        if isinstance(value, BigReal):
            return real_from_text(value.text) or String(value.text)
        if isinstance(value, LongDouble):
            return machine_real(float(value))
        raise TypeError(f"no expression: {value!r}")

    def _array(self, array: PackedArray) -> BaseElement:
        values = array.flat()
        if array.kind == "real128":
            values = [float(value) for value in values]
        elements = (machine_reals if array.kind.startswith("real") else integers)(values)
        for level in range(len(array.shape) - 1, -1, -1):
            head = SymbolList if array.heads is None else self.symbol(array.heads[level])
            elements = _rows(head, elements, array.shape[level], prod(array.shape[:level]))
        return elements[0]


def _rows(head: Symbol, elements: list[BaseElement], size: int, count: int) -> list[BaseElement]:
    """`count` expressions with that head, of `size` elements each."""
    groups = (elements[start * size : (start + 1) * size] for start in range(count))
    if head is not SymbolList:
        return [_build(head, group) for group in groups]
    return [_list_of(group) for group in groups]


def _list_of(elements: list[BaseElement]) -> ListExpression:
    """A list; for numbers, what Mathics would find out by looking at each of them is told."""
    kind = type(elements[0]) if elements else None
    if kind not in (MachineReal, Integer) or not all(type(element) is kind for element in elements):
        return ListExpression(*elements)
    known = ElementsProperties(elements_fully_evaluated=True, is_flat=True, is_ordered=False, is_uniform=True)
    return ListExpression(*elements, elements_properties=known, literal_values=tuple(e._value for e in elements))


def _build(head: BaseElement, arguments: list[BaseElement]) -> BaseElement:
    """head[arguments], as the atom it stands for where Mathics has one: a rational, a complex number, a byte array."""
    if head is SymbolList:
        return ListExpression(*arguments)
    if head is SymbolRational and _are(arguments, 2, Integer) and arguments[1].value != 0:
        return Rational(arguments[0].value, arguments[1].value)
    if head is SymbolComplex and len(arguments) == 2:
        try:
            return Complex(*arguments)
        except ValueError:  # not two real numbers
            return Expression(head, *arguments)
    if head is SymbolByteArray and _are(arguments, 1, String):
        try:
            return ByteArray(base64.b64decode(arguments[0].value, validate=True))
        except binascii.Error:
            return Expression(head, *arguments)
    return Expression(head, *arguments)


def _are(arguments: list[BaseElement], count: int, kind: type) -> bool:
    return len(arguments) == count and all(isinstance(argument, kind) for argument in arguments)
