"""Two hundred clients at once, each with a kernel of its own: all answers right, nothing left behind."""
import pytest

from tests.support.load import run_load
from tools.harness.kernels import make_kernel
from tools.harness.processes import Footprint, assert_returns_to
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for

CLIENTS = 200
EVALUATIONS = 25


@pytest.mark.timeout(180)
def test_two_hundred_clients(tmp_path):
    """Kernels are started for the clients that come and closed when they go: KeepAlive is false."""
    settings = pool(make_kernel(tmp_path), MinimumKernelNumber=0, MaximumKernelNumber=CLIENTS, KeepAlive=False)
    with ServerProcess(tmp_path, {"Pools": {"Many": settings}}) as server:
        assert run_load(server.port, clients=5, evaluations=1)["finished"]
        wait_for(lambda: not server.processes(), what="the first kernels to be closed", interval=0.05)
        before = Footprint(server.pid)

        result = run_load(server.port, CLIENTS, EVALUATIONS)

        assert result["errors"] == {}
        assert result["clients connected"] == result["clients with a kernel"] == CLIENTS
        assert result["correct answers"] == result["milliseconds"]["evaluation"]["count"] == CLIENTS * EVALUATIONS
        wait_for(lambda: not server.processes(), 60, "all kernels to be closed", interval=0.1)
        assert_returns_to(before, server.pid)


@pytest.mark.timeout(180)
def test_more_clients_than_kernels(tmp_path):
    """Fifty clients wait their turn for four kernels that stay: each is served, the kernels are the same."""
    settings = pool(make_kernel(tmp_path), MinimumKernelNumber=4, ReservePreviouslyConnectedKernels=False)
    with ServerProcess(tmp_path, {"Pools": {"Few": settings}}) as server:
        wait_for(lambda: len(server.processes()) == 4, 60, "the pool to be filled", interval=0.05)
        assert run_load(server.port, clients=4, evaluations=1)["errors"] == {}
        before = Footprint(server.pid)
        kernels = sorted(server.processes())
        result = run_load(server.port, 50, 10, "--come-and-go")
        assert result["errors"] == {}
        assert result["correct answers"] == 50 * 10
        assert sorted(server.processes()) == kernels
        assert_returns_to(before, server.pid)
