"""What packed arrays stand for: lists of complex numbers, functions in functions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from wstpserver.wire.values import Function, PackedArray, Symbol


def is_complex(item: PackedArray) -> bool:
    """Whether this is a list of lists of ... complex machine numbers, as kernels send them."""
    if item.heads is None or item.kind not in ("real32", "real64") or not item.data.nbytes:
        return False
    return item.heads[-1] == "Complex" and item.shape[-1] == 2 and set(item.heads[:-1]) <= {"List"}


def nested(flat: list[Any], shape: tuple[int, ...]) -> Any:
    """`flat` in nested lists of that shape; its only element for no dimension."""
    for level in range(len(shape) - 1, 0, -1):
        flat = [list(row) for row in _rows(flat, shape[level], math.prod(shape[:level]))]
    return flat if shape else flat[0]


def _rows(flat: list[Any], size: int, count: int) -> Iterable[list[Any]]:
    return (flat[row * size : (row + 1) * size] for row in range(count))


def unpacked(item: PackedArray) -> Function:
    """The array as functions in functions, as it might have been sent as well."""
    parts = item.flat()
    heads = item.heads or ("List",) * len(item.shape)
    for level in range(len(item.shape) - 1, -1, -1):
        head = Symbol(heads[level])
        parts = [Function(head, tuple(row)) for row in _rows(parts, item.shape[level], math.prod(item.shape[:level]))]
    whole = parts[0]
    assert isinstance(whole, Function)
    return whole
