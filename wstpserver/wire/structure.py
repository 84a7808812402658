"""Equality, hash and repr of expression trees without recursion.

A peer may send an expression a million levels deep. Python's own methods for nested containers recurse in
C and end with RecursionError (or worse), so these walk with a stack of their own. A *node* is whatever
has children: a `Function`, or a Python list or tuple.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

#: How much of an expression repr() shows.
REPR_LENGTH = 200

Children: TypeAlias = "tuple[Any, ...] | list[Any]"

#: What hangs below a node, by its type; other types are leaves. `values` adds Function.
NODES: dict[type, Callable[[Any], Children]] = {list: lambda node: node, tuple: lambda node: node}


def same_structure(one: Any, other: Any) -> bool:
    """Whether two trees are equal: same nodes, and leaves that are identical or ==, as in Python's
    containers.
    """
    pending = [(one, other)]
    while pending:
        left, right = pending.pop()
        if left is right:
            continue
        kind = type(left)
        below = NODES.get(kind)
        if below is None or kind is not type(right):
            if left != right:
                return False
            continue
        below_left, below_right = below(left), below(right)
        if len(below_left) != len(below_right):
            return False
        pending.extend(zip(below_left, below_right))  # noqa: B905 - lengths compared above
    return True


def structure_hash(root: Any) -> int:
    """A hash that equal trees share. TypeError where a leaf, or a Python list within, has none."""
    hashes: list[int] = []
    pending = [root]
    while pending:
        value = pending.pop()
        below = NODES.get(type(value))
        if below is None or type(value) is list:
            hashes.append(hash(value))
        else:
            children = below(value)
            hashes.append(len(children))  # with the counts, the order of visit determines the tree
            pending.extend(children)
    return hash(tuple(hashes))


def bounded_repr(root: Any) -> str:
    """repr() of a tree, cut to about REPR_LENGTH characters."""
    parts: list[str] = []
    length = 0
    pending: list[tuple[str | None, Any]] = [(None, root)]  # (punctuation, None) or (None, value)
    while pending:
        text, value = pending.pop()
        if text is None:
            below = NODES.get(type(value))
            if below is not None:
                pending.extend(_spelled(value, below(value)))
                continue
            text = _leaf_repr(value)
        parts.append(text)
        length += len(text)
        if length > REPR_LENGTH:
            return "".join(parts)[:REPR_LENGTH] + "..."
    return "".join(parts)


def _leaf_repr(value: Any) -> str:
    """repr() of a leaf that costs no more than it shows; Python refuses to write out integers of many digits.
    """
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"<integer of {value.bit_length()} bits>"
    return repr(value[: REPR_LENGTH + 1] if isinstance(value, str) else value)


def _spelled(value: Any, below: Children) -> list[tuple[str | None, Any]]:
    """A node as items for bounded_repr's stack, last one first; no more children than repr can show."""
    if type(value) is list:
        opening, closing = "[", "]"
    elif type(value) is tuple:
        opening, closing = "(", ",)" if len(below) == 1 else ")"
    else:
        opening, closing = f"{type(value).__name__}(", ")"
    shown = below[:REPR_LENGTH]
    items: list[tuple[str | None, Any]] = [(opening, None)]
    for index, child in enumerate(shown):
        if index:
            items.append((", ", None))
        items.append((None, child))
    items.append((closing if len(shown) == len(below) else ", ...", None))
    return items[::-1]
