"""What the decoder makes of a function or an array once its last part is there."""
from __future__ import annotations

from math import prod
from typing import Any

from .decode_tokens import Block
from .packed import NATIVE_IS_LITTLE, reverse_bytes
from .scalars import Int8, Int16, Int64, LongDouble, Real32
from .tokens import NUMBER_KINDS
from .values import Expression, Function, PackedArray, Symbol


class Frame:
    """A function or an array that is being read.

    items        what came so far, the head of a function first; a Block counts as many as it has numbers
    missing      how many expressions are still to come
    shape, heads of an array; shape is None for a function
    has_block    whether there is a Block among the items
    """

    __slots__ = ("has_block", "heads", "items", "missing", "shape")

    def __init__(
        self, missing: int, shape: tuple[int, ...] | None = None, heads: tuple[str, ...] = ()
    ) -> None:
        self.items: list[Any] = []
        self.missing = missing
        self.shape = shape
        self.heads = heads
        self.has_block = False


def assemble(frame: Frame) -> Expression:
    """The value of a complete frame.

    A function with a symbol as head whose arguments are packed blocks of one kind is a one-dimensional
    PackedArray, else a Function. An array is a PackedArray if its leaves are machine numbers of one kind, in
    blocks or one by one, else Functions in Functions.
    """
    items = frame.items
    if frame.shape is not None:
        return _assemble_array(items, frame.shape, frame.heads)
    if not frame.has_block:
        return Function(items[0], tuple(items[1:]))
    head = items[0]
    if type(head) is Symbol:
        joined = _join_blocks(items[1:])
        if joined is not None:
            data, kind = joined
            return PackedArray(data, kind, (len(data) // NUMBER_KINDS[kind].width,), (head.name,))
    return Function(head, tuple(_expand(items[1:])))


def _assemble_array(items: list[Any], shape: tuple[int, ...], heads: tuple[str, ...]) -> Expression:
    if not items:  # no leaf says of which kind they would be
        return PackedArray(b"", "int32", shape, heads)
    joined = _join_blocks(items)
    if joined is not None:
        return PackedArray(*joined, shape, heads)
    leaves = _expand(items)
    kind = _common_kind(leaves)
    if kind is not None:
        return PackedArray.from_list(leaves, kind).reshaped(shape, heads)
    for level in range(len(shape) - 1, -1, -1):
        head, size = Symbol(heads[level]), shape[level]
        rows = prod(shape[:level])
        leaves = [Function(head, tuple(leaves[row * size : (row + 1) * size])) for row in range(rows)]
    return leaves[0]  # type: ignore[no-any-return]


def _join_blocks(items: list[Any]) -> tuple[bytes | memoryview, str] | None:
    """(all numbers in native order, kind) if the items are blocks of one kind."""
    first = items[0]
    if type(first) is not Block:
        return None
    if len(items) == 1:
        return _native(first), first.kind.name
    if all(type(item) is Block and item.kind is first.kind for item in items):
        return b"".join(_native(block) for block in items), first.kind.name
    return None


def _native(block: Block) -> bytes | memoryview:
    if block.is_little == NATIVE_IS_LITTLE:
        return block.numbers
    return reverse_bytes(block.numbers, block.kind.width)


#: kind of packed numbers -> what a single one of them decodes to, as far as PackedArray.flat() does not
#: give it
_SCALARS = {"int8": Int8, "int16": Int16, "int64": Int64, "real32": Real32}
_KINDS = {int: "int32", float: "real64", LongDouble: "real128", **{kind: name for name, kind in _SCALARS.items()}}


def _expand(items: list[Any]) -> list[Any]:
    """The items with every block replaced by its numbers, as they would have decoded one by one."""
    leaves: list[Any] = []
    for item in items:
        if type(item) is Block:
            kind = item.kind.name
            numbers = PackedArray(_native(item), kind, (item.length,)).flat()
            leaves.extend(map(_SCALARS[kind], numbers) if kind in _SCALARS else numbers)
        else:
            leaves.append(item)
    return leaves


def _common_kind(leaves: list[Any]) -> str | None:
    """The kind of packed array that holds exactly these leaves, if there is one."""
    types = set(map(type, leaves))
    kind = _KINDS.get(types.pop()) if len(types) == 1 else None
    if kind == "int32" and not all(-0x80000000 <= leaf <= 0x7FFFFFFF for leaf in leaves):
        return None  # written-out integers
    return kind
