"""When the head of a frame is known, what is held back until then, and which events are reported."""

from __future__ import annotations

from tests.support.cases import for_all
from tests.wire.scanning import MAX_UNDECIDED, scan, scan_pieces
from wstpserver.wire.frames import END, MORE, TAIL, FrameScanner
from wstpserver.wire.packets import PacketHead

COMMAND = b"FA#RA~OWSCommandPacket\nF@#NA~KGetKernelID\n"
EVALUATE = b"FA#QD~NEvaluatePacket\n\xa1\x01\n"


def test_events_of_one_frame() -> None:
    scanner = FrameScanner()
    stream = COMMAND + b"]"
    name = stream.index(b"\n")
    assert scanner.scan_bytes(stream[:name]) == MORE
    assert (scanner.head, scanner.head_name) == (PacketHead.WSCommandPacket, b"WSCommandPacket")
    assert scanner.state.head_known
    assert not scanner.at_boundary
    assert scanner.scan_bytes(stream[name:]) == END
    assert scanner.frame_bytes == scanner.state.consumed == len(stream)
    assert scanner.at_boundary
    assert scanner.scan_bytes(b"]") == TAIL
    assert (scanner.used, scanner.frame_bytes) == (1, len(stream) + 1)
    assert scanner.scan_bytes(b"") == MORE


def test_a_new_frame_forgets_the_head_of_the_last() -> None:
    scanner = FrameScanner(())
    assert scanner.scan_bytes(COMMAND + b"F") == MORE
    assert (scanner.head, scanner.head_name, bool(scanner.state.head_known)) == (PacketHead.OTHER, b"", False)
    assert scanner.frame_bytes == scanner.undecided == 1


def test_undecided_until_the_last_letter_of_the_head() -> None:
    for size in range(len(COMMAND)):
        scanner = FrameScanner(())
        scanner.scan_bytes(EVALUATE + COMMAND[:size])
        decided = size >= COMMAND.index(b"\n")
        assert scanner.undecided == (0 if decided else size)
        assert scanner.state.head_known == (decided or size == 0)


DECIDED_EARLY = {
    "a string": (b'"', 1),
    "a symbol": (b"#", 1),
    "a machine number": (b"\xe4", 1),
    "an array": (b"A", 1),
    "a string as head": (b'FA"', 3),
    "a compound head": (b"FAFA", 3),
    "a number as head": (b"F12 \xe4", 5),
    "a dictionary symbol": (b"FAO", 3),
    "an empty symbol": (b"FA#@", 4),
    "a symbol longer than any spelling of a packet": (b"FA#257 ", 7),
}


@for_all(("stream", "offset"), DECIDED_EARLY.values(), ids=DECIDED_EARLY)
def test_decided_as_soon_as_it_can_be_no_packet(stream: bytes, offset: int) -> None:
    scanner = FrameScanner()
    assert scanner.scan_bytes(stream[: offset - 1]) == MORE
    assert (scanner.undecided, scanner.state.head_known) == (offset - 1, False)
    assert scanner.scan_bytes(stream[offset - 1 : offset]) == MORE
    assert (scanner.undecided, scanner.state.head_known) == (0, True)
    assert (scanner.head, scanner.head_name) == (PacketHead.OTHER, b"")


def test_no_more_than_max_undecided_is_ever_held_back() -> None:
    """The longest form of everything before the head is decided."""
    longest = b"F%015d #%015d " % (3, 256) + b"A~" + b"x" * 254
    scanner = FrameScanner()
    assert scanner.scan_bytes(longest[:-1]) == MORE
    assert scanner.undecided == MAX_UNDECIDED == len(longest) - 1
    assert scanner.scan_bytes(longest[-1:]) == MORE
    assert scanner.undecided == 0


def test_the_long_way_to_spell_a_command() -> None:
    name = "System`ReturnExpressionPacket"
    text = b"A~%d " % len(name) + b"".join(rb"\|%06x" % ord(character) for character in name)
    stream = b"F1 #%d " % len(text) + text
    scanner = FrameScanner()
    scanner.scan_bytes(stream[:-1])
    assert scanner.undecided == len(stream) - 1
    scanner.scan_bytes(stream[-1:])
    assert (scanner.undecided, scanner.head, scanner.head_name) == (0, PacketHead.ReturnExpressionPacket, name.encode())


def test_commands_inside_are_not_commands() -> None:
    reading = scan(b"FA#QA~NEvaluatePacket\n" + COMMAND)
    assert [event.head for event in reading.events] == [PacketHead.EvaluatePacket]


def test_only_the_chosen_frames_are_reported() -> None:
    stream = (EVALUATE + b"]]" + COMMAND + b"]]") * 2
    scanner = FrameScanner([PacketHead.EvaluatePacket])
    kinds = [(event.kind, event.head) for event in scan_pieces([stream], scanner).events]
    evaluate = PacketHead.EvaluatePacket
    assert kinds == [("END", evaluate), ("TAIL", evaluate), ("TAIL", evaluate)] * 2


def test_nothing_chosen_is_one_call_for_everything() -> None:
    scanner = FrameScanner(())
    stream = (EVALUATE + b"]" + COMMAND + b"]]") * 100
    assert scanner.scan_bytes(stream) == MORE
    assert scanner.used == len(stream)
    assert scanner.at_boundary


def test_other_frames_can_be_chosen() -> None:
    scanner = FrameScanner([PacketHead.OTHER])
    reading = scan_pieces([COMMAND + b'"CA~@\n'], scanner)
    assert [event.offset for event in reading.events] == [len(COMMAND) + 6]


@for_all("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_scanned(kind: type) -> None:
    assert FrameScanner().scan_bytes(kind(COMMAND)) == END


def test_a_bytearray_is_free_again_after_the_call() -> None:
    data = bytearray(COMMAND)
    FrameScanner().scan_bytes(data)
    data.extend(b"]")
