"""The expression trees of tests/data/expressions-*.json, from and to values.

A tree is ["symbol", name], ["string", text], ["int8" | "int16" | "int32" | "int64" | "bigint", n],
["real32" | "real64", x], ["bigreal", text], ["function", head, [arguments]], ["list", kind, numbers] or
["array", kind, dimensions, leaves, head names or null].
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from wstpserver.wire.values import (
    BigReal,
    Expression,
    Function,
    Int8,
    Int16,
    Int64,
    PackedArray,
    Real32,
    Symbol,
)

DATA = Path(__file__).parent.parent / "data"


class Vector(NamedTuple):
    """One expression and its bytes, closing `]` included."""

    name: str
    tree: list[Any]
    wire: bytes


def load_vectors(version: str) -> list[Vector]:
    """The expressions the library of that version ("10.1" or "13.2") put on the wire."""
    entries = json.loads((DATA / f"expressions-{version}.json").read_text())
    return [Vector(entry["name"], entry["expression"], bytes.fromhex(entry["wire"])) for entry in entries]


_SCALARS = {
    "symbol": Symbol, "string": str, "int8": Int8, "int16": Int16, "int32": int, "int64": Int64, "bigint": int,
    "real32": Real32, "real64": float, "bigreal": BigReal,
}  # fmt: skip


def from_tree(tree: list[Any]) -> Expression:
    """The value a tree describes."""
    kind, *rest = tree
    if kind == "function":
        return Function(from_tree(rest[0]), tuple(from_tree(argument) for argument in rest[1]))
    if kind == "list":
        return PackedArray.from_list(rest[1], rest[0])
    if kind == "array":
        return PackedArray.from_list(rest[2], rest[0]).reshaped(rest[1], rest[3])
    return _SCALARS[kind](*rest)  # type: ignore[no-any-return, operator]


_TYPES = {str: "string", Int8: "int8", Int16: "int16", Int64: "int64", Real32: "real32", float: "real64"}


def to_tree(value: Expression) -> list[Any]:
    """The tree of a value: unlike ==, it tells 1 from 1.0 and from Int8(1)."""
    if isinstance(value, Function):
        return ["function", to_tree(value.head), [to_tree(argument) for argument in value.args]]
    if isinstance(value, PackedArray):
        if len(value.shape) == 1 and value.heads is None:
            return ["list", value.kind, value.flat()]
        return ["array", value.kind, list(value.shape), value.flat(), value.heads and list(value.heads)]
    if isinstance(value, Symbol):
        return ["symbol", value.name]
    if isinstance(value, BigReal):
        return ["bigreal", value.text]
    if type(value) is int:
        return ["int32" if -(2**31) <= value < 2**31 else "bigint", value]
    kind = _TYPES[type(value)]
    return [kind, int(value) if isinstance(value, int) else float(value) if isinstance(value, float) else value]


def normal_tree(tree: list[Any]) -> list[Any]:
    """The tree as it can be read back: an empty list is `List[]`, whatever kind of numbers it was made for."""
    if tree[0] == "list" and not tree[2]:
        return ["function", ["symbol", "List"], []]
    if tree[0] == "function":
        return ["function", normal_tree(tree[1]), [normal_tree(argument) for argument in tree[2]]]
    return tree
