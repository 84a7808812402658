"""What the running server does with exceptions that nobody expected."""

import itertools
from functools import partial
from unittest.mock import Mock

import gevent
import pytest

from tests.server.connections import tcp_pair
from wstpserver.server import app
from wstpserver.server.connection import Connection
from wstpserver.server.greeter import ClientLink
from wstpserver.server.log import Log


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
    gevent.wait([start(fail)], timeout=20)
    text = (tmp_path / "log").read_text()
    assert text.count("Error: \n    Internal error:\n    Traceback") == 1
    assert "RuntimeError: lost the thread\n\n" in text
    assert capfd.readouterr() == ("", "")


def broken(*_, **__):
    raise RuntimeError("a defect")


@pytest.mark.parametrize("what", ["make_session", "open_session"])
def test_a_defect_does_not_leave_a_client_waiting(log, what):
    """Both connections are closed, whatever fails, and the exception goes where all go."""
    ours, theirs = zip(*[tcp_pair() for _ in range(2)], strict=True)
    application = app.Application.__new__(app.Application)
    application._log, application._numbers = log, itertools.count(1)
    application.dispatcher = Mock(**{what: broken, "close_session": broken})
    link = ClientLink(Connection(ours[0]), Connection(ours[1]), "somewhere", b"", b"")
    with pytest.raises(RuntimeError, match="a defect"):
        application._serve(link)
    for connection in theirs:
        with connection:
            connection.settimeout(20)
            assert connection.recv(1) == b""
