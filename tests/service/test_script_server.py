"""Which server wstpscript finds when it is told none."""

import functools
import secrets
import socket

import pytest

from tests.script.helpers import served
from tests.service.helpers import BareServer, one_pool
from tests.support.kernels import make_kernel
from wstpserver.cli import script, script_server
from wstpserver.cli.script_server import open_session
from wstpserver.client import Callbacks, ConnectError
from wstpserver.client import address as addresses
from wstpserver.client.deadline import Deadline
from wstpserver.client.discover import discover

pytest.importorskip("zeroconf")


@pytest.fixture
def service_type():
    return f"_w{secrets.token_hex(6)}._tcp.local."


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def usual_port(monkeypatch, free_port):
    """A port in the place of 31415 on which nobody listens."""
    monkeypatch.setattr(addresses, "DEFAULT_PORT", free_port)
    return free_port


def running(folder, *words, **keys):
    pools = one_pool(make_kernel(folder), MinimumKernelNumber=1, ReservePreviouslyConnectedKernels=False)
    return BareServer(folder, {**keys, **pools}, "--interface", "127.0.0.1", *words)


def opened(name=""):
    """(value of 1 + 1, address, what was announced)"""
    announced = []
    session, address = open_session(name, Deadline(60), Callbacks(), announced.append)
    with session:
        value = session.evaluate("1 + 1")
    return value, str(address), announced


def forbidden(*_, **__):
    raise AssertionError("nobody should be looked for")


def test_the_server_of_this_computer_comes_first(tmp_path, monkeypatch, usual_port):
    monkeypatch.setattr(script_server, "discover", forbidden)
    with running(tmp_path, "-p", str(usual_port)):
        assert opened() == (2, f"{usual_port}@localhost", [])


def test_a_server_that_is_named_is_the_only_one(tmp_path, monkeypatch, usual_port):
    monkeypatch.setattr(script_server, "discover", forbidden)
    with pytest.raises(ConnectError):
        opened(f"{usual_port}@127.0.0.1")
    with running(tmp_path, "-p", "0") as server:
        assert opened(f"{server.port}@127.0.0.1") == (2, f"{server.port}@127.0.0.1", [])


def test_a_server_that_is_advertised(tmp_path, monkeypatch, usual_port, service_type):
    search = functools.partial(discover, service_type=service_type, enough=1, interfaces=["127.0.0.1"])
    monkeypatch.setattr(script_server, "discover", lambda seconds: search(20))
    with running(tmp_path, "-p", "0", "-a", "lab", AdvertisedServiceType=service_type) as server:
        server.wait_for_log("Advertising the server as")
        address = f"{server.port}@127.0.0.1"
        assert opened() == (2, address, [f"using WSTPServer-Instance-lab at {address}"])


def test_an_advertised_server_that_is_gone_is_passed_over(tmp_path, monkeypatch, usual_port):
    with running(tmp_path, "-p", "0") as server:
        found = [("gone", f"{usual_port}@127.0.0.1"), ("here", f"{server.port}@127.0.0.1")]
        monkeypatch.setattr(script_server, "discover", lambda seconds: found)
        assert opened() == (2, found[1][1], [f"using here at {found[1][1]}"])


def test_nobody_anywhere(monkeypatch, usual_port):
    asked = []
    monkeypatch.setattr(script_server, "discover", lambda seconds: asked.append(seconds) or [])
    with pytest.raises(ConnectError) as caught:
        opened()
    assert asked == [script_server.DISCOVERY_TIME]
    assert f"{usual_port}@localhost" in str(caught.value)
    assert str(caught.value).endswith(
        "No server is advertised on this network either. Start wstpserver, or name one: -wstpserver PORT@HOST"
    )


def test_the_program_says_which_server_it_found(monkeypatch, capfd, usual_port):
    with served({"1 + 1": "2"}) as (address, _):
        monkeypatch.setattr(script_server, "discover", lambda seconds: [("WSTPServer-Instance-lab", address)])
        assert script.main(["-wstpserver", "-code", "1 + 1"]) == 0
    out, err = capfd.readouterr()
    assert out == "2\n"
    assert err.startswith("wstpscript: using WSTPServer-Instance-lab at ")


def test_the_program_without_any_server(monkeypatch, capfd, usual_port):
    monkeypatch.setattr(script_server, "discover", lambda seconds: [])
    assert script.main(["-wstpserver", "-code", "1 + 1"]) == 69
    out, err = capfd.readouterr()
    assert out == "" and "No server is advertised on this network either" in err
