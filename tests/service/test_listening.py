"""On what the server listens, what it says of that, and what it says when it cannot."""

import contextlib
import ctypes
import errno
import os
import re
import socket

import psutil
import pytest

from tests.service.helpers import bare_server, failing, has_ipv6, messages, needs_ipv6
from tests.support.serving import one_pool
from tools.harness import rawlink
from tools.harness.kernels import make_kernel
from tools.harness.server import free_ports
from wstpserver.server.listen import PortUnavailable, describe, listen


def running(folder, *words, **options):
    configuration = one_pool(make_kernel(folder), MinimumKernelNumber=1, ReservePreviouslyConnectedKernels=False)
    return bare_server(folder, configuration, *words, **options)


def serves(host, port):
    with rawlink.connect(port, host=host) as link:
        return link.get_packet()[0] == "InputNamePacket"


def addresses_of(server):
    """The addresses on which the server listens on its port. Another program may listen on that port of other ones."""
    found = psutil.Process(server.pid).net_connections("tcp")
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN and each.laddr.port == server.port}


def listening(server):
    (line,) = [text for text in messages(server.log, "Information") if text.startswith("Listening")]
    return line


# With the program


@pytest.mark.parametrize(
    ("interface", "hosts", "text"),
    [
        ("127.0.0.1", ["127.0.0.1"], "127.0.0.1"),
        ("127.0.0.2", ["127.0.0.2"], "127.0.0.2"),
        pytest.param("::1", ["::1"], "::1", marks=needs_ipv6),
        pytest.param("[::1]", ["::1"], "[::1]", marks=needs_ipv6),
        pytest.param("localhost", ["127.0.0.1", "::1"], "localhost (127.0.0.1, ::1)", marks=needs_ipv6),
    ],
)
def test_an_interface(tmp_path, interface, hosts, text):
    with running(tmp_path, "--port", "0", "-i", interface) as server:
        assert listening(server) == f"Listening for new connections on port {server.port} and interface {text}"
        for host in hosts:
            assert serves(host, server.port)
        assert addresses_of(server) == {*hosts}


def test_every_interface(tmp_path):
    """As documented: without --interface the line names the port alone."""
    with running(tmp_path, "-p", "0") as server:
        assert listening(server) == f"Listening for new connections on port {server.port}"
        assert serves("127.0.0.1", server.port)
        assert not has_ipv6() or serves("::1", server.port)


def test_a_given_port(tmp_path):
    (port,) = free_ports()
    with running(tmp_path, f"--port={port}", "--interface=127.0.0.1") as server:
        assert server.port == port
        assert serves("127.0.0.1", port)


def test_the_environment_and_the_file(tmp_path):
    environment = {"WSTPSERVER_PORT": "0", "WSTPSERVER_INTERFACE": "127.0.0.2"}
    with running(tmp_path, environment=environment) as server:
        assert listening(server).endswith("and interface 127.0.0.2")
    pools = one_pool(make_kernel(tmp_path), MinimumKernelNumber=1)
    with bare_server(tmp_path, {"Port": 0, "Interface": "127.0.0.3", **pools}) as server:
        assert listening(server).endswith("and interface 127.0.0.3")


def test_the_port_is_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        configuration = one_pool(make_kernel(tmp_path, register=tmp_path / "register"))
        with failing(tmp_path, configuration, "-p", str(port), "-i", "127.0.0.1") as server:
            assert server.wait_for_exit() == 69
            assert messages(server.log, "Error") == [
                f"Cannot listen on port {port} and interface 127.0.0.1: the port is in use, perhaps by another server;"
                " choose another with --port"
            ]
    assert not (tmp_path / "register").exists()  # and no kernel was started for nothing


def test_a_second_server_on_the_same_port(tmp_path):
    with running(tmp_path, "-p", "0", "-i", "localhost") as server:
        words = ("-p", str(server.port), "-i", "localhost")
        with failing(tmp_path, one_pool(make_kernel(tmp_path)), *words) as second:
            assert second.wait_for_exit() == 69
            assert "in use" in second.log
        assert serves("127.0.0.1", server.port)


@pytest.mark.parametrize(
    ("interface", "reason"),
    [
        ("203.0.113.7", "Cannot listen on port 0 and interface 203.0.113.7: this computer does not have the address;"
         " choose another with --interface"),
        ("no-such-interface.invalid", 'The interface "no-such-interface.invalid" is not known'),
        ("300.1.1.1", 'The interface "300.1.1.1" is not known'),
        ("a" * 300, 'is not known'),
        ("...", 'The interface "..." is not known'),
    ],
    ids=["foreign", "unknown", "no address", "long", "dots"],
)  # fmt: skip
def test_an_interface_that_does_not_exist(tmp_path, interface, reason):
    with failing(tmp_path, one_pool(make_kernel(tmp_path)), "-p", "0", "-i", interface) as server:
        assert server.wait_for_exit() == 69
        (message,) = messages(server.log, "Error")
        assert reason in message


def drop_the_right_to_low_ports():
    """In a child process: root without CAP_NET_BIND_SERVICE."""
    PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE = 24, 10
    if os.getuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def first_unprivileged_port():
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
            return int(file.read())
    except OSError:
        return 1024


@pytest.mark.skipif(first_unprivileged_port() <= 1, reason="every port is free for all here")
def test_a_port_that_is_not_permitted(tmp_path):
    words, before = ("-p", "1", "-i", "127.0.0.1"), drop_the_right_to_low_ports
    with failing(tmp_path, one_pool(make_kernel(tmp_path)), *words, before=before) as server:
        assert server.wait_for_exit() == 69
        assert messages(server.log, "Error") == [
            "Cannot listen on port 1 and interface 127.0.0.1: not permitted; choose a port above 1023 with --port"
        ]


@pytest.mark.parametrize("port", ["65536", "abc", "-1", "1e3", "٣"])
def test_what_is_no_port(tmp_path, port):
    with failing(tmp_path, one_pool(make_kernel(tmp_path)), f"--port={port}") as server:
        assert server.wait_for_exit() == 64
        assert server.log.startswith("wstpserver: --port: expected a")
        assert "from 0 to 65535" in server.log and "Try 'wstpserver --help'." in server.log


# Without: what a test cannot have on every computer


@contextlib.contextmanager
def listened(interface, port=0):
    found = listen(interface, port)
    try:
        yield found, [item.getsockname()[:2] for item in found]
    finally:
        for item in found:
            item.close()


def resolving(monkeypatch, *hosts):
    """Every name has these addresses."""

    def getaddrinfo(host, port, *_):
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0)) if ":" in host
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in hosts
        ]  # fmt: skip

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def binding(monkeypatch, before=lambda family, address: None, after=lambda bound, address: None):
    """Every socket that is bound calls these with its family or itself, and the address."""

    class Socket(socket.socket):
        def bind(self, address):
            before(self.family, address)
            super().bind(address)
            after(self, address)

    monkeypatch.setattr(socket, "socket", Socket)


def test_a_name_with_several_addresses(monkeypatch):
    resolving(monkeypatch, "127.0.0.2", "127.0.0.3", "127.0.0.2")
    with listened("cluster.example") as (found, addresses):
        port = addresses[0][1]
        assert addresses == [("127.0.0.2", port), ("127.0.0.3", port)]
        assert describe(found, "cluster.example") == f"port {port} and interface cluster.example (127.0.0.2, 127.0.0.3)"


def test_another_port_where_the_chosen_one_is_taken_on_the_second_address(monkeypatch):
    resolving(monkeypatch, "127.0.0.2", "127.0.0.3")
    blockers = []

    def after(bound, address):
        """The first two ports that the system chooses are taken elsewhere at that very moment."""
        if address[1] == 0 and len(blockers) < 2:
            blockers.append(socket.create_server(("127.0.0.3", bound.getsockname()[1])))

    binding(monkeypatch, after=after)
    try:
        with listened("cluster.example") as (_, addresses):
            assert len(blockers) == 2
            assert len({port for _, port in addresses}) == 1 and len(addresses) == 2
            assert addresses[0][1] not in {blocker.getsockname()[1] for blocker in blockers}
    finally:
        for blocker in blockers:
            blocker.close()


def test_no_port_is_free_on_both_addresses(monkeypatch):
    resolving(monkeypatch, "127.0.0.2", "127.0.0.3")

    def before(family, address):
        if address[0] == "127.0.0.3":
            raise OSError(errno.EADDRINUSE, "Address already in use")

    binding(monkeypatch, before)
    with pytest.raises(PortUnavailable, match=re.escape("no port was found that is free on all of its addresses")):
        listen("cluster.example", 0)


def test_a_given_port_that_is_taken_on_the_second_address_is_an_error(monkeypatch):
    resolving(monkeypatch, "127.0.0.2", "127.0.0.3")
    with socket.create_server(("127.0.0.3", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortUnavailable, match="in use"):
            listen("cluster.example", port)
        with socket.create_server(("127.0.0.2", port)):  # the first address was given back
            pass


@pytest.mark.parametrize("interface", ["", "localhost"])
@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_computer_without_ipv6(monkeypatch, interface, number):
    def before(family, address):
        if family == socket.AF_INET6:
            raise OSError(number, os.strerror(number))

    binding(monkeypatch, before)
    with listened(interface) as (found, addresses):
        assert len(addresses) == 1
        assert describe(found, interface).startswith(f"port {addresses[0][1]}")
