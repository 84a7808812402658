"""One server for everything that the pages say to run."""

import pytest


@pytest.fixture(scope="session")
def server(documented_server):
    """The address of a server with embedded kernels."""
    return f"{documented_server.port}@127.0.0.1"
