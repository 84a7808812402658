"""What the running server does with exceptions that nobody expected."""

from functools import partial

import gevent
import pytest

from wstpserver.server import app
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
