"""Joining two endpoints: the two connections of a link and the greeting (protocol notes, 1 and 2)."""
import struct

from tools.harness.fake_kernel.framing import Framer

WORDS = struct.pack("<4I", 3, 0, 0, 0)
CLOSING = b"\0\0\0\x09"
LINES = (  # (least version of both sides, line)
    (0, b"-libraryid '!&*' -decoders 0\n"),
    (0, b"-numericsid boxer -tokens 33,98,100,102,116,118,120 -textid 'Jan 27 2023, 10:57:24' "
        b"-formats 1,2,3,4,5,6,7\n"),
    (4, b"-envid ''\n"),
    (5, b"-symboldicts 1 -stringdicts 1\n"),
    (6, b"Support6digitAsciiUnicode\n"),
)  # fmt: skip


class LinkClosed(Exception):
    """The peer has closed the data connection."""


def receive(connection, size=65536):
    """At least one byte; raises LinkClosed at the end of the stream."""
    try:
        data = connection.recv(size)
    except ConnectionError as error:
        raise LinkClosed(str(error)) from error
    if not data:
        raise LinkClosed("end of stream")
    return data


def receive_exactly(connection, size):
    data = b""
    while len(data) < size:
        data += receive(connection, size - len(data))
    return data


def connect_to(host, port, timeout=None):
    """A connection whose every write leaves at once."""
    import socket  # a kernel does without it, see `program`

    connection = socket.create_connection((host, port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def connect_classic(data_address, message_address=None, connect=connect_to):
    """(data, message) connections of the connecting side; without `message_address` the peer is asked."""
    data = connect(*data_address)
    if message_address is not None:
        data.sendall(b"need_msg_portN")
        if receive_exactly(data, 3) != b"OKY":
            raise LinkClosed("the peer did not answer OKY")
        return data, connect(*message_address)
    data.sendall(b"need_msg_portY")
    answer = b""
    while not answer.endswith(b"Y"):  # exactly: the peer's greeting may follow at once
        answer += receive(data, 1)
    return data, connect(data_address[0], int(answer[len(b"msg_port=") : -1]))


def connect_uuid(host, port, identity, timeout=None, before=b""):
    """(data, message) connections of a client in UUID mode.

    `identity` is the UUID, 36 characters; `before` goes first on both, as a proxy's header does.
    """
    data = connect_to(host, port, timeout)
    message = connect_to(host, port, timeout)
    for connection in (data, message) if before else ():
        connection.sendall(before)
    data.sendall(b"id=%s connection=data" % identity.encode())
    message.sendall(b"id=%s connection=mesg" % identity.encode())
    data.sendall(WORDS)
    if receive_exactly(data, len(WORDS)) != WORDS:
        raise LinkClosed("the peer did not repeat the words")
    return data, message


def greet(data, version=6, words=b""):
    """Exchange greetings; returns (the peer's version, a Framer that holds what came after its greeting).

    `words` stand at the end of ours, such as b" -kernel none".
    """
    data.sendall(b"Math Link %d\n" % version)
    received = b""
    while b"\n" not in received:
        received += receive(data)
    first, _, received = received.partition(b"\n")
    if not first.startswith(b"Math Link "):
        raise LinkClosed(f"no greeting: {first!r}")
    peer_version = int(first.split()[2])
    lines = [line for least, line in LINES if min(version, peer_version) >= least]
    lines[1] = lines[1].replace(b"\n", words + b"\n")
    data.sendall(b"".join(lines))
    while received.count(b"\n") < len(lines):
        received += receive(data)
    framer = Framer()
    framer.feed(received.split(b"\n", len(lines))[len(lines)])
    return peer_version, framer
