"""The advertiser by itself: what takes long or fails stays in its thread."""

import threading

import gevent
import pytest
import zeroconf

from wstpserver.client import discover as discovery
from wstpserver.client.discover import SERVICE_TYPE, discover, nearest
from wstpserver.server import advertise
from wstpserver.server.advertise import Advertiser, instance_name
from wstpserver.server.log import Log
from wstpserver.settings.schema import ROOT_BY_KEY


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def log(path):
    log = Log(path=str(path))
    yield log
    log.close()


@pytest.fixture
def advertiser(log):
    return Advertiser(log, "_test._tcp.local.", "lab", [("127.0.0.1", 4711)])


def test_names():
    assert instance_name("") == "WSTPServer-Instance"
    assert instance_name("lab") == "WSTPServer-Instance-lab"


def test_clients_look_for_what_servers_are_by_default():
    assert ROOT_BY_KEY["AdvertisedServiceType"].default == SERVICE_TYPE


class Network:
    """What stands for zeroconf: registering and closing last until they are released, questions are not answered."""

    def __init__(self):
        self.released = threading.Event()
        self.calls = []

    __enter__ = __call__ = lambda self, interfaces=None: self

    def __exit__(self, *_):
        """A network for one question only."""

    def add_listener(self, listener, question):
        """Nobody answers."""

    def get_service_info(self, service_type, name, timeout, question_type):
        assert question_type is zeroconf.DNSQuestionType.QM

    def register_service(self, info, allow_name_change):
        self.calls.append(info.name)
        self.released.wait(60)

    def close(self):
        self.calls.append("close")
        self.released.wait(60)


class Browser:
    """A browser that finds nobody."""

    def __init__(self, network, service_type, handlers, question_type):
        assert question_type is zeroconf.DNSQuestionType.QM

    def cancel(self):
        """It has not begun."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(advertise, "ANSWER_TIME", 0.01)
    monkeypatch.setattr(zeroconf, "ServiceBrowser", Browser)


def turns_of_the_hub(number):
    """Let other greenlets run so often; at once where nothing blocks the hub."""
    for _ in range(number):
        gevent.sleep(0)
    return number


def test_the_hub_goes_on_while_it_registers_and_withdraws(monkeypatch, advertiser, log, path):
    slow = Network()
    monkeypatch.setattr(zeroconf, "Zeroconf", slow)
    advertiser.start()
    while not slow.calls:
        gevent.sleep(0.001)
    assert turns_of_the_hub(1000)
    assert "Advertising" not in path.read_text()
    stopping = gevent.spawn(advertiser.stop)
    assert turns_of_the_hub(1000)
    assert not stopping.ready()
    slow.released.set()
    stopping.get(timeout=60)
    assert slow.calls == ["WSTPServer-Instance-lab._test._tcp.local.", "close"]
    assert 'Advertising the server as "WSTPServer-Instance-lab"' in path.read_text()


def test_the_end_of_the_server_does_not_wait_for_ever(monkeypatch, advertiser):
    slow = Network()
    monkeypatch.setattr(zeroconf, "Zeroconf", slow)
    monkeypatch.setattr(advertise, "WITHDRAWAL_TIME", 0.05)
    try:
        advertiser.start()
        with gevent.Timeout(20):
            advertiser.stop()
    finally:
        slow.released.set()


@pytest.mark.parametrize("error", [OSError(19, "No such device"), zeroconf.NonUniqueNameException(), RuntimeError()])
def test_a_failure_is_logged_and_nothing_else(monkeypatch, capfd, advertiser, path, error):
    class Broken(Network):
        def register_service(self, info, allow_name_change):
            raise error

    broken = Broken()
    broken.released.set()
    monkeypatch.setattr(zeroconf, "Zeroconf", broken)
    advertiser.start()
    advertiser.stop()
    reason = str(error) or type(error).__name__
    assert f"Error: \n    The server cannot be advertised: {reason}\n" in path.read_text()
    assert broken.calls[0] == "close"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("service", "reason"),
    [("x" * 44, "has more than 63 bytes"), ("é" * 22, "has more than 63 bytes"), ("a\tb", "control character")],
)
def test_a_name_that_cannot_be(monkeypatch, log, path, service, reason):
    slow = Network()
    slow.released.set()
    monkeypatch.setattr(zeroconf, "Zeroconf", slow)
    advertiser = Advertiser(log, SERVICE_TYPE, service, [("127.0.0.1", 4711)])
    advertiser.start()
    advertiser.stop()
    assert "Error: \n    The server cannot be advertised: " in path.read_text()
    assert reason in path.read_text()
    assert set(slow.calls) <= {"close"}


def test_the_longest_name(monkeypatch, log):
    slow = Network()
    slow.released.set()
    monkeypatch.setattr(zeroconf, "Zeroconf", slow)
    advertiser = Advertiser(log, SERVICE_TYPE, "x" * 43, [("127.0.0.1", 4711)])
    advertiser.start()
    advertiser.stop()
    assert slow.calls[0] == f"WSTPServer-Instance-{'x' * 43}.{SERVICE_TYPE}"


def test_without_a_network(monkeypatch, advertiser, path):
    def refuse(interfaces):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(zeroconf, "Zeroconf", refuse)
    advertiser.start()
    advertiser.stop()
    assert "The server cannot be advertised: [Errno 101] Network is unreachable" in path.read_text()
    assert discover(1.0) == []


@pytest.mark.parametrize(
    ("hosts", "chosen"),
    [
        (["192.0.2.9"], "192.0.2.9"),
        (["203.0.113.5", "127.0.0.1"], "127.0.0.1"),
        (["127.0.0.1", "203.0.113.5"], "127.0.0.1"),
        (["no address", "127.0.0.1"], "127.0.0.1"),
        (["fe80::1%nosuchinterface", "127.0.0.1"], "127.0.0.1"),
    ],
)
def test_the_nearest_address(hosts, chosen):
    assert nearest(hosts) == chosen


def test_an_address_of_our_own_network(monkeypatch):
    class Probe:
        def __init__(self, family, kind):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def connect(self, address):
            pass

        def getsockname(self):
            return ("192.168.1.9", 1)

    monkeypatch.setattr(discovery.socket, "socket", Probe)
    assert nearest(["172.17.0.1", "192.168.1.5", "10.0.0.1"]) == "192.168.1.5"
