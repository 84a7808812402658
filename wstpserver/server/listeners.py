"""Sockets that listen on the port and interface of the configuration."""

from __future__ import annotations

import socket

from gevent import socket as gevent_socket

#: Connections that the system keeps for us until we accept them.
BACKLOG = 1024


class ListenError(Exception):
    """The server cannot listen where it should; the text says why and what to do."""


def listen(interface: str, port: int) -> list[gevent_socket.socket]:
    """Listen on every address that *interface* stands for: an address, a host name, or "" for all.

    Port 0 takes a free one, the same for all addresses. Raises `ListenError`.
    """
    listeners: list[gevent_socket.socket] = []
    try:
        for family, address in _addresses(interface, port):
            chosen = listeners[0].getsockname()[1] if listeners else port
            try:
                listeners.append(_listener(family, (address[0], chosen, *address[2:])))
            except OSError as error:
                if not interface and listeners:  # a system without IPv6 still has IPv4
                    continue
                raise ListenError(_explain(error, interface, port)) from None
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _addresses(interface: str, port: int) -> list[tuple[int, tuple]]:  # type: ignore[type-arg]
    if not interface:
        found = [(socket.AF_INET, ("0.0.0.0", port))]
        if socket.has_ipv6:
            found.append((socket.AF_INET6, ("::", port, 0, 0)))  # type: ignore[arg-type]
        return found  # type: ignore[return-value]
    host = interface[1:-1] if interface.startswith("[") and interface.endswith("]") else interface
    try:
        answers = gevent_socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(
            f'The interface "{interface}" is not known ({error.strerror}); give an address of this machine, a host'
            " name, or localhost"
        ) from None
    unique = dict.fromkeys((family, address) for family, _, _, _, address in answers)
    # IPv4 first, so that a port chosen by the system is one that IPv4 has free
    return sorted(unique, key=lambda entry: entry[0] != socket.AF_INET)


def _listener(family: int, address: tuple) -> gevent_socket.socket:  # type: ignore[type-arg]
    listener = gevent_socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _explain(error: OSError, interface: str, port: int) -> str:
    where = f"port {port}" + (f" and interface {interface}" if interface else "")
    if isinstance(error, PermissionError):
        return f"Cannot listen on {where}: not permitted; choose a port above 1023 with --port"
    if error.errno is not None and "in use" in (error.strerror or "").lower():
        return f"Cannot listen on {where}: it is in use, perhaps by another server; choose another with --port"
    return f"Cannot listen on {where}: {error.strerror or error}"
