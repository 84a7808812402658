"""Free kernels that are replaced by fresh ones: MaximumKernelUses, MaximumKernelEvaluations, MaximumKernelAge."""

from __future__ import annotations

import re

from tests.support.serving import kernel_id, kernels
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.waiting import wait_for, wait_gone

ONE = {"MinimumKernelNumber": 1, "MaximumKernelNumber": 1, "ReservePreviouslyConnectedKernels": False}


def closing(server, name):
    """The log's reason for closing the kernel with this ID."""
    return server.wait_for_log(rf"Closing kernel {name}: (.*)")[1]


def test_a_kernel_is_replaced_after_so_many_clients(serve):
    server = serve({"Main": {**ONE, "MaximumKernelUses": 2}})
    names = []
    for _ in range(3):
        with server.client() as link:
            names.append(kernel_id(link))
            pid = kernels(link)[names[-1]]["ProcessID"]
            assert link.evaluate(call("Plus", 2, 2)) == 4
        if len(names) == 2:
            assert closing(server, names[0]) == "it has served 2 clients (MaximumKernelUses)"
            wait_gone(pid)
    assert names[0] == names[1] != names[2]


def test_a_kernel_is_replaced_after_so_many_evaluations_of_its_clients(serve):
    server = serve({"Main": {**ONE, "MaximumKernelEvaluations": 3, "InitializationCode": "1 + 1", "ResetCode": "1"}})
    names = []
    for number in (1, 2, 1):
        with server.client() as link:
            names.append(kernel_id(link))
            before = kernels(link)[names[-1]]["Evaluations"]
            for _ in range(number):
                link.evaluate(call("Plus", 2, 2))
            assert kernels(link)[names[-1]]["Evaluations"] == before + number
    assert names[0] == names[1] != names[2]
    assert closing(server, names[0]) == "it has done 3 evaluations (MaximumKernelEvaluations)"


def test_a_kernel_is_replaced_at_its_age_unless_somebody_uses_it(serve):
    pool = {**ONE, "MinimumKernelNumber": 2, "MaximumKernelNumber": 2, "MaximumKernelAge": 1.5}
    server = serve({"Main": pool})
    link = server.client()
    name = kernel_id(link)
    other, *_ = wait_for(lambda: set(kernels(link)) - {name})
    assert re.fullmatch(r"it is \d+\.\d s old \(MaximumKernelAge\)", closing(server, other))
    assert link.evaluate(call("Plus", 2, 2)) == 4
    wait_for(lambda: any(one["State"] == "free" for one in kernels(link).values()), what="a fresh kernel")
    link.close()
    assert "MaximumKernelAge" in closing(server, name)
