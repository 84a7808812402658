"""The kernel's tests: skipped as a whole where Mathics is not installed."""

import pytest

from tests.embedded.harness import typed
from wstpserver.client import LinkError


@pytest.fixture
def kernel(warm_parent):
    """A new kernel."""
    kernel = warm_parent.launch()
    yield kernel
    kernel.close()
    warm_parent.event("exited", pid=kernel.pid)


@pytest.fixture(scope="session")
def _unused():
    """The kernel for the next test that takes a used one, if there is one."""
    kernels = []
    yield kernels
    for kernel in kernels:
        kernel.close()


#: Definitions of one test must not have an effect on the next. Its value says that there is nothing else to be read.
CLEAR = 'Quiet[ClearAll["Global`*"]]; "cleared"'


@pytest.fixture
def used(warm_parent, _unused):
    """A kernel that other tests may have had, for a test to which lines, old messages and settings do not matter.

    To start one takes longer than most evaluations. What such a test defines in Global` is cleared; it must not change
    anything else. One that is not as it should be after a test is closed.
    """
    kernel = _unused.pop() if _unused else warm_parent.launch()
    yield kernel
    try:
        if kernel.evaluate_packets(typed(CLEAR)) == [("ReturnPacket", "cleared")]:
            _unused.append(kernel)
            return
    except (LinkError, TimeoutError):
        pass
    kernel.close()
