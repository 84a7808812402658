"""What holds for all tests."""

import os


def pytest_xdist_auto_num_workers(config):
    """Two workers for each processor: most tests wait for other processes most of the time."""
    return 2 * (os.cpu_count() or 1)
