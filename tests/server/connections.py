"""Sockets for tests of what works on connections."""

import socket


def tcp_pair():
    """Both ends of a new connection on the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    return ours, theirs
