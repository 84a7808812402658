"""At most one evaluation is in a kernel; whatever answers it passes at once."""
import contextlib

import pytest

from tests.support.scripted_kernel import ScriptedKernels
from tests.support.serving import Gate, evaluate_length, join, kernel_id, one_pool, serving
from tools.harness.fake_kernel.codec import Function, Symbol

ASK = Function("Ask", "name? ")


def test_what_is_sent_ahead_waits_in_the_server(server, gate):
    """The server's answer to a command of the kernel is the next thing that the kernel reads."""
    asking = Function("CompoundExpression", gate.busy(), Function("WSTPServer`GetKernelID"))
    with join(server) as link:
        identifier = kernel_id(link)
        link.put("EvaluatePacket", asking)
        for number in range(10):
            link.put("EvaluatePacket", number)
        gate.open()
        assert link.get_packet() == ("ReturnPacket", identifier)
        assert [link.get_packet() for _ in range(10)] == [("ReturnPacket", number) for number in range(10)]


def test_an_answer_does_not_wait_for_the_end_of_the_evaluation(server):
    with join(server) as link:
        link.put("EvaluatePacket", ASK)
        assert link.get_packet() == ("InputPacket", "name? ")
        link.put("TextPacket", "Kurt")
        link.put("EvaluatePacket", "later")
        assert link.get_packet() == ("ReturnPacket", "Kurt")
        assert link.get_packet() == ("ReturnPacket", "later")


def test_an_answer_of_a_megabyte_does_not_wait_either(server):
    """It is longer than what the server holds, so it goes in parts."""
    with join(server) as link:
        link.put("EvaluatePacket", Function("StringLength", ASK))
        assert link.get_packet()[0] == "InputPacket"
        link.put("TextPacket", "x" * 1_000_000)
        link.put("EvaluatePacket", "later")
        assert link.get_packet() == ("ReturnPacket", 1_000_000)
        assert link.get_packet() == ("ReturnPacket", "later")


def test_the_result_of_a_call_packet_is_no_answer_to_an_evaluation(server):
    """ReturnPacket comes from the client here, and in the other direction it would end the evaluation."""
    with join(server) as link:
        link.put("EvaluatePacket", Function("CompoundExpression", Function("CallClient", 3, "x"), ASK))
        assert link.get_packet()[:2] == ("CallPacket", 3)
        link.put("ReturnPacket", 17)
        assert link.get_packet() == ("InputPacket", "name? ")
        link.put("TextPacket", "done")
        link.put("EvaluatePacket", "later")
        assert [link.get_packet() for _ in range(2)] == [("ReturnPacket", "done"), ("ReturnPacket", "later")]


def test_nothing_passes_a_packet_that_waits(server, gate):
    """The kernel reads everything in the order in which it was sent."""
    with join(server) as link:
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        link.put("EvaluatePacket", "second")
        link.put("TextPacket", "behind it")
        link.put("EvaluatePacket", Function("Received"))
        gate.open()
        assert link.get_packet()[0] == "ReturnPacket"
        assert link.get_packet() == ("ReturnPacket", "second")
        head, received = link.get_packet()
        assert [one.head.name for one in received.args][-1] == "TextPacket"


def test_the_three_kinds_of_evaluations_in_one_queue(server):
    with join(server) as link:
        link.put("EnterTextPacket", "1 + 1")
        link.put("EvaluatePacket", "second")
        link.put("EnterExpressionPacket", Function("Plus", 1, 2))
        link.put("EnterTextPacket", "x = 5;")
        link.put("EvaluatePacket", "last")
        assert [link.get_packet() for _ in range(9)] == [
            ("OutputNamePacket", "Out[1]= "),
            ("ReturnTextPacket", "2"),
            ("InputNamePacket", "In[2]:= "),
            ("ReturnPacket", "second"),
            ("OutputNamePacket", "Out[2]= "),
            ("ReturnExpressionPacket", 3),
            ("InputNamePacket", "In[3]:= "),
            ("InputNamePacket", "In[4]:= "),
            ("ReturnPacket", "last"),
        ]


def test_dialogs_within_dialogs(server):
    """Each level accepts an evaluation; what had been sent ahead before it began is the first of these."""
    with join(server) as link:
        link.put("EvaluatePacket", Function("Dialog"))
        link.put("EvaluatePacket", Function("Dialog"))
        assert [link.get_packet()[0] for _ in range(4)] == ["BeginDialogPacket", "InputNamePacket"] * 2
        assert link.evaluate("inner") == "inner"
        for level in (2, 1):
            link.put("EvaluatePacket", Function("Return", level))
            assert link.get_packet() == ("EndDialogPacket", level)
            assert link.get_packet() == ("ReturnPacket", level)
        assert link.evaluate("outside") == "outside"


def test_a_message_is_followed_by_its_text(server):
    with join(server) as link:
        link.put("EvaluatePacket", Function("Message", "f", "argx", "wrong"))
        assert [link.get_packet() for _ in range(3)] == [
            ("MessagePacket", Symbol("f"), "argx"),
            ("TextPacket", "f::argx: wrong\n"),
            ("ReturnPacket", Symbol("Null")),
        ]


def test_commands_are_answered_while_the_kernel_is_busy(server, gate):
    with join(server) as link:
        identifier = kernel_id(link)
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        link.put("EvaluatePacket", "later")
        assert link.command("GetKernelBusyStatus") == '{"result":"True"}'
        assert kernel_id(link) == identifier
        gate.open()
        assert link.get_packet()[0] == "ReturnPacket"
        assert link.get_packet() == ("ReturnPacket", "later")


@pytest.mark.parametrize("size", [50_000, 1_000_000])
def test_the_answer_to_a_command_waits_for_the_end_of_a_frame(server, gate, size):
    with join(server) as link:
        identifier = kernel_id(link)
        link.put("EvaluatePacket", Function("HalfFrame", gate.path, size))
        begun = link.data.recv(1 << 20)  # half of a TextPacket, or the beginning of it
        link.framer.feed(begun)
        gate.wait_until_reached()
        link.put("WSCommandPacket", Function("GetKernelID"))
        gate.open()
        head, text = link.get_packet()
        assert (head, len(text)) == ("TextPacket", size)
        answers = sorted((link.get_packet(), link.get_packet()), key=str)
        assert answers == [("ReturnPacket", f'{{"result":"{identifier}"}}'), ("ReturnPacket", size)]


def test_the_answer_to_a_command_does_not_wait_for_a_small_frame(server, gate):
    """Of which nothing goes out before it is whole."""
    with join(server) as link:
        identifier = kernel_id(link)
        link.put("EvaluatePacket", Function("HalfFrame", gate.path, 1000))
        gate.wait_until_reached()
        assert link.command("GetKernelID") == f'{{"result":"{identifier}"}}'
        gate.open()
        head, text = link.get_packet()
        assert (head, len(text)) == ("TextPacket", 1000)
        assert link.get_packet() == ("ReturnPacket", 1000)


def test_two_kernels_do_not_wait_for_each_other(server, tmp_path):
    gates = Gate(tmp_path, "first"), Gate(tmp_path, "second")
    with join(server) as first, join(server) as second:
        for link, held in zip((first, second), gates, strict=True):
            link.put("EvaluatePacket", held.busy())
        gates[1].open()
        assert second.get_packet()[0] == "ReturnPacket"
        gates[0].open()
        assert first.get_packet()[0] == "ReturnPacket"


def test_an_evaluation_that_has_waited_goes_out_whole_though_its_client_leaves(tmp_path):
    """The kernel takes a part of it, then its client leaves, then the kernel reads the rest."""
    beginning, end = evaluate_length(8_000_000)
    frame = beginning + b"x" * 8_000_000 + end
    with ScriptedKernels() as kernels:
        configuration = one_pool(kernels.path, KeepAlive=True, ReservePreviouslyConnectedKernels=False)
        with serving(tmp_path, configuration) as server, contextlib.closing(kernels.accept()) as kernel:
            kernel.become_ready(server)
            with join(server) as client:
                client.put("EvaluatePacket", 1)
                assert kernel.link.get_packet() == ("EvaluatePacket", 1)
                client.put_raw(frame)
                kernel_id(client)  # so all of the frame is in the server by now
                kernel.link.put("ReturnPacket", 1)
                assert client.get_packet() == ("ReturnPacket", 1)
            server.wait_for_log("Client 1 .* is unbridged")
            assert kernel.link.get_raw() + b"]" == frame
            kernel.link.put("ReturnPacket", 8_000_000)
            with join(server) as client:
                client.put("EvaluatePacket", 2)
                assert kernel.link.get_packet() == ("EvaluatePacket", 2)
                kernel.link.put("ReturnPacket", 2)
                assert client.get_packet() == ("ReturnPacket", 2)
