"""A server with a pool of light parallel kernels, and executors on it that leave no thread behind."""

import threading

import pytest

from tests.client.helpers import PROMPT
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from wstpserver.client import Session, connect
from wstpserver.client.commands import server_information
from wstpserver.client.parallel import KernelExecutor

POOL = "Parallel"


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


@pytest.fixture
def serve(tmp_path):
    """serve(**keys) -> a context manager: a Served with these keys for the parallel pool."""

    class Serving:
        def __init__(self, main=(), **keys):
            kernel = make_kernel(tmp_path)
            keys = {"ParallelKernels": True, "MinimumKernelNumber": 2, "MaximumKernelNumber": 4} | keys
            pools = {"Main": pool(kernel, **{"MinimumKernelNumber": 2, **dict(main)}), POOL: pool(kernel, **keys)}
            self._process = ServerProcess(tmp_path, {"Pools": pools})

        def __enter__(self):
            self._process.__enter__()
            for name in ("Main", POOL):
                self._process.wait_for_log(f"Pool {name} is ready")
            return Served(self._process)

        def __exit__(self, *error):
            return self._process.__exit__(*error)

    return Serving


@pytest.fixture
def served(serve):
    with serve() as running:
        yield running


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
