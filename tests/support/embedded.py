"""The embedded kernel of this tree, and what the files of several folders share of it.

The fixtures are known to all tests (tests/conftest.py). Each of them starts several kernels; a module that imported one
would have one of its own. The engine of all is loaded once in a run (tests/support/warm.py).
"""

from pathlib import Path

import pytest

from tests.support import warm

#: Seconds for embedded kernels to be ready.
START = 200


def make_embedded_kernel(folder):
    """Write an executable that starts it into `folder`; returns its path. Skips the test where its packages lack."""
    skip_without_mathics()
    path = Path(folder) / "wstpkernel"
    warm.make_program(path)
    return path


def load_engine_early():
    """Begin to load the engine that embedded kernels of this run will share, where its packages are installed."""
    from wstpserver.embedded.main import missing_packages

    if not missing_packages():
        warm.provide_source()


def skip_without_mathics():
    from wstpserver.embedded.main import missing_packages

    if missing := missing_packages():
        pytest.skip(f"the embedded kernel's packages are not installed: {', '.join(missing)} (wstpserver[mathics])")


@pytest.fixture(scope="session")
def needs_mathics():
    skip_without_mathics()


@pytest.fixture(scope="session")
def warm_parent(needs_mathics, tmp_path_factory):
    """A parent of kernels, without a server."""
    from tests.embedded.harness import WarmParent

    home = tmp_path_factory.mktemp("home")
    parent = WarmParent(home, [make_embedded_kernel(home)])
    try:
        assert parent.receive() == {"event": "ready"}
        yield parent
    finally:
        parent.close()


def serve(folder, pools, *options):
    """A server with these pools when all of them are ready."""
    from tools.harness.server import ServerProcess

    with ServerProcess(folder, {"Pools": pools}, *options) as running:
        for name in pools:
            running.wait_for_log(f"Pool {name} is ready", START)
        yield running


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory):
    """A server for notebooks: a default pool whose kernels are given to whoever asks for one by ID, and a parallel one.

    Front ends leave their kernels behind; nobody comes back to them after the test.
    """
    folder = tmp_path_factory.mktemp("embedded")
    yield from serve(folder, notebook_pools(make_embedded_kernel(folder)), "-l", "2")


def notebook_pools(kernel):
    from tools.harness.server import pool

    return {
        "Notebooks": pool(kernel, MinimumKernelNumber=1, MaximumKernelNumber=100, ReservedKernelTimeout=30),
        "Parallel": pool(kernel, ParallelKernels=True, MinimumKernelNumber=3, MaximumKernelNumber=4),
    }


@pytest.fixture(scope="session")
def documented_server(tmp_path_factory):
    """A server as somebody has it who has followed the pages."""
    from tools.harness.server import pool

    folder = tmp_path_factory.mktemp("served")
    kernel = make_embedded_kernel(folder)
    pools = {
        "Main": pool(kernel, MinimumKernelNumber=2, MaximumKernelNumber=8, ReservedKernelTimeout=60),
        "IDefineX": pool(kernel, InitializationCode="x=4", MinimumKernelNumber=1, KeepAlive=False),
        "Parallel": pool(kernel, ParallelKernels=True, MinimumKernelNumber=4),
    }
    yield from serve(folder, pools)
