"""Servers that are none: one line that says what is there, and status 69."""

from __future__ import annotations

import http.server
import re
import threading

import pytest

from tests.client.helpers import takes
from tests.script.peers import listener


def test_a_web_server(complains):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            status, line = complains("-wstpserver", f"{server.server_port}@127.0.0.1", "-code", "1")
        finally:
            server.shutdown()
    assert status == 69
    assert "HTML page" in line and "Check the port" in line


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "an HTTP response"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "an SSH banner"),
        (b"220 mail.example ESMTP\r\n", "the banner of a mail or FTP server"),
        (bytes(64), "bytes that are no WSTP greeting"),
    ],
)
def test_another_server(complains, data, says):
    with listener(lambda connection: connection.sendall(data)) as address:
        status, line = complains("-wstpserver", address, "-code", "1")
    assert status == 69
    assert address in line and says in line


def test_silence(complains):
    with listener(lambda connection: None) as address, takes(0.3):
        status, line = complains("-wstpserver", address, "-timeout", "0.3", "-code", "1")
    assert status == 69
    assert re.search(r"connected, but not greeted within 0\.\d s", line)  # the time that was left


def test_it_hangs_up_at_once(complains):
    with listener(lambda connection: connection.close()) as address:
        status, line = complains("-wstpserver", address, "-code", "1")
    assert status == 69
    assert address in line


@pytest.mark.parametrize(
    ("address", "status", "says"),
    [
        ("31415@no-such-host.invalid", 69, "'no-such-host.invalid' does not resolve"),
        ("x@localhost", 64, "'x' is not a port"),
        ("99999@localhost", 64, "'99999' is not a port"),
        ("http://localhost:31415", 64, "Write PORT@HOST, PORT, or wstp://HOST:PORT/POOL"),
    ],
)
def test_a_wrong_address(complains, address, status, says):
    outcome, line = complains("-wstpserver", address, "-code", "1")
    assert outcome == status
    assert says in line
