"""Symbols, functions and the numbers with a width of their own."""
from __future__ import annotations

import copy
import math
import pickle
import struct

import pytest

from tests.support.cases import for_all
from wstpserver.wire.errors import LocalProtocolError, ProtocolError, RemoteProtocolError, WSTPError
from wstpserver.wire.values import (
    BigReal,
    Function,
    Int8,
    Int16,
    Int64,
    LongDouble,
    PackedArray,
    Real32,
    Symbol,
)

F, X = Symbol("f"), Symbol("x")

VALUES = [
    X, Function(F, (1, X)), Function(Function(F), ("a", [1, (2,)])), BigReal("1.5"), LongDouble(bytes(16)), Int8(3),
    Int16(-3), Int64(3), Real32(0.5), PackedArray.from_list([[1, 2]]),
]  # fmt: skip


@for_all("value", VALUES, ids=repr)
def test_copies_are_equal_and_of_the_same_type(value: object) -> None:
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert twin == value
        assert type(twin) is type(value)
        assert repr(twin) == repr(value)


@for_all("value", [X, Function(F), BigReal("1"), LongDouble(bytes(16)), PackedArray.from_list([1])])
def test_immutable(value: object) -> None:
    for name in ("name", "head", "text", "data", "other"):
        with pytest.raises(AttributeError):
            setattr(value, name, 1)


def test_equality_and_hash() -> None:
    assert Symbol("f") == F
    assert F != "f"
    assert F != X
    assert len({Symbol("f"), F, X}) == 2
    assert Function(F, (1, "x")) == Function(F, (1, "x"))
    assert hash(Function(F, (1, "x"))) == hash(Function(F, (1, "x")))
    assert Function(F, (Function(F),)) == Function(F, (Function(F),))
    unlike = [
        Function(F), Function(X), Function(F, (X,)), Function(F, (X, X)), Function(F, (Function(X),)),
        Function(Function(F), (X,)), Function(Function(F, (X,))), Function(F, (Function(F, (X,)), X)),
        Function(F, (Function(F), X, X)), Function(F, ("x",)), Function(F, ((X,),)), F,
    ]  # fmt: skip
    assert len(set(unlike)) == len(unlike)
    assert all((one == other) == (one is other) for one in unlike for other in unlike)
    assert Function(F, ([1],)) != Function(F, ((1,),))
    assert Function(F, ([1],)) == Function(F, ([1],))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Function(F, ([1],)))
    assert Function(F, (math.nan,)) == Function(F, (math.nan,))  # the same object, as in a tuple
    assert BigReal("1.5") != BigReal("1.50")
    assert BigReal("1.5") != "1.5"
    assert LongDouble(bytes(16)) != LongDouble(b"\1" + bytes(15))


def test_args_are_always_a_tuple() -> None:
    assert Function(F, [1, 2]).args == (1, 2)  # type: ignore[arg-type]
    assert Function(F).args == ()


def test_functions_have_no_subclasses() -> None:
    with pytest.raises(TypeError, match="cannot be subclassed"):
        type("Special", (Function,), {})


def test_repr_is_short() -> None:
    assert repr(Function(F, (1, [2, (3,)], "a"))) == "Function(Symbol('f'), 1, [2, (3,)], 'a')"
    assert repr(Function(F, (10**5000,))) == "Function(Symbol('f'), <integer of 16610 bits>)"
    assert len(repr(Function(F, tuple(range(10**5))))) < 250
    assert len(repr(Function(F, ("x" * 10**6,)))) < 250


RANGES = [(Int8, 0, 255), (Int16, -(2**15), 2**15 - 1), (Int64, -(2**63), 2**63 - 1)]


@for_all(("kind", "least", "most"), RANGES)
def test_fixed_width_integers(kind: type[int], least: int, most: int) -> None:
    for number in (least, most, 5):
        value = kind(number)
        assert (value, hash(value), str(value)) == (number, hash(number), str(number))
        assert repr(value) == f"{kind.__name__}({number})"
    assert type(kind(5) + 1) is int
    for number in (least - 1, most + 1):
        with pytest.raises(ValueError, match="does not fit"):
            kind(number)


@for_all(
    ("data", "value"),
    [
        (bytes.fromhex("00000000000000c0ff3f"), 1.5),
        (bytes.fromhex("00000000000000c0ffbf"), -1.5),
        (bytes.fromhex("00000000000000a00040"), 2.5),
        (bytes(10), 0.0),
        (bytes.fromhex("0000000000000080ff7f"), math.inf),
        (bytes.fromhex("0000000000000080ffff"), -math.inf),
        (bytes.fromhex("0000000000000080fe7f"), math.inf),  # beyond a double
        (bytes.fromhex("00000000000000800100"), 0.0),  # below one
    ],
)
def test_long_double_as_float(data: bytes, value: float) -> None:
    assert struct.pack("<d", float(LongDouble(data + b"\x29\xc7\x7f\0\0\0"))) == struct.pack("<d", value)


def test_long_double_that_is_no_number() -> None:
    assert math.isnan(float(LongDouble(bytes.fromhex("00000000000000c0ff7f") + bytes(6))))
    with pytest.raises(ValueError, match="16 bytes, not 10"):
        LongDouble(bytes(10))


def test_errors() -> None:
    assert issubclass(ProtocolError, WSTPError)
    error = RemoteProtocolError("bad", 7)
    assert (str(error), error.message, error.offset) == ("bad (at byte 7)", "bad", 7)
    assert str(LocalProtocolError("bad")) == "bad"
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), twin.message, twin.offset) == (RemoteProtocolError, "bad", 7)
