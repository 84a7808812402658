"""Classic mode, which is what a client that forgot ``-linkoptions 4`` speaks: its second connection goes to a port that
we open for it."""

from __future__ import annotations

import socket

from gevent.select import select
from gevent.socket import wait_read

from wstpserver.server.stream import Stream, StreamClosed
from wstpserver.wire.handshake import ListenHandshake
from wstpserver.wire.pairing import SPEAK_AFTER


def accept_messages(stream: Stream, handshake: ListenHandshake) -> Stream:
    """Complete the greeting on a data connection in classic mode, and return its message connection. Waits.

    Raises ``ProtocolError``, OSError or `StreamClosed`.
    """
    local = stream.socket.getsockname()
    listener = socket.create_server(local[:1] + (0,) + local[2:], family=stream.socket.family, backlog=1)
    try:
        listener.setblocking(False)
        handshake.set_message_port(listener.getsockname()[1])
        _take(stream, handshake, b"")  # the greeting may have come already
        while handshake.awaits_greeting:
            if select([stream.socket], [], [], SPEAK_AFTER)[0]:
                _receive(stream, handshake)
            else:
                handshake.speak()
                _take(stream, handshake, b"")
        messages = _accept(listener, stream, handshake)
    finally:
        listener.close()
    try:
        while not handshake.complete:
            _receive(stream, handshake)
    except BaseException:
        messages.close()
        raise
    return messages


def _receive(stream: Stream, handshake: ListenHandshake) -> None:
    data = stream.receive_bytes()
    if not data:
        raise StreamClosed("it ended")
    _take(stream, handshake, data)


def _take(stream: Stream, handshake: ListenHandshake, data: bytes) -> None:
    handshake.receive_data(data)
    answer = handshake.data_to_send()
    if answer:
        stream.send(answer)


def _accept(listener: socket.socket, stream: Stream, handshake: ListenHandshake) -> Stream:
    """The connection that comes from the address of the first one."""
    wanted = stream.socket.getpeername()[0]
    while True:
        _wait_for_second(listener, stream, handshake)
        try:
            connected, address = listener.accept()
        except OSError:
            continue
        if address[0] == wanted:
            return Stream(connected)
        connected.close()


def _wait_for_second(listener: socket.socket, stream: Stream, handshake: ListenHandshake) -> None:
    """Wait for a connection; the greeting may come meanwhile, or the end of the first connection."""
    while not handshake.complete:
        readable, _, _ = select([listener, stream.socket], [], [])
        if listener in readable:
            return
        _receive(stream, handshake)
    wait_read(listener.fileno())
