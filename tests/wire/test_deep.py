"""Expressions of great depth: no RecursionError, no overflow of the C stack, and time that grows with depth only."""
from __future__ import annotations

import pytest

from wstpserver.wire.decode import NEED_DATA, Decoder, decode
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.tokens import DecoderLimits
from wstpserver.wire.values import Expression, Function, Symbol

#: Deep enough to overflow any stack.
DEPTH = 50_000
F, X = Symbol("f"), Symbol("x")
OPENING, LEAF = b"FA#DA~Af\n", b"#DD~Ax\n"


def in_arguments(depth: int, leaf: Expression = X) -> Expression:
    """f[f[...f[x]]]"""
    for _ in range(depth):
        leaf = Function(F, (leaf,))
    return leaf


def test_deeper_than_any_stack() -> None:
    wire = OPENING * DEPTH + LEAF + b"]"
    decoded = decode(wire)
    assert encode(decoded) == wire
    assert decoded == in_arguments(DEPTH)
    assert repr(decoded).startswith("Function(Symbol('f'), Function(")
    del decoded


def test_differences_are_found_at_any_depth() -> None:
    one = in_arguments(DEPTH)
    assert one != in_arguments(DEPTH, F)
    assert one != in_arguments(DEPTH - 1)
    assert hash(one) == hash(in_arguments(DEPTH))
    assert hash(one) != hash(in_arguments(DEPTH, F))


def test_nested_in_heads() -> None:
    """f[][][]...[]"""
    wire = b"F@" * DEPTH + b"#DA~Ax\n]"
    decoded = decode(wire)
    assert encode(decoded) == wire
    assert decoded == decode(wire)
    assert len(repr(decoded)) < 250
    assert hash(decoded) == hash(decode(wire))


def test_nested_lists_of_python() -> None:
    nested: Expression = X
    for level in range(DEPTH):
        nested = [nested] if level % 2 else (nested,)
    wire = encode(nested, end_packet=False)
    assert wire == b"FA#GA~DList\n" * DEPTH + LEAF
    assert repr(Function(F, (nested,))).startswith("Function(Symbol('f'), [([(")
    assert Function(F, (nested,)) == Function(F, (nested,))
    decoded = decode(wire)
    assert decoded == in_arguments_of_list(DEPTH)
    del nested, decoded


def in_arguments_of_list(depth: int) -> Expression:
    value: Expression = X
    for _ in range(depth):
        value = Function(Symbol("List"), (value,))
    return value


def test_half_read_depth_is_let_go() -> None:
    decoder = Decoder()
    decoder.feed(OPENING * DEPTH)
    assert decoder.next_expression() is NEED_DATA
    del decoder


def test_depth_limit() -> None:
    wire = OPENING * 1001 + LEAF
    with pytest.raises(RemoteProtocolError, match="more than 1000 levels") as raised:
        decode(wire, DecoderLimits(depth=1000))
    assert raised.value.offset is not None
    assert abs(raised.value.offset - 1000 * len(OPENING)) <= len(OPENING)
    assert decode(wire, DecoderLimits(depth=1001)) == in_arguments(1001)
