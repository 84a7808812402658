"""Kernels behind a real sshd."""
import os
import shlex
import signal

import pytest

from tests.engines import conversation
from tests.server.test_kernel_death import is_death
from tests.support.serving import join_pool, kernel_facts, kernel_id, kernels, ready_kernels, serving
from tools.harness import engines, processes
from tools.harness.fake_kernel.codec import Function
from tools.harness.server import pool
from tools.harness.waiting import wait_gone

OLDEST = engines.oldest_python()


@pytest.fixture(scope="module")
def server(sshd, kernel, tmp_path_factory):
    """A pool through ssh, one whose data goes by TCP, and one whose agent has the oldest Python, if there is one."""
    keys = {
        "KernelLauncher": shlex.join(sshd.command), "KernelAgent": engines.interpreter(), "MinimumKernelNumber": 1,
        "MaximumKernelNumber": 3, "ReservePreviouslyConnectedKernels": False,
    }  # fmt: skip
    pools = {"Ssh": pool(kernel, **keys), "Tcp": pool(kernel, **keys, KernelTransport="tcp")}
    if OLDEST is not None:
        pools["Oldest"] = pool(kernel, **{**keys, "KernelAgent": shlex.join([OLDEST, "-"])})
    root = {"EnableAutomaticKernelConnection": False, "KernelTransportInterface": "localhost"}
    with serving(tmp_path_factory.mktemp("server"), {"Pools": pools, **root}) as running:
        ready_kernels(running, len(pools), 120.0)
        yield running


@pytest.mark.parametrize("pool_name", ["Ssh", "Tcp"])
def test_everything(server, pool_name):
    with join_pool(server, pool_name) as link:
        conversation.evaluations(link, 1000 if pool_name == "Ssh" else 100)
        conversation.unicode(link)
        conversation.output_while_it_happens(link)
        conversation.dialog(link)
        conversation.large(link, 12_500_000)
        conversation.send_large(link, 10_000_000)
        conversation.abort_among_bulk(link, 100_000_000)
        conversation.come_back(server, link)


@pytest.mark.skipif(OLDEST is None, reason="no Python 3.8: neither python3.8 nor PYTHON38 names one that runs")
def test_agent_with_the_oldest_python(server):
    """Link, abort, output and exit status."""
    with join_pool(server, "Oldest") as link:
        agent = processes.parent(kernel_facts(link, "Oldest")["HostProcessID"])
        assert "python3.8" in os.readlink(f"/proc/{agent}/exe")
        conversation.evaluations(link, 100)
        conversation.unicode(link)
        conversation.output_while_it_happens(link)
        conversation.large(link, 1_250_000)
        conversation.send_large(link, 1_000_000)
        conversation.abort_among_bulk(link, 50_000_000)
        link.evaluate(Function("WriteOutput", "printed there"))
        server.wait_for_log(f"Kernel {kernel_id(link)} printed: printed there")
        link.put("EvaluatePacket", Function("Die", 3))
        packet = link.get_packet()
        assert is_death(packet) and "exit status 3" in packet[1], packet
        wait_gone(agent, 60.0)


@pytest.mark.parametrize("victim", ["ssh", "agent", "kernel"])
def test_end_of_a_kernel(server, victim):
    words = {"ssh": 'its launcher "ssh" ended with signal 9 (SIGKILL)', "agent": 'its launcher "ssh" ended with',
             "kernel": "died: signal 9 (SIGKILL)"}  # fmt: skip
    with join_pool(server, "Ssh") as link:
        told = kernels(link, "Ssh")[kernel_id(link)]
        (ssh,) = processes.children(told["ProcessID"])
        kernel = told["HostProcessID"]
        pids = {"ssh": ssh, "agent": processes.parent(kernel), "kernel": kernel}
        os.kill(pids[victim], signal.SIGKILL)
        packet = link.get_packet()
        assert is_death(packet) and words[victim] in packet[1]
        assert link.at_end()
        for pid in (*pids.values(), told["ProcessID"]):
            wait_gone(pid, 60.0)
