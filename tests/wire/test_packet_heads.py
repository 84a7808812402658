"""The table of packet heads stands in C and in Python; both must say the same."""
from __future__ import annotations

from wstpserver._native import ffi, lib

from tests.support.cases import for_all, for_each
from tests.support.packets import HEAD_BY_NAME
from wstpserver.wire.packets import PacketHead


def c_head(text: bytes) -> tuple[int, bytes]:
    name, length = ffi.new("char[]", lib.WSTPSCAN_HEAD_NAME_SIZE), ffi.new("uint8_t *")
    code = lib.wstpscan_head_code(text, len(text), name, length)
    assert length[0] == len(ffi.string(name))
    return code, ffi.string(name)


def test_the_tables_agree() -> None:
    table = {code: ffi.string(lib.wstpscan_head_table(code)).decode() for code in range(lib.wstpscan_head_count())}
    assert table.pop(lib.WSTPSCAN_HEAD_OTHER) == ""
    assert table == {int(head): head.name for head in PacketHead if head is not PacketHead.OTHER}


def test_codes_fit_into_a_word_of_bits_without_a_gap() -> None:
    assert sorted(PacketHead) == list(range(len(PacketHead)))
    assert len(PacketHead) <= 64


@for_all("code", [-1, len(PacketHead), 1000])
def test_no_name_outside_the_table(code: int) -> None:
    assert ffi.string(lib.wstpscan_head_table(code)) == b""


@for_each([(context, name) for context in ("", "System`") for name in HEAD_BY_NAME])
def test_names_are_found_with_their_context(case: tuple[str, str]) -> None:
    context, name = case
    full = context + name
    assert c_head(b"A~%d %b" % (len(full), full.encode())) == (PacketHead[name], full.encode())


@for_all(
    "name",
    ["", "WSCommandPacketX", "XWSCommandPacket", "wscommandpacket", "Global`WSCommandPacket", "OTHER", "System`",
     "System`System`WSCommandPacket", "`WSCommandPacket", "WSCommandPacke"],
)  # fmt: skip
def test_other_names_are_not(name: str) -> None:
    assert c_head(b"A~%d %b" % (len(name), name.encode())) == (0, name.encode())


SPELLINGS = {
    "A, octal": rb"A~O\127SCommandPacke\164",
    "A, hexadecimal": rb"A~O\:0057SCommandPacket",
    "A, six digits": rb"A~O\|000057SCommandPacket",
    "B": b"B~OWSCommandPacket",
    "C": b"C~O" + "WSCommandPacket".encode("utf-16-be"),
    "D": b"D~OWSCommandPacket",
    "E": b"E~O" + "WSCommandPacket".encode("utf-16-le"),
    "F": b"F~O" + "WSCommandPacket".encode("utf-32-le"),
    "F, big-endian": b"F~O" + "WSCommandPacket".encode("utf-32-be"),
}


@for_all("text", SPELLINGS.values(), ids=SPELLINGS)
def test_every_format_spells_the_same_name(text: bytes) -> None:
    assert c_head(text) == (PacketHead.WSCommandPacket, b"WSCommandPacket")


NAMES = {
    "non-ASCII": (b"D~Cx\xce\xbby", b"x?y"),
    "backslashes": (rb"A~D\\\\x", b"\\\\x"),
    "lone backslash": (b"A~Ax\\", b"x\\"),
    "no escape": (rb"A~A\:00g0", rb"\:00g0"),
    "zero": (b"B~A\0", b"?"),
    "cut character": (b"C~B\0x\0", b"x?"),
    "63 characters": (b"A~64 " + b"x" * 64, b"x" * 63),
    "unknown letter": (b"G~Ax", b""),
    "no letter": (b"x", b""),
    "no size": (b"A~", b""),
    "unfinished size": (b"A~12", b""),
    "no bytes": (b"", b""),
}


@for_all(("text", "name"), NAMES.values(), ids=NAMES)
def test_names_that_are_no_packet(text: bytes, name: bytes) -> None:
    assert c_head(text) == (0, name)
