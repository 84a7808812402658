"""The test kernel does what the tests that rely on it assume."""
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tools.harness import processes, rawlink
from tools.harness.fake_kernel import joining
from tools.harness.fake_kernel.codec import Function, Raw, Symbol, encode
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for

VECTORS = sorted((Path(__file__).parents[1] / "data").glob("expressions-*.json"))
ABORTED = Symbol("$Aborted")


def call(name, *args):
    return Function(name, *args)


@pytest.fixture
def kernel(tmp_path):
    """A link to a running good kernel whose first prompt was read."""
    with rawlink.running_kernel(make_kernel(tmp_path)) as (link, process):
        assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
        link.process = process
        yield link


def test_evaluates(kernel):
    cases = [
        (call("Plus", 2, 2), 4),
        (call("Plus", 2**31 - 1, 1), 2**31),
        (call("Times", 2**40, 2**40), 2**80),
        (call("System`Plus", 1, 0.5), 1.5),
        (call("List", call("Plus", 1, 1), "a"), call("List", 2, "a")),
        (call("unknown", call("Plus", 1, 1)), call("unknown", 2)),
        (call("StringJoin", "a", "λ😀"), "aλ😀"),
        (call("ToExpression", "2 + 3*(4 - 1)^2 - -1"), 30),
        (call("ToExpression", "7/2"), call("Rational", 7, 2)),
        (call("ToExpression", "f[{1, \"x\"}, a -> b]"),
         call("f", call("List", 1, "x"), call("Rule", Symbol("a"), Symbol("b")))),
        (call("Total", call("MakeArray", 1000)), 499500.0),
        (call("Length", call("MakeArray", 1000)), 1000),
    ]  # fmt: skip
    assert [(expression, kernel.evaluate(expression)) for expression, _ in cases] == cases


def test_state_persists(kernel):
    kernel.evaluate(call("Set", Symbol("x"), 4))
    assert kernel.evaluate(call("ToExpression", "x + 1")) == 5
    assert kernel.evaluate(call("Get", Symbol("y"))) == Symbol("Null")


def test_reads_a_file(kernel, tmp_path):
    (tmp_path / "init.wl").write_text("x = 5; y = x + 1")
    assert kernel.evaluate(call("Get", str(tmp_path / "init.wl"))) == 6
    assert kernel.evaluate(call("ToExpression", "x + y")) == 11
    kernel.put("EvaluatePacket", call("Get", str(tmp_path / "missing.wl")))
    heads = [kernel.get_packet() for _ in range(3)]
    assert [head for head, *_ in heads] == ["MessagePacket", "TextPacket", "ReturnPacket"]
    assert heads[-1][1] == Symbol("$Failed")


def test_echo_keeps_every_byte(kernel):
    for path in VECTORS:
        for vector in json.loads(path.read_text()):
            wire = bytes.fromhex(vector["wire"]).removesuffix(b"]")
            kernel.put("EvaluatePacket", call("Echo", Raw(wire)))
            answer = encode(call("ReturnPacket", Raw(wire)))
            assert kernel.get_raw() == answer, vector["name"]


def test_text_input_numbers_its_lines(kernel):
    kernel.put("EnterTextPacket", "x = 2; {x, 1.0}")
    assert kernel.get_packet() == ("OutputNamePacket", "Out[1]= ")
    assert kernel.get_packet() == ("ReturnTextPacket", "{2, 1.}")
    assert kernel.get_packet() == ("InputNamePacket", "In[2]:= ")
    kernel.put("EnterTextPacket", "y = 3;")
    assert kernel.get_packet() == ("InputNamePacket", "In[3]:= ")
    kernel.put("EnterExpressionPacket", call("Plus", Symbol("x"), 1))
    assert kernel.get_packet() == ("OutputNamePacket", "Out[3]= ")
    assert kernel.get_packet() == ("ReturnExpressionPacket", 3)
    assert kernel.get_packet() == ("InputNamePacket", "In[4]:= ")


def test_syntax_errors_are_told(kernel):
    kernel.put("EnterTextPacket", "2 +* 3")
    heads = [kernel.get_packet()[0] for _ in range(4)]
    assert heads == ["MessagePacket", "TextPacket", "SyntaxPacket", "InputNamePacket"]


def test_output_comes_at_once(kernel, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    waiting = call("BusyUntil", str(gate))
    kernel.put("EvaluatePacket", call("CompoundExpression", call("Print", "now"), waiting))
    assert kernel.get_packet() == ("TextPacket", "now\n")
    gate.write_bytes(b".")
    assert kernel.get_packet() == ("ReturnPacket", str(gate))


@pytest.mark.parametrize("work", [("Sleep", 60), ("Spin", 60), ("Flood", 10**6, 10)])
def test_abort_ends_an_evaluation_and_the_session_goes_on(kernel, work):
    kernel.put("EvaluatePacket", call("CompoundExpression", call("Print", "begun"), call(*work)))
    assert kernel.get_packet() == ("TextPacket", "begun\n")
    kernel.send_message(3)
    while (packet := kernel.get_packet())[0] == "TextPacket":
        pass
    assert packet == ("ReturnPacket", ABORTED)
    assert kernel.evaluate(call("Plus", 1, 1)) == 2


@pytest.mark.parametrize(("choice", "value"), [("a", ABORTED), ("c", Symbol("Null"))])
def test_interrupt_opens_the_menu(kernel, choice, value):
    kernel.put("EvaluatePacket", call("CompoundExpression", call("Print", "begun"), call("Sleep", 0.2)))
    assert kernel.get_packet() == ("TextPacket", "begun\n")
    kernel.send_message(2)
    assert kernel.get_packet() == ("MenuPacket", 1, "Interrupt> ")
    kernel.put("TextPacket", choice)
    assert kernel.get_packet() == ("ReturnPacket", value)


def test_asks_the_client(kernel):
    kernel.put("EvaluatePacket", call("StringJoin", call("Ask", "name? "), "!"))
    assert kernel.get_packet() == ("InputPacket", "name? ")
    kernel.put("TextPacket", "Ada\n")
    assert kernel.get_packet() == ("ReturnPacket", "Ada!")
    kernel.put("EvaluatePacket", call("AskString"))
    assert kernel.get_packet() == ("InputStringPacket", "? ")
    kernel.put_raw(encode("plain"))
    assert kernel.get_packet() == ("ReturnPacket", "plain")


def test_an_abort_ends_a_question(kernel):
    kernel.put("EvaluatePacket", call("Ask"))
    assert kernel.get_packet()[0] == "InputPacket"
    kernel.send_message(3)
    assert kernel.get_packet() == ("ReturnPacket", ABORTED)


def test_calls_the_client(kernel):
    kernel.put("EvaluatePacket", call("CallClient", 7, call("Plus", 1, 1)))
    assert kernel.get_packet() == ("CallPacket", 7, call("List", 2))
    kernel.put("ReturnPacket", "done")
    assert kernel.get_packet() == ("ReturnPacket", "done")


def test_dialogs_nest(kernel):
    kernel.put("EvaluatePacket", call("Dialog"))
    for level in (1, 2):
        assert kernel.get_packet() == ("BeginDialogPacket", level)
        assert kernel.get_packet()[0] == "InputNamePacket"
        if level == 1:
            kernel.put("EvaluatePacket", call("Dialog"))
    kernel.put("EvaluatePacket", call("Return", 5))
    assert kernel.get_packet() == ("EndDialogPacket", 2)
    assert kernel.get_packet() == ("ReturnPacket", 5)
    kernel.put("EvaluatePacket", call("Return", 6))
    assert kernel.get_packet() == ("EndDialogPacket", 1)
    assert kernel.get_packet() == ("ReturnPacket", 6)


def test_commands_go_out_and_their_answers_come_back(kernel):
    kernel.put("EvaluatePacket", call("Command", call("GetKernelID")))
    assert kernel.get_packet() == ("WSCommandPacket", call("GetKernelID"))
    kernel.put("ReturnPacket", '{"result":"a806-2645-9651"}')
    assert kernel.get_packet() == ("ReturnPacket", '{"result":"a806-2645-9651"}')
    kernel.put("EvaluatePacket", call("WSTPServer`GetKernelID"))
    assert kernel.get_packet() == ("WSCommandPacket", call("GetKernelID"))
    kernel.put("ReturnPacket", '{"result":"a806-2645-9651"}')
    assert kernel.get_packet() == ("ReturnPacket", "a806-2645-9651")


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ('{"status":"ExecutionSuccess"}', ("Success", "SetKeepAlive succeeded.")),
        ('{"status":"ExecutionError"}', ("Failure", "SetKeepAlive failed.")),
    ],
)
def test_server_functions_return_success_or_failure(kernel, reply, value):
    head, text = value
    kernel.put("EvaluatePacket", call("WSTPServer`SetKeepAlive", Symbol("True")))
    assert kernel.get_packet() == ("WSCommandPacket", call("SetKeepAlive", Symbol("True")))
    kernel.put("ReturnPacket", reply)
    association = call("Association", call("Rule", "MessageTemplate", text))
    assert kernel.get_packet() == ("ReturnPacket", call(head, "WSTPServer", association))


def test_server_functions_are_built_in(kernel):
    """The server's definitions are taken and not counted; other text is read as ever."""
    for text in ('Begin["WSTPServer`Private`"];', "f[x_] := anything <|at all|>", "End[];"):
        assert kernel.evaluate(call("ToExpression", text)) == Symbol("Null")
    assert kernel.evaluate(call("ToExpression", "1 + 1")) == 2
    assert kernel.evaluate(call("Evaluations")) == 2


def test_half_a_frame_can_be_completed(kernel, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    kernel.put("EvaluatePacket", call("HalfFrame", str(gate), 5000))
    wait_for(lambda: kernel.framer.feed(joining.receive(kernel.data)) or len(kernel.framer.pending) > 2000)
    assert kernel.framer.next_frame() is None
    gate.write_bytes(b".")
    assert kernel.get_packet() == ("TextPacket", "y" * 5000)
    assert kernel.get_packet() == ("ReturnPacket", 5000)


def test_frames_that_are_no_packet_are_kept(kernel):
    kernel.put("Surprise", 1)
    assert kernel.evaluate(call("Received")) == call("List", call("Surprise", 1))


def test_messages_to_the_client(kernel):
    kernel.evaluate(call("SendMessage", 130, 7))
    assert kernel.get_message() == (130, 7)


@pytest.mark.parametrize(
    ("death", "code"),
    [(("Die",), 1), (("Die", 9), 9), (("Quit",), 0), (("Exit", 3), 3), (("DieBySignal", 9), -9),
     (("DieBySignal", 15), -15), (("HalfFrame", "die"), 1)],
)  # fmt: skip
def test_dies_as_told(kernel, death, code):
    kernel.put("EvaluatePacket", call(*death))
    assert kernel.at_end()
    assert kernel.process.wait(60) == code


def test_ends_when_the_link_closes(kernel):
    kernel.close(politely=True)
    assert kernel.process.wait(60) == 0


def test_tells_about_itself(kernel):
    assert kernel.evaluate(call("KernelProcess")) == kernel.process.pid
    assert "-wstp" in kernel.evaluate(call("KernelArguments")).args


def test_mirror_returns_every_frame(tmp_path):
    with rawlink.running_kernel(make_kernel(tmp_path, mirror=True)) as (link, _):
        assert link.get_packet()[0] == "InputNamePacket"
        for frame in (call("EvaluatePacket", 1), call("Surprise"), call("EnterTextPacket", "1")):
            link.put_raw(encode(frame) + b"]")
            assert link.get_raw() == encode(frame)
            if frame.is_head("EvaluatePacket"):
                assert link.get_packet() == ("ReturnPacket", Symbol("Null"))
        assert link.get_packet() == ("InputNamePacket", "In[2]:= ")


def test_small_writes(tmp_path):
    with rawlink.running_kernel(make_kernel(tmp_path, write_size=1)) as (link, _):
        assert link.get_packet()[0] == "InputNamePacket"
        assert link.evaluate(call("MakeString", 300)) == "x" * 300


@pytest.mark.parametrize("version", [4, 5, 6])
def test_greets_in_every_version(tmp_path, version):
    kernel = make_kernel(tmp_path, version=version)
    with rawlink.running_kernel(kernel, version=6) as (link, _):
        assert link.get_packet()[0] == "InputNamePacket"


def test_costs_little(tmp_path):
    """A whole life, in processor time and compared with that of a program that does nothing."""

    def processor_seconds():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    kernel = make_kernel(tmp_path)
    costs, others = [], []
    for _ in range(8):
        begin = processor_seconds()
        subprocess.run([sys.executable, "-S", "-E", "-c", "import json, socket"], check=True)
        others.append(processor_seconds() - begin)
        begin = processor_seconds()
        with rawlink.running_kernel(kernel) as (link, process):
            link.get_packet()
            assert processes.resident_bytes(process.pid) < 25e6
            link.close()
            process.wait(60)
        costs.append(processor_seconds() - begin)
    assert min(costs) < 3 * min(others)
