"""The scanner on the recorded expressions of both versions of the library, cut in every way."""

from __future__ import annotations

import random

from tests.support.cases import for_all, for_each
from tests.wire.oracle import Event, Reading, head_code, read
from tests.wire.scanning import cut, scan
from tests.wire.trees import Vector, load_vectors

ALL = load_vectors("10.1") + load_vectors("13.2")
SHORT = [vector for vector in ALL if len(vector.wire) <= 600]


def by_name(vector: Vector) -> str:
    return vector.name


def expected_head(vector: Vector) -> bytes:
    """The name of the head symbol, from the recorded tree."""
    kind, *rest = vector.tree
    if kind == "list" and vector.wire[:1] == b"F":
        return b"List"
    if kind != "function" or rest[0][0] != "symbol":
        return b""
    return str(rest[0][1]).encode()


@for_each(ALL, by_name)
def test_whole(vector: Vector) -> None:
    name = expected_head(vector)
    reading = scan(vector.wire)
    size = len(vector.wire)
    end, tail = reading.events
    assert end == Event("END", size - 1, head_code(name), name)
    assert tail == Event("TAIL", size, head_code(name), name)
    assert reading == read(vector.wire)


def test_without_end_of_packet() -> None:
    """A sender that flushes without ``]`` has sent a complete frame."""
    for vector in ALL:
        reading = scan(vector.wire[:-1])
        assert [event.kind for event in reading.events] == ["END"], vector.name
        assert reading.boundary, vector.name


@for_each(SHORT, by_name)
def test_every_split(vector: Vector) -> None:
    whole = scan(vector.wire)
    for place in range(len(vector.wire) + 1):
        assert scan(vector.wire[:place], vector.wire[place:]) == whole, place


def test_byte_by_byte() -> None:
    for vector in ALL:
        assert scan(*cut(vector.wire, range(len(vector.wire)))) == scan(vector.wire), vector.name


@for_each(SHORT, by_name)
def test_every_prefix(vector: Vector) -> None:
    for end in range(len(vector.wire)):
        assert scan(vector.wire[:end]) == read(vector.wire[:end]), end


@for_all("seed", range(20))
def test_conversations_in_random_pieces(seed: int) -> None:
    """Frames one after the other, some without their ``]`` and some with two, cut at random places."""
    rng = random.Random(seed)
    vectors = [rng.choice(ALL) for _ in range(40)]
    endings = [rng.choice([b"", b"]", b"]", b"]]"]) for _ in vectors]
    stream = b"".join(vector.wire[:-1] + ending for vector, ending in zip(vectors, endings, strict=True))
    places = [rng.randrange(len(stream)) for _ in range(rng.randrange(200))]
    reading = scan(*cut(stream, places))
    assert reading == read(stream)
    kinds = [event.kind for event in reading.events]
    assert kinds.count("END") == 40
    assert kinds.count("TAIL") == sum(map(len, endings))


def test_late_end_of_packet() -> None:
    after = b"\xa1\x00\n"
    for vector in SHORT:
        assert scan(vector.wire[:-1], b"]", after) == scan(vector.wire + after), vector.name


def test_leading_ends_of_packet_belong_to_nothing() -> None:
    assert scan(b"]", b"]").events == [Event("TAIL", 1, 0, b""), Event("TAIL", 2, 0, b"")]


def test_nothing() -> None:
    assert scan() == scan(b"") == Reading([], 0, None, True)


DICTIONARY_FRAMES = [
    b'FAOA\xe2\xff\x06\n"KA~HIn[1]:= \n]',
    b"FAOA\xe2Y\x04\nFBOA\xe2\xff\n\n\xe4\x02\x00\x00\x00\n\xe4\x02\x00\x00\x00\n]",
    b"FAOA\xe2$\x0c\n\xe4\x04\x00\x00\x00\n]",
]


@for_all("stream", DICTIONARY_FRAMES)
def test_dictionary_symbols(stream: bytes) -> None:
    """The frames of the conversation with greeting 5 in tests/data/handshakes.json: heads by number, unnamed."""
    size = len(stream)
    expected = [Event("END", size - 1, 0, b""), Event("TAIL", size, 0, b"")]
    assert scan(stream).events == expected == read(stream).events
    for place in range(size):
        assert scan(stream[:place], stream[place:]).events == expected
