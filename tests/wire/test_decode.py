"""Forms the recorded expressions do not show: other byte orders, several blocks, late `]`, all text formats."""
from __future__ import annotations

import struct
import sys

from tests.support.cases import for_all
from wstpserver.wire.decode import NEED_DATA, Decoder, decode
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

F = Symbol("f")
LIST = b"#GA~DList\n"


@for_all(
    ("wire", "value"),
    [
        (b"\xa1\xff\n", Int8(255)),
        (b"\xe2\xfe\xff\n", Int16(-2)),
        (b"\xa2\xff\xfe\n", Int16(-2)),
        (b"\xe4\xfe\xff\xff\xff\n", -2),
        (b"\xa4\xff\xff\xff\xfe\n", -2),
        (b"\xe6" + struct.pack("<q", -(2**62)) + b"\n", Int64(-(2**62))),
        (b"\xa6" + struct.pack(">q", -(2**62)) + b"\n", Int64(-(2**62))),
        (b"\xf4" + struct.pack("<f", 1.5) + b"\n", Real32(1.5)),
        (b"\xb4" + struct.pack(">f", 1.5) + b"\n", Real32(1.5)),
        (b"\xf6" + struct.pack("<d", 0.1) + b"\n", 0.1),
        (b"\xb6" + struct.pack(">d", 0.1) + b"\n", 0.1),
        (b"\xf8" + bytes(range(16)) + b"\n", LongDouble(bytes(range(16)))),
        (b"\xb8" + bytes(range(15, -1, -1)) + b"\n", LongDouble(bytes(range(16)))),
        (b"+DA~A5\n", 5),
        (b"+EA~B-5\n", -5),
        (b"+EA~B+5\n", 5),
        (b"+FB~C007\n", 7),
        (b"*DA~A5\n", BigReal("5")),
    ],
)
def test_number(wire: bytes, value: object) -> None:
    found = decode(wire)
    assert found == value
    assert type(found) is type(value)


@for_all("digits", [4300, 4301, 5000, 20_000])
def test_integer_beyond_the_digits_python_converts(digits: int) -> None:
    before = sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else None
    text = b"12" + b"0" * (digits - 2)
    assert decode(b"+%d A~%d " % (len(text) + 3 + len(str(digits)), digits) + text + b"\n") == 12 * 10 ** (digits - 2)
    if before is not None:
        assert sys.get_int_max_str_digits() == before


@for_all(
    ("payload", "text"),
    [
        (b"A~Ca\\\\b", "a\\b"),
        (b"A~B\\351\\:65E5", "é日"),
        (b"A~A\\:65e5", "日"),
        (b"A~A\\:D83D\\:DE00", "😀"),
        (b"A~B\\:D83D\\:DE00", "😀"),
        (b"A~A\\:D83D", "\ud83d"),
        (b"A~B\\:DE00\\:D83D", "\ude00\ud83d"),
        (b"A~A\\|01F600", "😀"),
        (b"A~H\\\\|01f600", "\\|01f600"),
        (b"A~A\\.e9", "é"),
        (b"A~D\\000\\001\\177\\012", "\0\1\x7f\n"),
        (b"A~A\xe9", "é"),
        (b"A~@", ""),
        (b"B~CA\xe9\\", "Aé\\"),
        (b"C~Be\xe5\x00A", "日A"),
        (b"C~A\xd8=", "\ud83d"),
        (b"C~B\xd8=\xde\x00", "😀"),
        (b"D~A\xf0\x9f\x98\x80", "😀"),
        (b"D~A\xed\xa0\xbd", "\ud83d"),
        (b"D~70 " + b"x" * 70, "x" * 70),
        (b"E~B\xe5eA\x00", "日A"),
        (b"E~A=\xd8\x00\xde", "😀"),
        (b"F~A\x00\xf6\x01\x00", "😀"),
        (b"F~A\x00\x01\xf6\x00", "😀"),  # big-endian: not Unicode the other way round
        (b"F~A\x00\xd8\x00\x00", "\ud800"),
        (b"F~@", ""),
        (b"G\xe9~A", "é~A"),
        (b"A~Ehello]\nF@", "hello]\nF@"),  # the count inside is not what frames the text
    ],
)
def test_text_formats(payload: bytes, text: str) -> None:
    sized = (bytes([0x40 + len(payload)]) if len(payload) < 64 else b"%d " % len(payload)) + payload + b"\n"
    assert decode(b'"' + sized) == text
    assert decode(b"#" + sized) == Symbol(text)


def test_sizes_may_be_digits_for_small_numbers_too() -> None:
    assert decode(b'F01 #004 A~Ax\n"6 D~2 yz\n') == Function(Symbol("x"), ("yz",))


INTS = struct.pack("<3i", 1, 2, -3)


@for_all(
    "arguments",
    [
        b"PC\xe4" + INTS + b"\n",
        b"PC\xa4" + struct.pack(">3i", 1, 2, -3) + b"\n",
        b"PA\xe4" + INTS[:4] + b"\nPB\xe4" + INTS[4:] + b"\n",
        b"PA\xe4" + INTS[:4] + b"\nP@\xe4\nPB\xa4" + struct.pack(">2i", 2, -3) + b"\n",
        b"P3 \xe4" + INTS + b"\n",
    ],
)
def test_packed_list_in_blocks(arguments: bytes) -> None:
    found = decode(b"FC" + LIST + arguments + b"]")
    assert found == PackedArray.from_list([1, 2, -3], "int32")
    assert decode(b"ACDMFC" + LIST + b".\n" + arguments) == found


def test_array_leaves_one_by_one() -> None:
    header = b"ACDMFC" + LIST + b".\n"
    single = [b"\xe4\x01\0\0\0\n", b"\xe4\x02\0\0\0\n", b"\xe4\xfd\xff\xff\xff\n"]
    expected = PackedArray.from_list([1, 2, -3], "int32")
    assert decode(header + b"".join(single)) == expected
    assert decode(header + b"PB\xe4" + INTS[:8] + b"\n" + single[2]) == expected
    assert decode(header + b"+DA~A1\n" + single[1] + single[2]) == expected
    reals = [b"\xf4" + struct.pack("<f", value) + b"\n" for value in (1, 2, -3)]
    assert decode(header + b"".join(reals)) == PackedArray.from_list([1.0, 2.0, -3.0], "real32")
    longs = [b"\xf8" + bytes([value]) * 16 + b"\n" for value in range(3)]
    found = decode(header + b"".join(longs))
    assert isinstance(found, PackedArray)
    assert (found.kind, found.tolist()) == ("real128", [LongDouble(bytes([value]) * 16) for value in range(3)])


def test_array_of_unlike_leaves_is_functions() -> None:
    header = b"ADDWFB#FA~Cfoo\nFB#FA~Cbar\n.\n"
    leaves = b"\xe4\x01\0\0\0\n" + b"#KA~H$Aborted\n" + b"PB\xa1\x05\x06\n"
    foo, bar = Symbol("foo"), Symbol("bar")
    found = decode(header + leaves)
    assert found == Function(foo, (Function(bar, (1, Symbol("$Aborted"))), Function(bar, (5, 6))))
    assert isinstance(found, Function)
    assert isinstance(found.args[1], Function)
    assert type(found.args[1].args[0]) is Int8
    huge = b"+NA~K10000000000\n"
    assert decode(b"ABDLFB#FA~Cfoo\n.\n" + huge + huge) == Function(foo, (10**10, 10**10))


def test_packed_block_among_other_arguments() -> None:
    block = b"PB\xe6" + struct.pack("<2q", 7, 8) + b"\n"
    found = decode(b"FD#DA~Af\n" + b'"DD~Aa\n' + block + b"#DA~Ax\n")
    assert found == Function(F, ("a", 7, 8, Symbol("x")))
    assert isinstance(found, Function)
    assert type(found.args[1]) is Int64
    mixed = decode(b"FC#DA~Af\n" + block + b"PA\xa1\x01\n")
    assert mixed == Function(F, (7, 8, 1))
    compound = decode(b"FBFA#DA~Af\n\xa1\x01\n" + block)
    assert compound == Function(Function(F, (1,)), (7, 8))


def test_packed_arguments_of_any_symbol() -> None:
    assert decode(b"FB#DA~Af\nPB\xa1\x01\x02\n") == PackedArray(b"\1\2", "int8", (2,), ("f",))


@for_all(
    ("wire", "shape"),
    [
        (b"A@DYFB#GA~DList\nF@#GA~DList\n.\n", (2, 0)),
        (b"A@DMF@#GA~DList\n.\n", (0,)),
        (b"A@DYF@#GA~DList\nFB#GA~DList\n.\n", (0, 2)),
    ],
)
def test_array_without_leaves(wire: bytes, shape: tuple[int, ...]) -> None:
    assert decode(wire + b"]") == PackedArray(b"", "int32", shape)
    assert decode(b"FB#DA~Af\n" + wire + b"\xa1\x01\n") == Function(F, (PackedArray(b"", "int32", shape), 1))


def test_end_packet_may_come_late_or_not_at_all() -> None:
    decoder = Decoder()
    seen = []
    for piece in (b"\xa1\x01\n", b"]\xa1\x02\n\xa1\x03\n]", b"]", b"]]\xa1\x04\n", b"]"):
        decoder.feed(piece)
        while (value := decoder.next_expression()) is not NEED_DATA:
            seen.append(value)
    assert seen == [1, 2, 3, 4]
    assert decoder.at_boundary


def test_a_small_block_does_not_keep_a_large_buffer() -> None:
    decoder = Decoder()
    decoder.feed(b"FC" + LIST + b"PC\xe4" + INTS + b"\n" + b'"100004 D~100000 ' + b"x" * 100000 + b"\n")
    packed = decoder.next_expression()
    assert isinstance(packed, PackedArray)
    assert len(packed.data.obj) <= 12  # type: ignore[arg-type]


def test_a_large_block_is_not_copied() -> None:
    wire = b"F1000 " + LIST + b"P1000 \xf6" + bytes(8000) + b"\n]"
    packed = decode(wire)
    assert isinstance(packed, PackedArray)
    assert packed.data.obj is wire
