"""A server that many tests share, and what every test of it has to leave as it was."""
import gevent
import pytest

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
from tools.harness.fake_kernel.joining import LinkClosed
from tools.harness.kernels import make_kernel


@pytest.fixture(scope="session", autouse=True)
def _hub():
    """The hub has its descriptors before anybody counts some, whichever test comes first."""
    gevent.get_hub()


class Shared:
    """A server whose default pool gives each client a kernel of its own, closed after it; one client stays.

    Its kernels are that of the client who stays, and one that is free.
    """

    KERNELS = 2

    def __init__(self, server):
        self.server = server
        self._bystander = None
        ready_kernels(server, self.KERNELS)
        assert_serves(server)
        self.come()
        self._calm = Calm(server, self.KERNELS, clients=1)

    def come(self):
        """Have the client who stays: another one if a test has cost the last one its kernel."""
        try:
            if self._bystander is not None and self._bystander.evaluate(1) == 1:
                return
        except (AssertionError, OSError, LinkClosed):
            self._bystander.close()
        self._bystander = join(self.server)

    def begin(self):
        """Wait until nothing is left of the test before."""
        self.come()
        self._calm.wait()

    def end(self):
        """Assert that the test has disturbed nobody and has left nothing."""
        assert self._bystander.evaluate("still served") == "still served"
        self._calm.assert_again()

    def close(self):
        """Let the client who stays go."""
        self._bystander.close()


@pytest.fixture(scope="session")
def _shared(tmp_path_factory):
    """The shared server; the last test has left it able to serve."""
    folder = tmp_path_factory.mktemp("shared")
    keys = {"KeepAlive": False, "MaximumKernelNumber": 12}
    with serving(folder, one_pool(make_kernel(folder), Shared.KERNELS, **keys)) as server:
        shared = Shared(server)
        yield shared
        shared.close()
        assert_serves(server)


@pytest.fixture
def server(_shared):
    """The shared server. While the test runs somebody else is served, and afterwards nothing is left of it."""
    _shared.begin()
    seen = len(_shared.server.log)
    yield _shared.server
    _shared.end()
    assert_no_internal_error(_shared.server.log[seen:])


@pytest.fixture
def kernel(tmp_path):
    """A good test kernel, for KernelPath."""
    return make_kernel(tmp_path)
