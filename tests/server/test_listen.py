"""The port: taken, free, or refused with a reason."""
import contextlib
import errno
import os
import re
import signal
import socket

import gevent
import pytest
from gevent.event import Event

from tests.support.serving import one_pool
from tools.harness.processes import own_descriptors
from tools.harness.server import ServerProcess
from wstpserver.server.connection import INHERITS_OPTIONS
from wstpserver.server.listen import LinkServer, PortUnavailable, describe, listen
from wstpserver.server.log import Log


@pytest.fixture(autouse=True)
def no_descriptor_is_left():
    before = own_descriptors()
    yield
    assert own_descriptors().keys() <= before.keys()  # those of an earlier test may be collected meanwhile


def addresses(interface, port=0):
    """(host, port) of everything that is listened on."""
    found = listen(interface, port)
    try:
        return [listener.getsockname()[:2] for listener in found]
    finally:
        for listener in found:
            listener.close()


def test_one_address():
    ((host, port),) = addresses("127.0.0.1")
    assert host == "127.0.0.1" and port > 0


@pytest.mark.skipif(not INHERITS_OPTIONS, reason="the options are set for each connection")
def test_what_is_accepted_has_the_options_of_the_listener():
    (listener,) = listen("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_what_has_connected_before_the_server_was_there_has_the_options_as_well(tmp_path):
    """Of a listener that an older program has made, say."""
    accepted = []

    def handle(connected, _address):
        accepted.append([
            bool(connected.getsockopt(*option))
            for option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        ])  # fmt: skip
        connected.close()
        arrived.set()

    arrived, log = Event(), Log(path=str(tmp_path / "log"))
    with (
        contextlib.closing(log),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        gevent.Timeout(60),
    ):
        server = LinkServer(listener, handle, log)
        server.start()
        arrived.wait()
        server.close()
    assert accepted == [[True, True]]


@pytest.mark.parametrize("interface", ["", "localhost"])
def test_all_addresses_have_the_same_port(interface):
    found = addresses(interface)
    assert len({port for _, port in found}) == 1
    assert found[0][0] == ("0.0.0.0" if not interface else "127.0.0.1")
    found = listen(interface, 0)
    try:
        assert str(found[0].getsockname()[1]) in describe(found, interface)
    finally:
        for listener in found:
            listener.close()


def test_both_families_are_really_served():
    found = listen("localhost", 0)
    try:
        for listener in found:
            with socket.create_connection(listener.getsockname()[:2], 10):
                connected, _ = listener.accept()
                connected.close()
    finally:
        for listener in found:
            listener.close()


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortUnavailable, match=f"Cannot listen on port {port} .*: the port is in use"):
            listen("127.0.0.1", port)
        with pytest.raises(PortUnavailable, match="the port is in use"):
            listen("", port)


def test_a_port_whose_connections_have_just_ended():
    """A server that is started again is not kept waiting by the connections of the old one."""
    (first,) = listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    client = socket.create_connection(("127.0.0.1", port))
    accepted, _ = first.accept()
    accepted.close()
    client.recv(1)
    client.close()
    first.close()
    assert addresses("127.0.0.1", port) == [("127.0.0.1", port)]


@pytest.mark.parametrize("interface", ["no.such.host.invalid", "300.1.1.1", "a" * 300, "192.0.2.77"])
def test_an_interface_that_there_is_not(interface):
    with pytest.raises(PortUnavailable, match="interface"):
        listen(interface, 0)


def test_a_port_that_is_not_permitted(monkeypatch):
    def refuse(_socket, _address):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    told = "port 80 and interface 127.0.0.1: not permitted; choose a port above 1023"
    with pytest.raises(PortUnavailable, match=told):
        listen("127.0.0.1", 80)


def test_a_server_whose_port_is_taken(tmp_path, kernel):
    """Exit code 69, a reason, and no kernel was started for it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        server = ServerProcess(tmp_path, one_pool(kernel), "--interface", "127.0.0.1", usual_address=False,
                               environment={"WSTPSERVER_PORT": port})  # fmt: skip
        server.launch()
        try:
            server.wait_for_log(rf"Error: \n    Cannot listen on port {port} and interface \S+: the port is in use")
            assert server.process.wait(60) == 69
            assert "is ready" not in server.log and not server.processes()
        finally:
            server.kill()


def test_two_servers_on_one_port(tmp_path, kernel):
    with ServerProcess(tmp_path, one_pool(kernel)) as first:
        environment = {"WSTPSERVER_PORT": str(first.port)}
        second = ServerProcess(tmp_path, one_pool(kernel), "--interface", "127.0.0.1", usual_address=False,
                               environment=environment)  # fmt: skip
        second.launch()
        try:
            assert second.process.wait(60) == 69
        finally:
            second.kill()
        assert os.path.exists(f"/proc/{first.pid}")
        with first.connect() as link:
            assert link.get_packet()[0] == "InputNamePacket"


@pytest.mark.parametrize(
    ("interface", "told"),
    [
        ("localhost", r"Information: \n    Only programs on this computer .*: -linkname (\d+)@localhost\."),
        ("", r"Warning: \n    The server listens on all interfaces: whoever reaches port (\d+) .* --interface "),
    ],
)
def test_the_log_says_who_can_connect(tmp_path, kernel, interface, told):
    words = ["--port", "0", *(("--interface", interface) if interface else ())]
    with ServerProcess(tmp_path, one_pool(kernel), *words, usual_address=False) as server:
        assert int(server.wait_for_log(told)[1]) == server.port
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("The configuration was reloaded")
    assert len(re.findall(told, server.log)) == 1


def test_the_log_does_not_warn_where_addresses_are_restricted(tmp_path, kernel):
    root = {"AllowedAddresses": ["127.0.0.0/8", "::1"]}
    with ServerProcess(tmp_path, one_pool(kernel, root=root), "--port", "0", usual_address=False) as server:
        server.wait_for_log("is ready")
        assert "whoever" not in server.log
