"""A server that many tests share, and what every test of it has to leave as it was."""
import gevent
import pytest

from tests.support.kernels import make_kernel
from tests.support.serving import (  # noqa: F401 (fixtures among them)
    Calm,
    assert_no_internal_error,
    assert_serves,
    gate,
    join,
    one_pool,
    ready_kernels,
    serve,
    serving,
)

SHARED_KERNELS = 2


@pytest.fixture(scope="session", autouse=True)
def _hub():
    """The hub has its descriptors before anybody counts some, whichever test comes first."""
    gevent.get_hub()


@pytest.fixture(scope="session")
def _shared(tmp_path_factory):
    """A server whose default pool gives each client a kernel of its own, closed after it."""
    folder = tmp_path_factory.mktemp("shared")
    keys = {"KeepAlive": False, "MaximumKernelNumber": 12}
    with serving(folder, one_pool(make_kernel(folder), SHARED_KERNELS, **keys)) as server:
        ready_kernels(server, SHARED_KERNELS)
        assert_serves(server)
        yield server, Calm(server, SHARED_KERNELS)


@pytest.fixture
def server(_shared):
    """The shared server. While the test runs somebody else is served, and afterwards nothing is left of it."""
    shared, calm = _shared
    calm.wait()
    seen = len(shared.log)
    with join(shared) as bystander:
        yield shared
        assert bystander.evaluate("still served") == "still served"
    assert_serves(shared)
    calm.assert_again()
    assert_no_internal_error(shared.log[seen:])


@pytest.fixture
def kernel(tmp_path):
    """A good test kernel, for KernelPath."""
    return make_kernel(tmp_path)
