"""One server for all scripts, and one kernel, as long as no script leaves it in a state that it should not be in."""
import contextlib

import pytest

from tests.support.scripted_kernel import ScriptedKernels
from tests.support.serving import one_pool, serving
from tests.turns.player import KernelInTurn


@pytest.fixture(scope="session")
def scripted(tmp_path_factory):
    """(server, KernelInTurn)"""
    folder = tmp_path_factory.mktemp("turns")
    with ScriptedKernels() as kernels:
        configuration = one_pool(kernels.path, MaximumKernelNumber=1, ReservePreviouslyConnectedKernels=False)
        with (
            serving(folder, configuration, level="debug") as server,
            contextlib.closing(KernelInTurn(server, kernels)) as kernel,
        ):
            yield server, kernel
