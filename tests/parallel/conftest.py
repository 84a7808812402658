"""A server with a pool of light parallel kernels, and executors on it that leave no thread behind."""

import functools
import threading

import pytest

from tests.client.helpers import PROMPT
from tests.support.serving import close_reserved
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.client import Session, connect
from wstpserver.client.commands import server_information
from wstpserver.client.parallel import KernelExecutor

POOL = "Parallel"
#: A pool whose kernels go from one executor to the next.
STEADY = "Steady"


class Served:
    """A running server: its address, what it says of its parallel pool, and executors on it."""

    def __init__(self, process):
        self.process = process
        self.address = f"{process.port}@127.0.0.1"

    def executor(self, kernels=2, **options):
        return KernelExecutor(self.address, kernels, **options)

    def information(self):
        with Session(connect(self.address, PROMPT, without_kernel=True)) as session:
            return server_information(session)

    def kernels(self):
        """The kernels of the parallel pool by ID."""
        return {kernel.id: kernel for kernel in self.information().pools[POOL].kernels}

    def settle(self):
        """Wait until each pool has two kernels, both free, as at the start; those that are kept for somebody end."""

        def settled():
            pools = self.information().pools
            states = {name: [kernel.state for kernel in pools[name].kernels] for name in pools}
            if "reserved" in states[POOL]:
                close_reserved(self.process)
            return all(found == ["free", "free"] for found in states.values())

        wait_for(settled, PROMPT, "two free kernels in each pool", interval=0.02)


class Serving:
    """A context manager: a Served with these keys for the pools; two kernels each unless they say otherwise."""

    def __init__(self, folder, main=(), *, steady=False, **keys):
        kernel = make_kernel(folder)
        keys = {"ParallelKernels": True, "MinimumKernelNumber": 2, "MaximumKernelNumber": 4} | keys
        pools = {"Main": pool(kernel, **{"MinimumKernelNumber": 2, **dict(main)}), POOL: pool(kernel, **keys)}
        self._pools = pools
        if steady:
            pools[STEADY] = pool(kernel, MinimumKernelNumber=2, ReservePreviouslyConnectedKernels=False)
        self._process = ServerProcess(folder, {"Pools": pools})

    def __enter__(self):
        self._process.__enter__()
        for name in self._pools:
            self._process.wait_for_log(f"Pool {name} is ready")
        return Served(self._process)

    def __exit__(self, *error):
        return self._process.__exit__(*error)


@pytest.fixture
def serve(tmp_path):
    """serve(**keys) -> a server of this test, as Serving."""
    return functools.partial(Serving, tmp_path)


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    with Serving(tmp_path_factory.mktemp("served"), steady=True) as served:
        yield served


@pytest.fixture
def served(running):
    """The server of all tests, whose pools are as they were at its start."""
    running.settle()
    return running


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """Whatever a test does with executors, their threads are gone when it ends."""
    yield
    left = [thread for thread in threading.enumerate() if thread.name.startswith("KernelExecutor")]
    for thread in left:
        thread.join(PROMPT)
    assert not [thread for thread in left if thread.is_alive()]


@pytest.fixture
def address(documented_server):
    """Of a server with a pool of embedded parallel kernels."""
    return f"{documented_server.port}@127.0.0.1"
