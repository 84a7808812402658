"""SIGHUP: the configuration as it is now takes effect, and no client and no kernel is lost."""

import json
import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.service.helpers import entries
from tests.support.serving import Gate, one_pool
from tools.harness import processes
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for


def reload(server, configuration):
    """Write the configuration, send SIGHUP, and return what the log says of it."""
    text = configuration if isinstance(configuration, str) else json.dumps(configuration, indent=1)
    (server.folder / f"{server.mark}.conf").write_text(text)
    return hang_up(server)


def hang_up(server):
    """Send SIGHUP, and return what the log says of it."""
    before = len(reports(server))
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(reports(server)) > before, 60, "the reload")
    return reports(server)[-1]


def reports(server):
    """The entries about reloads that are complete in the log, in order."""
    text = server.log
    complete = entries(text[: text.rfind("\n\n") + 2]) if "\n\n" in text else []
    return [message for _, message in complete if message.startswith("The configuration was")]


def information(link):
    return json.loads(link.command("GetServerInformation"))["result"]["Pools"]


def test_new_pools_and_numbers(tmp_path):
    kernel = make_kernel(tmp_path)
    configuration = {"Pools": {"A": pool(kernel, MinimumKernelNumber=1)}}
    with ServerProcess(tmp_path, configuration) as server, server.connect() as link:
        link.get_packet()
        mine = link.evaluate(call("KernelProcess"))
        pools = {"A": pool(kernel, MinimumKernelNumber=3), "B": pool(kernel, MinimumKernelNumber=2)}
        report = reload(server, {"AllowStealingKernels": False, "KernelsOutliveServer": 0, "Pools": pools})
        assert report.splitlines() == [
            "The configuration was reloaded:",
            "AllowStealingKernels: True -> False",
            "Pools.A.MaximumKernelNumber: 1 -> 3",
            "Pools.A.MinimumKernelNumber: 1 -> 3",
            "Pools.B: new pool",
        ]
        wait_for(lambda: len(server.processes()) == 5, 60, "the new kernels")
        assert mine in server.processes()
        assert link.evaluate(call("KernelProcess")) == mine
        found = information(link)
        assert {name: len(found[name]["Kernels"]) for name in found} == {"A": 3, "B": 2}
        with server.connect() as other:
            other.get_packet()
            assert other.command("ConnectKernel", "B") == '{"status":"ExecutionSuccess"}'


def test_fewer_kernels_and_a_removed_pool(tmp_path):
    """Living kernels stay; those of a pool that is gone are not replaced, and the pool goes with the last."""
    kernel = make_kernel(tmp_path)
    configuration = {"Pools": {"A": pool(kernel, MinimumKernelNumber=2), "B": pool(kernel, MinimumKernelNumber=1)}}
    with ServerProcess(tmp_path, configuration) as server:
        for name in "AB":
            server.wait_for_log(f"Pool {name} is ready")
        with server.connect() as link, server.connect() as keeper:
            assert link.get_packet()[0] == keeper.get_packet()[0] == "InputNamePacket"
            assert keeper.command("ConnectKernel", "B") == '{"status":"ExecutionSuccess"}'
            assert keeper.get_packet()[0] == "InputNamePacket"
            kernels = sorted(server.processes())
            in_pool_b = keeper.evaluate(call("KernelProcess"))
            report = reload(server, {"Pools": {"A": pool(kernel, MinimumKernelNumber=1)}})
            assert "Pools.B: removed" in report and "Pools.A.MinimumKernelNumber: 2 -> 1" in report
            assert keeper.evaluate(call("KernelProcess")) == in_pool_b
            assert sorted(server.processes()) == kernels
            assert link.command("ConnectKernel", "B", 0) == '{"status":"ExecutionError"}'
            keeper.put("EvaluatePacket", call("Quit"))
            assert keeper.at_end()
            wait_for(lambda: "B" not in information(link), what="the pool to be forgotten")
            assert not processes.alive(in_pool_b)
            assert sorted(server.processes()) == [process for process in kernels if process != in_pool_b]


def test_the_default_pool_changes(tmp_path):
    kernel = make_kernel(tmp_path)
    pools = {"A": pool(kernel, MinimumKernelNumber=1), "B": pool(kernel, MinimumKernelNumber=1)}
    with ServerProcess(tmp_path, {"Pools": pools}) as server:
        with server.connect() as link:
            link.get_packet()
            assert link.command("GetPoolName") == '{"result":"A"}'
        reload(server, {"Pools": pools | {"B": {**pools["B"], "Default": True}}})
        with server.connect() as link:
            link.get_packet()
            assert link.command("GetPoolName") == '{"result":"B"}'


def test_a_client_that_waits_gets_a_kernel_of_the_larger_pool(tmp_path):
    kernel = make_kernel(tmp_path)
    configuration = one_pool(kernel, MinimumKernelNumber=1)
    with ServerProcess(tmp_path, configuration, "-l", "debug") as server, server.connect() as first:
        first.get_packet()
        with server.connect() as second:
            server.wait_for_log("Client 2 .* waits up to 60 s .*1 bridged")
            reload(server, one_pool(kernel, MinimumKernelNumber=2))
            assert second.get_packet()[0] == "InputNamePacket"


def test_a_client_that_waits_for_a_pool_that_is_removed(tmp_path):
    kernel = make_kernel(tmp_path)
    configuration = one_pool(kernel, MinimumKernelNumber=1)
    with ServerProcess(tmp_path, configuration, "-l", "debug") as server, server.connect() as first:
        first.get_packet()
        with server.connect() as second:
            server.wait_for_log("Client 2 .* waits up to 60 s .*1 bridged")
            reload(server, {"Pools": {"Other": pool(kernel, MinimumKernelNumber=1)}})
            assert second.get_packet() == ("TextPacket", "WSTPServer: pool a is not configured any more\n")
            assert second.at_end()
        assert first.evaluate(call("Plus", 1, 1)) == 2


INVALID = {
    "key": ('{"Pools": {"P": {"KeepAliv": true}}}', 'Pools.P.KeepAliv: unknown key; did you mean "KeepAlive"?'),
    "half": ('{"Pools": {', "the file ends here"),
    "binary": ("\0\1\2binary", "NUL byte"),
    "empty": ("", ""),
    "kernel": ('{"Pools": {"P": {"KernelPath": "/nowhere/kernel"}}}', "/nowhere/kernel"),
    "gone": (None, "No such file"),
}


@pytest.fixture(scope="module")
def unchanging(tmp_path_factory):
    """(server, kernel, link): a server that keeps the kernel of this link; its configuration has one kernel."""
    folder = tmp_path_factory.mktemp("unchanging")
    kernel = make_kernel(folder)
    with ServerProcess(folder, one_pool(kernel, MinimumKernelNumber=1)) as server, server.connect() as link:
        assert link.get_packet()[0] == "InputNamePacket"
        yield server, kernel, link


@pytest.mark.parametrize("what", INVALID)
def test_an_invalid_file_changes_nothing(unchanging, what):
    server, kernel, link = unchanging
    text, reason = INVALID[what]
    before, file = information(link), server.folder / f"{server.mark}.conf"
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    report = hang_up(server)
    assert report.startswith("The configuration was not reloaded, the old one stays in force:\n")
    assert reason in report and f"{server.mark}.conf" in report
    after = information(link)
    assert after.keys() == before.keys()
    assert [item["ID"] for item in after["a"]["Kernels"]] == [item["ID"] for item in before["a"]["Kernels"]]
    # a good one afterwards is taken over
    limit = before["a"]["MaximumKernelNumber"]
    good = one_pool(kernel, MinimumKernelNumber=1, MaximumKernelNumber=limit + 1)
    assert f"MaximumKernelNumber: {limit} -> {limit + 1}" in reload(server, good)


def test_what_needs_a_restart_is_said(tmp_path):
    kernel = make_kernel(tmp_path)
    configuration = one_pool(kernel, MinimumKernelNumber=1)
    with ServerProcess(tmp_path, configuration) as server:
        report = reload(server, {"AdvertisedServiceType": "_other._tcp.local.", **configuration})
        assert re.search(r"AdvertisedServiceType: .* \(takes effect when the server is restarted\)", report)
        assert reload(server, {"AdvertisedServiceType": "_other._tcp.local.", **configuration}).endswith(
            "\nnothing is different"
        )


def test_an_evaluation_goes_on_through_a_reload(tmp_path):
    gate = Gate(tmp_path)
    kernel = make_kernel(tmp_path)
    with ServerProcess(tmp_path, one_pool(kernel, MinimumKernelNumber=1)) as server, server.connect() as link:
        link.get_packet()
        link.put("EvaluatePacket", gate.busy())
        for number in (2, 1, 3):
            reload(server, one_pool(kernel, MinimumKernelNumber=number))
        gate.open()
        assert link.get_packet() == ("ReturnPacket", gate.path)


CLIENTS = 10


@pytest.mark.timeout(180)
def test_reloads_under_load(tmp_path):
    """Ten clients evaluate while the configuration changes to and fro: every answer comes and is right, no client
    is disconnected, and the kernels at the end are those of the beginning."""
    kernel = make_kernel(tmp_path)
    numbers = {"MinimumKernelNumber": CLIENTS, "ReservePreviouslyConnectedKernels": False}
    answers, enough = [0] * CLIENTS, threading.Event()

    def evaluate(client):
        with server.connect() as link:
            assert link.get_packet()[0] == "InputNamePacket"
            while not enough.is_set():
                assert link.evaluate(call("Plus", answers[client], 1)) == answers[client] + 1
                answers[client] += 1

    def all_have_gone_on():
        return all(now > was for now, was in zip(answers, before, strict=True)) or any(job.done() for job in jobs)

    with ServerProcess(tmp_path, one_pool(kernel, **numbers)) as server, ThreadPoolExecutor(CLIENTS) as executor:
        server.wait_for_log("Pool a is ready", 90)
        kernels = sorted(server.processes())
        jobs = [executor.submit(evaluate, client) for client in range(CLIENTS)]
        try:
            for reloads in range(6):
                before = list(answers)
                wait_for(all_have_gone_on, 60, "an answer for each client")
                pools = {"a": pool(kernel, **numbers, MaximumKernelNumber=CLIENTS + reloads % 4)}
                if reloads % 2 == 0:
                    pools["Q"] = pool(kernel, MinimumKernelNumber=1)
                reload(server, {"AllowStealingKernels": reloads % 3 != 0, "Pools": pools})
            before = list(answers)
            wait_for(all_have_gone_on, 60, "an answer for each client")
        finally:
            enough.set()
        for job in jobs:
            job.result()
        assert set(kernels) <= set(server.processes())
    assert "died" not in server.log
