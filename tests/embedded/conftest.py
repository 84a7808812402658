"""The kernel's tests: skipped as a whole where Mathics is not installed."""

import pytest


@pytest.fixture
def kernel(warm_parent):
    """A new kernel."""
    kernel = warm_parent.launch()
    yield kernel
    kernel.close()
    warm_parent.event("exited", pid=kernel.pid)
