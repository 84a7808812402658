"""Evaluations that follow each other as fast as they are answered: the server counts them and looks at none."""

from __future__ import annotations

import threading
from time import monotonic

from tests.support.serving import SUCCESS, kernel_id, kernels
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.fake_kernel.codec import Symbol


def test_each_counts(serve):
    server = serve({"Main": {"MinimumKernelNumber": 1}})
    link = server.client()
    name = kernel_id(link)
    for number in range(500):
        assert link.evaluate(call("Plus", 2, number)) == 2 + number
    assert kernels(link)[name]["Evaluations"] == 500
    assert not kernels(link)[name]["Busy"]


def test_the_time_limit_is_one_for_each(serve):
    """An evaluation is aborted only if it alone has taken so long, as one may on a machine that is busy."""
    limit = 0.4
    server = serve({"Main": {"MinimumKernelNumber": 1, "EvaluationTimeLimit": limit}})
    link = server.client()
    first, number = monotonic(), 0
    while (began := monotonic()) < first + 1.5 * limit or number <= 3:
        number += 1
        link.put("EvaluatePacket", call("Plus", 2, number))
        if link.get_packet() != ("ReturnPacket", 2 + number):
            assert link.get_packet()[0] == "ReturnPacket" and monotonic() - began >= limit
    link.put("EvaluatePacket", call("Sleep", 600))
    assert "(EvaluationTimeLimit)" in link.get_packet()[1]
    assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))


def test_sizes_that_change(serve):
    """Three clients at once, each of which sends and gets small and large expressions in turn."""
    server = serve({"Main": {"MinimumKernelNumber": 3}})
    links = [server.client() for _ in range(3)]
    wrong = []

    def work(link, seed):
        for size, rounds in ((10, 20), (20_000, 20), (70_000, 20), (2_000_000, 6)):
            for number in range(rounds):
                text = f"{seed} {number} " + "x" * (size if number % 3 else 5)
                if link.evaluate(call("StringReverse", text)) != text[::-1]:
                    wrong.append((size, seed, number))

    threads = [threading.Thread(target=work, args=(link, seed)) for seed, link in enumerate(links)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_command_from_inside_comes_between(serve):
    """What was sent behind an evaluation that changes the kernel goes to the next kernel, in all of many rounds."""
    numbers = {"MinimumKernelNumber": 1, "MaximumKernelNumber": 8}
    pools = {name: {"InitializationCode": f'x = "{name}"', **numbers} for name in ("Main", "Other")}
    link = serve(pools).client()
    for name in ("Other", "Main") * 3:
        for _ in range(10):
            assert link.evaluate(call("Plus", 1, 1)) == 2
        link.put("EvaluatePacket", call("Command", call("ConnectKernel", name)))
        link.put("EvaluatePacket", call("Get", Symbol("x")))
        assert link.get_packet() == ("ReturnPacket", SUCCESS)
        assert link.get_packet()[0] == "InputNamePacket"
        assert link.get_packet() == ("ReturnPacket", name)
