"""The vendor's library as a client that may not connect, and as one that says an access token."""
import os
import subprocess
import sys

import pytest

from tests.interop.vendor import VendorLibrary
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess, pool
from wstpserver.wire.values import Function, Symbol

#: A user who is neither root nor the server's.
OTHER = 54321
TOKEN = "a-token-that-nobody-guesses"

OPTIONS = "-linkmode connect -linkprotocol TCPIP -linkname {}@127.0.0.1 -linkoptions 4"

CONNECT = f"""
import sys
from tests.interop.vendor import VendorError, VendorLibrary
with VendorLibrary(sys.argv[1]) as library:
    try:
        library.open_string({OPTIONS!r}.format(sys.argv[2])).activate()
        print("activated")
    except VendorError as error:
        print("refused")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_another_user_s_client_is_refused_at_once(vendor_library, tmp_path):
    configuration = {"AllowedUsers": ["self"], "Pools": {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=0)}}
    with ServerProcess(tmp_path, configuration) as server:
        words = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", sys.executable, "-c", CONNECT]
        environment = {**os.environ, "HOME": "/", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*words, vendor_library, str(server.port)], env=environment, cwd="/", capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        assert done.stdout == "refused\n", done
        server.wait_for_log(f"Refused a connection from 127.0.0.1:[0-9]+: user {OTHER} is not in AllowedUsers")
        with VendorLibrary(vendor_library) as library, library.open_string(OPTIONS.format(server.port)) as link:
            link.activate()


def test_a_client_says_a_token(vendor_library, tmp_path):
    (tmp_path / "tokens").write_text(TOKEN)
    configuration = {"AccessTokenFile": "tokens", "Pools": {"Main": pool(make_kernel(tmp_path), MinimumKernelNumber=1)}}
    with (
        ServerProcess(tmp_path, configuration) as server,
        VendorLibrary(vendor_library) as library,
        library.open_string(OPTIONS.format(server.port)) as link,
    ):
        link.activate()
        link.put(Function(Symbol("WSCommandPacket"), (Function(Symbol("Authenticate"), (TOKEN,)),)))
        assert link.get() == Function(Symbol("ReturnPacket"), ('{"status":"ExecutionSuccess"}',))
        assert link.get() == Function(Symbol("InputNamePacket"), ("In[1]:= ",))
        link.put(Function(Symbol("EvaluatePacket"), (Function(Symbol("Plus"), (20, 3)),)))
        assert link.get() == Function(Symbol("ReturnPacket"), (23,))
