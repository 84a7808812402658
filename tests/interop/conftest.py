"""Programs on the vendor's library for the tests here; without it or a compiler those tests are skipped."""
import shutil

import pytest

from tests.interop import programs
from tools.harness.vendor import compile_program, library_path


@pytest.fixture(scope="session")
def vendor_library():
    library = library_path()
    if library is None:
        pytest.skip("WSTP_LIBRARY names no library")
    return library


@pytest.fixture(scope="session")
def compiled(vendor_library, tmp_path_factory):
    """compiled(source) -> path of the program compiled against the vendor's library, once in the session."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    folder = tmp_path_factory.mktemp("vendor")
    done = {}

    def compile_once(source):
        if source not in done:
            done[source] = compile_program(source, vendor_library, folder)
        return done[source]

    return compile_once


@pytest.fixture(scope="session")
def vendor_kernel(compiled):
    """Path of the vendor-library kernel."""
    return compiled(programs.FOLDER / "vendor_kernel.c")


@pytest.fixture
def vendor_client(compiled):
    """A VendorClient without a link."""
    with programs.VendorClient(compiled(programs.FOLDER / "vendor_client.c")) as client:
        yield client
