"""Fixtures of the kernel's tests: skipped as a whole where Mathics is not installed."""
import pytest

from tests.embedded.harness import WarmParent
from wstpserver.embedded.main import missing_packages


@pytest.fixture(scope="session")
def needs_mathics():
    missing = missing_packages()
    if missing:
        pytest.skip(f"the embedded kernel's packages are not installed: {', '.join(missing)} (wstpserver[mathics])")


@pytest.fixture(scope="session")
def warm_parent(needs_mathics, tmp_path_factory):
    """One for all tests of this process: loading Mathics takes seconds."""
    parent = WarmParent(tmp_path_factory.mktemp("home"))
    try:
        assert parent.receive() == {"event": "ready"}
        yield parent
    finally:
        parent.close()


@pytest.fixture
def kernel(warm_parent):
    """A new kernel."""
    kernel = warm_parent.launch()
    yield kernel
    kernel.close()
    warm_parent.event("exited", pid=kernel.pid)
