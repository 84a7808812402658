"""The constructors of packets give what the recorded packets are."""
from __future__ import annotations

from tests.support import packets as kernel
from tests.support.cases import for_all
from tests.wire.trees import from_tree, load_vectors
from wstpserver.wire import packets as client
from wstpserver.wire.values import Expression, Function, PackedArray, Symbol

VECTORS = {vector.name: from_tree(vector.tree) for vector in load_vectors("10.1")}


@for_all(
    ("name", "packet"),
    [
        ("evaluate 2+2", client.evaluate_packet(Function(Symbol("Plus"), (2, 2)))),
        ("enter text", client.enter_text_packet("2+2")),
        ("enter expression", client.enter_expression_packet(Function(Symbol("Hold"), (Symbol("x"),)))),
        ("input name", kernel.input_name_packet("In[1]:= ")),
        ("output name", kernel.output_name_packet("Out[1]= ")),
        ("return", client.return_packet(4)),
        ("return text", kernel.return_text_packet("4")),
        ("return expression", kernel.return_expression_packet(Function(Symbol("List"), (1, 2)))),
        ("message", kernel.message_packet("Power", "infy")),
        ("text", client.text_packet("a\n")),
        ("syntax", kernel.syntax_packet(3)),
        ("input", kernel.input_packet("? ")),
        ("input string", kernel.input_string_packet("")),
        ("menu", kernel.menu_packet(1, "Interrupt> ")),
        ("suspend", kernel.suspend_packet()),
        ("begin dialog", kernel.begin_dialog_packet(1)),
        ("end dialog", kernel.end_dialog_packet(1)),
        ("call", kernel.call_packet(7, Function(Symbol("List"), (1, "x")))),
        ("command CloseKernel 1", client.command_packet("CloseKernel", "a806-2645-9651")),
        ("command GetPoolName 0", client.command_packet("GetPoolName")),
        ("command SetKeepAlive 1", client.command_packet("SetKeepAlive", Symbol("False"))),
        ("command result", client.return_packet('{"status":"ExecutionSuccess"}')),
        ("list in packet int32", client.return_packet(PackedArray.from_list([1, 2, -3]))),
    ],
)
def test_recorded_packet(name: str, packet: Expression) -> None:
    assert packet == VECTORS[name]


def test_every_head_is_known() -> None:
    packets = [
        kernel.display_packet(""), kernel.display_end_packet(""), kernel.resume_packet(), kernel.suspend_packet(),
        client.evaluate_packet(1), client.command_packet("x"), kernel.call_packet(1, 1), kernel.menu_packet(1, ""),
    ]  # fmt: skip
    for packet in packets:
        assert isinstance(packet.head, Symbol)
        assert packet.head.name in kernel.HEAD_BY_NAME
