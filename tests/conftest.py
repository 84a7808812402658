"""What holds for all tests."""

import gc
import os

import pytest

from tests.support.embedded import (  # noqa: F401 - fixtures
    documented_server,
    embedded_server,
    load_engine_early,
    needs_mathics,
    warm_parent,
)
from tools.harness import forking

try:
    with pytest.MonkeyPatch.context() as _patch:
        _patch.setenv("HYPOTHESIS_NO_PLUGINS", "1")  # that of trio imports all of trio
        from hypothesis import HealthCheck, settings
except ImportError:  # the tests that need it skip
    pass
else:
    # How quickly examples are made says how busy the machine is, and nothing of the product.
    settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
    settings.load_profile("here")
    # pytest --hypothesis-profile=thorough: twenty times as many
    settings.register_profile("thorough", settings.get_profile("here"), max_examples=1000)

forking.enable()


def pytest_configure(config):
    from tests.support import collecting

    config.pluginmanager.register(collecting, collecting.__name__)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Four workers for each processor: most tests wait for other processes most of the time."""
    return 4 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_setupnodes(config):
    """In a run of all tests, load the engine of the embedded kernels while collecting keeps one processor busy."""
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        load_engine_early()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """What shares out whole files shares out files that belong together, the longest first."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.support.scheduling import Scheduling

    return Scheduling(config, log)


def pytest_collection():
    """Collecting makes hundreds of thousands of objects, all of which stay: there is nothing to find among them."""
    gc.disable()


def pytest_collection_finish():
    """Nor does it help to look through them again and again while the tests run."""
    gc.enable()
    gc.freeze()


def pytest_collection_modifyitems(config, items):
    """In a run that shares out whole files, the units that take longest come first."""
    if config.getoption("dist", "no") == "loadfile":
        from tests.support.scheduling import place

        items.sort(key=lambda item: place(item.nodeid))
