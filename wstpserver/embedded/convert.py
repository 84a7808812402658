"""Values of the wire layer as Mathics expressions, and back.

A link can carry an expression a million levels deep, so the conversions use a stack of their own and do not recurse.
Symbols without a context are looked up as the parser does, in $Context and $ContextPath at that moment.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from array import array
from collections.abc import Callable
from typing import Any, Protocol

import numpy
import sympy
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
from mathics.core.element import BaseElement
from mathics.core.expression import Expression
from mathics.core.list import ListExpression
from mathics.core.number import dps
from mathics.core.symbols import Symbol, SymbolConstant, SymbolList
from mathics.core.systemsymbols import SymbolByteArray, SymbolComplex, SymbolRational
from mpmath.libmp import from_str, round_nearest, to_str

from wstpserver.embedded.arrays import (
    PACK_FROM,
    PackedList,
    array_of_list,
    integers,
    list_of_array,
    list_of_numbers,
    machine_real,
    machine_reals,
)
from wstpserver.wire.values import BigReal, Function, LongDouble, PackedArray
from wstpserver.wire.values import Symbol as WireSymbol

#: Decimal digits that carry 53 bits. A number with more digits and no precision mark is no machine number.
MACHINE_DIGITS = 17

#: Decimal digits of one bit.
DIGITS_PER_BIT = 0.30103

#: Lists with more dimensions are not packed.
PACK_DEPTH = 8

INT32 = range(-(1 << 31), 1 << 31)
INT64 = range(-(1 << 63), 1 << 63)

#: Types of pixels, and how NumPy has them. Mathics knows no other real numbers than doubles.
_PIXELS = {"Bit": "bool", "Byte": "uint8", "Bit16": "uint16", "Real32": "float64", "Real64": "float64",
           "Real": "float64"}  # fmt: skip

COMPLEX, RATIONAL = WireSymbol("Complex"), WireSymbol("Rational")

_REAL_TEXT = re.compile(
    r"(?P<mantissa>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?P<mark>``?)?(?P<digits>[+-]?[0-9]+\.?[0-9]*)?"
    r"(?:\*\^(?P<exponent>[+-]?[0-9]+))?\Z"
)


class _Build:
    """A mark on the stack: the head and `count` arguments before it are converted."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count


class Names(Protocol):
    """What is needed of `Definitions`: the names of symbols."""

    def lookup_name(self, name: str) -> str:
        """The full name of a symbol that is written like this."""

    def shorten_name(self, name: str) -> str:
        """What a symbol of this full name is written like."""


# From the wire.


class FromWire:
    """Converts values of the wire layer to expressions, for one kernel."""

    def __init__(self, definitions: Names) -> None:
        self._definitions = definitions

    def convert(self, value: Any) -> BaseElement:
        """The Mathics expression of a decoded value.

        Raises:
            TypeError: For a value that the wire layer never returns.
        """
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
                atom = _atom_of_array(item) if item.args and type(item.args[0]) is PackedArray else None
                if atom is not None:
                    done.append(atom)
                    continue
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
        """The symbol that `name` means when it is typed."""
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
        if array.heads is None and 0 not in array.shape and array.kind != "real128":
            return list_of_array(array.to_numpy())
        values = array.flat()
        if array.kind == "real128":
            values = [float(value) for value in values]
        elements = (machine_reals if array.kind.startswith("real") else integers)(values)
        for level in range(len(array.shape) - 1, -1, -1):
            head = SymbolList if array.heads is None else self.symbol(array.heads[level])
            elements = _rows(head, elements, array.shape[level], math.prod(array.shape[:level]))
        return elements[0]


def _atom_of_array(function: Function) -> BaseElement | None:
    """The atom that head[array, type ...] stands for; None if it is none.

    As lists, these would cost some microseconds for each number.
    """
    name = _name_of(function.head)
    if name == "NumericArray" and len(function.args) == 2:
        return _numeric_array_of(*function.args)
    if name == "Image" and len(function.args) > 1:
        return _image(function)
    return None


def _numeric_array_of(array: Any, kind: Any) -> BaseElement | None:
    """The array that NumericArray[array, type] stands for; None if it is none."""
    if array.heads is not None:
        return None
    try:
        atom = NumericArray(array.to_numpy())
    except ValueError:  # no type that Mathics knows
        return None
    return atom if atom._type_name == kind else None


def _image(function: Function) -> BaseElement | None:
    """The image that Image[array, type, rules ...] stands for, as wolframclient sends those of Pillow; or None."""
    array, kind, *rules = function.args
    options: dict[str, Any] = {}
    for rule in rules:
        if not isinstance(rule, Function) or _name_of(rule.head) != "Rule" or len(rule.args) != 2:
            return None
        options[_name_of(rule.args[0])] = rule.args[1]
    if not isinstance(kind, str) or not isinstance(array, PackedArray) or array.heads is not None:
        return None
    space, interleaving = options.get("ColorSpace"), _name_of(options.get("Interleaving"))
    return image_of(array.to_numpy(), kind, space if isinstance(space, str) else None, planes=interleaving == "False")


def _name_of(value: Any) -> str:
    return value.name.removeprefix("System`") if isinstance(value, WireSymbol) else ""


def image_of(pixels: Any, kind: str, space: str | None = None, *, planes: bool = False) -> BaseElement | None:
    """The image of an array of pixels.

    Args:
        pixels: A NumPy array of rows of numbers, or of pixels with a number for each channel.
        kind: "Bit", "Byte", "Bit16", "Real32", "Real64" or "Real".
        space: The colour space; None for RGB or Grayscale, as there are channels.
        planes: Whether the channels are the first dimension instead of the last.

    Returns:
        The image; None if the array is none of that kind.
    """
    from mathics.builtin.image.base import Image

    if kind not in _PIXELS or pixels.ndim not in (2, 3) or pixels.dtype.kind not in "biuf":
        return None
    if planes and pixels.ndim == 3:
        pixels = numpy.moveaxis(pixels, 0, 2)
    is_colour = pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    return Image(numpy.ascontiguousarray(pixels.astype(_PIXELS[kind])), space or ("RGB" if is_colour else "Grayscale"))


def _rows(head: Symbol, elements: list[BaseElement], size: int, count: int) -> list[BaseElement]:
    """`count` expressions with that head, of `size` elements each."""
    groups = (elements[start * size : (start + 1) * size] for start in range(count))
    if head is not SymbolList:
        return [_build(head, group) for group in groups]
    return [list_of_numbers(group) for group in groups]


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


def real_from_text(text: str) -> BaseElement | None:
    """The number written as InputForm does: 1.5`20.*^-400, 1.5``30, 1.5*^400. None if it is not one."""
    match = _REAL_TEXT.match(text)
    if match is None or (match["digits"] and not match["mark"]):
        return None
    decimal = f"{match['mantissa']}e{match['exponent'] or 0}"
    digits = _digits(match, decimal)
    if digits is None:
        value = float(decimal)
        if math.isfinite(value) and (value or not match["exponent"]):
            return MachineReal(value)
        digits = MACHINE_DIGITS
    return PrecisionReal(sympy.Float(decimal, max(1, round(digits))))


def _digits(match: re.Match[str], decimal: str) -> float | None:
    """Decimal digits of precision; None for a machine number."""
    if not match["mark"]:
        written = len(re.sub(r"[^0-9]", "", match["mantissa"]).lstrip("0"))
        return written if written > MACHINE_DIGITS else None
    if not match["digits"]:
        return None
    given = float(match["digits"])
    if match["mark"] == "`":
        return given
    size = sympy.Float(decimal, MACHINE_DIGITS)
    return given if size == 0 else given + float(sympy.log(abs(size), 10))


# To the wire.


class ToWire:
    """Converts expressions to values of the wire layer, for one kernel."""

    def __init__(self, definitions: Names) -> None:
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
        """The value to send. Symbols visible in $ContextPath are sent without context, as by Wolfram kernels."""
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
            elif kind is PackedList:
                done.append(_packed(item.array))
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
        """Objects of Mathics without parts (images, compiled code, boxes): their head with their text as argument."""
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
    """A rectangular list of machine numbers as a packed array; None if it is too small or no such list."""
    rows = [array_of_list(row) for row in expression.elements]
    if rows and all(row is not None for row in rows) and len({(row.shape, row.dtype) for row in rows}) == 1:
        return _packed(numpy.stack(rows))
    shape = [len(expression.elements)]
    flat: tuple[BaseElement, ...] | list[BaseElement] = expression.elements
    while flat and isinstance(flat[0], ListExpression) and len(shape) < PACK_DEPTH:
        size = len(flat[0].elements)
        if not all(isinstance(row, ListExpression) and len(row.elements) == size for row in flat):
            return None
        shape.append(size)
        flat = [element for row in flat for element in row.elements]
    if len(flat) < PACK_FROM:
        return None
    return _pack_flat(flat, tuple(shape))


def _packed(values: Any) -> PackedArray:
    """A NumPy array in the narrowest kind that a Wolfram kernel uses for it."""
    if values.dtype.kind == "i" and int(values.min()) in INT32 and int(values.max()) in INT32:
        values = values.astype(numpy.int32)
    return PackedArray.from_numpy(values)


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


def machine_real_value(atom: MachineReal) -> float | BigReal:
    """The float; text for the few machine reals Mathics keeps as mpmath numbers and a double cannot hold."""
    value: Any = atom._value
    if type(value) is float:
        return value
    as_float = float(value)
    return as_float if math.isfinite(as_float) else BigReal(_with_exponent(to_str(value._mpf_, MACHINE_DIGITS)))


def precise_real_text(atom: PrecisionReal) -> str:
    """InputForm with precision mark, such as 1.5`20.: the fewest digits that read back as the same bits."""
    number = atom.value
    most = math.ceil(number._prec * DIGITS_PER_BIT) + 2
    text = ""
    for digits in range(max(1, most - 4), most + 1):
        text = to_str(number._mpf_, digits, strip_zeros=True, min_fixed=-6, max_fixed=digits)
        if from_str(text, number._prec, round_nearest) == number._mpf_:
            break
    mantissa, _, exponent = text.partition("e")
    marked = f"{mantissa}`{dps(atom.get_precision())}."
    return f"{marked}*^{int(exponent)}" if exponent else marked


def _with_exponent(text: str) -> str:
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}*^{int(exponent)}" if exponent else mantissa
