"""Mathics expressions as values of the wire layer. Nothing recurses: see `incoming`."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable
from typing import Any

from mathics.core.atoms import (
    ByteArray,
    Complex,
    Integer,
    MachineReal,
    NumericArray,
    PrecisionReal,
    Rational,
    String,
)
from mathics.core.definitions import Definitions
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.symbols import Symbol, SymbolConstant

from wstpserver.kernel.numbers_out import machine_real_value, precise_real_text
from wstpserver.wire.values import BigReal, Function, PackedArray
from wstpserver.wire.values import Symbol as WireSymbol

#: A rectangular list of machine numbers with as many of them goes out as a packed array; kernels pack from 250 on too.
PACK_FROM = 250

#: Dimensions beyond which no packing is tried.
PACK_DEPTH = 8

INT32 = range(-(1 << 31), 1 << 31)
INT64 = range(-(1 << 63), 1 << 63)

LIST, COMPLEX, RATIONAL = WireSymbol("List"), WireSymbol("Complex"), WireSymbol("Rational")


class _Build:
    """A mark on the stack: the head and `count` arguments before it are done."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count


class Outgoing:
    """Converts for one kernel."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._leaves: dict[type, Callable[[Any], Any]] = {
            Integer: lambda atom: atom.value,
            MachineReal: machine_real_value,
            PrecisionReal: lambda atom: BigReal(precise_real_text(atom)),
            Rational: _rational,
            Complex: self._complex,
            String: lambda atom: atom.value,
            ByteArray: _byte_array,
            NumericArray: _numeric_array,
        }

    def convert(self, expression: BaseElement) -> Any:
        """The value to send. Symbols visible in $ContextPath lose their context, as kernels send them."""
        waiting: list[Any] = [expression]
        done: list[Any] = []
        names: dict[str, WireSymbol] = {}
        while waiting:
            item = waiting.pop()
            kind = type(item)
            if kind is _Build:
                arguments = tuple(done[len(done) - item.count :])
                del done[len(done) - item.count :]
                done.append(Function(done.pop(), arguments))
            elif kind is Symbol or kind is SymbolConstant:
                symbol = names.get(item.name)
                if symbol is None:
                    symbol = names[item.name] = WireSymbol(self._definitions.shorten_name(item.name))
                done.append(symbol)
            elif kind in self._leaves:
                done.append(self._leaves[kind](item))
            elif isinstance(item, Expression):
                packed = pack(item) if kind is ListExpression else None
                if packed is not None:
                    done.append(packed)
                    continue
                waiting.append(_Build(len(item.elements)))
                waiting.extend(reversed(item.elements))
                waiting.append(item.head)
            else:
                done.append(self._other(item, waiting))
        return done.pop()

    def _complex(self, atom: Complex) -> Function:
        return Function(COMPLEX, (self._leaves[type(atom.real)](atom.real), self._leaves[type(atom.imag)](atom.imag)))

    def _other(self, item: Any, waiting: list[Any]) -> Any:
        """Objects of Mathics with no parts to send (images, compiled code, boxes): their head around their text."""
        if isinstance(item, Symbol):
            return WireSymbol(self._definitions.shorten_name(item.name))
        to_expression = getattr(item, "to_expression", None)
        if to_expression is not None:
            equivalent = to_expression()
            if isinstance(equivalent, Expression):
                return self.convert(equivalent)
        head = getattr(item, "class_head_name", "") or type(item).__name__
        return Function(WireSymbol(self._definitions.shorten_name(head)), (str(item),))


def pack(expression: ListExpression) -> PackedArray | None:
    """A rectangular list of machine numbers as packed array; None if it is too small or not one."""
    shape = [len(expression.elements)]
    flat: tuple[BaseElement, ...] | list[BaseElement] = expression.elements
    while flat and type(flat[0]) is ListExpression and len(shape) < PACK_DEPTH:
        size = len(flat[0].elements)
        if not all(type(row) is ListExpression and len(row.elements) == size for row in flat):
            return None
        shape.append(size)
        flat = [element for row in flat for element in row.elements]
    if len(flat) < PACK_FROM:
        return None
    return _pack_flat(flat, tuple(shape))


def _pack_flat(flat: tuple[BaseElement, ...] | list[BaseElement], shape: tuple[int, ...]) -> PackedArray | None:
    kinds = set(map(type, flat))
    if kinds == {MachineReal}:
        values: list[Any] = [element._value for element in flat]
        if set(map(type, values)) == {float}:
            return PackedArray(array("d", values), "real64", shape)
    elif kinds == {Integer}:
        values = [element._value for element in flat]
        smallest, largest = min(values), max(values)
        if smallest in INT32 and largest in INT32:
            return PackedArray(array("i", values), "int32", shape)
        if smallest in INT64 and largest in INT64:
            return PackedArray(array("q", values), "int64", shape)
    return None


def _rational(atom: Rational) -> Function:
    return Function(RATIONAL, (atom.numerator().value, atom.denominator().value))


def _byte_array(atom: ByteArray) -> Function:
    return Function(WireSymbol("ByteArray"), (base64.b64encode(atom.value).decode("ascii"),))


def _numeric_array(atom: NumericArray) -> Function:
    """NumericArray[{...}, "Real64"]; complex arrays end with pairs of head Complex."""
    try:
        data: Any = PackedArray.from_numpy(atom.value)
    except ValueError:  # unsigned 64-bit, or no dimension
        data = atom.value.tolist()
    return Function(WireSymbol("NumericArray"), (data, atom._type_name))
