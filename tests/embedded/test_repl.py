"""EnterTextPacket and EnterExpressionPacket: lines, prompts, In and Out, syntax errors."""
import pytest

from tests.embedded.harness import call
from wstpserver.wire.values import Symbol


def test_answer_and_next_prompt(kernel):
    assert kernel.enter("2+2") == [
        ("OutputNamePacket", "Out[1]= "), ("ReturnTextPacket", "4"), ("InputNamePacket", "In[2]:= "),
    ]  # fmt: skip


def test_nothing_is_shown_for_null(kernel):
    assert kernel.enter("x = 5;") == [("InputNamePacket", "In[2]:= ")]
    assert kernel.enter("Null") == [("InputNamePacket", "In[3]:= ")]


def test_history(kernel):
    kernel.enter("10")
    kernel.enter("4;")
    assert kernel.shown("%") == "4"  # hidden, not forgotten
    assert kernel.shown("{Out[1], %%, In[1], $Line}") == "{10, 4, 10, 4}"


def test_out_of_a_line_with_an_inner_null(kernel):
    assert kernel.shown("(8; Null); 7") == "7"
    assert kernel.shown("%") == "7"


def test_history_length(kernel):
    kernel.enter("$HistoryLength = 2; 1")
    kernel.enter("2")
    kernel.enter("3")
    assert kernel.evaluate("{Out[1], Out[3]}").args == (call("Out", 1), 3)


def test_line_number_can_be_set(kernel):
    assert kernel.enter("$Line = 12;")[-1] == ("InputNamePacket", "In[13]:= ")
    assert kernel.enter("5")[0] == ("OutputNamePacket", "Out[13]= ")
    kernel.enter("$Line = 12;")
    kernel.enter("6")
    assert kernel.shown("Out[13]") == "6"


def test_several_expressions_have_a_line_each_and_one_prompt(kernel):
    assert kernel.enter("1\n(* a comment *)\n2;\n\nf[3,\n 4]") == [
        ("OutputNamePacket", "Out[1]= "), ("ReturnTextPacket", "1"),
        ("OutputNamePacket", "Out[3]= "), ("ReturnTextPacket", "f[3, 4]"), ("InputNamePacket", "In[4]:= "),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "   \n", "(* nothing *)"])
def test_nothing_entered(kernel, text):
    assert kernel.enter(text) == [("InputNamePacket", "In[1]:= ")]


@pytest.mark.parametrize("text, tag, position", [
    ("2+)", "sntxf", 2), ("2+", "sntxi", 2), ("^2", "sntxb", 0), ('"abc', "sntxi", 4), ("  2 +\n 3 )", "sntxf", 9),
])  # fmt: skip
def test_syntax_error(kernel, text, tag, position):
    message, said, syntax, prompt = kernel.enter(text)
    assert message == ("MessagePacket", Symbol("Syntax"), tag)
    assert said[1].startswith(f"Syntax::{tag}: ")
    assert syntax == ("SyntaxPacket", position)
    assert prompt == ("InputNamePacket", "In[2]:= ")
    assert kernel.shown("1+1") == "2"


def test_an_abort_ends_the_whole_text(kernel):
    assert kernel.enter("1\nAbort[]\n3") == [
        ("OutputNamePacket", "Out[1]= "), ("ReturnTextPacket", "1"),
        ("OutputNamePacket", "Out[2]= "), ("ReturnTextPacket", "$Aborted"), ("InputNamePacket", "In[3]:= "),
    ]  # fmt: skip
    assert kernel.shown("$Aborted\n5") == "5"


def test_syntax_error_after_good_lines(kernel):
    packets = kernel.enter("1\n2 + ]\n3")
    assert [name for name, *_ in packets] == [
        "OutputNamePacket", "ReturnTextPacket", "MessagePacket", "TextPacket", "SyntaxPacket", "InputNamePacket",
    ]  # fmt: skip
    assert packets[-2:] == [("SyntaxPacket", 6), ("InputNamePacket", "In[3]:= ")]


def test_forms(kernel):
    assert kernel.enter("InputForm[a/b]")[:2] == [
        ("OutputNamePacket", "Out[1]//InputForm= "), ("ReturnTextPacket", "a/b"),
    ]  # fmt: skip
    assert kernel.shown("%") == "a / b"


def test_hooks(kernel):
    kernel.enter("$Pre = (seen = #) &; $Post = post; $PrePrint = Length;")
    assert kernel.shown("{1, 2}") == "1"
    kernel.evaluate("ClearAll[$Pre, $Post, $PrePrint]")
    assert kernel.shown("{seen, Out[2]}") == "{{1, 2}, post[{1, 2}]}"


def test_entered_expression(kernel):
    kernel.send("EnterExpressionPacket", call("Plus", Symbol("y"), 1, 1))
    assert kernel.packets_until("InputNamePacket") == [
        ("OutputNamePacket", "Out[1]= "), ("ReturnExpressionPacket", call("Plus", 2, Symbol("y"))),
        ("InputNamePacket", "In[2]:= "),
    ]  # fmt: skip
    kernel.send("EnterExpressionPacket", call("CompoundExpression", 3, Symbol("Null")))
    assert kernel.packets_until("InputNamePacket") == [("InputNamePacket", "In[3]:= ")]
    assert kernel.shown("%") == "3"


@pytest.mark.parametrize("name, arguments", [
    ("EnterTextPacket", (1,)), ("EnterTextPacket", ()), ("EnterExpressionPacket", (1, 2)),
])  # fmt: skip
def test_malformed_packet(kernel, name, arguments):
    kernel.send(name, *arguments)
    packets = kernel.packets_until("InputNamePacket")
    assert packets[0][:2] == ("MessagePacket", Symbol(name))
    assert packets[-1] == ("InputNamePacket", "In[1]:= ")


@pytest.mark.parametrize("text", ["Quit[]", "Exit[]", "Quit", "Exit"])
def test_quit(kernel, text):
    kernel.send("EnterTextPacket", text)
    kernel.wait_until_closed()


def test_abort_of_a_line(kernel):
    kernel.send("EnterTextPacket", "Print[1]; Pause[300]")
    kernel.packets_until("TextPacket")
    kernel.link.abort()
    assert kernel.packets_until("InputNamePacket") == [
        ("OutputNamePacket", "Out[1]= "), ("ReturnTextPacket", "$Aborted"), ("InputNamePacket", "In[2]:= "),
    ]  # fmt: skip
