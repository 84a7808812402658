"""What a kernel asks while it evaluates: Input, dialogs, the interrupt menu."""
import pytest

from tests.embedded.harness import call, typed
from wstpserver.wire.values import Symbol

MENU = ("MenuPacket", 1, "Interrupt> ")


@pytest.mark.parametrize("answer", [
    call("TextPacket", "3+4"), "3+4", call("EnterTextPacket", "x = 3\nx + 4"),
    call("EnterExpressionPacket", call("Plus", 3, 4)),
])  # fmt: skip
def test_input(used, answer):
    used.send("EvaluatePacket", typed('2 Input["how many? "]'))
    assert used.packets_until("InputPacket") == [("InputPacket", "how many? ")]
    used.link.put(answer)
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", 14)]


@pytest.mark.parametrize("answer, text", [
    (call("TextPacket", "3+4 é"), "3+4 é"), ("", ""), (call("EnterExpressionPacket", call("f", 1)), "f[1]"),
])  # fmt: skip
def test_input_string(used, answer, text):
    used.send("EvaluatePacket", typed("{InputString[]}"))
    assert used.packets_until("InputStringPacket") == [("InputStringPacket", "? ")]
    used.link.put(answer)
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", call("List", text))]


def test_wrong_input_is_a_message(used):
    used.send("EvaluatePacket", typed("Input[]"))
    used.packets_until("InputPacket")
    used.send("TextPacket", "2 +")
    packets = used.packets_until("ReturnPacket")
    assert packets[0] == ("MessagePacket", Symbol("Syntax"), "sntxi")
    assert packets[-1] == ("ReturnPacket", Symbol("$Failed"))


def test_other_packets_wait_for_the_end_of_the_question(used):
    used.send("EvaluatePacket", typed("Input[]"))
    used.packets_until("InputPacket")
    used.send("EvaluatePacket", call("Plus", 1, 1))
    used.send("TextPacket", "7")
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", 7)]
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", 2)]


def test_late_answer_to_an_aborted_question_is_dropped(used):
    value = used.aborted(typed("Input[]"), after="InputPacket")
    assert value == Symbol("$Aborted")
    used.send("TextPacket", "1")
    assert used.evaluate_packets(call("Plus", 1, 1)) == [("ReturnPacket", 2)]


def test_dialog(kernel):
    kernel.send("EnterTextPacket", "y = 3; Dialog[] + 100")
    assert kernel.packets_until("InputNamePacket") == [
        ("BeginDialogPacket", 1), ("InputNamePacket", "(Dialog) In[2]:= "),
    ]  # fmt: skip
    assert kernel.enter("y + 1") == [
        ("OutputNamePacket", "(Dialog) Out[2]= "), ("ReturnTextPacket", "4"), ("InputNamePacket", "(Dialog) In[3]:= "),
    ]  # fmt: skip
    assert kernel.evaluate_packets(Symbol("y")) == [("ReturnPacket", 3)]
    kernel.send("EnterTextPacket", "Return[y * 2]")
    assert kernel.packets_until("InputNamePacket") == [
        ("EndDialogPacket", 1), ("OutputNamePacket", "Out[1]= "), ("ReturnTextPacket", "106"),
        ("InputNamePacket", "In[4]:= "),
    ]  # fmt: skip


def test_dialogs_nest(kernel):
    kernel.send("EvaluatePacket", typed("Dialog[]"))
    kernel.packets_until("InputNamePacket")
    kernel.send("EnterTextPacket", "Dialog[5]")
    assert kernel.packets_until("InputNamePacket") == [
        ("BeginDialogPacket", 2), ("OutputNamePacket", "(Dialog) Out[3]= "), ("ReturnTextPacket", "5"),
        ("InputNamePacket", "(Dialog) In[4]:= "),
    ]  # fmt: skip
    kernel.send("EnterTextPacket", "Return[6]")
    assert kernel.packets_until("InputNamePacket")[:3] == [
        ("EndDialogPacket", 2), ("OutputNamePacket", "(Dialog) Out[2]= "), ("ReturnTextPacket", "6"),
    ]  # fmt: skip
    kernel.send("EnterTextPacket", "Return[]")
    assert kernel.packets_until("ReturnPacket") == [("EndDialogPacket", 1), ("ReturnPacket", Symbol("Null"))]


def test_abort_in_a_dialog(kernel):
    kernel.send("EvaluatePacket", typed("{Dialog[], 2}"))
    kernel.packets_until("InputNamePacket")
    value = kernel.aborted(typed("Print[1]; Pause[300]"), after="TextPacket")
    assert value == Symbol("$Aborted")  # the evaluation inside
    assert kernel.evaluate(call("Plus", 1, 1)) == 2
    kernel.link.abort()  # now the one around it
    assert kernel.packets_until("ReturnPacket") == [("EndDialogPacket", 1), ("ReturnPacket", Symbol("$Aborted"))]


def test_time_limit_ends_a_dialog(used):
    assert used.evaluate_packets(typed("TimeConstrained[Dialog[], 0.3, late]"))[-2:] == [
        ("EndDialogPacket", 1), ("ReturnPacket", Symbol("late")),
    ]  # fmt: skip


@pytest.fixture
def go(tmp_path):
    """A file that an evaluation waits for which is interrupted."""
    return tmp_path / "go"


def interrupted(kernel, go, text="5"):
    """An evaluation that waits for a file, at its interrupt menu."""
    kernel.send("EvaluatePacket", typed(f'z = 8; Print[begun]; While[!FileExistsQ["{go}"], Pause[0.01]]; {text}'))
    kernel.packets_until("TextPacket")
    kernel.link.interrupt()
    assert kernel.packets_until("MenuPacket") == [MENU]


@pytest.mark.parametrize("answer", ["c", "continue", call("TextPacket", " C\n")])
def test_menu_continue(used, answer, go):
    interrupted(used, go)
    go.touch()
    used.link.put(answer)
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", 5)]


@pytest.mark.parametrize("answer", ["a", "abort", call("TextPacket", "abort")])
def test_menu_abort(used, answer, go):
    interrupted(used, go)
    used.link.put(answer)
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", Symbol("$Aborted"))]
    assert used.evaluate(call("Plus", 1, 1)) == 2


def test_menu_help(used, go):
    interrupted(used, go)
    go.touch()
    used.link.put("?")
    (name, text), menu = used.packets_until("MenuPacket")
    assert name == "TextPacket" and "abort (or a)" in text and "continue (or c)" in text
    assert menu == MENU
    used.link.put("c")
    used.packets_until("ReturnPacket")


def test_menu_inspect(used, go):
    interrupted(used, go, "z")
    go.touch()
    used.link.put("i")
    used.packets_until("InputNamePacket")
    assert used.shown("z = z + 1") == "9"
    used.send("EnterTextPacket", "Return[]")
    assert used.packets_until("ReturnPacket") == [("EndDialogPacket", 1), ("ReturnPacket", 9)]


def test_menu_quit(kernel, go):
    interrupted(kernel, go)
    kernel.link.put("q")
    kernel.wait_until_closed()


def test_abort_message_at_the_menu(used, go):
    interrupted(used, go)
    used.link.abort()
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", Symbol("$Aborted"))]


def test_interrupt_of_an_idle_kernel_does_nothing(used):
    used.link.interrupt()
    assert used.evaluate_packets(typed("Pause[0.2]; 1"))[-1] == ("ReturnPacket", 1)


def test_interrupt_function(used):
    used.send("EvaluatePacket", typed("Interrupt[]; 3"))
    assert used.packets_until("MenuPacket") == [MENU]
    used.link.put("c")
    assert used.packets_until("ReturnPacket") == [("ReturnPacket", 3)]
