"""The listening sockets, and the server that accepts connections on them."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from gevent import get_hub
from gevent.server import StreamServer

from wstpserver._native import ffi, lib
from wstpserver.server.access import ConnectionRules
from wstpserver.server.connection import INHERITS_OPTIONS, address_name, has_options, set_options
from wstpserver.server.log import Log

#: Connections that the system keeps until they are accepted.
BACKLOG = 1024

#: How often a port that the system chose for the first address is tried on the others before the server gives up.
PORT_ATTEMPTS = 20

#: Seconds until the next attempt after the system could not provide a connection.
EXHAUSTED_PAUSE = 0.5

#: The option SO_LINGER that makes `close` reset a connection.
_RESET = struct.pack("ii", 1, 0)

#: Gets each connection and the address of its peer, in the hub: it must not wait.
Handler: TypeAlias = Callable[[socket.socket, tuple[Any, ...]], None]

#: A family and an address as `bind` takes it, with the port 0.
Address: TypeAlias = tuple[int, tuple[Any, ...]]

_ALL: list[Address] = [(socket.AF_INET, ("0.0.0.0", 0)), (socket.AF_INET6, ("::", 0, 0, 0))]
#: The resolver is not asked: the hosts file of many systems lacks one of them, and clients try both.
_LOCALHOST: list[Address] = [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0, 0, 0))]

_NO_SUCH_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class PortUnavailable(Exception):
    """The server cannot listen where it should; the text says why and what to do."""


class _PortTaken(Exception):
    """The port that the system chose for the first address is not free on another one."""


def listen(interface: str, port: int, names: tuple[str, str] = ("--port", "--interface")) -> list[socket.socket]:
    """Listen on every address that an interface stands for.

    Args:
        interface: an address, a host name, or "" for all addresses.
        port: the port on all of them; 0 takes one that is free on all of them.
        names: what the user calls the port and the interface, for messages.

    Raises:
        PortUnavailable: that is not possible.
    """
    addresses, optional = _addresses(interface)
    for _ in range(PORT_ATTEMPTS):
        try:
            return _listen_on(addresses, interface, port, names, optional=optional)
        except _PortTaken:
            continue
    raise PortUnavailable(f"Cannot listen{_on(interface)}: no port was found that is free on all of its addresses")


def describe(listeners: list[socket.socket], interface: str) -> str:
    """What they listen on, as the log says it: `port 31415 and interface localhost (127.0.0.1, ::1)`."""
    port = f"port {listeners[0].getsockname()[1]}"
    if not interface:
        return port
    hosts = ", ".join(listener.getsockname()[0] for listener in listeners)
    named = hosts == interface.removeprefix("[").removesuffix("]")
    return f"{port} and interface {interface}" + ("" if named else f" ({hosts})")


def own_address(listener: socket.socket) -> str:
    """The address of this server for programs on this computer, `31415@localhost`."""
    host, port = listener.getsockname()[:2]
    return f"{port}@{'localhost' if ipaddress.ip_address(host).is_unspecified else host}"


def _listen_on(
    addresses: list[Address], interface: str, port: int, names: tuple[str, str], *, optional: bool
) -> list[socket.socket]:
    """One listener for each address; if they are *optional*, those that this system does not have are left out."""
    listeners: list[socket.socket] = []
    try:
        for family, address in addresses:
            chosen = listeners[0].getsockname()[1] if listeners else port
            try:
                listeners.append(_listener(family, (address[0], chosen, *address[2:])))
            except OSError as error:
                if optional and error.errno in _NO_SUCH_FAMILY:
                    continue
                if listeners and port == 0 and error.errno == errno.EADDRINUSE:
                    raise _PortTaken from None
                raise PortUnavailable(_explain(error, interface, port, names)) from None
        if not listeners:
            raise PortUnavailable(f"Cannot listen{_on(interface)}: this computer has neither IPv4 nor IPv6")
        return listeners
    except BaseException:
        for listener in listeners:
            listener.close()
        raise


def _addresses(interface: str) -> tuple[list[Address], bool]:
    """The addresses, and whether some of them may be missing."""
    if not interface:
        return _ALL, True
    if interface.lower() == "localhost":
        return _LOCALHOST, True
    host = interface[1:-1] if interface.startswith("[") and interface.endswith("]") else interface
    try:
        # the blocking one: there are no clients yet
        answers = socket.getaddrinfo(host, 0, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a name"
        raise PortUnavailable(
            f'The interface "{interface}" is not known ({reason}); give an address of this computer, a host'
            " name, or localhost"
        ) from None
    found: list[Address] = [(int(family), tuple(address)) for family, _, _, _, address in answers]
    return list(dict.fromkeys(found)), False


def _listener(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        set_options(listener)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _on(interface: str) -> str:
    return f" on interface {interface}" if interface else ""


def _explain(error: OSError, interface: str, port: int, names: tuple[str, str]) -> str:
    where = f"port {port}" + (f" and interface {interface}" if interface else "")
    name, other = names
    if isinstance(error, PermissionError):
        return f"Cannot listen on {where}: not permitted; choose a port above 1023 with {name}"
    if error.errno == errno.EADDRINUSE:
        return f"Cannot listen on {where}: the port is in use, perhaps by another server; choose another with {name}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"Cannot listen on {where}: this computer does not have the address; choose another with {other}"
    return f"Cannot listen on {where}: {error.strerror or error}"


def _place(address: tuple[Any, ...]) -> str:
    """What refused connections of the users of this computer are counted for."""
    return f"this computer, {address[0]}"


class LinkServer(StreamServer):  # type: ignore[misc]  # gevent has no type hints
    """Accepts connections on one address for as long as there are descriptors for them.

    The handler runs in the hub and gets plain sockets: a greenlet and a gevent socket for each connection would cost
    more than the handshake. When the system has nothing left for another connection, the log says so once, and new
    connections wait in the backlog of the system.
    """

    #: Connections that are accepted before other callbacks of the hub have their turn.
    max_accept = 32

    def __init__(
        self, listener: socket.socket, handle: Handler, log: Log, admission: ConnectionRules | None = None
    ) -> None:
        """
        Args:
            listener: the listening socket.
            handle: gets each connection that is admitted, with the options of `set_options`.
            log: hears when no connection can be accepted any more.
            admission: says which connections are admitted; None for all.
        """
        listener.setblocking(False)
        #: False if somebody else has made the listener: what has connected already lacks the options.
        self._inherits = INHERITS_OPTIONS and has_options(listener)
        set_options(listener)
        super().__init__(listener, handle, spawn=None)
        self._log = log
        self._admission = admission
        self._family = int(listener.family)
        self._descriptor = listener.fileno()
        #: What C has accepted and refused.
        self._accepted = ffi.new("struct wstppeer_accepted *")
        self._exhausted = False
        self._pause: Any = None

    def do_read(self) -> tuple[socket.socket, tuple[Any, ...]] | None:
        """Accept one connection that is admitted; None if there is none now, or others are to have their turn first."""
        admission = self._admission
        try:
            if admission is None or admission.is_open:
                descriptor, address = self.socket._accept()
                connected = socket.socket(self._family, socket.SOCK_STREAM, 0, descriptor)
            else:
                accepted = self._accept_admitted(admission)
                if accepted is None:
                    return None
                connected, address = accepted
        except (BlockingIOError, InterruptedError, ConnectionError):  # an error: that one was gone before
            return None
        except OSError as error:
            self._wait(error)
            return None
        if self._exhausted:
            self._exhausted = False
            self._log.information("Connections can be accepted again")
        return connected, address

    def _accept_admitted(self, admission: ConnectionRules) -> tuple[socket.socket, tuple[Any, ...]] | None:
        """Accept a connection that the rules admit; those before it are reset. None and OSError as of `do_read`."""
        accepted = self._accepted
        descriptor = lib.wstppeer_accept(self._descriptor, admission.native.rules, accepted)
        if not accepted.is_usual:
            for index in range(accepted.refused_count):
                self._note(admission, accepted.refused[index])
            if descriptor == -errno.EAGAIN:
                return None
            if descriptor < 0:
                raise OSError(-descriptor, os.strerror(-descriptor))
        connected = socket.socket(self._family, socket.SOCK_STREAM, 0, descriptor)
        address = self._address_of(accepted.end)
        if not accepted.is_usual and accepted.user != 1:
            if accepted.user < 0:
                admission.native.ask_anew()
            why = admission.refusal_by_owner(connected, address)
            if why:
                self._reset(connected)
                admission.refusals.add(_place(address), address_name(address), why)
                return None
        return connected, address

    def _note(self, admission: ConnectionRules, refused: Any) -> None:
        """Note what C has refused: connections from one host, for one reason."""
        address = self._address_of(refused.end)
        place = _place(address) if refused.by_user else address[0]
        if admission.refusals.add_to_known(place, refused.count):
            return
        why = admission.refusal_of_user(refused.user) if refused.by_user else admission.refusal_by_address(address[0])
        admission.refusals.add(place, address_name(address), why, refused.count)

    def _address_of(self, end: Any) -> tuple[Any, ...]:
        """As `accept` gives it."""
        host = ffi.string(end.host).decode("ascii")
        return (host, end.port) if self._family == socket.AF_INET else (host, end.port, end.flow, end.scope)

    @staticmethod
    def _reset(refused: socket.socket) -> None:
        """Nothing of the connection stays in the system, and the peer hears of it at once."""
        try:
            refused.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except OSError:  # the peer was faster
            pass
        refused.close()

    def do_handle(self, connected: socket.socket, address: tuple[Any, ...]) -> None:
        """Give a connection to the handler, to which it belongs from then on."""
        try:
            if not self._inherits:
                with contextlib.suppress(OSError):  # the peer has gone already, which the handler finds
                    set_options(connected)
            self._handle(connected, address)
        except BaseException:  # a defect, but a client must not wait for ever
            connected.close()
            raise

    def close(self) -> None:
        """Close the port."""
        self._end_pause()
        super().close()

    def _wait(self, error: OSError) -> None:
        """Pause: most likely there are no descriptors left, and further attempts would fail as well."""
        if not self._exhausted:
            self._exhausted = True
            self._log.error(f"No connection can be accepted any more: {error.strerror}; further ones have to wait")
        self.stop_accepting()
        self._pause = get_hub().loop.timer(EXHAUSTED_PAUSE)
        self._pause.start(self._go_on)

    def _go_on(self) -> None:
        self._end_pause()
        self.start_accepting()

    def _end_pause(self) -> None:
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.stop()
            pause.close()
