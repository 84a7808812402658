"""The server advertises itself on the loopback interface, and a real browser of zeroconf looks for it."""

import contextlib
import re
import secrets
import signal

import pytest

from tests.service.helpers import bare_server, messages, needs_ipv6
from tests.support.serving import one_pool
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for
from wstpserver.client.discover import discover

zeroconf = pytest.importorskip("zeroconf")

LOOPBACK = ["127.0.0.1"]
NAMED = r"Advertising the server as \"(.*)\"\n"


@pytest.fixture
def service_type():
    """One of this test's own: other tests, and servers on this computer, advertise at the same time."""
    return f"_w{secrets.token_hex(6)}._tcp.local."


class Browser:
    """What a browser sees: *services* by name, as long as they are advertised."""

    def __init__(self, service_type):
        self.services = {}
        self.seen = []
        self._zeroconf = zeroconf.Zeroconf(interfaces=LOOPBACK)
        self._type = service_type
        zeroconf.ServiceBrowser(self._zeroconf, service_type, handlers=[self._changed])

    def _changed(self, zeroconf, service_type, name, state_change):
        short = name.removesuffix(f".{service_type}")
        if state_change.name == "Removed":
            self.services.pop(short, None)
        else:
            self.services[short] = zeroconf.get_service_info(service_type, name, 10_000)
            self.seen.append(short)

    def wait_for(self, name):
        return wait_for(lambda: self.services.get(name), 60, f"{name} to be advertised")

    def wait_gone(self, name):
        wait_for(lambda: name not in self.services, 60, f"{name} to be withdrawn")

    def close(self):
        self._zeroconf.close()


@pytest.fixture
def browser(service_type):
    browser = Browser(service_type)
    yield browser
    browser.close()


def advertised(folder, service_type, *words, interface="127.0.0.1", **options):
    """A server with the given option to advertise it."""
    configuration = {"AdvertisedServiceType": service_type, **one_pool(make_kernel(folder), MinimumKernelNumber=1)}
    return bare_server(folder, configuration, "--port", "0", "--interface", interface, *words, **options)


def advertising(server):
    """The entries about it at level information."""
    return [message for message in messages(server.log, "Information") if "dvertis" in message]


def test_from_announcement_to_withdrawal(tmp_path, service_type, browser):
    """Clients are served meanwhile: registering takes half a second of probing. A restarted server has its name again.
    """
    service = "Dr. Müller's 日本 kernels"
    name = f"WSTPServer-Instance-{service}"
    with advertised(tmp_path, service_type, f"--advertise={service}") as server:
        with server.connect() as link:
            link.get_packet()
            before = []

            def is_advertised():
                if advertising(server):
                    return True
                assert link.evaluate(call("Plus", len(before), 1)) == len(before) + 1
                before.append("answered")
                return False

            wait_for(is_advertised, 60, "the server to be advertised", interval=0.02)
        info = browser.wait_for(name)
        assert (info.port, info.parsed_addresses()) == (server.port, LOOPBACK)
        assert info.properties[b"protocol"] == b"WSTP"
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for_log("Restarted with")
        wait_for(lambda: len(advertising(server)) == 2, 60.0, "the server to be advertised again")
        assert browser.wait_for(name).port == server.port
    browser.wait_gone(name)
    assert advertising(server) == [f'Advertising the server as "{name}"'] * 2
    if not before:
        pytest.skip("this machine is so busy that the first answer came after the registration")


def three_names(servers):
    """The ports of three servers by the last name of each, once they have three names."""
    expected = {"WSTPServer-Instance", "WSTPServer-Instance-2", "WSTPServer-Instance-3"}

    def named():
        last = [re.findall(NAMED, server.log)[-1:] for server in servers]
        names = {name: server.port for server, found in zip(servers, last, strict=True) for name in found}
        return names if names.keys() == expected else None

    return wait_for(named, 60, "three names")


def find(service_type, number):
    """The servers that are found, by name, once there are so many."""
    return dict(discover(20, service_type, enough=number, interfaces=LOOPBACK))


@pytest.fixture
def folders(tmp_path):
    """Three of them."""
    found = [tmp_path / name for name in "abc"]
    for folder in found:
        folder.mkdir()
    return found


def test_names_that_are_taken(folders, service_type, browser):
    """Every server has a name of its own, and the log says which. One that has gone is not found any more."""
    with contextlib.ExitStack() as stack:
        servers = []
        for folder in folders[:2]:
            servers.append(stack.enter_context(advertised(folder, service_type, "-a")))
            servers[-1].wait_for_log(NAMED)
        with advertised(folders[2], service_type, "-a") as third:
            names = three_names([*servers, third])
            (last,) = [name for name, port in names.items() if port == third.port]
            assert browser.wait_for(last).port == third.port
            found = find(service_type, 3)
            assert found == {name: f"{port}@127.0.0.1" for name, port in names.items()}
        browser.wait_gone(last)
        del found[last]
        assert find(service_type, 2) == found


def test_names_of_servers_that_begin_together(folders, service_type):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(advertised(folder, service_type, "-a")) for folder in folders]
        names = three_names(servers)
        assert find(service_type, 3) == {name: f"{port}@127.0.0.1" for name, port in names.items()}


def test_a_name_that_turns_out_to_be_taken(tmp_path, service_type):
    """Another server announces the name that this one has found free, and goes before it."""
    with (
        advertised(tmp_path, service_type, "-a") as server,
        contextlib.closing(zeroconf.Zeroconf(interfaces=LOOPBACK)) as other,
    ):
        assert server.wait_for_log(NAMED)[1] == "WSTPServer-Instance"
        name = f"WSTPServer-Instance.{service_type}"
        info = zeroconf.ServiceInfo(service_type, name, 1, parsed_addresses=LOOPBACK, server="-.local.")
        other.register_service(info, cooperating_responders=True)  # it does not ask whether the name is free
        server.wait_for_log('Advertising the server as "WSTPServer-Instance-2"')


@needs_ipv6
def test_a_server_that_has_ipv6_alone(tmp_path, service_type):
    with advertised(tmp_path, service_type, "-a", "six", interface="::1") as server:
        server.wait_for_log(NAMED)
        found = discover(20, service_type, enough=1, interfaces=LOOPBACK)
        assert found == [("WSTPServer-Instance-six", f"{server.port}@[::1]")]


def test_servers_that_are_not_advertised(folders, service_type, browser):
    disabled = {"WSTPSERVER_DISABLE_ADVERTISING": "1"}
    with (
        advertised(folders[0], service_type) as silent,
        advertised(folders[1], service_type, "-a", "lab", environment=disabled) as silenced,
        advertised(folders[2], service_type, "-a", "other", interface="localhost") as other,
    ):
        name = other.wait_for_log(NAMED)[1]
        assert sorted(browser.wait_for(name).parsed_addresses())[0] == "127.0.0.1"
    assert browser.seen[:1] == [name] and set(browser.seen) == {name}
    assert advertising(silent) == []
    assert advertising(silenced) == ["The server is not advertised, because WSTPSERVER_DISABLE_ADVERTISING is set"]


def test_a_name_that_is_too_long(tmp_path, service_type):
    with advertised(tmp_path, service_type, "-a", "é" * 22) as server:
        server.wait_for_log("The server cannot be advertised: .*\n")
        with server.connect() as link:
            assert link.get_packet()[0] == "InputNamePacket"
    (error,) = messages(server.log, "Error")
    assert "has more than 63 bytes" in error


def test_a_signal_while_it_registers(tmp_path, service_type, browser):
    with advertised(tmp_path, service_type, "-a") as server:
        assert server.stop() == 0
    wait_for(lambda: not browser.services, 60, "the withdrawal")
    assert messages(server.log, "Error") == messages(server.log, "Warning") == []
