"""The scanner against trees whose frames are known by construction, and against the oracle on damaged streams."""
from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.oracle import WIDTHS, read
from tests.wire.scanning import cut, scan
from tests.wire.trees import load_vectors

MATERIAL = [vector.wire for vector in load_vectors("10.1") + load_vectors("13.2") if len(vector.wire) < 300]
EXAMPLES = settings().max_examples
SUSPICIOUS = b'F#"+*PAOD.]\n @A\x7f0129\xa1\xe4\xf8'


def size_field(rng: random.Random, size: int) -> bytes:
    """Either form where there are two, and leading zeros now and then: they change nothing."""
    if size < 64 and rng.random() < 0.7:
        return bytes([0x40 + size])
    return b"%0*d " % (rng.choice([1, 1, 1, 4]), size)


def leaf(rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        token, width = rng.choice(list(WIDTHS.items()))
        return bytes([token]) + rng.randbytes(width) + b"\n"
    text = rng.randbytes(rng.choice([0, 1, 5, 63, 64, 100]))
    return rng.choice([b'"', b"#", b"+", b"*"]) + size_field(rng, len(text)) + text + b"\n"


def packed(rng: random.Random, count: int) -> bytes:
    token, width = rng.choice([(0xA1, 1), (0xE4, 4), (0xF6, 8), (0xA4, 4)])
    return b"P" + size_field(rng, count) + bytes([token]) + rng.randbytes(width * count) + b"\n"


def numbers(rng: random.Random, count: int) -> bytes:
    """So many values in some blocks and single numbers."""
    parts = []
    while count:
        block = rng.randint(1, count)
        if block == 1 and rng.random() < 0.5:
            parts.append(b"\xe4" + rng.randbytes(4) + b"\n")
        else:
            parts.append(packed(rng, block))
        count -= block
    return b"".join(parts)


def array(rng: random.Random) -> bytes:
    dimensions = [rng.choice([0, 1, 2, 3, 70]) for _ in range(rng.randint(1, 3))]
    total, header = 1, b""
    for dimension in dimensions:
        total *= dimension
        header += b"F" + size_field(rng, dimension) + rng.choice([b"#GA~DList\n", b"#07 D~3 foo\n"])
    header += b"."
    start = b"A" + size_field(rng, total) + b"D" + size_field(rng, len(header)) + header + b"\n"
    return start + numbers(rng, total)


def expression(rng: random.Random, depth: int) -> bytes:
    choice = rng.random()
    if depth == 0 or choice < 0.3:
        return leaf(rng)
    if choice < 0.4:
        return array(rng)
    count = rng.choice([0, 1, 2, 3, 70])
    head = expression(rng, depth - 1) if choice < 0.5 else rng.choice([b"#DA~Af\n", b"#OA~LReturnPacket\n"])
    start = b"F" + size_field(rng, count) + head
    if choice < 0.7:
        return start + numbers(rng, count)
    return start + b"".join(expression(rng, depth - 1 if count < 10 else 0) for _ in range(count))


@settings(max_examples=3 * EXAMPLES)
@given(st.integers(0, 2**64))
def test_frames_known_by_construction(seed: int) -> None:
    rng = random.Random(seed)
    frames = [expression(rng, 3) for _ in range(rng.randint(1, 4))]
    tails = [rng.randint(0, 2) for _ in frames]
    stream = b"".join(frame + b"]" * tail for frame, tail in zip(frames, tails, strict=True))
    places = [rng.randrange(len(stream)) for _ in range(rng.randint(0, 30))]
    reading = scan(*cut(stream, places))
    expected, at = [], 0
    for frame, tail in zip(frames, tails, strict=True):
        at += len(frame)
        expected.append(at)
        at += tail
    assert [event.offset for event in reading.events if event.kind == "END"] == expected
    assert reading.boundary
    assert reading == read(stream)


def damage(rng: random.Random, stream: bytes) -> bytes:
    damaged = bytearray(stream)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(damaged))
        kind = rng.randrange(4)
        if kind == 0:
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            damaged[at] = rng.choice(SUSPICIOUS)
        elif kind == 2 and len(damaged) > 4:
            del damaged[at : at + rng.randint(1, 3)]
        else:
            damaged[at:at] = bytes(rng.choices(SUSPICIOUS, k=rng.randint(1, 3)))
    return bytes(damaged)


@settings(max_examples=8 * EXAMPLES)
@given(st.integers(0, 2**64))
def test_damaged_streams(seed: int) -> None:
    """Accepted or refused alike, with the same events before, the same error and the same offset."""
    rng = random.Random(seed)
    stream = damage(rng, b"".join(rng.choices(MATERIAL, k=rng.randint(1, 3))))
    places = [rng.randrange(len(stream)) for _ in range(rng.randint(0, 4))]
    assert scan(*cut(stream, places)) == read(stream)


@settings(max_examples=2 * EXAMPLES)
@given(st.lists(st.sampled_from([bytes([byte]) for byte in SUSPICIOUS]), max_size=40))
def test_noise(bytes_: list[bytes]) -> None:
    stream = b"".join(bytes_)
    assert scan(*bytes_) == scan(stream) == read(stream)
