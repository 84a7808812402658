"""Errors with number and offset, limits, depth, and blocks that nobody looks at."""

from __future__ import annotations

import pytest

from tests.support.cases import for_all
from tests.wire import oracle
from tests.wire.scanning import scan, skip
from wstpserver.wire.errors import LocalProtocolError
from wstpserver.wire.frames import END, ERROR, MORE, FrameScanner

ERRORS = {
    "no expression": (b"G", oracle.TOKEN, 0),
    "no expression, later": (b"FA#DA~Af\n\x00", oracle.TOKEN, 9),
    "an HTTP request": (b"GET / HTTP/1.1\r\n", oracle.TOKEN, 0),
    "a size that is none": (b"F?", oracle.SIZE, 1),
    "a size without digits": (b'" ', oracle.SIZE, 1),
    "letters among the digits": (b"F12A", oracle.SIZE, 3),
    "too many digits": (b'"1234567890123456 ', oracle.SIZE_DIGITS, 16),
    "no line feed after a number": (b"\xa1\x01]", oracle.LINE_FEED, 2),
    "no line feed after a text": (b'"DA~Aab', oracle.LINE_FEED, 6),
    "unknown type of packed values": (b"FA#DA~Af\nPA\x01", oracle.NUMBER_TOKEN, 11),
    "packed block as a frame": (b"PA\xa1\x01\n", oracle.PACKED_PLACE, 0),
    "packed block as a head": (b"FAPA\xa1\x01\n", oracle.PACKED_PLACE, 2),
    "more packed values than arguments": (b"FA#DA~Af\nPB\xa1", oracle.PACKED_COUNT, 10),
    "an array without D": (b"AAE", oracle.ARRAY_MARK, 2),
    "an array without dimensions": (b"AADA.", oracle.ARRAY_HEADER, 4),
    "a header that ends late": (b"AADLFA#GA~DList\n.", oracle.ARRAY_HEADER, 7),
    "a header that ends early": (b"AADNFA#GA~DList\n.", oracle.ARRAY_HEADER, 16),
    "a header too long": (b"AAD65537 ", oracle.ARRAY_HEADER_SIZE, 8),
    "dimensions that do not fit the leaves": (b"ABDMFA#GA~DList\n.\n", oracle.ARRAY_TOTAL, 17),
    "a symbol among the leaves": (b"AADMFA#GA~DList\n.\n#", oracle.ARRAY_LEAF, 18),
    "more leaves than announced": (b"AADMFA#GA~DList\n.\nPB", oracle.PACKED_COUNT, 19),
    "end of packet inside": (b"F@]", oracle.MISPLACED_END, 2),
    "a block after an empty array": (b"A@DMF@#GA~DList\n.\nP@\xa1\n", oracle.PACKED_PLACE, 18),
}


@for_all(("stream", "error", "offset"), ERRORS.values(), ids=ERRORS)
def test_errors(stream: bytes, error: int, offset: int) -> None:
    assert scan(stream).error == (error, offset) == oracle.read(stream).error


def test_errors_stay() -> None:
    scanner = FrameScanner()
    assert scanner.scan_bytes(b"F@#DA~Af\n]\0") == END
    assert scanner.error is None
    assert scanner.error_offset is None
    for _ in range(2):
        assert scanner.scan_bytes(b"\0\n") == ERROR
        assert scanner.used == 0
        assert scanner.error == "no expression begins with this byte"
        assert scanner.error_offset == scanner.state.consumed == 10
        assert not scanner.at_boundary
    with pytest.raises(LocalProtocolError, match="in error"):
        scanner.completion_in_parts()


def test_a_million_levels() -> None:
    """Depth is a counter: nothing recurses, nothing is allocated."""
    levels = 1_000_000
    scanner = FrameScanner(())
    assert scanner.scan_bytes(b"FA#DA~Ag\n" * levels) == MORE
    assert scanner.state.missing == 1
    assert scanner.scan_bytes(b"\xa1\x01\n]") == MORE
    assert scanner.at_boundary
    assert scanner.frame_bytes == 9 * levels + 4
    compound = FrameScanner(())
    assert compound.scan_bytes(b"FA" * levels) == MORE
    assert compound.state.missing == levels + 1
    assert compound.scan_bytes(b"\xa1\x01\n" * (levels + 1)) == MORE
    assert compound.at_boundary


def test_four_gigabytes_of_text_that_go_by_unseen() -> None:
    size = 4 * 2**30
    scanner = FrameScanner()
    start = b'FB#DA~Af\n"%d A~' % size
    assert scanner.scan_bytes(start) == MORE
    assert scanner.opaque == size - 2
    assert skip(scanner, 1000) == 1000
    assert scanner.scan_bytes(b"\n]\n]") == MORE
    assert scanner.opaque == size - 1006
    assert skip(scanner, size) == size - 1006
    assert scanner.opaque == 0
    assert scanner.scan_bytes(b"\n\xa1\x00\n]") == END
    assert scanner.frame_bytes == scanner.state.consumed == len(start) - 2 + size + 5


def test_gigabytes_of_packed_numbers() -> None:
    scanner = FrameScanner()
    count = 2**32
    header = b"F%d #GA~DList\n." % count
    assert scanner.scan_bytes(b"A%d D%c%b\nP%d \xf6" % (count, 0x40 + len(header), header, count)) == MORE
    assert scanner.opaque == 8 * count
    assert skip(scanner, 8 * count) == 8 * count
    assert scanner.scan_bytes(b"\n") == END


def test_opaque_is_nothing_outside_of_blocks() -> None:
    scanner = FrameScanner(())
    for byte in b'FB#DA~Af\n"C':
        scanner.scan_bytes(bytes([byte]))
        assert scanner.opaque == (3 if byte == ord("C") else 0)


@for_all(
    "leaves",
    [b"PD\xe4" + bytes(16) + b"\n", b"PB\xe4" + bytes(8) + b"\nPB\xe4" + bytes(8) + b"\n",
     (b"\xe4" + bytes(4) + b"\n") * 4, b"\xa1\0\nPC\xf6" + bytes(24) + b"\n", b"P@\xa1\nP4 \xa1\0\0\0\0\n"],
    ids=["one block", "two blocks", "one by one", "mixed", "an empty block"],
)  # fmt: skip
def test_leaves_of_an_array(leaves: bytes) -> None:
    header = b"ADDYFB#GA~DList\nFB#GA~DList\n.\n"
    for start, end in ((b"", b""), (b"FB#DA~Af\n", b'"CA~@\n')):
        stream = start + header + leaves + end + b"]"
        reading = scan(stream)
        assert [event.offset for event in reading.events if event.kind == "END"] == [len(stream) - 1]
        assert reading == oracle.read(stream)


@for_all("dimensions", [(2, 0), (0, 2), (0,), (10**14, 10**14, 0)])
def test_arrays_without_leaves(dimensions: tuple[int, ...]) -> None:
    header = b"".join(b"F%d #GA~DList\n" % dimension for dimension in dimensions) + b"."
    stream = b"A@D%d %b\n" % (len(header), header)
    assert scan(stream).boundary
    assert scan(b"FA#DA~Af\n" + stream).boundary


def test_line_feeds_and_ends_of_packet_inside_texts() -> None:
    texts = [b"\n]\n]]F@#A~@\n\n]", b"abc]", b"]]]]\n"]
    items = [b'"%c%b\n' % (0x40 + len(text), text) for text in texts]
    stream = b"FC#DA~Af\n" + b"".join(items) + b"]"
    reading = scan(stream)
    assert reading == oracle.read(stream)
    assert [event.offset for event in reading.events if event.kind == "END"] == [len(stream) - 1]
