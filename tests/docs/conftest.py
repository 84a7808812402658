"""One server for everything that the pages say to run."""

import pytest

from tests.support.embedded import make_embedded_kernel
from tools.harness.server import ServerProcess, pool


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a server with embedded kernels, as somebody has it who has followed the pages."""
    folder = tmp_path_factory.mktemp("served")
    kernel = make_embedded_kernel(folder)
    pools = {
        "Main": pool(kernel, MinimumKernelNumber=2, MaximumKernelNumber=8, ReservedKernelTimeout=60),
        "IDefineX": pool(kernel, InitializationCode="x=4", MinimumKernelNumber=1, KeepAlive=False),
        "Parallel": pool(kernel, ParallelKernels=True, MinimumKernelNumber=4),
    }
    with ServerProcess(folder, {"Pools": pools}) as process:
        for name in pools:
            process.wait_for_log(f"Pool {name} is ready", 90)
        yield f"{process.port}@127.0.0.1"
