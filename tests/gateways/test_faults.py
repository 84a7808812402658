"""What each gateway says when there is no kernel for it: the server is away, or its pool is full; and what is left.

Other faults are beside the other tests of each gateway:

| gateway | server away, pool full | kernel killed in the middle | 100 MB | binary garbage |
| --- | --- | --- | --- | --- |
| link (`test_kernel`, `test_kernel_link`) | `test_no_server`, `test_a_pool_that_is_full` |
  `test_the_kernel_is_killed_...` | `test_a_hundred_megabytes_...` | `test_garbage_from_the_parent` |
| text (`test_kernel_text`) | here | `test_the_kernel_dies` | here | here |
| wolframclient | here | `test_a_kernel_that_is_killed` | `test_large_values` | `test_garbage` |
| Jupyter | here | `test_a_kernel_that_dies_is_replaced` | `test_a_hundred_megabytes` | `test_garbage` |
| %%wl (`test_magic`) | here | `test_a_kernel_that_dies` | `test_text_of_any_kind` | `test_text_of_any_kind` |
| agents | here | `test_a_kernel_that_dies` | `test_errors_and_limits` | `test_garbage` |

A server that is restarted under sessions: `test_the_server_is_restarted` of %%wl and agents. A connection that breaks:
`test_the_way_to_the_server...` of these and of Jupyter. A client of a gateway that is killed: `..._leaves_nothing`.
"""

import contextlib
import logging
import sys

import pytest

from tests.client.relay import Relay
from tests.gateways.conftest import ROOT, write_program
from tools.harness import forking
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.waiting import wait_for
from wstpserver.client import CommandError, Session, parse_address
from wstpserver.gateways.agents import Limits, Tools, Workspace

DEADLINE = 100
TEXT = [sys.executable, "-m", "wstpserver.cli.kernel"]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A server whose only kernel is in use, and which lets nobody wait for long."""
    folder = tmp_path_factory.mktemp("full")
    pools = {"Main": pool(make_kernel(folder), MaximumKernelNumber=1)}
    with ServerProcess(folder, {"KernelWaitTimeout": 0.3, "Pools": pools}) as server:
        server.wait_for_log("Pool Main is ready")
        hold(server)
        yield server
        server.holder.close()


def hold(server):
    """Have its only kernel in use, by `server.holder`."""
    server.holder = Session(f"{server.port}@127.0.0.1")
    wait_for(lambda: takes_kernel(server.holder), DEADLINE, "the kernel")


def takes_kernel(session):
    with contextlib.suppress(CommandError):
        session.command("ConnectKernel", "Main")
        return True
    return False


def said_by_text(address, inputs=b"1\n"):
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "WSTPSERVER": address, "LANG": "C.UTF-8"}
    done = forking.run(TEXT, input=inputs, capture_output=True, timeout=DEADLINE, env=environment)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def text(address, folder, go_away):
    """wstpserver-kernel on a pipe."""

    def ask():
        status, _, said = said_by_text(address)
        assert status == 69
        return said

    full = ask()
    go_away()
    return full, ask()


def wolframclient(address, folder, go_away):
    pytest.importorskip("zmq", reason="wstpserver[wolframclient] is not installed")
    evaluation = pytest.importorskip("wolframclient.evaluation", reason="wstpserver[wolframclient] is not installed")
    from wolframclient.exception import WolframKernelException

    program = write_program(
        folder, "import sys; from wstpserver.cli.kernel import main; sys.exit(main())", WSTPSERVER=address
    )
    records = []
    handler = logging.Handler()
    handler.emit = records.append

    def ask():
        records.clear()
        session = evaluation.WolframLanguageSession(program, kernel_loglevel=logging.FATAL, STARTUP_TIMEOUT=DEADLINE)
        with pytest.raises(WolframKernelException):
            session.start()
        session.terminate()

        def told():
            return [said for said in map(logging.LogRecord.getMessage, records) if "no kernel for wolf" in said]

        wait_for(told, DEADLINE, lambda: f"the reason in the log: {records}")
        return told()[0]

    logging.getLogger().addHandler(handler)
    try:
        full = ask()
        go_away()
        return full, ask()
    finally:
        logging.getLogger().removeHandler(handler)


def notebook(address, folder, go_away):
    """The kernel of Jupyter."""
    pytest.importorskip("ipykernel", reason="wstpserver[jupyter] is not installed")
    from tests.gateways.test_jupyter import Notebook, folders_of_jupyter
    from wstpserver.gateways.jupyter import main

    assert main(["install", "--prefix", str(folder), "--name", "faults", "--server", address]) == 0
    with folders_of_jupyter(folder), Notebook("faults") as opened:

        def ask():
            _, reply = opened.run("1")
            assert reply["status"] == "error"
            return reply["evalue"]

        full = ask()
        go_away()
        return full, ask()


def python_notebook(address, folder, go_away):
    """%%wl in IPython."""
    interactive = pytest.importorskip("IPython.core.interactiveshell", reason="IPython is not installed")
    from IPython.utils.capture import capture_output

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder))
        patch.setenv("WSTPSERVER", address)
        shell = interactive.InteractiveShell.instance()
        try:
            shell.run_line_magic("load_ext", "wstpserver")

            def ask():
                with capture_output() as captured:
                    shell.run_cell("%%wl\n1")
                assert not captured.outputs
                return captured.stderr

            full = ask()
            go_away()
            return full, ask()
        finally:
            interactive.InteractiveShell.clear_instance()


def agent(address, folder, go_away):
    """The tools of wstpserver-mcp, without the SDK."""
    workspace = Workspace(parse_address(address), Limits())
    tools = Tools(workspace)

    def ask():
        answer = tools.answered(lambda: tools.evaluate(tools.session_for("agent", None, keeps=True), "1", None))
        assert answer.failed
        return answer.text

    try:
        full = ask()
        go_away()
        return full, ask()
    finally:
        workspace.close_all()


GATEWAYS = (text, wolframclient, notebook, python_notebook, agent)


@pytest.mark.parametrize("gateway", GATEWAYS, ids=lambda each: each.__name__)
def test_no_kernel(full, tmp_path, gateway):
    """It says which it is, in words for a user, and nothing is left in the server."""
    with Relay(full.port) as relay:
        pool_is_full, server_is_away = gateway(relay.address, tmp_path, relay.stop_listening)
    assert "1 of 1 kernels (1 bridged)" in pool_is_full and "Traceback" not in pool_is_full
    assert "refused" in server_is_away and "Traceback" not in server_is_away

    def clients():
        return len(full.holder.command("GetClientInformation")["Clients"])

    wait_for(lambda: clients() == 1, DEADLINE, "its clients to be gone")


def test_text_of_any_kind(full):
    """Bytes that are no text, and a large result, by the text interface; the server has the kernel to give again."""
    full.holder.close()
    address = f"{full.port}@127.0.0.1"
    wait_for(lambda: said_by_text(address)[0] == 0, DEADLINE, "a kernel")
    status, out, err = said_by_text(address, b"\x00\xff\xfe\x80\n1 + 1\nMakeString[100000000]\n")
    assert "Out[" in out and "= 2\n" in out and "Traceback" not in err, (status, out[:10_000], err)
    assert out.count("x") >= 100_000_000
    hold(full)
