"""What is served over HTTP: metrics, probes, the status page with its events, and the actions of its buttons.

Nobody who reaches the port is trusted. A request has to name this host, so that no page of the web can read anything
here through a browser (DNS rebinding); an action needs the token in a header, which no other page can send.
Connections, requests and open pages are limited in number, size and time.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any, Final

import gevent
import gevent.socket
import ujson
from gevent.pool import Pool as GreenletPool
from gevent.pywsgi import WSGIHandler, WSGIServer

from wstpserver.pools.registry import Refused, Registry
from wstpserver.pools.states import Kernel, Pool
from wstpserver.server.access import ConnectionRules
from wstpserver.server.commands.information import shortfall
from wstpserver.server.connection import address_name
from wstpserver.server.http.feed import Audience, Feed, Page
from wstpserver.server.http.metrics import Exposition, Meter, MetricsUnavailable, Sources
from wstpserver.server.kernels.supervisor import Supervisor
from wstpserver.server.listen import PortUnavailable, describe, listen
from wstpserver.server.log import Log, shorten
from wstpserver.settings import ServerSettings
from wstpserver.wire.packets import MessageCode

#: Connections at the same time; further ones wait until one has ended.
MOST_CONNECTIONS = 64

#: Seconds that one request may take, from its first byte until its answer is sent; an idle connection lasts as long.
REQUEST_TIME = 20.0

#: Seconds that a page may take to receive an event, and after which one is sent if nothing happens; bytes of events
#: that the system keeps for it.
EVENT_TIME = 10.0
HEARTBEAT = 5.0
EVENT_BUFFER = 1 << 16

#: Bytes of the arguments of an action.
MOST_ARGUMENTS = 4096

#: Seconds that requests have to end when the site is closed.
CLOSING_TIME = 1.0

#: How the configuration names the port and the interface.
OPTION_NAMES: Final = ("HTTPPort", "HTTPInterface")

_PAGE_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"

#: Sent with every answer: nothing from elsewhere is loaded or run, and no other page shows this one.
_SECURITY_HEADERS: Final = [
    ("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
     "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
]  # fmt: skip

Environ = Mapping[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]

#: Tells why a token is refused that the peer of a connection said; "" if it is right.
CheckToken = Callable[[str, socket.socket], str]


@dataclass(frozen=True)
class Answer:
    """An answer to a request."""

    status: str = "200 OK"
    body: bytes = b""
    kind: str = _TEXT
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def text(cls, status: str, text: str, *headers: tuple[str, str]) -> Answer:
        """A text, which gets a line end."""
        return cls(status, f"{text}\n".encode("utf-8", "backslashreplace"), _TEXT, headers)

    @classmethod
    def json(cls, status: str, **content: str) -> Answer:
        """A JSON object."""
        return cls(status, ujson.dumps(content, escape_forward_slashes=False).encode(), _JSON)


class _Rejected(Exception):
    """A request that is not carried out."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def _reject(status: str, text: str, *headers: tuple[str, str]) -> _Rejected:
    return _Rejected(Answer.text(status, text, *headers))


# -- actions -----------------------------------------------------------------------------------------------------------


class Actions:
    """What the buttons of the page do. Each method returns what to tell the user, or raises `Refused`.

    Args:
        registry: All kernels and pools.
        supervisor: The processes of the kernels.
        reload: Reads the configuration again; returns why it is not applied, "" if it is.
    """

    NAMES: Final = frozenset({"check", "close", "start", "abort", "drain", "resume", "reload"})

    def __init__(self, registry: Registry, supervisor: Supervisor, reload: Callable[[], str]) -> None:
        self._registry = registry
        self._supervisor = supervisor
        self._reload = reload

    def check(self) -> str:
        """Do nothing: the token is right."""
        return "The token is right"

    def close(self, Kernel: str) -> str:  # noqa: N803 - the arguments are the keys of a JSON object
        """Close a kernel."""
        kernel = self._kernel(Kernel)
        told = "the administrator closed the kernel"
        self._registry.close(kernel, "the administrator closed it on the status page", told=told)
        return f"Kernel {kernel.id} is being closed"

    def abort(self, Kernel: str) -> str:  # noqa: N803
        """Abort what a kernel evaluates."""
        kernel = self._kernel(Kernel)
        session = self._supervisor.sessions.get(kernel)
        if session is None:
            raise Refused(f"kernel {kernel.id} is starting")
        session.send_message(MessageCode.ABORT, 0)
        return f"Kernel {kernel.id} was told to abort"

    def start(self, Pool: str = "") -> str:  # noqa: N803
        """Start one more kernel, of a pool or outside pools."""
        if not Pool:
            return f"Kernel {self._registry.start_outside_pools().id} is starting"
        return f"Kernel {self._registry.start_another(self._pool(Pool)).id} of pool {Pool} is starting"

    def drain(self, Pool: str = "") -> str:  # noqa: N803
        """Admit no more clients to a pool, or to the server."""
        self._registry.drain(self._pool(Pool) if Pool else None)
        return f"{f'Pool {Pool}' if Pool else 'The server'} admits no more clients"

    def resume(self, Pool: str = "") -> str:  # noqa: N803
        """End that."""
        self._registry.resume(self._pool(Pool) if Pool else None)
        return f"{f'Pool {Pool}' if Pool else 'The server'} admits clients again"

    def reload(self) -> str:
        """Read the configuration again."""
        why = self._reload()
        if why:
            raise Refused(why)
        return "The configuration was read again; the log says what changed"

    def _kernel(self, identifier: str) -> Kernel:
        return self._registry.kernel_named(shorten(identifier, 40))  # IDs are shorter

    def _pool(self, name: str) -> Pool:
        pool = self._registry.pools.get(name)
        if pool is None:
            raise Refused(f"there is no pool {shorten(name, 40)}")
        return pool


# -- the site ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Context:
    """What the site needs of the rest of the server.

    Attributes:
        sources: What there is to be measured and shown.
        log: The log.
        admission: Says which connections are admitted.
        settings: Returns the configuration.
        server: Returns what is told of the server as a whole.
        stopping: Returns whether the server is being stopped.
        reload: Reads the configuration again; returns why it is not applied, "" if it is.
        is_administrator: Returns whether the peer of a connection is the user that the server runs as, or root.
        token_trouble: Returns why there is no token, "" if there is one.
        check_token: See `CheckToken`.
    """

    sources: Sources
    log: Log
    admission: ConnectionRules
    settings: Callable[[], ServerSettings]
    server: Callable[[], dict[str, Any]]
    stopping: Callable[[], bool]
    reload: Callable[[], str]
    is_administrator: Callable[[socket.socket], bool]
    token_trouble: Callable[[], str]
    check_token: CheckToken


class Site:
    """Everything that is served over HTTP, on any number of ports.

    Args:
        context: What it needs.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._meter = Meter(context.sources)
        self._meter.start()
        self._feed = Feed(self._meter, context.log, context.settings, self._server_facts)
        self._actions = Actions(context.sources.registry, context.sources.supervisor, context.reload)
        self._exposition: Exposition | None = None
        self._no_metrics = ""
        try:
            self._exposition = Exposition(self._meter)
        except MetricsUnavailable as error:
            self._no_metrics = str(error)
            context.log.warning(f"There is no /metrics: {error}")
        folder = resources.files("wstpserver.server.http") / "page"
        self._files = {
            path: ((folder / name).read_bytes(), kind) for path, (name, kind) in _PAGE_FILES.items()
        }
        self._servers: list[_SiteServer] = []
        #: The address that it listens on, as the configuration says it; None while it does not.
        self._address: tuple[str, int] | None = None

    # -- ports -------------------------------------------------------------------------------------------------

    def open(self, listeners: list[socket.socket], address: tuple[str, int]) -> None:
        """Serve on these sockets, which belong to the site now.

        Args:
            listeners: The listening sockets.
            address: The interface and the port that they stand for.
        """
        self._address = address
        connections = GreenletPool(MOST_CONNECTIONS)
        for listener in listeners:
            self._servers.append(_SiteServer(listener, self.application, connections, self._context))
        for server in self._servers:
            server.start()
        interface, port = address[0], listeners[0].getsockname()[1]
        self._context.log.information(f"Status page and metrics on {describe(listeners, interface)}: {_url(listeners)}")
        if any(not _is_loopback(listener.getsockname()[0]) for listener in listeners):
            self._context.log.warning(
                f"Whoever reaches port {port} of this computer can read the status page and the metrics, and what is"
                " sent is not encrypted; with HTTPInterface localhost only programs on this computer can"
            )

    def reconfigure(self, settings: ServerSettings) -> None:
        """Listen elsewhere if the configuration says so."""
        before, wanted = self._address, http_address(settings)
        if wanted == before:
            return
        self.close_ports()
        for address in (wanted, before):
            if address is None:
                return
            found = gevent.get_hub().threadpool.apply(_try_to_listen, (address,))  # a name may have to be looked up
            if not isinstance(found, PortUnavailable):
                self.open(found, address)
                return
            self._context.log.error(f"HTTP stays where it was: {found}")

    def close_ports(self) -> None:
        """Serve nothing any more; what is measured goes on."""
        servers, self._servers = self._servers, []
        self._address = None
        if servers:
            self._feed.drop_pages()
        gevent.joinall([gevent.spawn(server.stop, CLOSING_TIME) for server in servers])

    def look_now(self) -> None:
        """Tell the pages that are open at once what has changed."""
        self._feed.look_now()

    def close(self) -> None:
        """End everything."""
        self._feed.look_now()
        self.close_ports()
        self._feed.close()
        self._meter.stop()

    # -- requests ----------------------------------------------------------------------------------------------

    def application(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """The WSGI application."""
        try:
            self._check_host(environ)
            answer = self._answer(environ)
        except _Rejected as rejected:
            answer = rejected.answer
        if isinstance(answer, Page):
            return self._stream(answer, environ, start_response)
        headers = [("Content-Type", answer.kind), ("Content-Length", str(len(answer.body))), *answer.headers]
        start_response(answer.status, headers + _SECURITY_HEADERS)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _answer(self, environ: Environ) -> Answer | Page:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path.startswith("/actions/"):
            self._check_method(method, "POST")
            return self._act(path.removeprefix("/actions/"), environ)
        self._check_method(method, "GET", "HEAD")
        if path in self._files:
            return Answer(body=self._files[path][0], kind=self._files[path][1])
        if path == "/metrics":
            return self._metrics(environ)
        if path == "/live":
            return Answer.text("200 OK", "live")
        if path == "/ready":
            return self._ready()
        if path == "/events":
            return self._open_page(environ)
        raise _reject("404 Not Found", "There is nothing here; / is the status page")

    @staticmethod
    def _check_method(method: str, *allowed: str) -> None:
        if method not in allowed:
            names = ", ".join(allowed)
            raise _reject("405 Method Not Allowed", f"Only {names} makes sense here", ("Allow", names))

    def _check_host(self, environ: Environ) -> None:
        """Refuse a request for another host: it comes from a page of the web whose name leads here."""
        host = environ.get("HTTP_HOST", "")
        name = _host_name(host)
        settings = self._context.settings()
        names = {"localhost", socket.gethostname().lower(), settings.http_interface.lower()}
        names |= {name.lower() for name in settings.http_host_names}
        if not (_is_address(name) or name in names - {""} or "*" in names):
            raise _reject(
                "421 Misdirected Request",
                f"The host {shorten(name, 60)!r} is not known here; if this server is reached under that name, add it"
                " to HTTPHostNames",
            )

    def _metrics(self, environ: Environ) -> Answer:
        if self._exposition is None:
            raise _reject("501 Not Implemented", f"There are no metrics: {self._no_metrics}")
        text, kind = self._exposition.text(environ.get("HTTP_ACCEPT", ""))
        return Answer(body=text, kind=kind)

    def _ready(self) -> Answer:
        troubles = ["the server is being stopped"] if self._context.stopping() else []
        sources = self._context.sources
        for pool in sources.registry.pools.values():
            meter = self._meter.pools.get(pool.name)
            troubles.append(shortfall(sources.supervisor, pool, was_complete=meter is not None and meter.complete))
        troubles = [trouble for trouble in troubles if trouble]
        if troubles:
            return Answer.text("503 Service Unavailable", "\n".join(["not ready", *troubles]), ("Retry-After", "5"))
        return Answer.text("200 OK", "ready")

    # -- who asks ----------------------------------------------------------------------------------------------

    def _audience(self, environ: Environ) -> Audience:
        """Who reads the page. A proxy on this computer speaks for others, whatever user it runs as.

        Raises:
            _Rejected: The request has a token, and it is not the right one; or it has none, and needs one.
        """
        if "HTTP_AUTHORIZATION" in environ:
            self._check_token(environ)
            return Audience.ADMINISTRATOR
        behind_proxy = any(name in environ for name in ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_VIA"))
        if not behind_proxy and self._context.is_administrator(environ["wstpserver.socket"]):
            return Audience.ADMINISTRATOR
        rule = self._context.settings().information_for
        if rule != "any":
            why = f"this needs an access token (InformationFor: {rule})"
            raise _Rejected(Answer.json("401 Unauthorized", error=why))
        return Audience.EVERYBODY

    def _check_token(self, environ: Environ) -> None:
        trouble = self._context.token_trouble()
        if trouble:
            raise _Rejected(Answer.json("403 Forbidden", error=trouble))
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            answer = Answer.json("401 Unauthorized", error="this needs the access token")
            raise _Rejected(Answer(answer.status, answer.body, answer.kind, (("WWW-Authenticate", "Bearer"),)))
        why = self._context.check_token(token.strip(), environ["wstpserver.socket"])
        if why:
            raise _Rejected(Answer.json("403 Forbidden", error=why))

    @staticmethod
    def _check_origin(environ: Environ) -> None:
        """Refuse a request that a page from elsewhere has made."""
        origin = environ.get("HTTP_ORIGIN")
        cross_origin = origin is not None and origin.partition("://")[2].lower() != environ.get("HTTP_HOST", "").lower()
        if cross_origin or environ.get("HTTP_SEC_FETCH_SITE", "same-origin") not in ("same-origin", "none"):
            raise _Rejected(Answer.json("403 Forbidden", error="another page may not do this"))

    # -- events ------------------------------------------------------------------------------------------------

    def _server_facts(self) -> dict[str, Any]:
        return self._context.server() | {
            "NoActions": self._context.token_trouble(),
            "Stopping": self._context.stopping(),
        }

    def _open_page(self, environ: Environ) -> Page:
        self._check_origin(environ)
        page = self._feed.open_page(self._audience(environ))
        if page is None:
            raise _reject("503 Service Unavailable", "Too many status pages are open", ("Retry-After", "10"))
        return page

    def _stream(self, page: Page, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        connection = environ["wstpserver.socket"]
        environ["wstpserver.limit"].cancel()  # it lasts as long as the page is open,
        connection.settimeout(EVENT_TIME)  # but each event is limited
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, EVENT_BUFFER)
        page.on_drop = partial(connection.shutdown, socket.SHUT_RDWR)
        headers = [("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no")]  # a proxy passes them on at once
        start_response("200 OK", headers + _SECURITY_HEADERS)
        try:
            yield from page.events(HEARTBEAT)
        finally:
            self._feed.close_page(page)

    # -- actions -----------------------------------------------------------------------------------------------

    def _act(self, name: str, environ: Environ) -> Answer:
        self._check_origin(environ)
        if name not in Actions.NAMES:
            raise _Rejected(Answer.json("404 Not Found", error="there is no such action"))
        self._check_token(environ)
        arguments = self._arguments(environ)
        who = f"{name} of {environ['REMOTE_ADDR']} on the status page"
        try:
            result = getattr(self._actions, name)(**arguments)
        except TypeError:
            raise _Rejected(Answer.json("400 Bad Request", error=f"{name} has other arguments")) from None
        except Refused as error:
            self._context.log.debug(f"{who} failed: {error}")
            return Answer.json("409 Conflict", error=str(error))
        if name != "check":
            self._context.log.information(f"{who}: {result}")
        self._feed.look_now()
        return Answer.json("200 OK", result=result)

    @staticmethod
    def _arguments(environ: Environ) -> dict[str, str]:
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != _JSON:
            raise _Rejected(Answer.json("415 Unsupported Media Type", error=f"the arguments have to be {_JSON}"))
        body = environ["wsgi.input"].read(MOST_ARGUMENTS + 1)
        if len(body) > MOST_ARGUMENTS:
            raise _Rejected(Answer.json("413 Content Too Large", error="the arguments are too long"))
        try:
            arguments = ujson.loads(body or b"{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict) or not all(isinstance(value, str) for value in arguments.values()):
            raise _Rejected(Answer.json("400 Bad Request", error="the arguments have to be an object with strings"))
        return arguments


# -- below requests ----------------------------------------------------------------------------------------------------


#: What a connection that ends, or is ended here, raises in the greenlet that serves it.
_BROKEN_OFF = (TimeoutError, ConnectionError, gevent.socket.cancel_wait_ex)


class _Handler(WSGIHandler):  # type: ignore[misc]  # gevent has no type hints
    """One connection. Each of its requests has a limited time."""

    def handle(self) -> None:
        """Answer requests until the connection ends."""
        try:
            super().handle()
        except OSError:
            pass  # the client is gone before it was told what is wrong with its request

    def handle_one_request(self) -> Any:
        """Wait for a request and answer it; the connection ends if that takes too long."""
        self.socket.settimeout(REQUEST_TIME)
        self.limit = gevent.Timeout.start_new(REQUEST_TIME)
        try:
            return super().handle_one_request()
        except gevent.Timeout as late:
            if late is not self.limit:
                raise
            return None
        finally:
            self.limit.close()

    def get_environ(self) -> dict[str, Any]:
        """What the application gets, with the connection and the limit."""
        environ: dict[str, Any] = super().get_environ()
        environ["wstpserver.socket"] = self.socket
        environ["wstpserver.limit"] = self.limit
        return environ

    def log_error(self, text: str, *arguments: object) -> None:
        """Log what is wrong with a request."""
        what = shorten(text % arguments if arguments else text)
        self.server.server_log.debug(f"A bad HTTP request: {what}")

    def _handle_client_error(self, error: Exception) -> Any:
        """A connection that breaks off within a request is no error; whatever else is wrong is the client's."""
        if isinstance(error, _BROKEN_OFF):
            return None
        return super()._handle_client_error(error if isinstance(error, ValueError) else ValueError(str(error)))

    def handle_error(self, kind: type, value: BaseException, trace: Any) -> None:
        """A request that takes too long, or whose client is gone, is no error of the server."""
        if value is self.limit or isinstance(value, _BROKEN_OFF):
            self.close_connection = True
        else:
            super().handle_error(kind, value, trace)


class _SiteServer(WSGIServer):  # type: ignore[misc]
    """Serves one listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        application: Callable[..., Iterable[bytes]],
        connections: GreenletPool,
        context: Context,
    ) -> None:
        listener.setblocking(False)
        super().__init__(
            listener,
            application,
            spawn=connections,
            log=None,
            error_log=None,
            handler_class=_Handler,
            environ={"SERVER_NAME": "wstpserver"},  # or the resolver would be asked
        )
        self.server_log = context.log
        self._admission = context.admission
        self._exhausted = False

    def do_read(self) -> Any:
        """Accept one connection; None if there is none now, or nothing left for one."""
        try:
            accepted = super().do_read()
        except ConnectionError:  # that one was gone before it was accepted
            return None
        except OSError as error:
            if not self._exhausted:
                self._exhausted = True
                self.server_log.error(f"No HTTP connection can be accepted: {error.strerror}; they have to wait")
            self.stop_accepting()
            self._timer = self.loop.timer(1.0)
            self._timer.start(self._start_accepting_if_started)
            return None
        if self._exhausted:
            self._exhausted = False
            self.server_log.information("HTTP connections can be accepted again")
        return None if accepted is None or self._refuses(*accepted) else accepted

    def _refuses(self, connected: socket.socket, address: tuple[Any, ...]) -> bool:
        """Close a connection that is not admitted."""
        admission = self._admission
        if admission.is_open:
            return False
        why = admission.refusal_by_address(address[0])
        why = why or admission.refusal_by_user(connected, address)
        if why:
            connected.close()
            admission.refusals.add(address[0], f"{address_name(address)} over HTTP", why)
        return bool(why)


# -- addresses -----------------------------------------------------------------------------------------------------


def http_address(settings: ServerSettings) -> tuple[str, int] | None:
    """The interface and the port for HTTP; None if there is to be none."""
    return (settings.http_interface, settings.http_port) if settings.http_port >= 0 else None


def listen_for_http(address: tuple[str, int]) -> list[socket.socket]:
    """Listen for HTTP.

    Args:
        address: From `http_address`.

    Raises:
        PortUnavailable: That is not possible.
    """
    return listen(*address, names=OPTION_NAMES)


def _try_to_listen(address: tuple[str, int]) -> list[socket.socket] | PortUnavailable:
    """The listeners, or why there are none: an exception in another thread would be reported as a defect."""
    try:
        return listen_for_http(address)
    except PortUnavailable as error:
        return error


def _host_name(host: str) -> str:
    """The name in a Host header, without the port and in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _url(listeners: list[socket.socket]) -> str:
    host, port = listeners[0].getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
