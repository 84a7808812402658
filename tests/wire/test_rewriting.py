r"""Escapes of six digits are rewritten on the way to a peer that does not know them, and nothing else is.

`\|01f600` stands for U+1F600 in texts of format A at version 6 of the greeting; docs/wire-protocol.md, section 2.
"""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import for_all, for_each
from tests.wire.scanning import cut
from tests.wire.test_frames_random import expression
from tests.wire.test_texts import TEXTS
from tests.wire.trees import load_vectors
from wstpserver.wire.decode import decode
from wstpserver.wire.encode import encode
from wstpserver.wire.frames import EscapeRewriter
from wstpserver.wire.text import start_of_text
from wstpserver.wire.tokens import encode_size, text_item
from wstpserver.wire.values import Function, PackedArray, Symbol


def rewritten(*pieces: bytes) -> bytes:
    rewriter = EscapeRewriter()
    out = b"".join(bytes(part) for piece in pieces for part in rewriter.feed(piece))
    assert rewriter.held == 0
    return out


def six_digits(text: str) -> bytes:
    """Format A as 13.2 writes it at version 6."""
    characters = b""
    for character in text:
        code = ord(character)
        if character == "\\":
            characters += b"\\\\"
        elif 0x20 <= code < 0x7F:
            characters += character.encode()
        else:
            characters += b"\\%03o" % code if code < 0x100 else b"\\:%04x" % code
            if code >= 0x10000:
                characters = characters[: -len(b"\\:%04x" % code)] + b"\\|%06x" % code
    return start_of_text(b"A", len(text)) + characters


def string(text: str) -> bytes:
    return text_item(b'"', six_digits(text))


def symbol(text: str) -> bytes:
    return text_item(b"#", six_digits(text))


FACE = "\U0001f600"
EXAMPLES = {
    "a string": (string(FACE) + b"]", rb'"OA~B\:d83d\:de00' + b"\n]"),
    "a symbol as frame": (symbol(FACE), rb"#OA~B\:d83d\:de00" + b"\n"),
    "a number of characters that takes a digit more": (
        string(FACE + "x" * 62),
        rb'"79 A~64 \:d83d\:de00' + b"x" * 62 + b"\n",
    ),
    "a size that grows by a digit": (string(FACE + "x" * 52), rb'"67 A~v\:d83d\:de00' + b"x" * 52 + b"\n"),
    "a head": (b"FA" + symbol("f" + FACE) + b"\xa1\1\n]", rb"FA#PA~Cf\:d83d\:de00" + b"\n\xa1\1\n]"),
    "several in several texts": (
        b"FB" + symbol(FACE) + string("a" + FACE * 2) + string(FACE),
        rb"FB#OA~B\:d83d\:de00" + b"\n" + rb'"\A~Ea\:d83d\:de00\:d83d\:de00' + b"\n" + rb'"OA~B\:d83d\:de00' + b"\n",
    ),
    "a backslash before it": (rb'"MA~C\\\|01f600' + b"\n", rb'"QA~D\\\:d83d\:de00' + b"\n"),
    "no more than four digits": (rb'"KA~A\|0000e9' + b"\n", rb'"IA~A\:00e9' + b"\n"),
    "the head of an array": (
        b"AAD" + encode_size(len(b"FA" + symbol(FACE) + b".")) + b"FA" + symbol(FACE) + b".\n\xa1\1\n",
        b"AAD" + encode_size(3 + 18) + rb"FA#OA~B\:d83d\:de00" + b"\n.\n\xa1\1\n",
    ),
}


@for_all(("before", "after"), EXAMPLES.values(), ids=EXAMPLES)
def test_what_becomes_of_it(before: bytes, after: bytes) -> None:
    assert rewritten(before) == after
    assert decode(after) == decode(before)
    for place in range(len(before)):
        assert rewritten(before[:place], before[place:]) == after
    assert rewritten(*cut(before, range(len(before)))) == after
    stream = b"\xa1\1\n]" + before + b"\xa1\2\n]" + before
    assert rewritten(stream) == b"\xa1\1\n]" + after + b"\xa1\2\n]" + after


LOOKALIKES = {
    "an escaped backslash and a bar": rb'"LA~I\\|01f600' + b"\n]",
    "another format": b'"LD~J' + rb"\|01f600x" + b"\n]",
    "bytes": b'"LB~I' + rb"\|01f600x" + b"\n]",
    "packed numbers": b"FB#GA~DList\nPB\xf6" + rb"\|01f600\|01f600" + b"\n]",
    "a number": b"\xe6" + rb"\|01f600" + b"\n]",
    "a real in decimal": rb'*KA~H\|01f600' + b"\n]",
    "beyond Unicode": rb'"KA~A\|110000' + b"\n]",
    "broken off": rb'"HA~E\|01f' + b"\n]",
}


@for_all("stream", LOOKALIKES.values(), ids=LOOKALIKES)
def test_what_only_looks_like_it_stays(stream: bytes) -> None:
    assert rewritten(stream) == stream
    for place in range(len(stream)):
        assert rewritten(stream[:place], stream[place:]) == stream


@for_each([vector.wire for vector in load_vectors("13.2")] + [text.wire for text in TEXTS if rb"\|" not in text.wire])
def test_nothing_is_copied_where_there_is_nothing_to_rewrite(stream: bytes) -> None:
    rewriter = EscapeRewriter()
    (out,) = rewriter.feed(stream)
    assert out is stream
    place = len(stream) // 2
    assert b"".join([*rewriter.feed(stream[:place]), *rewriter.feed(stream[place:])]) == stream


def test_parts_without_an_escape_are_slices_of_what_came() -> None:
    stream = b"FB#DA~Af\n" + string(FACE) + b"\xa1\1\n]"
    before, text, after = EscapeRewriter().feed(stream)
    assert isinstance(before, memoryview)
    assert isinstance(after, memoryview)
    assert before.obj is after.obj is stream
    assert (bytes(before), bytes(after)) == (b"FB#DA~Af\n", b"\xa1\1\n]")
    assert text == rb'"OA~B\:d83d\:de00' + b"\n"


# -- any tree, any text, any cuts -------------------------------------------------------------------------------------

TEXT = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("\\|x" + FACE)), max_size=80)
LEAVES = st.one_of(
    TEXT.map(string),
    TEXT.map(symbol),
    st.integers(0, 255).map(lambda number: b"\xa1%c\n" % number),
    st.binary(min_size=8, max_size=8).map(lambda value: b"\xf6" + value + b"\n"),
    TEXT.map(lambda text: text_item(b'"', start_of_text(b"D", len(text)) + text.encode())),
)


def function(parts: list[bytes]) -> bytes:
    return b"F" + encode_size(len(parts) - 1) + b"".join(parts)


def array(name: str) -> bytes:
    header = b"FB" + symbol(name) + b"FA" + symbol("List") + b"."
    return b"ABD" + encode_size(len(header)) + header + b"\n" + b"PB\xe2" + rb"\|01" + b"\n"


TREES = st.recursive(LEAVES | TEXT.map(array), lambda inner: st.lists(inner, min_size=1, max_size=70).map(function))


@given(st.lists(TREES, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_the_values_stay_and_the_escapes_go(frames: list[bytes], rng: random.Random) -> None:
    stream = b"]".join(frames) + b"]"
    places = [rng.randrange(len(stream) + 1) for _ in range(rng.randrange(12))]
    out = rewritten(*cut(stream, places))
    assert out == rewritten(stream)
    for frame in frames:
        # as text, because a number may be no number, which equals nothing
        assert repr(decode(rewritten(frame))) == repr(decode(frame))
    assert out == b"]".join(map(rewritten, frames)) + b"]"
    assert out.count(rb"\|01f600") == sum(frame.count(rb"PB" + b"\xe2" + rb"\|01f600") for frame in frames)


@given(st.binary(max_size=300), st.randoms(use_true_random=False))
def test_what_is_no_expression_goes_through(data: bytes, rng: random.Random) -> None:
    """Up to the first wrong byte frames are rewritten; the rest goes out as it is, in whatever pieces it came."""
    stream = string(FACE) + b"G" + data
    out = b""
    rewriter = EscapeRewriter()
    for piece in cut(stream, [rng.randrange(len(stream) + 1) for _ in range(5)]):
        out += b"".join(rewriter.feed(piece))
    assert rewriter.held == 0
    assert out == rewritten(string(FACE)) + b"G" + data


@for_all("seed", range(20))
def test_random_frames_are_not_touched(seed: int) -> None:
    rng = random.Random(seed)
    stream = b"".join(expression(rng, 4) + b"]" for _ in range(5))
    if rb"\|" in stream:
        return
    assert rewritten(*cut(stream, [rng.randrange(len(stream)) for _ in range(20)])) == stream


@given(st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("\\|x" + FACE)), max_size=100))
def test_it_becomes_what_the_encoder_writes_for_a_reader_of_format_a(text: str) -> None:
    assert rewritten(string(text)).lower() == encode(text, end_packet=False, seven_bit=True).lower()


# -- memory and time --------------------------------------------------------------------------------------------------


def feed_in_pieces(rewriter: EscapeRewriter, start: bytes, piece: bytes, times: int) -> tuple[int, int]:
    """(most bytes held at once, peak of memory)"""
    rewriter.feed(start)
    tracemalloc.start()
    held = 0
    for _ in range(times):
        rewriter.feed(piece)
        held = max(held, rewriter.held)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held, peak


SIZE = 16 * 1024 * 1024
LARGE = {
    "a string without escapes": b'"%d A~%d ' % (SIZE + 11, SIZE),
    "a string in UTF-8": b'"%d D~%d ' % (SIZE + 11, SIZE),
    "a string without a count": b'"%d B~ ' % (SIZE + 3),
    "packed numbers": b"F%d #GA~DList\nP%d \xf6" % (SIZE // 8, SIZE // 8),
    "an argument behind a text": b"FB#DA~Af\n" + string(FACE) + b'"%d A~%d ' % (SIZE + 11, SIZE),
}


@for_all("start", LARGE.values(), ids=LARGE)
def test_large_blocks_pass_at_once(start: bytes) -> None:
    piece = b"x" * 65536
    held, peak = feed_in_pieces(EscapeRewriter(), start, piece, SIZE // 65536)
    assert held == 0
    assert peak < 4 * 65536


def test_many_texts_in_one_frame_are_held_one_by_one() -> None:
    piece = (string("plain") + string(FACE)) * 1000
    held, _ = feed_in_pieces(EscapeRewriter(), b"F%d #DA~Af\n" % (2000 * 50), piece[:-5], 1)
    assert 0 < held < len(string(FACE))


def test_a_large_text_with_escapes_is_joined_once() -> None:
    """Held until it is whole, and not copied again for each piece that comes."""
    count = 1 << 16
    characters = rb"\|01f600" * count
    payload = start_of_text(b"A", count) + characters
    wire = text_item(b'"', payload)
    rewriter = EscapeRewriter()
    pieces = [wire[at : at + 4096] for at in range(0, len(wire), 4096)]
    outs = [rewriter.feed(piece) for piece in pieces]
    assert not any(outs[:-1])
    out = b"".join(outs[-1])
    assert out == text_item(b'"', start_of_text(b"A", 2 * count) + rb"\:d83d\:de00" * count)
    assert decode(out) == FACE * count


def test_a_value_for_every_kind_of_place() -> None:
    tree: Any = Function(Symbol("f" + FACE), (Symbol(FACE), FACE, 1))
    wire = b"FC" + symbol("f" + FACE) + symbol(FACE) + string(FACE) + b"\xe4\1\0\0\0\n]"
    assert decode(rewritten(wire)) == decode(wire) == tree
    head = b"AAD" + encode_size(len(b"FA" + symbol(FACE) + b".")) + b"FA" + symbol(FACE) + b".\nPA\xe4\1\0\0\0\n"
    assert decode(rewritten(head)) == PackedArray.from_list([1], "int32", (FACE,))
