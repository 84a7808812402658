"""A Slurm and an sshd for the tests of a module. Where their programs cannot be had the tests skip and say so."""
import pytest

from tools.harness import engines
from tools.harness.kernels import make_kernel


def _need(programs, packages):
    if lacking := engines.missing(programs):
        pytest.skip(f"{', '.join(lacking)} not installed: apt-get install {packages}")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A Slurm with node1 and node2."""
    _need(engines.SLURM_PROGRAMS, "slurm-wlm munge")
    with engines.Slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    """An sshd."""
    _need(engines.SSH_PROGRAMS, "openssh-server")
    with engines.SshServer(tmp_path_factory.mktemp("ssh")) as running:
        yield running


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A light kernel."""
    return make_kernel(tmp_path_factory.mktemp("kernel"))
