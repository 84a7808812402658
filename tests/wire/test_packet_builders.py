"""The constructors of packets give what the recorded packets are."""
from __future__ import annotations

import pytest

from tests.support.packets import HEAD_BY_NAME
from tests.wire.trees import from_tree, load_vectors
from wstpserver.wire import packet_builders as build
from wstpserver.wire.values import Expression, Function, PackedArray, Symbol

VECTORS = {vector.name: from_tree(vector.tree) for vector in load_vectors("10.1")}


@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("evaluate 2+2", build.evaluate_packet(Function(Symbol("Plus"), (2, 2)))),
        ("enter text", build.enter_text_packet("2+2")),
        ("enter expression", build.enter_expression_packet(Function(Symbol("Hold"), (Symbol("x"),)))),
        ("input name", build.input_name_packet("In[1]:= ")),
        ("output name", build.output_name_packet("Out[1]= ")),
        ("return", build.return_packet(4)),
        ("return text", build.return_text_packet("4")),
        ("return expression", build.return_expression_packet(Function(Symbol("List"), (1, 2)))),
        ("message", build.message_packet("Power", "infy")),
        ("text", build.text_packet("a\n")),
        ("syntax", build.syntax_packet(3)),
        ("input", build.input_packet("? ")),
        ("input string", build.input_string_packet("")),
        ("menu", build.menu_packet(1, "Interrupt> ")),
        ("suspend", build.suspend_packet()),
        ("begin dialog", build.begin_dialog_packet(1)),
        ("end dialog", build.end_dialog_packet(1)),
        ("call", build.call_packet(7, Function(Symbol("List"), (1, "x")))),
        ("command CloseKernel 1", build.command_packet("CloseKernel", "a806-2645-9651")),
        ("command GetPoolName 0", build.command_packet("GetPoolName")),
        ("command SetKeepAlive 1", build.command_packet("SetKeepAlive", Symbol("False"))),
        ("command result", build.return_packet('{"status":"ExecutionSuccess"}')),
        ("list in packet int32", build.return_packet(PackedArray.from_list([1, 2, -3]))),
    ],
)
def test_recorded_packet(name: str, packet: Expression) -> None:
    assert packet == VECTORS[name]


def test_every_head_is_known() -> None:
    packets = [
        build.display_packet(""), build.display_end_packet(""), build.resume_packet(), build.suspend_packet(),
        build.evaluate_packet(1), build.command_packet("x"), build.call_packet(1, 1), build.menu_packet(1, ""),
    ]  # fmt: skip
    for packet in packets:
        assert isinstance(packet.head, Symbol)
        assert packet.head.name in HEAD_BY_NAME
