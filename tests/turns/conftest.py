"""One server for all scripts: each gets a kernel of its own, which is closed when its client leaves."""
import pytest

from tests.support.scripted_kernel import ScriptedKernels
from tests.support.serving import one_pool, serving


@pytest.fixture(scope="session")
def scripted(tmp_path_factory):
    """(server, ScriptedKernels)"""
    folder = tmp_path_factory.mktemp("turns")
    with ScriptedKernels() as kernels:
        configuration = one_pool(kernels.path, KeepAlive=False, MaximumKernelNumber=4)
        with serving(folder, configuration, level="debug") as server:
            yield server, kernels
