"""What holds for all tests."""

import os

import pytest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Three workers for each processor: most tests wait for other processes most of the time."""
    return 3 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """What shares out whole files shares out files that belong together, the longest first."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.support.scheduling import Scheduling

    return Scheduling(config, log)


def pytest_collection_modifyitems(config, items):
    """In a run of several workers, the units that take longest come first."""
    if hasattr(config, "workerinput"):
        from tests.support.scheduling import place

        items.sort(key=lambda item: place(item.nodeid))
