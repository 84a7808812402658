"""The recorded expressions of both versions of the library: the same trees, the same bytes, however they are cut."""
from __future__ import annotations

import random

from tests.support.cases import for_each
from tests.wire.trees import Vector, from_tree, load_vectors, normal_tree, to_tree
from wstpserver.wire.decode import NEED_DATA, Decoder, decode
from wstpserver.wire.encode import encode
from wstpserver.wire.values import Expression

OLD, NEW = load_vectors("10.1"), load_vectors("13.2")
ALL = OLD + NEW


EXPECTED = {id(vector): repr(normal_tree(vector.tree)) for vector in ALL}


def same(value: Expression, vector: Vector) -> bool:
    """Whether a value is that of a vector; through repr, for which a NaN equals itself and 0.0 is not -0.0."""
    return repr(to_tree(value)) == EXPECTED[id(vector)]


def test_there_are_159_of_each() -> None:
    assert len(OLD) == len(NEW) == 159


@for_each(OLD, lambda vector: vector.name)
def test_encodes_as_the_library_of_2015(vector: Vector) -> None:
    value = from_tree(vector.tree)
    assert encode(value) == vector.wire
    assert encode(value, end_packet=False) == vector.wire[:-1]


@for_each(NEW, lambda vector: vector.name)
def test_encodes_as_the_library_of_2023(vector: Vector) -> None:
    assert encode(from_tree(vector.tree), ascii=False) == vector.wire


@for_each(ALL, lambda vector: vector.name)
def test_decodes(vector: Vector) -> None:
    assert same(decode(vector.wire), vector)
    assert same(decode(vector.wire[:-1]), vector)


@for_each(ALL, lambda vector: vector.name)
def test_decodes_in_two_pieces_and_byte_by_byte(vector: Vector) -> None:
    wire = vector.wire
    cuts = range(1, len(wire)) if len(wire) < 600 else sorted(random.Random(1).sample(range(1, len(wire)), 300))
    for cut in cuts:
        decoder = Decoder()
        decoder.feed(wire[:cut])
        early = decoder.next_expression()
        assert (early is NEED_DATA) == (cut < len(wire) - 1)  # complete with the last leaf, before its `]`
        decoder.feed(wire[cut:])
        late = decoder.next_expression()
        value = late if early is NEED_DATA else early
        assert value is not NEED_DATA
        assert same(value, vector)
        assert decoder.at_boundary
        assert decoder.offset == len(wire)
    decoder = Decoder()
    values = []
    for byte in wire:
        decoder.feed(bytes([byte]))
        if (value := decoder.next_expression()) is not NEED_DATA:
            values.append(value)
    assert len(values) == 1
    assert same(values[0], vector)


@for_each(range(10))
def test_one_stream_in_random_pieces(seed: int) -> None:
    chooser = random.Random(seed)
    vectors = chooser.sample(ALL, len(ALL))
    stream = b"".join(vector.wire if chooser.random() < 0.8 else vector.wire[:-1] for vector in vectors)
    decoder = Decoder()
    values = []
    at = 0
    while at < len(stream):
        size = chooser.choice((1, 2, 5, 30, 1000, 65536))
        decoder.feed(chooser.choice((bytes, bytearray, memoryview))(stream[at : at + size]))
        at += size
        while (value := decoder.next_expression()) is not NEED_DATA:
            values.append(value)
    assert len(values) == len(vectors)
    assert all(same(value, vector) for value, vector in zip(values, vectors, strict=True))
    assert decoder.at_boundary


@for_each(ALL, lambda vector: vector.name)
def test_incomplete_expression_is_told(vector: Vector) -> None:
    wire = vector.wire[:-1]
    for cut in {0, 1, len(wire) // 2, len(wire) - 1}:
        decoder = Decoder()
        decoder.feed(wire[:cut])
        assert decoder.next_expression() is NEED_DATA
        assert decoder.at_boundary == (cut == 0)
