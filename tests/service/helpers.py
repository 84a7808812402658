"""What the tests of the running service share: the log as entries, servers with every option their own."""

import contextlib
import os
import re
import socket

import pytest

from tools.harness.server import ServerProcess

ENTRY = re.compile(r"WSTPServer: Logger \(0, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\): (\w+): \n((?:    .*\n)+)\n")


def entries(text):
    """(severity, message) of each entry of a log; nothing may stand between them."""
    found = list(ENTRY.finditer(text))
    assert "".join(match[0] for match in found) == text, text
    return [(match[1], "\n".join(line[4:] for line in match[2].splitlines())) for match in found]


def messages(text, severity):
    """The messages of one severity."""
    return [message for found, message in entries(text) if found == severity]


def has_ipv6():
    """Whether the loopback interface of this computer has IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on the loopback interface")


def endpoint(link):
    """The address of a client's link as the server's log shows it."""
    host, port, *_ = link.data.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bare_server(folder, configuration=None, *arguments, **options):
    """A ServerProcess with no option but the configuration file and the given ones."""
    return ServerProcess(folder, configuration, *arguments, usual_address=False, **options)


@contextlib.contextmanager
def failing(folder, configuration=None, *arguments, **options):
    """A server that is expected to give up, launched; cleaned up at the end, whatever happens."""
    server = bare_server(folder, configuration, *arguments, **options).launch()
    try:
        yield server
        server.assert_no_process_left()
    finally:
        server.kill()


class NotifySocket:
    """The socket of a service manager that speaks sd_notify's protocol; as context manager."""

    def __init__(self, path):
        self.path = os.fspath(path)

    def __enter__(self):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(60)
        self._socket.bind(self.path)
        return self

    def __exit__(self, *_):
        self._socket.close()

    def get(self):
        """The next message as a dictionary."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().split("\n"))

    def poll(self):
        """The next message if it is there already; BlockingIOError if not."""
        self._socket.settimeout(0)
        return self.get()

    def wait_for(self, name):
        """The next message with this variable; others before it are dropped."""
        while name not in (message := self.get()):
            pass
        return message

    def wait_for_port(self):
        """The port in the status of the READY message: for servers whose log cannot be read."""
        return int(re.search(r"port (\d+)", self.wait_for("READY")["STATUS"])[1])
