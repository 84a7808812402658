"""ReservedKernelTimeout and EvaluationTimeLimit."""

from __future__ import annotations

import re
import signal

from tests.support.serving import SUCCESS, enter, kernel_id, kernels
from tools.harness.fake_kernel.codec import Function, Symbol
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.waiting import wait_for

ABORTED = ("ReturnPacket", Symbol("$Aborted"))
#: More than an evaluation of a few symbols takes on a busy machine.
LIMIT = 0.7
TOO_LONG = f"an evaluation has taken longer than {LIMIT} s (EvaluationTimeLimit)"
LONG = call("Sleep", 600)


def test_a_reserved_kernel_is_closed_when_its_work_is_done_and_nobody_comes_back(serve, gate):
    server = serve({"Main": {"MinimumKernelNumber": 3, "ReservedKernelTimeout": 1}})
    busy, idle, watcher = server.client(), server.client(), server.client()
    busy_name, idle_name = kernel_id(busy), kernel_id(idle)
    busy.put("EvaluatePacket", gate.busy())
    wait_for(lambda: kernels(watcher)[busy_name]["Busy"])
    busy.close()
    wait_for(lambda: kernels(watcher)[busy_name]["State"] == "reserved")
    idle.close()
    kept = r"\d+\.\d s and nobody came back to it \(ReservedKernelTimeout\)"
    server.wait_for_log(f"Information: \n    Kernel {idle_name} of pool Main is closed: it was kept for {kept}")
    assert kernels(watcher)[busy_name]["State"] == "reserved", "it has waited longer, but it works"
    gate.open()
    server.wait_for_log(f"Kernel {busy_name} of pool Main is closed: it was kept for {kept}")
    assert watcher.evaluate(call("Plus", 2, 2)) == 4


def test_a_long_evaluation_is_aborted_and_the_session_goes_on(serve):
    pool = {"MinimumKernelNumber": 1, "EvaluationTimeLimit": LIMIT, "InitializationCode": "Sleep[0.8]"}
    server = serve({"Main": pool})
    link = server.client()
    assert "EvaluationTimeLimit" not in server.log, "what the server itself evaluates may take longer"
    link.evaluate(Function("Set", Symbol("x"), 5))
    for expression in (LONG, call("Get", Symbol("x")), LONG):
        link.put("EvaluatePacket", expression)
    told = ("TextPacket", f"WSTPServer: {TOO_LONG} and is aborted\n")
    assert [link.get_packet() for _ in range(5)] == [told, ABORTED, ("ReturnPacket", 5), told, ABORTED]
    server.wait_for_log(rf"Warning: \n    Kernel {kernel_id(link)}: an evaluation has taken .* and is aborted")
    link.put("EvaluatePacket", call("Dialog"))
    assert [link.get_packet()[0] for _ in range(2)] == ["BeginDialogPacket", "InputNamePacket"]
    assert link.get_packet() == told, "the time of a dialog counts"


def test_a_limit_that_comes_by_a_reload_holds_and_an_evaluation_that_its_client_has_left_is_aborted_as_well(
    serve, tmp_path
):
    server = serve({"Main": {"MinimumKernelNumber": 2}})
    link, watcher = server.client(), server.client()
    name = kernel_id(link)
    (path,) = tmp_path.glob("*.conf")
    limited = f'"EvaluationTimeLimit": {LIMIT}, "MinimumKernelNumber"'
    path.write_text(path.read_text().replace('"MinimumKernelNumber"', limited))
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log("The configuration was reloaded:")
    link.put("EvaluatePacket", LONG)
    link.close()
    server.wait_for_log(f"Kernel {name}: {re.escape(TOO_LONG)}")
    wait_for(lambda: not kernels(watcher)[name]["Busy"])
    assert enter(watcher, "ConnectKernel", name) == SUCCESS


def test_a_kernel_that_does_not_react_to_the_abort_is_closed(serve):
    limited = {"MinimumKernelNumber": 1, "MaximumKernelNumber": 2, "EvaluationTimeLimit": LIMIT}
    server = serve({"Main": limited}, grace={"abort": 0.5})
    link = server.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", call("Deaf", 600))
    assert link.get_packet() == ("TextPacket", f"WSTPServer: {TOO_LONG} and is aborted\n")
    late = f"{TOO_LONG} and did not end within 0.5 s after it was aborted"
    assert link.get_packet() == ("TextPacket", f"WSTPServer: the kernel was closed: {late}\n")
    assert link.at_end()
    server.wait_for_log(f"Warning: \n    Kernel {name} is closed: an evaluation has taken")
    assert server.client().evaluate(call("Plus", 2, 2)) == 4
