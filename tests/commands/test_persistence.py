"""Kernels that outlive connections."""

from __future__ import annotations

import pytest

from tests.support.serving import ERROR, SUCCESS, enter, kernel_id, kernels, prompt
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.waiting import wait_for


def come_back(link, name):
    """Bridge a client to the kernel with this ID; the client, and the prompt it got."""
    link.put("WSCommandPacket", Function("ConnectKernel", name, 20))
    assert link.get_packet() == ("ReturnPacket", SUCCESS)
    head, prompt = link.get_packet()
    assert head == "InputNamePacket"
    return link, prompt


def enter_text(link, text):
    """All packets of one EnterTextPacket, up to the next prompt."""
    link.put("EnterTextPacket", text)
    packets = [link.get_packet()]
    while packets[-1][0] != "InputNamePacket":
        packets.append(link.get_packet())
    return packets


@pytest.mark.parametrize("leaving", ["close", "reset", "DisconnectKernel"])
def test_the_prompt_at_reconnection_has_the_next_number(serve, leaving):
    server = serve()
    link = server.client()
    name = kernel_id(link)
    for number in (1, 2, 3):
        assert enter_text(link, "2+2") == [
            ("OutputNamePacket", f"Out[{number}]= "),
            ("ReturnTextPacket", "4"),
            ("InputNamePacket", f"In[{number + 1}]:= "),
        ]
    enter(link, leaving) if leaving == "DisconnectKernel" else getattr(link, leaving)()
    again, prompt = come_back(server.client(), name)
    assert prompt == "In[4]:= "
    assert enter_text(again, "3+3")[0] == ("OutputNamePacket", "Out[4]= ")


def test_an_evaluation_goes_on_without_its_client(serve, gate):
    server = serve()
    link = server.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", call("Set", Symbol("x"), gate.busy()))
    watcher = server.client()
    wait_for(lambda: kernels(watcher)[name]["Busy"])
    link.reset()
    wait_for(lambda: kernels(watcher)[name]["State"] == "reserved")
    assert kernels(watcher)[name]["Busy"], "unbridging stops no work"
    gate.open()
    wait_for(lambda: not kernels(watcher)[name]["Busy"])
    again, _ = come_back(watcher, name)
    assert again.evaluate(call("Get", Symbol("x"))) == gate.path


def test_nothing_of_the_old_conversation_reaches_the_next_client(serve, gate):
    server = serve({"Main": {"MinimumKernelNumber": 1, "ReservePreviouslyConnectedKernels": False}})
    link = server.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", call("List", gate.busy(), call("Flood", 20)))
    wait_for(lambda: '"True"' in link.command("GetKernelBusyStatus"))
    link.close()
    stranger = server.client(prompt=False)
    gate.open()
    assert prompt(stranger) == ("InputNamePacket", "In[1]:= ")
    assert kernel_id(stranger) == name
    assert stranger.evaluate(call("Plus", 2, 2)) == 4


def test_a_question_that_nobody_answered_is_answered_after_the_reconnection(serve):
    """The next client is asked again; a kernel that waits for an answer is busy for strangers only."""
    server = serve({"Main": {"MinimumKernelNumber": 2, "ReservePreviouslyConnectedKernels": False}})
    link, watcher = server.client(), server.client()
    watcher.evaluate(call("Plus", 1, 1))  # an unused kernel would be as good as another one
    name = kernel_id(link)
    link.put("EvaluatePacket", call("List", call("Ask", "name? "), call("Ask", "born? ")))
    assert link.get_packet() == ("InputPacket", "name? ")
    link.put("TextPacket", "Ada")
    assert link.get_packet() == ("InputPacket", "born? ")
    link.reset()
    wait_for(lambda: kernels(watcher)[name]["State"] == "free")
    assert watcher.command("ConnectKernel", "Main", 0) == ERROR
    assert kernels(watcher)[name]["Busy"]
    again, _ = come_back(watcher, name)
    assert again.get_packet() == ("InputPacket", "born? ")
    again.put("TextPacket", "1815")
    head, value = again.get_packet()
    assert (head, value.args) == ("ReturnPacket", ["Ada", "1815"])
    assert again.evaluate(call("Plus", 2, 2)) == 4


def test_a_question_that_comes_while_nobody_is_there_waits_for_the_next_client(serve, gate):
    server = serve()
    link, watcher = server.client(), server.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", call("List", gate.busy(), call("Ask", "still there? ")))
    link.close()
    wait_for(lambda: kernels(watcher)[name]["State"] == "reserved")
    watcher.put("WSCommandPacket", Function("ConnectKernel", name, 20))
    gate.open()
    assert watcher.get_packet() == ("ReturnPacket", SUCCESS)
    assert watcher.get_packet()[0] == "InputNamePacket"
    assert watcher.get_packet() == ("InputPacket", "still there? ")
    watcher.put("TextPacket", "yes")
    assert watcher.get_packet()[1].args[1] == "yes"


def test_a_dialog_goes_on_after_the_reconnection(serve):
    server = serve()
    link, watcher = server.client(), server.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", call("Dialog"))
    assert link.get_packet()[0] == "BeginDialogPacket"
    assert link.get_packet()[0] == "InputNamePacket"
    link.reset()
    wait_for(lambda: kernels(watcher)[name]["State"] == "reserved")
    again, _ = come_back(watcher, name)
    assert again.evaluate(call("Plus", 1, 1)) == 2
    again.put("EvaluatePacket", call("Return", 7))
    packets = [again.get_packet()]
    while packets[-1] != ("ReturnPacket", 7) or "EndDialogPacket" not in [head for head, *_ in packets]:
        packets.append(again.get_packet())
    assert again.evaluate(call("Plus", 2, 2)) == 4


def test_dialogs_accept_evaluations_and_end(shared):
    link = shared.client()
    link.put("EvaluatePacket", call("Dialog"))
    assert link.get_packet()[0] == "BeginDialogPacket"
    packet = link.get_packet()
    assert packet[0] == "InputNamePacket"
    assert link.evaluate(call("Plus", 1, 1)) == 2
    assert '"True"' in link.command("GetKernelBusyStatus")
    link.put("EvaluatePacket", call("Return", 7))
    heads = [link.get_packet() for _ in range(2)]
    assert heads[0][0] == "EndDialogPacket" or heads[1][0] == "EndDialogPacket"
    last = heads[-1] if heads[-1][0] == "ReturnPacket" else link.get_packet()
    assert last == ("ReturnPacket", 7)
    assert '"False"' in link.command("GetKernelBusyStatus")


def test_many_evaluations_sent_at_once_are_answered_in_order(shared):
    link = shared.client()
    for number in range(400):
        link.put("EvaluatePacket", call("Plus", number, 1))
    for number in range(400):
        assert link.get_packet() == ("ReturnPacket", number + 1)


def test_evaluations_that_wait_are_not_sent_when_their_client_leaves(serve, gate):
    server = serve()
    link = server.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", gate.busy())
    for _ in range(10):
        link.put("EvaluatePacket", call("Set", Symbol("x"), 1))
    watcher = server.client()
    wait_for(lambda: kernels(watcher)[name]["Busy"])
    link.command("GetKernelID")  # everything before it has been read
    link.close()
    gate.open()
    again, _ = come_back(watcher, name)
    assert again.evaluate(call("Get", Symbol("x"))).short == "Null"


def test_an_abort_reaches_the_kernel_at_once_and_the_session_goes_on(shared, gate):
    link = shared.client()
    link.evaluate(call("Set", Symbol("x"), 5))
    link.put("EvaluatePacket", call("List", call("Print", "begun"), gate.busy()))
    assert link.get_packet()[0] == "TextPacket"
    link.send_message(3)
    head, value = link.get_packet()
    assert (head, value.short) == ("ReturnPacket", "$Aborted")
    assert link.evaluate(call("Get", Symbol("x"))) == 5
