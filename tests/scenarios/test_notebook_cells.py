"""A notebook's cells: numbers, results, messages, printed text, and what becomes of its kernel."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest

from tests.scenarios.frontend import SUCCESS, call
from tools.harness.waiting import wait_gone
from wstpserver.wire.values import Symbol

ID = re.compile(r"[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}")


def prompt(number):
    return ("InputNamePacket", f"In[{number}]:= ")


def text_output(number, text):
    return [("OutputNamePacket", f"Out[{number}]= "), ("ReturnTextPacket", text)]


def expression_output(number, value):
    return [("OutputNamePacket", f"Out[{number}]= "), ("ReturnExpressionPacket", value)]


def identifier(front_end):
    return json.loads(front_end.command("GetKernelID"))["result"]


def test_step_7_of_the_instructions(notebook):
    """2+2 and WSTPServer`GetKernelID[] in a new notebook."""
    assert notebook.enter("2+2") == [*text_output(1, "4"), prompt(2)]
    name, result, last = notebook.enter("WSTPServer`GetKernelID[]")
    assert (name, last) == (("OutputNamePacket", "Out[2]= "), prompt(3))
    assert ID.fullmatch(result[1])
    assert result[1] == identifier(notebook)


def test_cells_are_expressions(notebook):
    """Front ends send a cell as an expression and want one back, which they typeset."""
    two = call("Plus", Symbol("x"), 1, 1)
    assert notebook.enter_expression(two) == [*expression_output(1, call("Plus", 2, Symbol("x"))), prompt(2)]
    assert notebook.enter_expression(call("Set", Symbol("x"), 40)) == [*expression_output(2, 40), prompt(3)]
    silent = call("CompoundExpression", call("Set", Symbol("y"), 2), Symbol("Null"))
    assert notebook.enter_expression(silent) == [prompt(4)]
    assert notebook.enter("x + y") == [*text_output(4, "42"), prompt(5)]
    assert notebook.enter_expression(call("Out", 4)) == [*expression_output(5, 42), prompt(6)]


def test_typeset_cells_reach_the_kernel_as_they_are(open_front_end, light_server):
    """What was typed in a notebook comes as boxes, for the kernel to make an expression of."""
    row = call("RowBox", call("List", "x", "=", call("SuperscriptBox", "2", "10")))
    cell = call("MakeExpression", call("BoxData", row), Symbol("StandardForm"))
    front_end = open_front_end(light_server)
    assert front_end.enter_expression(cell) == [*expression_output(1, cell), prompt(2)]


def test_a_cell_with_several_expressions(notebook):
    """Each has a number and an output of its own; one prompt ends the cell."""
    assert notebook.enter("a = 1\nb = 2;\n\n{a, b}") == [*text_output(1, "1"), *text_output(3, "{1, 2}"), prompt(4)]
    assert notebook.shown("{Out[1], Out[2], Out[3]}") == "{1, 2, {1, 2}}"


def test_printed_text_and_messages_stand_where_they_happened(notebook):
    packets = notebook.enter('Print["before"]; 1/0; Print["after"]; 5')
    assert packets == [
        ("TextPacket", "before\n"),
        ("MessagePacket", Symbol("Power"), "infy"),
        ("TextPacket", "Power::infy: Infinite expression 1 / 0 encountered.\n"),
        ("TextPacket", "after\n"),
        *text_output(1, "5"),
        prompt(2),
    ]


def test_a_syntax_error(notebook):
    (message, text, position, last) = notebook.enter("1 + )")
    assert message[0] == "MessagePacket" and message[1] == Symbol("Syntax")
    assert text[0] == "TextPacket" and text[1].startswith("Syntax::")
    assert position == ("SyntaxPacket", 4)
    assert last == prompt(2)
    assert notebook.enter("1 + 1") == [*text_output(2, "2"), prompt(3)]


def test_graphics_are_data(notebook):
    """A front end draws what it is sent: the Graphics expression arrives as it is."""
    packets = notebook.enter_expression(call("Graphics", call("Disk", call("List", 0, 0), 1)))
    name, value = packets[-2]
    assert name == "ReturnExpressionPacket" and value.head == Symbol("Graphics")
    assert packets[-1] == prompt(2)


def test_packets_that_this_kernel_does_not_send_pass_all_the_same(open_front_end, light_server):
    """PostScript of old kernels, and what else a kernel may say; with the same arguments and in the same order."""
    front_end = open_front_end(light_server)
    said = [("DisplayPacket", "%!PS\n"), ("DisplayPacket", "0 0 moveto\n"), ("DisplayEndPacket", ""),
            ("SyntaxPacket", 3)]  # fmt: skip
    for name, argument in said:
        front_end.send("EvaluatePacket", call("PutFrame", call(name, argument)))
        assert front_end.until("ReturnPacket") == [(name, argument), ("ReturnPacket", Symbol("Null"))]


def test_what_is_evaluated_behind_the_cells_changes_no_numbers(notebook):
    notebook.enter("v = 6;")
    assert notebook.evaluate(call("Times", Symbol("v"), 7)) == 42
    assert notebook.evaluate(call("Names", "PrincipalVa*")).args == ("PrincipalValue",)
    assert notebook.enter("%") == [*text_output(2, "6"), prompt(3)]


def test_unicode_in_both_directions(notebook):
    text = "größer α 漢字 \U0001f600"
    assert notebook.shown(f'StringReverse["{text}"]') == text[::-1]
    assert notebook.evaluate(call("StringLength", text)) == len(text)


def test_numbers_and_definitions_are_there_after_a_reconnection(notebook, open_front_end, embedded_server):
    """The notebook is closed, the front end quit; another one goes back to the kernel."""
    for line in range(1, 4):
        notebook.enter(f"state[{line}] = {line}^2")
    kernel = identifier(notebook)
    notebook.close()
    second = open_front_end(embedded_server)
    assert second.connect(kernel) == "In[4]:= "
    assert second.enter("{state[3], Out[2], %}") == [*text_output(4, "{9, 4, 9}"), prompt(5)]


def test_a_line_that_was_being_evaluated_is_answered_while_nobody_is_there(notebook, open_front_end, embedded_server):
    kernel = identifier(notebook)
    notebook.send("EnterTextPacket", 'Print["begun"]; Pause[0.3]; Print["late"]; 42')
    assert notebook.packet() == ("TextPacket", "begun\n")
    notebook.close()
    second = open_front_end(embedded_server)
    assert second.connect(kernel) == "In[2]:= "
    second.send("WSCommandPacket", call("GetMissedOutput"))
    _, missed = second.packet()
    dropped, packets = missed.args
    texts = [packet.args[0] for packet in packets.args]
    assert (dropped, texts) == (0, ["late\n", "Out[1]= ", "42", "In[2]:= "])
    assert second.enter("%") == [*text_output(2, "42"), prompt(3)]


def test_disconnect_kernel_gives_the_kernel_back(notebook, open_front_end, embedded_server):
    """The next cell of the notebook gets another kernel, as after Quit Kernel."""
    notebook.enter("x = 5;")
    kernel = identifier(notebook)
    packets = notebook.enter("WSTPServer`DisconnectKernel[]")
    assert packets[-2][1].startswith("Success[") and packets[-1] == prompt(3)
    assert json.loads(notebook.command("GetKernelID")) == {"status": "ExecutionError"}
    second = open_front_end(embedded_server)
    assert second.connect(kernel) == "In[3]:= "
    assert second.shown("x") == "5"


def test_a_notebook_without_kernel_gets_one_for_its_next_cell(notebook):
    former = identifier(notebook)
    notebook.enter("x = 5;")
    assert notebook.command("DisconnectKernel") == SUCCESS
    notebook.send("EnterTextPacket", "x")
    assert notebook.until("InputNamePacket") == [prompt(1)], "the prompt of the new kernel"
    assert notebook.until("InputNamePacket") == [*text_output(1, "x"), prompt(2)]
    assert identifier(notebook) != former


@pytest.mark.parametrize("end", ["Quit[]", "Exit[3]", "Quit"])
def test_quit_closes_the_link(notebook, open_front_end, embedded_server, end):
    """The front end sees that its kernel has quit; the next evaluation opens a new link, with a new kernel."""
    pid = notebook.evaluate(Symbol("$ProcessID"))
    notebook.enter("x = 5;")
    notebook.send("EnterTextPacket", end)
    with pytest.raises(Exception, match=r"closed|error (1|11)\b"):
        while True:
            notebook.packet()
    wait_gone(pid)
    second = open_front_end(embedded_server)
    assert second.enter("x") == [*text_output(1, "x"), prompt(2)]


def test_a_kernel_that_dies(notebook):
    """The notebook shows why, then its kernel has quit."""
    pid = notebook.evaluate(Symbol("$ProcessID"))
    notebook.send("EnterTextPacket", 'Print["begun"]; Pause[3600]')
    assert notebook.packet() == ("TextPacket", "begun\n")
    os.kill(pid, signal.SIGKILL)
    head, text = notebook.packet()
    assert head == "TextPacket" and text.startswith("WSTPServer: the kernel died: ")
    with pytest.raises(Exception, match=r"closed|error (1|11)\b"):
        notebook.packet()


def test_a_kernel_that_dies_is_replaced_where_that_is_wanted(notebook):
    assert notebook.shown("WSTPServer`SetAllowSilentKernelReplacement[True]").startswith("Success[")
    notebook.enter("x = 5;")
    os.kill(notebook.evaluate(Symbol("$ProcessID")), signal.SIGKILL)
    name, text = notebook.packet()
    assert name == "TextPacket" and text.startswith("WSTPServer: the kernel died; a new one takes its place")
    assert notebook.packet() == prompt(1)
    assert notebook.enter("x") == [*text_output(1, "x"), prompt(2)]


def test_quit_kernel_in_the_menu_of_the_front_end(notebook, embedded_server, open_front_end):
    """Evaluation > Quit Kernel closes the link. With SetKeepAlive[False] the server then ends the kernel."""
    pid = notebook.evaluate(Symbol("$ProcessID"))
    assert notebook.enter("WSTPServer`SetKeepAlive[False]")[-2][1].startswith("Success[")
    notebook.close()
    wait_gone(pid)


def test_two_notebooks_have_two_kernels(notebook, open_front_end, embedded_server):
    second = open_front_end(embedded_server)
    notebook.enter("x = 1;")
    second.enter("x = 2;")
    assert (notebook.shown("x"), second.shown("x")) == ("1", "2")
    notebook.send("EnterTextPacket", 'Print["busy"]; Pause[3600]')
    assert notebook.packet() == ("TextPacket", "busy\n")
    assert second.shown("x + 1") == "3", "while the first one is busy"
    notebook.abort()
    assert notebook.until("InputNamePacket")[-2] == ("ReturnTextPacket", "$Aborted")
