"""Expressions as WXF, the binary form of the vendor's `wolframclient`, whose functions read and write its tokens.

Expressions are those of the wire (`wstpserver.wire.values`). Nothing here recurses: an expression may be as deep as
memory allows.
"""

from __future__ import annotations

from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any, Final

from wstpserver.client.arrays import NumericArray, is_complex, nested, numeric_array, unpacked
from wstpserver.wire.values import BigReal, Function, LongDouble, PackedArray, Symbol


class Bytes:
    """A byte array, which the wire has no type for."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


#: Type of a WXF array -> the same as `array.array` names it, and the kind of packed array that holds it.
_ARRAYS: Final[dict[str, tuple[str, str]]] = {
    "Integer8": ("b", "int16"),
    "Integer16": ("h", "int16"),
    "Integer32": ("i", "int32"),
    "Integer64": ("q", "int64"),
    "UnsignedInteger8": ("B", "int8"),
    "UnsignedInteger16": ("H", "int32"),
    "UnsignedInteger32": ("I", "int64"),
    "UnsignedInteger64": ("Q", "int64"),
    "Real32": ("f", "real32"),
    "Real64": ("d", "real64"),
    "ComplexReal32": ("f", "real32"),
    "ComplexReal64": ("d", "real64"),
}
#: Kind of packed array -> type code of its numbers.
_CODES: Final = {"int8": "B", "int16": "h", "int32": "i", "int64": "q", "real32": "f", "real64": "d"}
#: Kind of packed array -> type of the WXF array.
_WXF_TYPES: Final = {"int16": "Integer16", "int32": "Integer32", "int64": "Integer64", "real32": "Real32",
                     "real64": "Real64"}  # fmt: skip
_INT64: Final = 1 << 63

_ASSOCIATION, _RULE, _RULE_DELAYED = (Symbol(f"System`{name}") for name in ("Association", "Rule", "RuleDelayed"))


class _Open:
    """A function of which parts are still missing."""

    __slots__ = ("head", "missing", "parts")

    def __init__(self, head: Symbol | None, missing: int) -> None:
        self.head = head
        self.missing = missing
        self.parts: list[Any] = []

    def whole(self) -> Function:
        if self.head is not None:
            return Function(self.head, tuple(self.parts))
        return Function(self.parts[0], tuple(self.parts[1:]))


def wxf_to_expression(data: bytes) -> Any:
    """Read WXF.

    Args:
        data: One expression. Symbols without a context are those of System`.

    Returns:
        The expression. A NumericArray becomes a packed list: a kernel without WXF has no such arrays.

    Raises:
        ValueError: `data` is not WXF.
    """
    from wolframclient.deserializers.wxf.wxfparser import WXFParser

    opened: list[_Open] = []
    try:
        for token in WXFParser(data).tokens():
            value = _READERS[token.wxf_type](token)
            if isinstance(value, _Open) and value.missing:
                opened.append(value)
                continue
            if isinstance(value, _Open):
                value = value.whole()
            while opened:
                top = opened[-1]
                top.parts.append(value)
                top.missing -= 1
                if top.missing:
                    break
                value = opened.pop().whole()
            if not opened:
                return value
    except Exception as error:
        # The parser raises whatever reading broken bytes raises: EOFError, TypeError, zlib.error, its own ...
        raise ValueError(f"it is not WXF ({type(error).__name__}: {error})") from error
    raise ValueError("it is not WXF (it ends too early)")


def _read_array(token: Any) -> Any:
    from wolframclient.serializers.wxfencoder.constants import ARRAY_TYPES_FROM_WXF_TYPES

    name = ARRAY_TYPES_FROM_WXF_TYPES[token.array_type]
    code, kind = _ARRAYS[name]
    shape = tuple(token.dimensions)
    if name.startswith("Complex"):
        return PackedArray(token.data, kind, (*shape, 2), (*("List",) * len(shape), "Complex"))
    if code == _CODES[kind]:
        return PackedArray(token.data, kind, shape)
    numbers = array(code, token.data)
    if code == "Q" and max(numbers) >= _INT64:
        return _nested_list(nested(numbers.tolist(), shape))
    return PackedArray(array(_CODES[kind], numbers), kind, shape)


def _nested_list(values: Any) -> Any:
    return list_of([_nested_list(value) for value in values]) if isinstance(values, list) else values


def _read_symbol(token: Any) -> Symbol:
    return Symbol(token.data if "`" in token.data else f"System`{token.data}")


#: First byte of a WXF token -> its value, or what it opens.
_READERS: Final[dict[bytes, Callable[[Any], Any]]] = {
    b"f": lambda token: _Open(None, token.length + 1),
    b"A": lambda token: _Open(_ASSOCIATION, token.length),
    b"-": lambda token: _Open(_RULE, 2),
    b":": lambda token: _Open(_RULE_DELAYED, 2),
    b"s": _read_symbol,
    b"S": lambda token: token.data,
    b"B": lambda token: byte_array(token.data),
    **dict.fromkeys((b"C", b"j", b"i", b"L", b"r"), lambda token: token.data),
    b"I": lambda token: int(token.data),
    b"R": lambda token: BigReal(token.data),
    b"\xc1": _read_array,
    b"\xc2": _read_array,
}


def expression_to_wxf(expression: Any) -> bytes:
    """Write WXF.

    Args:
        expression: An expression; associations, byte arrays, numeric and packed arrays in it become those of WXF.

    Returns:
        The bytes, header included.
    """
    from wolframclient.serializers.wxf import WXFSerializer
    from wolframclient.serializers.wxfencoder.constants import WXF_CONSTANTS, WXF_HEADER_SEPARATOR, WXF_VERSION
    from wolframclient.serializers.wxfencoder.utils import varint_bytes

    serializer = WXFSerializer()
    pieces: list[Any] = [WXF_VERSION, WXF_HEADER_SEPARATOR]
    pending: list[Any] = [expression]
    while pending:
        item = pending.pop()
        if isinstance(item, Function):
            value = _value_of(item)
            if value is not None:
                pieces.extend(_leaf(value, serializer))
            elif _is_association(item):
                pieces += (WXF_CONSTANTS.Association, varint_bytes(len(item.args)))
                for rule in reversed(item.args):
                    pending.extend((rule.args[1], rule.args[0], _RuleMark(_name(rule.head))))  # type: ignore[union-attr]
            else:
                pieces += (WXF_CONSTANTS.Function, varint_bytes(len(item.args)))
                pending.extend(reversed(item.args))
                pending.append(item.head)
        elif isinstance(item, (list, tuple)):
            pending.append(list_of(item))
        elif isinstance(item, _RuleMark):
            pieces.append(WXF_CONSTANTS[item])
        else:
            pieces.extend(_leaf(item, serializer))
    return b"".join(pieces)


class _RuleMark(str):
    """On the stack: a rule of an association begins, of this name."""


def _name(head: Any) -> str:
    return head.name.removeprefix("System`") if isinstance(head, Symbol) else ""


def _is_association(item: Function) -> bool:
    return _name(item.head) == "Association" and all(
        isinstance(rule, Function) and _name(rule.head) in ("Rule", "RuleDelayed") and len(rule.args) == 2
        for rule in item.args
    )


def _value_of(item: Function) -> Any:
    """The byte array or numeric array that a function stands for; None if it stands for itself."""
    name = _name(item.head)
    if name == "ByteArray" and len(item.args) == 1 and isinstance(item.args[0], str):
        try:
            return Bytes(b64decode(item.args[0], validate=True))
        except ValueError:
            return None
    if name == "NumericArray":
        numbers = numeric_array(item.args)
        return numbers if numbers is not None and isinstance(numbers.data, PackedArray) else None
    return None


def _leaf(item: Any, serializer: Any) -> Any:
    from wolframclient.serializers.wxfencoder.constants import WXF_CONSTANTS
    from wolframclient.serializers.wxfencoder.utils import varint_bytes

    if isinstance(item, Symbol):
        return serializer.serialize_symbol(item.name.removeprefix("System`").encode("utf-8"))
    if isinstance(item, str):
        return serializer.serialize_string(item.encode("utf-8", "surrogatepass"))
    if isinstance(item, int):
        return serializer.serialize_int(int(item))
    if isinstance(item, (float, LongDouble)):
        return serializer.serialize_float(float(item))
    if isinstance(item, BigReal):
        return (WXF_CONSTANTS.BigReal, varint_bytes(len(item.text)), item.text.encode("ascii"))
    if isinstance(item, Bytes):
        return serializer.serialize_bytes(item.data)
    if isinstance(item, NumericArray):
        return _numeric_leaf(item, serializer)
    if isinstance(item, PackedArray):
        return _packed_leaf(item, serializer)
    raise TypeError(f"no expression: {item!r}")


def _packed_leaf(item: PackedArray, serializer: Any) -> Any:
    if is_complex(item):
        kind = "ComplexReal32" if item.kind == "real32" else "ComplexReal64"
        return serializer.serialize_packed_array(item.data.cast("B"), item.shape[:-1], kind)
    if item.heads is not None or not item.data.nbytes:  # other heads than List, or no numbers at all
        return (expression_to_wxf(unpacked(item))[2:],)
    if item.kind not in _WXF_TYPES:  # unsigned bytes, which packed arrays of a kernel do not have; long doubles
        kind, code = ("int16", "h") if item.kind == "int8" else ("real64", "d")
        item = PackedArray(array(code, map(float if code == "d" else int, item.flat())), kind, item.shape)
    return serializer.serialize_packed_array(item.data.cast("B"), item.shape, _WXF_TYPES[item.kind])


def _numeric_leaf(item: NumericArray, serializer: Any) -> Any:
    data = item.to_numpy()
    return serializer.serialize_numeric_array(data.tobytes(), data.shape, item.type)


def byte_array(data: bytes) -> Function:
    """Return the expression of a byte array."""
    return Function(Symbol("ByteArray"), (b64encode(data).decode("ascii"),))


def list_of(values: Sequence[Any]) -> Function:
    """Return the expression of a list."""
    return Function(Symbol("List"), tuple(values))
