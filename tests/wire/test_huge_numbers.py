"""Integers beyond what int() and str() take (4300 digits unless a program changes that) arrive exact, or are refused
with an error of this package."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from wstpserver.wire.decode import decode
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import LocalProtocolError, RemoteProtocolError
from wstpserver.wire.numbers import format_decimal, parse_decimal
from wstpserver.wire.preview import preview
from wstpserver.wire.tokens import DecoderLimits, text_item
from wstpserver.wire.values import BigReal, Function, Int8, Int16, Int64, PackedArray, Symbol


@pytest.fixture(params=[4300, 640, 0])
def limit(request: pytest.FixtureRequest) -> Iterator[int]:
    """Python's own limit, as programs may set it; 640 is the least, 0 none."""
    if not hasattr(sys, "set_int_max_str_digits"):
        pytest.skip("this Python has no such limit")
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(request.param)
    yield request.param
    sys.set_int_max_str_digits(before)


def integer_text(digits: str) -> bytes:
    return text_item(b"+", b"A~" + (b"%c" % (0x40 + len(digits)) if len(digits) < 64 else b"%d " % len(digits))
                     + digits.encode())  # fmt: skip


@pytest.mark.parametrize("count", [19, 400, 640, 641, 4300, 4301, 5000, 30_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_of_any_length_arrives_exact(limit: int, count: int, sign: str) -> None:
    digits = sign + "1" + "0" * (count - 2) + "7"
    expected = (-1 if sign else 1) * (10 ** (count - 1) + 7)
    command = b"FA#RA~OWSCommandPacket\nFB#NA~KCloseKernel\n" + integer_text(digits) + b"\xa1\1\n]"
    packet = decode(command)
    assert packet == Function(Symbol("WSCommandPacket"), (Function(Symbol("CloseKernel"), (expected, 1)),))
    assert decode(encode(packet)) == packet
    assert hash(decode(encode(packet))) == hash(packet)
    assert len(repr(packet)) < 250
    assert preview(command, 100_000) == f"WSCommandPacket[CloseKernel[{digits}, 1]]"
    assert parse_decimal(format_decimal(expected)) == expected


@pytest.mark.parametrize("digits", ["", "-", "--1", "1_000", " 1", "1 ", "1.5", "0x10", "١", "1" * 5000 + "x"])
def test_what_is_no_integer_is_the_peers_error(limit: int, digits: str) -> None:
    payload = b"D~" + (b"%c" % (0x40 + len(digits)) if len(digits) < 64 else b"%d " % len(digits)) + digits.encode()
    with pytest.raises(RemoteProtocolError, match="is no integer"):
        decode(text_item(b"+", payload))


def test_more_digits_than_allowed_are_refused_before_they_are_read(limit: int) -> None:
    with pytest.raises(RemoteProtocolError, match="digits of an integer: 5000, the limit is 4999"):
        decode(integer_text("9" * 5000), DecoderLimits(digits=4999))


@pytest.mark.parametrize("kind", [Int8, Int16, Int64])
def test_a_width_that_does_not_hold_it_is_said_so(limit: int, kind: type[Int8]) -> None:
    with pytest.raises(ValueError, match=f"an integer of 16610 bits does not fit {kind.__name__}"):
        kind(10**5000)
    with pytest.raises(ValueError, match=f"does not fit {kind.__name__}"):
        kind(-(10**400))


@pytest.mark.parametrize("kind", [None, "int8", "int64", "real64"])
def test_an_array_that_does_not_hold_it_is_said_so(limit: int, kind: str | None) -> None:
    with pytest.raises(ValueError, match="not all of the values are"):
        PackedArray.from_list([10**5000], kind)


def test_reals_of_any_length(limit: int) -> None:
    digits = "1" * 5000
    value = decode(text_item(b"*", b"A~5007 " + digits.encode() + b".5`5001"[:7]))
    assert isinstance(value, BigReal)
    assert str(value.to_decimal()).startswith("1" * 5000)
    assert value.precision == 5001
    for text in (f"1.5*^{digits}", "1.5*^1000000000000000000", "x", "1.5`2`3"):
        real = decode(text_item(b"*", b"A~" + b"%d " % len(text) + text.encode()))
        assert isinstance(real, BigReal)
        with pytest.raises(ValueError, match="Decimal cannot hold|no real in decimal"):
            real.to_decimal()
        assert decode(encode(real)) == real


def test_a_value_of_no_kind_is_our_error(limit: int) -> None:
    with pytest.raises(LocalProtocolError, match="no expression stands for"):
        encode(Function(Symbol("f"), (10**5000, complex(1, 2))))  # type: ignore[arg-type]
