"""Bytes that are no expression: what is wrong and where; limits; nothing is allocated for a claim."""
from __future__ import annotations

import tracemalloc

import pytest

from tests.support.cases import for_all, for_each
from wstpserver.wire.decode import NEED_DATA, Decoder, decode
from wstpserver.wire.errors import ProtocolError, RemoteProtocolError
from wstpserver.wire.tokens import DecoderLimits

BAD = [
    (b"\0", 0, "no expression begins with byte 0x00"),
    (b"G", 0, "no expression begins with byte 0x47"),
    (b"\xa1\x01]", 2, "does not end with a line feed"),
    (b"\xe4\x01\0\0\0\xe4", 5, "does not end with a line feed"),
    (b"FA]", 2, "the packet ends inside an expression"),
    (b"F!", 1, "a size or count cannot begin with b'!'"),
    (b"F12x", 1, "a size or count cannot begin with b'12x'"),
    (b"F\xff", 1, "a size or count cannot begin with"),
    (b"F1234567890123456789", 1, "more than 18 digits"),
    (b"F99999999999 #", 0, "arguments of a function: 99999999999"),
    (b'"DA~Axx', 6, "a line feed was due, not 0x78"),
    (b'"Cabc\n', 2, "text begins with b'abc'"),
    (b'"@\n', 2, "text begins with b''"),
    (b'"CA-@\n', 2, "text begins with b'A-@'"),
    (b'"DH~Ax\n', 2, "text begins with b'H~Ax'"),
    (b'"DA~A\\\n', 5, "backslash that begins no escape"),
    (b'"FA~Aa\\q\n', 6, "backslash that begins no escape"),
    (b'"GA~A\\:12\n', 5, "backslash that begins no escape"),
    (b'"KA~A\\|110000\n', 5, "beyond Unicode"),
    (b'"ED~A\xc3A\n', 5, "format D is not utf-8"),
    (b'"DC~Ax\n', 5, "format C is not utf-16-be"),
    (b'"DE~Ax\n', 5, "format E is not utf-16-le"),
    (b'"GF~A\xff\xff\xff\xff\n', 5, "format F is not utf-32-le"),
    (b"+DA~Ax\n", 2, "'x' is no integer"),
    (b"+DA~A-\n", 2, "'-' is no integer"),
    (b"+CA~@\n", 2, "'' is no integer"),
    (b"+ED~A\xd9\xa3\n", 2, "is no integer"),  # a digit, but not an ASCII one
    (b"+FA~C1_0\n", 2, "'1_0' is no integer"),
    (b"P", 0, "a packed block where no arguments are expected"),
    (b"FAPA", 2, "a packed block where no arguments are expected"),
    (b"FA#DA~Af\nPB\xa1", 9, "a packed block of 2 numbers where 1 are missing"),
    (b"FA#DA~Af\nPA\x21", 11, "0x21 is no number token"),
    (b"FA#DA~Af\nPA\xa1\x05x", 13, "a line feed was due"),
    (b"AA!", 2, "the dimensions of an array were due"),
    (b"AADAF\n", 4, "break off"),
    (b"AADLFA#FA~Cfoo\n;\n", 4 + 11, "do not end with a full stop"),
    (b"AADA.\n", 4, "do not end with a full stop"),
    (b'AADLFA"FA~Cfoo\n.\n', 6, "the head of an array dimension is no symbol"),
    (b"AADEFA#FA\n", 4, "break off"),
    (b"AADLF!#FA~Cfoo\n.\n", 5, "a size or count cannot begin with"),
    (b"AADMFA#FA~Cfooo\n.\n", 14, "a line feed was due"),
    (b"AADLFA#FX~Cfoo\n.\n", 8, "text begins with b'X~Cf'"),
    (b"ABDLFA#FA~Cfoo\n.\n", 0, r"dimensions \(1,\) cannot have 2 leaves"),
    (b"AADLFA#FA~Cfoo\n.x", 16, "a line feed was due"),
    (b"OA\xe2\xff\x06\n", 0, "dictionary index .token O.: no greeting of ours allows"),
]


@for_each(BAD)
def test_what_is_wrong_and_where(case: tuple[bytes, int, str]) -> None:
    wire, offset, message = case
    with pytest.raises(RemoteProtocolError, match=message) as raised:
        decode(wire)
    assert raised.value.offset == offset


@for_each(BAD)
def test_offset_counts_from_the_start_of_the_stream(case: tuple[bytes, int, str]) -> None:
    wire, offset, message = case
    decoder = Decoder(offset=1000)
    decoder.feed(b'FA#DA~Af\n"DD~Ax\n]')
    assert decoder.next_expression() is not NEED_DATA
    with pytest.raises(RemoteProtocolError, match=message) as raised:
        for byte in wire + b"\n" * 20:
            decoder.feed(bytes([byte]))
            while decoder.next_expression() is not NEED_DATA:
                pass
    assert raised.value.offset == 1017 + offset
    assert str(raised.value).endswith(f"(at byte {1017 + offset})")


def test_error_is_sticky() -> None:
    decoder = Decoder()
    decoder.feed(b"\xa1\x01\n]\x01")
    assert decoder.next_expression() == 1
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="0x01") as raised:
            decoder.next_expression()
        assert raised.value.offset == 4
        decoder.feed(b"\xa1\x02\n]")


def test_not_exactly_one_expression() -> None:
    with pytest.raises(RemoteProtocolError, match="breaks off") as raised:
        decode(b"FA#DA~Af\n")
    assert raised.value.offset == 9
    with pytest.raises(RemoteProtocolError, match="breaks off"):
        decode(b"")
    with pytest.raises(RemoteProtocolError, match="more bytes follow") as raised:
        decode(b"\xa1\x01\n]\xa1")
    assert raised.value.offset == 4


@for_all(
    ("limits", "wire", "message"),
    [
        (DecoderLimits(depth=3), b"FA#DA~Af\n" * 4, "more than 3 levels"),
        (DecoderLimits(depth=3), b"FA" * 4, "more than 3 levels"),
        (DecoderLimits(count=100), b"F101 ", "arguments of a function: 101, the limit is 100"),
        (DecoderLimits(count=100), b"A101 ", "leaves of an array: 101, the limit is 100"),
        (DecoderLimits(text=100), b'"101 ', "bytes of text: 101, the limit is 100"),
        (DecoderLimits(text=100), b"#101 ", "bytes of text: 101"),
        (DecoderLimits(packed=100), b"F13 #DA~Af\nP13 \xf6", "bytes of a packed block: 104"),
        (DecoderLimits(header=100), b"AAD101 ", "bytes of array dimensions: 101"),
        (DecoderLimits(digits=9), b"+MA~J1234567890\n", "digits of an integer: 10"),
        (DecoderLimits(expression=20), b"FD#DA~Af\n\xa1\x01\n\xa1\x01\n\xa1\x01\n\xa1\x01\n", "more than 20 bytes"),
        (DecoderLimits(expression=20), b'FA#DA~Af\n"20 ', "more than 20 bytes"),
        (DecoderLimits(expression=20), b'"MD~J1234567890\n]' * 2 + b'"VD~S1234567890123456789\n', "more than 20 bytes"),
    ],
)
def test_limits(limits: DecoderLimits, wire: bytes, message: str) -> None:
    decoder = Decoder(limits)
    decoder.feed(wire)
    with pytest.raises(RemoteProtocolError, match=message):
        while decoder.next_expression() is not NEED_DATA:
            pass


@for_all(
    "claim",
    [
        b'"2000000000 ',
        b"F2000000000 #DA~Af\nP2000000000 \xf6",
        b"F2000000000 ",
        b"A2000000000 DTF2000000000 #DA~Af\n.\n",
    ],
)
def test_a_claim_of_gigabytes_takes_no_memory(claim: bytes) -> None:
    decoder = Decoder()
    tracemalloc.start()
    try:
        decoder.feed(claim)
        assert decoder.next_expression() is NEED_DATA
        for _ in range(100):
            decoder.feed(b"\xa1\x01\n")
            assert decoder.next_expression() is NEED_DATA
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_block_in_crumbs_takes_no_multiple_of_its_size() -> None:
    decoder = Decoder()
    decoder.feed(b'"100010 D~100001 ')
    tracemalloc.start()
    try:
        for _ in range(49_999):
            decoder.feed(b"xy")
            assert decoder.next_expression() is NEED_DATA
        assert tracemalloc.get_traced_memory()[1] < 133_000
    finally:
        tracemalloc.stop()
    decoder.feed(b"xyz\n")
    assert decoder.next_expression() == "xy" * 50_000 + "z"


def test_bytes_without_sense_raise_nothing_else() -> None:
    import random

    chooser = random.Random(7)
    alphabet = b'F#"+*PAD.]O@ABCD~0123 \n\xa1\xe4\xf6\xf8\\:'
    for _ in range(3000):
        decoder = Decoder()
        decoder.feed(bytes(chooser.choices(alphabet, k=40)))
        try:
            while decoder.next_expression() is not NEED_DATA:
                pass
        except ProtocolError as error:
            assert error.offset is not None
            assert 0 <= error.offset <= 40
