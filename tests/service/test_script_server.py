"""Which server wstpscript finds when it is told none."""

import functools
import secrets
import socket

import pytest

from tests.script.helpers import served, without_waiting
from tests.service.helpers import bare_server
from tests.support.serving import one_pool
from tools.harness.kernels import make_kernel
from tools.harness.server import free_ports
from wstpserver.cli.script.connect import DISCOVERY_TIME, open_session
from wstpserver.cli.script.main import main
from wstpserver.cli.terminal import Terminal
from wstpserver.client import Callbacks, ConnectError, address
from wstpserver.client.deadline import Deadline
from wstpserver.client.discover import discover

pytest.importorskip("zeroconf")


@pytest.fixture
def service_type():
    return f"_w{secrets.token_hex(6)}._tcp.local."


@pytest.fixture
def free_port():
    return free_ports()[0]


@pytest.fixture
def usual_port(monkeypatch, free_port):
    """A port in the place of 31415 on which nobody listens."""
    monkeypatch.setattr(address, "DEFAULT_PORT", free_port)
    return free_port


@pytest.fixture
def silent_port(monkeypatch):
    """The same, kept from everybody else: a server that chooses a port would get it otherwise."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setattr(address, "DEFAULT_PORT", bound.getsockname()[1])
        yield bound.getsockname()[1]


def running(folder, *words, **keys):
    pools = one_pool(make_kernel(folder), MinimumKernelNumber=1, ReservePreviouslyConnectedKernels=False)
    return bare_server(folder, {**keys, **pools}, "--interface", "127.0.0.1", *words)


def opened(name=""):
    """(value of 1 + 1, address, what was announced)"""
    announced = []

    class Announcing(Terminal):
        def complain(self, text):
            if not text.startswith(("connecting to", "no server at")):
                announced.append(text)

    session, found = open_session(name, Deadline(60), Callbacks(), Announcing())
    with session:
        value = session.evaluate("1 + 1")
    return value, str(found), announced


def forbidden(*_, **__):
    raise AssertionError("nobody should be looked for")


def test_the_server_of_this_computer_comes_first(tmp_path, monkeypatch, usual_port):
    monkeypatch.setattr("wstpserver.client.discover.discover", forbidden)
    with running(tmp_path, "-p", str(usual_port)):
        assert opened() == (2, f"{usual_port}@localhost", [])


def test_a_server_that_is_named_is_the_only_one(tmp_path, monkeypatch, usual_port):
    monkeypatch.setattr("wstpserver.client.discover.discover", forbidden)
    with pytest.raises(ConnectError):
        opened(f"{usual_port}@127.0.0.1")
    with running(tmp_path, "-p", "0") as server:
        assert opened(f"{server.port}@127.0.0.1") == (2, f"{server.port}@127.0.0.1", [])


def test_a_server_that_is_advertised(tmp_path, monkeypatch, silent_port, service_type):
    search = functools.partial(discover, service_type=service_type, enough=1, interfaces=["127.0.0.1"])
    monkeypatch.setattr("wstpserver.client.discover.discover", lambda seconds: search(20))
    with running(tmp_path, "-p", "0", "-a", "lab", AdvertisedServiceType=service_type) as server:
        server.wait_for_log("Advertising the server as")
        where = f"{server.port}@127.0.0.1"
        assert opened() == (2, where, [f"using WSTPServer-Instance-lab at {where}"])


def test_an_advertised_server_that_is_gone_is_passed_over(tmp_path, monkeypatch, silent_port):
    with running(tmp_path, "-p", "0") as server:
        found = [("gone", f"{silent_port}@127.0.0.1"), ("here", f"{server.port}@127.0.0.1")]
        monkeypatch.setattr("wstpserver.client.discover.discover", lambda seconds: found)
        assert opened() == (2, found[1][1], [f"using here at {found[1][1]}"])


def test_nobody_anywhere(monkeypatch, silent_port):
    asked = []
    monkeypatch.setattr("wstpserver.client.discover.discover", lambda seconds: asked.append(seconds) or [])
    with pytest.raises(ConnectError) as caught:
        opened()
    assert asked == [DISCOVERY_TIME]
    assert f"{silent_port}@localhost" in str(caught.value)
    assert str(caught.value).endswith(
        "No server is advertised on this network either. Start wstpserver, or name one: -wstpserver PORT@HOST"
    )


def test_the_program_says_which_server_it_found(monkeypatch, capfd, silent_port):
    with served({"1 + 1": "2"}) as (where, _):
        monkeypatch.setattr("wstpserver.client.discover.discover", lambda seconds: [("WSTPServer-Instance-lab", where)])
        assert main(["-wstpserver", "-code", "1 + 1"]) == 0
    out, err = capfd.readouterr()
    assert out == "2\n"
    assert without_waiting(err).startswith("wstpscript: using WSTPServer-Instance-lab at ")


def test_the_program_without_any_server(monkeypatch, capfd, silent_port):
    monkeypatch.setattr("wstpserver.client.discover.discover", lambda seconds: [])
    assert main(["-wstpserver", "-code", "1 + 1"]) == 69
    out, err = capfd.readouterr()
    assert out == "" and "No server is advertised on this network either" in err
