"""Texts as both versions of the library wrote them, with every function that puts one, from 1 to 100 characters.

tests/data/texts.json; docs/wire-protocol.md, section 3.3. From 64 characters on formats B, C and F carry no count.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from wstpserver._native import ffi, lib

from tests.support.cases import for_all, for_each
from tests.wire.scanning import completion, scan
from wstpserver.wire.decode import decode
from wstpserver.wire.encode import encode
from wstpserver.wire.frames import END, MORE, FrameScanner
from wstpserver.wire.packets import PacketHead
from wstpserver.wire.preview import PREVIEW_BYTES, preview
from wstpserver.wire.values import Function, Symbol


class Text(NamedTuple):
    name: str
    text: str
    wire: bytes

    @property
    def is_symbol(self) -> bool:
        return self.wire[:1] == b"#"

    @property
    def payload(self) -> bytes:
        match = re.match(rb'["#](?:[\x40-\x7f]|[0-9]+ )', self.wire, re.DOTALL)
        assert match is not None
        return self.wire[match.end() : -2]


def load() -> list[Text]:
    entries = json.loads((Path(__file__).parents[1] / "data" / "texts.json").read_text(encoding="utf-8"))
    return [
        Text(
            f"{entry['library']} at {entry['level']}, {entry['put']}, {len(entry['text'])} {entry['characters']}",
            entry["text"],
            bytes.fromhex(entry["wire"]),
        )
        for entry in entries
    ]


TEXTS = load()
#: One of each format and kind of length.
SAMPLE = list({(text.payload[:1], text.payload[2:3], text.is_symbol): text for text in TEXTS}.values())


@for_each(TEXTS, lambda text: text.name)
def test_recorded_text(text: Text) -> None:
    expected = Symbol(text.text) if text.is_symbol else text.text
    assert decode(text.wire) == expected
    packet = decode(b"FB#QA~NEvaluatePacket\n" + text.wire[:-1] + b"\xa1\x01\n]")
    assert packet == Function(Symbol("EvaluatePacket"), (expected, 1))


@for_each(SAMPLE, lambda text: text.name)
def test_recorded_text_cut_anywhere(text: Text) -> None:
    whole = scan(text.wire)
    assert [event.kind for event in whole.events] == ["END", "TAIL"]
    for place in range(len(text.wire)):
        assert scan(text.wire[:place], text.wire[place:]) == whole


@for_each(SAMPLE, lambda text: text.name)
def test_recorded_text_broken_off_anywhere(text: Text) -> None:
    """What is filled in makes a text that can be read, with the characters that had come."""
    last = len(text.wire) - 1
    for place in [*range(1, 40), *range(40, last - 40, 7), *range(max(40, last - 40), last)]:
        start = text.wire[:place]
        scanner = FrameScanner(())
        assert scanner.scan_bytes(start) == MORE
        frame = start + completion(scanner)
        whole = FrameScanner()
        assert whole.scan_bytes(frame) == END
        assert whole.used == len(frame)
        value = decode(frame)
        seen = value.name if isinstance(value, Symbol) else value
        assert isinstance(seen, str)
        came = max(0, place - (len(text.wire) - 2 - len(text.payload)) - 8)  # bytes of characters, roughly
        assert seen.startswith(text.text[: came // 4 - 1 if came > 8 else 0])


@for_all("letter", "BCF")
@for_all("count", [1, 63, 64, 65, 80, 200])
def test_a_count_that_broke_off_is_finished_as_its_format_wants_it(letter: str, count: int) -> None:
    """A count in B, C or F of 64 and more makes the library's reader hand out memory that is not the text's."""
    width = {"B": 1, "C": 2, "F": 4}[letter]
    size = 3 + count * width
    outer = bytes([0x40 + size]) if size < 64 else b"%d " % size
    for start in (letter.encode(), letter.encode() + b"~"):
        scanner = FrameScanner(())
        scanner.scan_bytes(b'"' + outer + start)
        payload = start + completion(scanner)[:-2]
        assert len(payload) == size
        assert payload[:3] == letter.encode() + b"~" + (bytes([0x40 + count]) if count < 64 else b" ")
        assert decode(b'"' + outer + payload + b"\n") == "x" * count


def test_a_skipped_text_without_a_count_is_filled_up() -> None:
    scanner = FrameScanner(())
    scanner.scan_bytes(b'"2003 C~ \0a')
    assert lib.wstpscan_skip(scanner.state, 997) == 997
    assert completion(scanner) == b"\0" + b"\0x" * 500 + b"\n]"


@for_each(TEXTS, lambda text: text.name)
def test_recorded_text_in_a_log(text: Text) -> None:
    if text.is_symbol:
        assert preview(text.wire, 9000) == text.text
    else:
        assert preview(text.wire, 9000) == '"' + text.text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    half = text.wire[: len(text.wire) // 2]
    shown = preview(half[:PREVIEW_BYTES], 9000)
    assert shown.endswith("...")
    assert (text.text if text.is_symbol else '"' + text.text.replace("\\", "\\\\").replace('"', '\\"')).startswith(
        shown[:-3]
    )


#: 64 characters with the context and without.
LONG = "System`" * 5 + "ReturnExpressionPacket" + "x" * 7


@for_all(
    "text",
    [b"B~ " + LONG.encode(), b"C~ " + LONG.encode("utf-16-be"), b"D~64 " + LONG.encode(), b"A~64 " + LONG.encode(),
     b"E~64 " + LONG.encode("utf-16-le")],
    ids="BCDAE",
)  # fmt: skip
def test_the_name_of_a_long_head_is_known_in_every_format(text: bytes) -> None:
    assert len(LONG) == 64
    name, length = ffi.new("char[]", lib.WSTPSCAN_HEAD_NAME_SIZE), ffi.new("uint8_t *")
    assert lib.wstpscan_head_code(text, len(text), name, length) == PacketHead.OTHER
    assert ffi.string(name) == LONG[:63].encode()
    item = b"#%d " % len(text) + text + b"\n"
    scanner = FrameScanner()
    scanner.scan_bytes(b"FA" + item + b"\xa1\x01\n")
    assert scanner.head_name == LONG[:63].encode()


@for_all(("text", "payload"), [
    ("\ud800" * 63, b"C~\x7f" + b"\xd8\0" * 63),
    ("\ud800" * 64, b"C~ " + b"\xd8\0" * 64),
    ("\ud800😀" + "a" * 61, b"F~\x7f\0\xd8\0\0\0\xf6\1\0" + b"a\0\0\0" * 61),
    ("\ud800😀" + "a" * 62, b"F~ \0\xd8\0\0\0\xf6\1\0" + b"a\0\0\0" * 62),
])  # fmt: skip
def test_lone_surrogates_go_out_without_a_count_from_64_characters_on(text: str, payload: bytes) -> None:
    wire = encode(text)
    assert wire == b'"%d ' % len(payload) + payload + b"\n]"
    assert decode(wire) == text


@for_all("payload", [b"A~ " + b"a" * 70, b"D~ " + b"a" * 70, b"E~ " + b"a\0" * 70])
def test_the_other_formats_always_have_a_count(payload: bytes) -> None:
    from wstpserver.wire.errors import RemoteProtocolError

    with pytest.raises(RemoteProtocolError, match="a format and a count"):
        decode(b'"%d ' % len(payload) + payload + b"\n")
