"""What the running server does with exceptions that nobody expected."""

import signal
import uuid
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import gevent
import gevent.socket
import pytest

from tests.support.settings import make_settings
from tools.harness.fake_kernel import joining
from wstpserver.server import ServeOptions, app
from wstpserver.server.listen import listen
from wstpserver.server.log import Log, LogLevel

GREETING = b"Math Link 4\n-libraryid '!&*' -decoders 0\n-numericsid boxer -formats 1,2,3,4,5,6,7\n-envid ''\n"


def settings():
    pools = [{"name": "Main", "KernelPath": "/bin/true", "MinimumKernelNumber": 0, "MaximumKernelNumber": 1}]
    return make_settings(pools=pools)


@pytest.fixture(autouse=True)
def signals_as_before():
    """A server that stops ignores further signals, which is nothing for the tests after it."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def log(tmp_path):
    log = Log(path=str(tmp_path / "log"))
    yield log
    log.close()


def fail():
    raise RuntimeError("lost the thread")


@pytest.mark.parametrize("start", [gevent.spawn, lambda function: gevent.get_hub().threadpool.spawn(function)])
def test_an_exception_that_nobody_catches_goes_to_the_log(monkeypatch, capfd, tmp_path, log, start):
    hub = gevent.get_hub()
    monkeypatch.setattr(hub, "print_exception", partial(app._log_exception, log), raising=False)
    gevent.wait([start(fail)], timeout=60)
    text = (tmp_path / "log").read_text()
    assert text.count("Error: \n    Internal error:\n    Traceback") == 1
    assert "RuntimeError: lost the thread\n\n" in text
    assert capfd.readouterr() == ("", "")


def broken(*_, **__):
    raise RuntimeError("a defect")


@pytest.mark.parametrize("what", ["make_session", "open_session"])
def test_a_defect_does_not_leave_a_client_waiting(monkeypatch, tmp_path, log, what):
    """Both connections are closed, whatever fails, and the exception goes where all go."""
    told = []
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda *what: told.append(what[1]), raising=False)
    dispatcher = Mock(**{"evaluating.return_value": [], what: broken, "close_session": broken})
    monkeypatch.setattr(app, "Dispatcher", lambda *_: dispatcher)
    loaded = SimpleNamespace(settings=None)
    options = ServeOptions(0, "127.0.0.1", LogLevel.ERROR, None, log, None, None, loaded, {})
    (listener,) = listen("127.0.0.1", 0)
    address = listener.getsockname()
    application = app.Application(settings(), options, [listener], None)
    application.start()
    try:
        connect = gevent.socket.create_connection
        with gevent.Timeout(20), connect(address) as data, connect(address) as messages:
            identity = str(uuid.uuid4()).upper().encode()
            messages.sendall(b"id=%s connection=mesg" % identity)
            data.sendall(b"id=%s connection=data" % identity + joining.WORDS + GREETING)
            for connection in (data, messages):
                while connection.recv(4096):
                    pass
    finally:
        application.stop()
    assert told == [RuntimeError]
