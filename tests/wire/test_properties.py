"""Round trips of arbitrary values, in arbitrary pieces."""
from __future__ import annotations

import math
import struct
from array import array
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wstpserver.wire.decode import NEED_DATA, Decoder, decode
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.handshake import ConnectHandshake, GreetingComplete, ListenHandshake
from wstpserver.wire.numbers import format_decimal, parse_decimal
from wstpserver.wire.tokens import NUMBER_KINDS
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

# Every code point, lone surrogates and NUL included.
texts = st.text(st.characters(exclude_categories=()), max_size=30) | st.text(max_size=200)
symbols = st.builds(Symbol, texts)
singles = st.floats(width=32).map(Real32)


@st.composite
def packed_arrays(draw: st.DrawFn) -> PackedArray:
    """Arrays of every kind and rank 1 to 4. A list without numbers is `List[]` on the wire, so it is left out; so
    are dimensions below one of size zero, which do not travel.
    """
    kind = draw(st.sampled_from(sorted(NUMBER_KINDS)))
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)) + draw(st.sampled_from([[], [], [0], [200]]))
    data = draw(st.binary(min_size=0, max_size=64))
    size = math.prod(shape) * NUMBER_KINDS[kind].width
    data = (data * (size // len(data) + 1))[:size] if data else bytes(size)
    heads = draw(st.none() | st.lists(texts, min_size=len(shape), max_size=len(shape)))
    return PackedArray(data, kind, shape, heads)


leaves = (
    st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | singles
    | texts
    | symbols
    | st.integers(0, 255).map(Int8)
    | st.integers(-(2**15), 2**15 - 1).map(Int16)
    | st.integers(-(2**63), 2**63 - 1).map(Int64)
    | st.builds(BigReal, texts)
    | st.binary(min_size=16, max_size=16).map(LongDouble)
    | packed_arrays()
)
expressions = st.recursive(
    leaves,
    lambda inner: st.builds(Function, symbols | inner, st.lists(inner, max_size=5).map(tuple)),
    max_leaves=30,
)


def exact(value: Any) -> Any:
    """A form that tells types and bit patterns apart, which == does not. One surrogate pair is one character."""
    if isinstance(value, Function):
        return ["f", exact(value.head), [exact(argument) for argument in value.args]]
    if isinstance(value, PackedArray):
        heads = value.heads and [exact(head) for head in value.heads]
        return ["p", value.data.nbytes and value.kind, value.shape, heads, value.data.tobytes()]
    if isinstance(value, Symbol):
        return ["s", exact(value.name)]
    if isinstance(value, BigReal):
        return ["b", exact(value.text)]
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass")
    if isinstance(value, float):
        return [type(value), struct.pack("<d", value)]
    if type(value) is int and not -(2**31) <= value < 2**31 and -(2**63) <= value < 2**63:
        return exact(Int64(value))  # the wire does not tell an int that needs 64 bits from an Int64
    return [type(value), value]


@given(expressions, st.sampled_from([{}, {"ascii": False}, {"seven_bit": True}]), st.booleans())
def test_round_trip(value: Any, style: dict[str, bool], end_packet: bool) -> None:
    assert exact(decode(encode(value, end_packet=end_packet, **style))) == exact(value)


@given(texts)
def test_text_round_trip_is_exact(text: str) -> None:
    assert decode(encode(text)) == text
    assert decode(encode(text, ascii=False)) == text


@given(st.lists(expressions, min_size=1, max_size=4), st.data())
def test_any_pieces(values: list[Any], data: st.DataObject) -> None:
    stream = b"".join(encode(value) for value in values)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    decoder = Decoder()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoder.feed(stream[start:end])
        while (value := decoder.next_expression()) is not NEED_DATA:
            found.append(value)
    assert [exact(value) for value in found] == [exact(value) for value in values]
    assert decoder.at_boundary


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_arbitrary_bytes_are_read_alike_whole_and_in_pieces(stream: bytes, other: bytes) -> None:
    def read(pieces: list[bytes]) -> tuple[list[Any], str | None]:
        decoder = Decoder()
        found = []
        try:
            for piece in pieces:
                decoder.feed(piece)
                while (value := decoder.next_expression()) is not NEED_DATA:
                    found.append(exact(value))
        except RemoteProtocolError as error:
            return found, str(error)
        return found, None

    stream = encode([stream.decode("latin-1"), 7])[: len(stream)] + other
    whole = read([stream])
    single = read([stream[at : at + 1] for at in range(len(stream))])
    assert whole[0] == single[0]
    assert (whole[1] is None) == (single[1] is None)


@given(st.integers(-(10**1500), 10**1500) | st.integers(0, 12000).map(lambda bits: 1 << bits))
def test_integers_of_any_length(value: int) -> None:
    text = format_decimal(value)
    assert text == str(value)
    assert parse_decimal(text) == value
    assert decode(encode(value)) == value


@given(st.sampled_from(sorted(NUMBER_KINDS.keys() - {"real128"})), st.data())
def test_leaves_one_by_one_make_the_same_array(kind: str, data: st.DataObject) -> None:
    number = NUMBER_KINDS[kind]
    raw = data.draw(st.binary(min_size=number.width, max_size=10 * number.width))
    raw = raw[: len(raw) // number.width * number.width]
    count = len(raw) // number.width
    packed = PackedArray(raw, kind, (count,), ("f",))
    singles = b"".join(
        bytes([number.little_token]) + raw[at : at + number.width] + b"\n"
        for at in range(0, len(raw), number.width)
    )
    found = decode(b"A%d DJF" % count + bytes([0x40 + count]) + b"#DA~Af\n.\n" + singles)
    assert isinstance(found, PackedArray)
    if kind != "real32":  # widening to a double and back changes a signalling NaN
        assert found == packed
    assert array(number.format, found.tolist()).tobytes() == array(number.format, packed.tolist()).tobytes()


@given(st.data())
def test_handshake_in_any_pieces(data: st.DataObject) -> None:
    uuid = "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047"
    listening, connecting = ListenHandshake(), ConnectHandshake("uuid", uuid=uuid)
    to_listening = connecting.data_to_send()
    to_connecting = b""
    done = 0
    while done < 2:
        size = data.draw(st.integers(1, 200))
        if to_listening and (not to_connecting or data.draw(st.booleans())):
            events = listening.receive_data(to_listening[:size])
            to_listening = to_listening[size:]
        else:
            assert to_connecting, "both sides wait"
            events = connecting.receive_data(to_connecting[:size])
            to_connecting = to_connecting[size:]
        done += sum(isinstance(event, GreetingComplete) for event in events)
        to_connecting += listening.data_to_send()
        to_listening += connecting.data_to_send()


@given(st.binary(max_size=200))
def test_handshake_never_raises_anything_else(said: bytes) -> None:
    opened = b"id=23E744F7-9AE5-481E-B5EA-9AE4CBF1C047 connection=data" + bytes(16)
    for start in (b"", b"id=23E7", b"need_msg_portN", opened, opened + b"Math Link 5\n", opened + b"Math Link 5\n-a "):
        handshake = ListenHandshake()
        try:
            handshake.receive_data(start + said)
            handshake.receive_end()
        except RemoteProtocolError as error:
            assert error.offset is not None
