"""A server with HTTP, as those see it who ask: Prometheus, probes, a browser, attackers."""

import contextlib
import http.client
import json
import queue
import re
import socket
import threading

from tests.support.serving import serving
from tools.harness.waiting import wait_for

TOKEN = "correct-horse-battery-staple"
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}
URL = re.compile(r"Status page and metrics on .*: http://(\S+):(\d+)/\n")
DEADLINE = 60


def token_file(folder):
    path = folder / "tokens"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return str(path)


class Answer:
    """What came back for a request."""

    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


class Site:
    """The HTTP side of a server process."""

    def __init__(self, server):
        self.server = server
        self.find_port()

    def find_port(self, number=1):
        """Wait until the server has said for the `number`th time where it listens for HTTP."""
        found = wait_for(lambda: URL.findall(self.server.log)[number - 1 :], DEADLINE, "a port for HTTP")
        self.host, port = found[0]
        self.port = int(port)
        self.url = f"http://{self.host}:{port}/"

    def connect(self):
        return contextlib.closing(http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE))

    def get(self, path, method="GET", headers=None, body=None):
        with self.connect() as connection:
            connection.request(method, path, body, headers or {})
            return Answer(connection.getresponse())

    def act(self, action, headers=None, **arguments):
        """Press a button, with the right token unless the headers say otherwise."""
        headers = {"Content-Type": "application/json", **(AUTHORISED if headers is None else headers)}
        return self.get(f"/actions/{action}", "POST", headers, json.dumps(arguments))

    def metrics(self):
        """The value of each sample, by its name and labels as they are written."""
        lines = [line for line in self.get("/metrics").text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    @contextlib.contextmanager
    def events(self, headers=None):
        """The events of a page that is open for the length of the block."""
        lines = [f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **(headers or {})}.items()]
        with socket.create_connection((self.host, self.port), DEADLINE) as connection:
            connection.sendall(f"GET /events HTTP/1.0\r\n{''.join(lines)}\r\n".encode())
            page = Events(connection)
            try:
                yield page
            finally:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                page.reader.join(DEADLINE)

    def raw(self, data, timeout=DEADLINE):
        """Everything that comes back for these bytes until the server closes the connection."""
        with socket.create_connection((self.host, self.port), timeout) as connection:
            connection.sendall(data)
            received = b""
            while part := connection.recv(65536):
                received += part
        return received


class Events:
    """Events as they come; the state of the page, brought up to date by each of them."""

    def __init__(self, connection):
        self._stream = connection.makefile("r", encoding="utf-8", newline="\n")
        status = self._stream.readline()
        self.headers = self._read_headers()
        assert " 200 " in status, status
        self.state = {}
        self._events = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read_headers(self):
        lines = iter(self._stream.readline, "\r\n")
        return dict(line.rstrip("\r\n").split(": ", 1) for line in lines)

    def _read(self):
        name = None
        with contextlib.suppress(OSError), self._stream:
            for line in self._stream:
                key, _, value = line.rstrip("\n").partition(": ")
                if key == "event":
                    name = value
                elif key == "data":
                    self._events.put((name, json.loads(value)))
        self._events.put((None, None))

    def next(self, timeout=DEADLINE):
        """(name, message) of the next event; None when there are no more."""
        name, message = self._events.get(timeout=timeout)
        if name is None:
            return None
        if name == "state":
            self.state = message
        else:
            for part in ("Server", "Pools", "Kernels"):
                for key, value in message.get(part, {}).items():
                    if value is None:
                        del self.state[part][key]
                    elif part == "Kernels":
                        self.state[part].setdefault(key, {}).update(value)
                    else:
                        self.state[part][key] = value
            self.state |= {key: message[key] for key in ("Waiting", "WaitingNumber") if key in message}
            self.state.setdefault("Log", []).extend(message.get("Log", []))
        return name, message

    def wait_for(self, condition, what="the state of the page"):
        """Take events until the state of the page is as it should be."""
        if not self.state:
            self.next()
        while not (value := condition(self.state)):
            assert self.next() is not None, f"the events ended before {what}"
        return value


@contextlib.contextmanager
def site_of(folder, pools, *arguments, **keys):
    """A server with these pools and HTTP on a free port."""
    keys = {"HTTPPort": 0, "AccessTokenFile": token_file(folder), **keys}
    pools = {name: {"RequireAccessToken": False, **pool} for name, pool in pools.items()}
    with serving(folder, {"Pools": pools, **keys}, *arguments) as server:
        yield Site(server)


