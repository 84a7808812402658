"""Two hundred clients at once, each with a kernel of its own: all answers right, nothing left behind."""
import pytest

from tools.bench.load.engine import Load, run_load
from tools.harness.kernels import make_kernel
from tools.harness.processes import Footprint, assert_returns_to
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for

CLIENTS = 200
EVALUATIONS = 100


def run_clients(port, clients=CLIENTS, evaluations=EVALUATIONS, together=True):
    return run_load(
        Load(port=port, clients=clients, evaluations=evaluations, together=together, timeout=60.0, limit=100.0)
    )


@pytest.mark.timeout(180)
def test_two_hundred_clients(tmp_path):
    """Kernels are started for the clients that come and closed when they go: KeepAlive is false."""
    settings = pool(make_kernel(tmp_path), MinimumKernelNumber=0, MaximumKernelNumber=CLIENTS, KeepAlive=False)
    with ServerProcess(tmp_path, {"Pools": {"Many": settings}}) as server:
        warm_up = run_clients(server.port, clients=5, evaluations=1)
        assert not warm_up.errors
        wait_for(lambda: not server.processes(), what="the first kernels to be closed", interval=0.05)
        before = Footprint(server.pid)

        result = run_clients(server.port)

        assert not result.errors
        assert (result.connected, result.prompted, result.answers) == (CLIENTS, CLIENTS, CLIENTS * EVALUATIONS)
        assert result.evaluation.total == CLIENTS * EVALUATIONS
        wait_for(lambda: not server.processes(), 30, "all kernels to be closed", interval=0.1)
        assert_returns_to(before, server.pid)


@pytest.mark.timeout(180)
def test_more_clients_than_kernels(tmp_path):
    """A hundred clients wait their turn for eight kernels that stay: each is served, the kernels are the same."""
    settings = pool(make_kernel(tmp_path), MinimumKernelNumber=8, ReservePreviouslyConnectedKernels=False)
    with ServerProcess(tmp_path, {"Pools": {"Few": settings}}) as server:
        wait_for(lambda: len(server.processes()) == 8, 30, "the pool to be filled", interval=0.05)
        assert not run_clients(server.port, clients=8, evaluations=1).errors
        before = Footprint(server.pid)
        kernels = sorted(server.processes())
        result = run_clients(server.port, clients=100, evaluations=20, together=False)
        assert not result.errors
        assert result.answers == 100 * 20
        assert sorted(server.processes()) == kernels
        assert_returns_to(before, server.pid)
