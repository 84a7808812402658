"""Without the packages of an extra, each program says which one is missing and how to get it."""

import subprocess
import sys

import pytest

from tests.gateways.conftest import ROOT

JUPYTER = "from wstpserver.gateways.jupyter import main; sys.exit(main(['install', '--prefix', 'nowhere']))"
AGENTS = "from wstpserver.gateways.agents import main; sys.exit(main([]))"
KERNEL = (
    "from wstpserver.gateways.wolframclient_kernel import MissingPackage, parse_start, serve\n"
    "try: serve(parse_start('KernelPrivateStart[\"tcp://a:1\", \"tcp://a:2\"]'))\n"
    "except MissingPackage as error: print(error, file=sys.stderr); sys.exit(69)"
)


@pytest.mark.parametrize(
    ("extra", "package", "code"),
    [("jupyter", "ipykernel", JUPYTER), ("mcp", "mcp", AGENTS), ("wolframclient", "zmq", KERNEL)],
)
def test_a_missing_package_is_named(extra, package, code, tmp_path):
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules[{package!r}] = None\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 69
    assert f"pip install 'wstpserver[{extra}]'" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
