"""What the encoder writes beyond the recorded expressions."""
from __future__ import annotations

import enum
import struct
from array import array

import pytest

from tests.support.cases import for_all
from wstpserver.wire.decode import decode
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.values import (
    BigReal,
    Expression,
    Function,
    Int8,
    Int16,
    Int64,
    LongDouble,
    PackedArray,
    Real32,
    Symbol,
)

F = Symbol("f")


class Colour(enum.IntEnum):
    RED = 5


class Name(str):
    pass


@for_all(
    ("value", "wire"),
    [
        (True, b"#GD~DTrue\n"),
        (False, b"#HD~EFalse\n"),
        (Colour.RED, b"\xe4\x05\0\0\0\n"),
        (Name("x"), b'"DD~Ax\n'),
        (2**31 - 1, b"\xe4\xff\xff\xff\x7f\n"),
        (2**31, b"\xe6\0\0\0\x80\0\0\0\0\n"),
        (-(2**31) - 1, b"\xe6\xff\xff\xff\x7f\xff\xff\xff\xff\n"),
        (2**63, b"+VA~S9223372036854775808\n"),
        (-(2**63) - 1, b"+WA~T-9223372036854775809\n"),
        (Int8(7), b"\xa1\x07\n"),
        (Int16(-2), b"\xe2\xfe\xff\n"),
        (Int64(5), b"\xe6\x05\0\0\0\0\0\0\0\n"),
        (Real32(1.5), b"\xf4\0\0\xc0\x3f\n"),
        (LongDouble(bytes(range(16))), b"\xf8" + bytes(range(16)) + b"\n"),
        (BigReal("1.5`20."), b"*JA~G1.5`20.\n"),
        ([1, "x", [F]], b'FC#GA~DList\n\xe4\x01\0\0\0\n"DD~Ax\nFA#GA~DList\n#DD~Af\n'),
        ((), b"F@#GA~DList\n"),
        (Function("s", ()), b'F@"DD~As\n'),
        (Function(Function(F, (F,)), (F,)), b"FAFA#DA~Af\n#DD~Af\n#DD~Af\n"),
        (Function(3, (4,)), b"FA\xe4\x03\0\0\0\n\xe4\x04\0\0\0\n"),
        (Function([F], ()), b"F@FA#GA~DList\n#DD~Af\n"),
    ],
)
def test_value(value: Expression, wire: bytes) -> None:
    assert encode(value) == wire + b"]"


@for_all(
    ("text", "payload"),
    [
        ("", b"A~@"),
        ("plain", b"A~Eplain"),
        ("a\\b", b"A~Ca\\\\b"),
        ("é", b"A~A\\351"),
        ("\0\n\x7f", b"A~C\\000\\012\\177"),
        ("日", b"A~A\\:65E5"),
        ("😀", b"A~B\\:D83D\\:DE00"),
        ("\ud83d", b"A~A\\:D83D"),
        ("x" * 64, b"A~64 " + b"x" * 64),
    ],
)
def test_seven_bit_text(text: str, payload: bytes) -> None:
    size = bytes([0x40 + len(payload)]) if len(payload) < 64 else b"%d " % len(payload)
    assert encode(text, seven_bit=True) == b'"' + size + payload + b"\n]"
    assert encode(Symbol(text), end_packet=False, seven_bit=True) == b"#" + size + payload + b"\n"
    assert decode(encode(text, seven_bit=True)) == text


def test_seven_bit_reaches_everything() -> None:
    value = Function(Symbol("λ"), ("é", Symbol("日"), [BigReal("1.5")], 10**30))
    wire = encode(value, seven_bit=True)
    assert wire.isascii()
    assert b"D~" not in wire
    as_read = Function(Symbol("List"), (BigReal("1.5"),))
    assert decode(wire) == Function(Symbol("λ"), ("é", Symbol("日"), as_read, 10**30))


@for_all("text", ["\ud800", "a\udfff", "\ud83d\ude00", "\udc00\ud800", "😀\ud800", "\ud83d\ude00😀"])
def test_lone_surrogates_come_back_as_they_were(text: str) -> None:
    assert decode(encode(text)) == text
    assert decode(encode(Symbol(text), ascii=False)) == Symbol(text)
    assert decode(encode(Function(Symbol(text)))) == Function(Symbol(text))


def test_lone_surrogate_takes_the_format_most_readers_know() -> None:
    assert encode("\ud800") == b'"EC~A\xd8\0\n]'
    assert encode("\ud83d\ude00") == b'"KF~B\x3d\xd8\0\0\0\xde\0\0\n]'


def test_heads_that_are_not_ascii() -> None:
    assert encode(Function(Symbol("λ"), ())) == "F@#ED~Aλ\n]".encode()
    packed = PackedArray.from_list([[1]], "int8", ["List", "λ"])
    assert encode(packed) == b"AAD[FA#GA~DList\nFA#IA~A\\:03BB\n.\nPA\xa1\x01\n]"
    assert decode(encode(packed)) == packed


@for_all("ascii", [True, False])
@for_all(
    ("letter", "kind", "token"), [("B", "int8", b"\xa1"), ("h", "int16", b"\xe2"), ("d", "real64", b"\xf6")]
)
def test_packed_list_becomes_an_array_at_128(ascii: bool, letter: str, kind: str, token: bytes) -> None:
    """Where both versions of the library change over, whatever the kind."""
    head = b"#GA~DList\n" if ascii else b"#GD~DList\n"
    numbers = array(letter, range(128))
    short = PackedArray(numbers[:127], kind, (127,))
    assert encode(short, ascii=ascii) == b"F127 " + head + b"P127 " + token + numbers[:127].tobytes() + b"\n]"
    long = PackedArray(numbers, kind, (128,))
    header = b"A128 DPF128 #GA~DList\n.\n"
    assert encode(long, ascii=ascii) == header + b"P128 " + token + numbers.tobytes() + b"\n]"


def test_packed_arrays_with_heads_and_without_numbers() -> None:
    assert encode(PackedArray(b"\1", "int8", (1,), ("f",))) == b"AADJFA#DA~Af\n.\nPA\xa1\x01\n]"
    assert encode(PackedArray(b"", "int8", (0,), ("f",))) == b"A@DJF@#DA~Af\n.\n]"
    assert encode(PackedArray(b"", "real64", (0,))) == b"F@#GA~DList\n]"
    assert encode(PackedArray(b"", "real64", (2, 0, 3))) == b"A@DYFB#GA~DList\nF@#GA~DList\n.\n]"


def test_packed_arrays_inside_other_expressions() -> None:
    packed = PackedArray(struct.pack("<2d", 1.5, 2.5), "real64", (2,))
    assert encode(Function(F, (packed, 1))) == (
        b"FB#DA~Af\nFB#GA~DList\nPB\xf6" + struct.pack("<2d", 1.5, 2.5) + b"\n\xe4\x01\0\0\0\n]"
    )


@for_all("value", [None, {}, object(), 1j, b"bytes", {1}])
def test_what_is_no_expression(value: object) -> None:
    with pytest.raises(LocalProtocolError, match=f"Python {type(value).__name__}"):
        encode(value)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError):
        encode([1, Function(F, (value,))])  # type: ignore[arg-type]


def test_real_too_large_for_a_single() -> None:
    with pytest.raises(LocalProtocolError, match="too large for a 32-bit real"):
        encode(Real32(1e300))


def test_long_names_are_not_cached() -> None:
    name = "x" * 5000
    assert encode(Symbol(name)) == b"#5007 D~5000 " + name.encode() + b"\n]"
