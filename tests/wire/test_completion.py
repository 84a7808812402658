"""Broken-off frames are completed: at every byte of every recorded expression, and at the awkward places of others."""

from __future__ import annotations

import random

import pytest

from tests.support.cases import for_all, for_each
from tests.wire.scanning import completion, skip
from tests.wire.test_frames_random import expression
from tests.wire.trees import Vector, load_vectors
from wstpserver.wire.decode import decode
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.frames import END, MORE, FrameScanner
from wstpserver.wire.values import Function, PackedArray, Symbol

ALL = load_vectors("10.1") + load_vectors("13.2")
ABORTED = Symbol("$Aborted")


def scanned(*pieces: bytes) -> FrameScanner:
    scanner = FrameScanner(())
    for piece in pieces:
        assert scanner.scan_bytes(piece) == MORE
    return scanner


def completed(*pieces: bytes) -> bytes:
    """The whole frame; that the completion ends it exactly at its own end is required on the way."""
    frame = b"".join(pieces) + completion(scanned(*pieces))
    scanner = FrameScanner()
    assert scanner.scan_bytes(frame) == END
    assert scanner.used == len(frame)
    assert frame.endswith(b"\n]")
    return frame


def as_one_expression(*pieces: bytes) -> object:
    return decode(completed(*pieces))


@for_each(ALL, lambda vector: vector.name)
def test_every_byte(vector: Vector) -> None:
    size = len(vector.wire) - 1
    places = [*range(1, size)] if size < 300 else [*range(1, 150), *range(150, size - 50, 61), *range(size - 50, size)]
    for place in places:
        as_one_expression(vector.wire[:place])
    assert completion(scanned(vector.wire[:size])) == completion(scanned(vector.wire)) == b""
    assert completion(scanned()) == b""


@for_each(ALL[::7], lambda vector: vector.name)
def test_the_completion_does_not_depend_on_how_it_came(vector: Vector) -> None:
    for place in range(1, min(len(vector.wire), 200)):
        start = vector.wire[:place]
        assert completion(scanned(*(bytes([byte]) for byte in start))) == completion(scanned(start))


@for_each(range(30))
def test_random_trees(seed: int) -> None:
    rng = random.Random(seed)
    frame = expression(rng, 3)
    for _ in range(60):
        completed(frame[: rng.randint(1, len(frame) - 1)])


def test_what_is_missing_becomes_aborted() -> None:
    assert as_one_expression(b"FC#DA~Af\n\xa1\x05\n") == Function(Symbol("f"), (5, ABORTED, ABORTED))
    assert as_one_expression(b"FA") == Function(ABORTED, (ABORTED,))
    assert as_one_expression(b"FAFB") == Function(Function(ABORTED, (ABORTED, ABORTED)), (ABORTED,))


def test_what_came_stays() -> None:
    value = as_one_expression(b'FB#DA~Af\n"HA~Ehe')
    assert value == Function(Symbol("f"), ("hexxx", ABORTED))
    array = as_one_expression(b"ADDYFB#GA~DList\nFB#GA~DList\n.\nPB\xe2\x01\x00\x02")
    assert isinstance(array, PackedArray)
    assert array.tolist() == [[1, 2], [0, 0]]
    assert as_one_expression(b"FC#GA~DList\nPC\xe2\x01\x00\x02") == PackedArray.from_list([1, 2, 0], "int16")


TEXTS = {
    "in the letters": ('"LD~C日本語\n', "日本語"),
    "escapes": (b'"S\x41~C' + rb"\:65E5\351\\x" + b"\n", "日é\\x"),
    "pairs of escapes": (b'"OA~A' + rb"\:D83D\:DE00" + b"\n", "😀"),
    "UCS-2": (b'"IC~C' + "日本語".encode("utf-16-be") + b"\n", "日本語"),
    "UTF-16": (b'"IE~C' + "日本語".encode("utf-16-le") + b"\n", "日本語"),
    "UTF-32": (b'"OF~C' + "日本😀".encode("utf-32-be") + b"\n", "日本😀"),
    "Latin-1": (b'"FB~C\xe9\xe8\xe7\n', "éèç"),
    "decimal sizes": (b'"000070 D~064 ' + b"x" * 63 + b"y" + b"\n", "x" * 63 + "y"),
}


def texts() -> dict[str, bytes]:
    return {name: text.encode() if isinstance(text, str) else text for name, (text, _) in TEXTS.items()}


@for_all("name", TEXTS)
def test_texts_in_all_formats(name: str) -> None:
    """Filled up to something that can be read, with at least as many characters as announced."""
    body = texts()[name][1:]
    size_end = 1 if body[0] >= 0x40 else body.index(b" ") + 1
    rest = body[size_end:-1]
    token = b'"' + (bytes([0x40 + len(rest)]) if len(rest) < 64 else b"%06d " % len(rest))
    for place in range(1, len(token) + len(rest) + 1):
        value = as_one_expression((token + rest + b"\n")[:place])
        assert isinstance(value, str)
    assert decode(token + rest + b"\n") == TEXTS[name][1]


def test_long_texts_are_known_by_their_last_bytes() -> None:
    """More of the text than the scanner keeps: whether a character was cut is seen from the end."""
    for letter, characters in (("D", "aé日😀".encode()), ("A", rb"a\\b\351\:65E5")):
        body = b"%b~%d " % (letter.encode(), 3000) + characters * 1000
        frame = b'"%d ' % len(body) + body + b"\n"
        for place in range(5000, 5020):
            assert isinstance(as_one_expression(frame[:place]), str)
            assert isinstance(as_one_expression(frame[:400], frame[400 : place - 3], frame[place - 3 : place]), str)


def test_a_skipped_text_is_filled_up() -> None:
    scanner = scanned(b'"2003 B~2000 ')
    skip(scanner, 1000)
    assert completion(scanner) == b"x" * 996 + b"\n]"


def test_limit() -> None:
    for start in (b'"4294967296 A~', b"F999999999999999 ", b"F999999999 #DA~Af\nP99999999 \xf8"):
        with pytest.raises(LocalProtocolError, match="takes"):
            completion(scanned(start))
    scanner = scanned(b"FC")
    size = len(completion(scanner))
    assert len(completion(scanner, limit=size)) == size
    with pytest.raises(LocalProtocolError, match=f"allowed are {size - 1}"):
        completion(scanner, limit=size - 1)


@for_all("start", [b"FA#DA~Af\nP12", b"ABDMFC", b"ABDMFA#GA~DList\n", b"A1000 DMF7 "])
def test_what_cannot_become_an_expression(start: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        completion(scanned(start))
