"""How many modules a newcomer has to read to follow what the server does: the flows of docs/architecture.md, traced."""
import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.support.serving import SUCCESS, TRUE, join, kernel_id, kernel_process
from tools.harness.fake_kernel.codec import Function
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for

ROOT = Path(__file__).parents[2]
SITE = Path(__file__).parent / "flow_site"
PACKAGE = str(ROOT / "wstpserver") + os.sep

#: The flows as numbered steps with file names: "1. `server/listen.py` ...".
PAGE = ROOT / "docs" / "architecture.md"
STEP = re.compile(r"^\d+\. .*$", re.MULTILINE)


class Recorder:
    """What the main thread of a server enters, from one `modules` to the next."""

    def __init__(self, path):
        self._path = str(path)

    def wait_until_quiet(self):
        """Wait until nothing is entered any more in ten looks, and forget what was."""
        quiet = 0

        def look():
            nonlocal quiet
            quiet = 0 if self.modules() else quiet + 1
            return quiet == 10

        wait_for(look, 60.0, "the server to be quiet", interval=0.05)

    def modules(self):
        """The modules of the package entered since the last call, in order, as paths below wstpserver/."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._path)
            text = connection.makefile().read()
        return [name.removeprefix(PACKAGE) for name in json.loads(text)]


@pytest.fixture
def traced(tmp_path):
    """(server, recorder) of a quiet server with two pools of two ready kernels each."""
    kernel = make_kernel(tmp_path)
    keys = {"MinimumKernelNumber": 2, "MaximumKernelNumber": 4}
    pools = {"Main": pool(kernel, **keys), "Other": pool(kernel, **keys)}
    path = tmp_path / "flow"
    environment = {
        "PYTHONPATH": os.pathsep.join((str(SITE), str(ROOT))),
        "WSTP_FLOW_SOCKET": str(path),
        "WSTP_FLOW_ROOT": str(ROOT),
        "WSTP_FLOW_WITHOUT": "Maintenance._run",
    }
    with ServerProcess(tmp_path, {"Pools": pools}, environment=environment) as server:
        wait_for(lambda: server.log.count(" is ready with 2 kernels") == 2, 60.0, "both pools to be ready")
        yield server, Recorder(path)


def described(title):
    """The files that the steps of a flow name in the page, in order."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition(f"### {title}\n")[2].partition("\n#")[0]
    steps = STEP.findall(section)
    assert steps, f"docs/architecture.md has no flow {title!r}"
    found = [name for step in steps for name in re.findall(r"`([a-z_/]+\.py)`", step)]
    return list(dict.fromkeys(found))


#: What every flow shares: the protocol, the movement of bytes, the log, the settings.
SHARED = ("wire/", "settings/", "server/relay/", "server/connection.py", "server/log.py",
          "keeper/protocol.py", "server/kernels/persistence.py", "server/kernels/notes.py",
          "server/handover.py")  # fmt: skip

#: The start of a kernel that fills the pool up again, while a client gets another one.
NEXT_KERNEL = (
    "server/handshake.py", "server/kernels/kernel_link.py", "server/kernels/launcher.py", "pools/limits.py",
    "server/kernels/process_info.py", "server/kernels/spawn.py", "keeper/processes.py",
)  # fmt: skip


def own_modules(entered, besides=()):
    """Those of a flow that not every flow shares."""
    return [name for name in entered if not name.startswith(SHARED) and name not in besides]


def check(title, entered, most, besides=()):
    """The flow enters at most *most* modules of its own, those that the page names, in the page's order."""
    own = own_modules(entered, besides)
    assert len(own) <= most, own
    assert own == described(title)


def test_connect_to_first_answer(traced):
    server, recorder = traced
    recorder.wait_until_quiet()
    with join(server) as link:
        assert link.evaluate(Function("Plus", 20, 3)) == 23
        entered = recorder.modules()
    check("Connect to first answer", entered, 18)


def test_connect_kernel(traced):
    server, recorder = traced
    with join(server) as link:
        recorder.wait_until_quiet()
        assert link.command("ConnectKernel", "Other") == SUCCESS
        assert link.get_packet()[0] == "InputNamePacket"
        entered = recorder.modules()
    # a timer that the client's connection has set looks whether others have become no link
    check("ConnectKernel", entered, 9, besides=("server/handshake.py",))


def test_silent_replacement(traced):
    server, recorder = traced
    with join(server) as link:
        assert link.command("SetAllowSilentKernelReplacement", TRUE) == SUCCESS
        before, process = kernel_id(link), kernel_process(link)
        recorder.wait_until_quiet()
        os.kill(process, signal.SIGKILL)
        assert link.get_packet()[0] == "TextPacket" and link.get_packet()[0] == "InputNamePacket"
        entered = recorder.modules()
        assert kernel_id(link) != before
    own = own_modules(entered, NEXT_KERNEL)
    named = described("Death of a bridged kernel with silent replacement")
    assert set(own) <= set(named) and len(named) <= 10, own  # two events, of which either may be first
