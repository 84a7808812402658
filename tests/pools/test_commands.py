"""The forms of the command language."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cases import for_all
from wstpserver.pools.commands import FORMS, Command, MalformedCommand, parse_command
from wstpserver.wire.decode import decode
from wstpserver.wire.encode import encode
from wstpserver.wire.tokens import encode_size
from wstpserver.wire.values import Function, Symbol

DATA = Path(__file__).parents[1] / "data"


def packet(*commands: object) -> Function:
    return Function(Symbol("WSCommandPacket"), commands)


def vectors(prefix: str) -> list[tuple[str, bytes]]:
    return [
        (f"{file.stem} {entry['name']}", bytes.fromhex(entry["wire"]))
        for file in sorted(DATA.glob("expressions-*.json"))
        for entry in json.loads(file.read_text())
        if entry["name"].startswith(prefix)
    ]


@for_all(("name", "wire"), vectors("command ConnectKernel") + vectors("command Set"), ids=lambda x: x)
def test_commands_as_the_library_writes_them_are_understood(name, wire):
    command = parse_command(decode(wire))
    assert command.name in FORMS
    assert all(isinstance(argument, str | float | bool) for argument in command.arguments)


@for_all(("name", "wire"), vectors("command malformed") + vectors("command unknown"), ids=lambda x: x)
def test_malformed_packets_as_the_library_writes_them_are_refused(name, wire):
    with pytest.raises(MalformedCommand):
        parse_command(decode(wire))


@for_all(("letter", "codec"), [(b"B", "latin-1"), (b"C", "utf-16-be"), (b"F", "utf-32-le")])
def test_a_name_of_70_characters_is_read_in_formats_without_a_count(letter, codec):
    name = "é" * 70
    payload = letter + b"~ " + name.encode(codec)
    whole = encode(packet(Function(Symbol("ConnectKernel"), ("?",))))
    wire = whole.replace(encode("?", end_packet=False), b'"' + encode_size(len(payload)) + payload + b"\n")
    assert parse_command(decode(wire)) == Command("ConnectKernel", (name,))


def test_arguments_become_python_values():
    connect = Function(Symbol("ConnectKernel"), ("a806-2645-9651", 5))
    assert parse_command(packet(connect)) == Command("ConnectKernel", ("a806-2645-9651", 5.0))
    keep = Function(Symbol("System`SetKeepAlive"), (Symbol("System`False"),))
    assert parse_command(packet(keep)) == Command("SetKeepAlive", (False,))


@for_all(
    "arguments",
    [(5,), ("id", "5"), ("id", -1), ("id", float("nan")), ("id", float("inf")), ("id", Symbol("True")), ("id", 1, 2)],
)
def test_wrong_arguments_of_connect_kernel(arguments):
    with pytest.raises(MalformedCommand):
        parse_command(packet(Function(Symbol("ConnectKernel"), arguments)))


@for_all("setting", [True, 1, "True", Symbol("Yes"), Function(Symbol("Not"), (Symbol("True"),))])
def test_only_the_symbols_true_and_false_are_settings(setting):
    with pytest.raises(MalformedCommand):
        parse_command(packet(Function(Symbol("SetReserveKernel"), (setting,))))


def test_what_is_no_command_packet_at_all():
    for wrong in (Symbol("WSCommandPacket"), "GetKernelID", packet(), packet(Function(Function(Symbol("f"), ()), ()))):
        with pytest.raises(MalformedCommand):
            parse_command(wrong)
