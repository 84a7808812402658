"""The link of wstpserver-kernel, byte by byte: both of its ends are in the hands of a test."""

import contextlib
import os
import socket
import ssl
import struct
import threading

import pytest

from tests.client.test_tls_and_tokens import needs_openssl, needs_stunnel, stunnel
from wstpserver.client import LinkOptions, listen, parse_address
from wstpserver.gateways.kernel import PoolKernel, serve_link
from wstpserver.wire.packets import packet, return_packet

DEADLINE = 100
SIZE = 100 << 20
#: A million bytes without a period that a buffer could have.
BLOCK = struct.pack(">250007I", *range(250_007))


class Ends:
    """A parent and a server, and the program between them, in a thread.

    Attributes:
        parent: The data and the message connection of the parent, as sockets.
        server: Those of the server.
    """

    def __init__(self, stack, through=lambda link_name: parse_address(link_name)):
        self._stack = stack
        to_parent = stack.enter_context(listen("0@127.0.0.1", classic=True))
        to_server = stack.enter_context(listen("0@127.0.0.1"))
        options = LinkOptions("connect", parse_address(to_parent.link_name), uuid=False)
        kernel = PoolKernel(through(to_server.link_name))
        self._thread = threading.Thread(target=serve_link, args=(options, kernel, print), daemon=True)
        self._thread.start()
        parent, server = to_parent.accept(DEADLINE), to_server.accept(DEADLINE)
        self._give_kernel(server)
        assert parent.get(DEADLINE) == packet("InputNamePacket", "In[1]:= ")
        self.parent, self.server = self._sockets(parent), self._sockets(server)

    def _give_kernel(self, server):
        """Answer what the program asks for before it has a kernel: $Line, and SetKeepAlive at the end."""
        while True:
            asked = server.get_packet(DEADLINE)
            is_command = asked.name == "WSCommandPacket"
            server.put(return_packet('{"status": "ExecutionSuccess"}' if is_command else 1))
            if is_command:
                return

    def _sockets(self, link):
        detached = link.detach()
        assert not detached.unread.strip(b"]") and not detached.unread_messages
        sockets = []
        for connection in (detached.data, detached.messages):
            sockets.append(self._stack.enter_context(socket.socket(fileno=os.dup(connection.fileno()))))
            sockets[-1].settimeout(DEADLINE)
            connection.close()
        return sockets

    def wait_for_the_end(self):
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


@pytest.fixture
def ends():
    with contextlib.ExitStack() as stack:
        yield Ends(stack)


def send(sock, size):
    """`size` bytes, and the end."""
    view = memoryview(BLOCK)
    for begin in range(0, size, len(BLOCK)):
        sock.sendall(view[: min(len(BLOCK), size - begin)])
    sock.shutdown(socket.SHUT_WR)


def assert_comes(sock, size):
    """These bytes come, and the end behind them. A `]` at the very beginning may be the end of a prompt."""
    buffer, got = bytearray(len(BLOCK)), 0
    while received := sock.recv_into(memoryview(buffer)[got % len(BLOCK) :]):
        got += received
        if got % len(BLOCK) == 0:
            assert buffer == BLOCK
    assert got == size and buffer[: got % len(BLOCK)] == BLOCK[: got % len(BLOCK)]


def both(*actions):
    """Do all of it at the same time."""
    failed = []

    def attempt(action, *words):
        try:
            action(*words)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=attempt, args=words, daemon=True) for words in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert not failed


def test_a_hundred_megabytes_both_ways_at_a_time(ends):
    both(
        (send, ends.parent[0], SIZE), (assert_comes, ends.server[0], SIZE),
        (send, ends.server[0], SIZE), (assert_comes, ends.parent[0], SIZE),
    )  # fmt: skip
    ends.wait_for_the_end()


@needs_stunnel
@needs_openssl
def test_a_server_behind_tls(certificate, tmp_path):
    def through(link_name):
        port = stack.enter_context(stunnel(
            tmp_path, f"connect = 127.0.0.1:{link_name.partition('@')[0]}", f"cert = {certificate[0]}",
            f"key = {certificate[1]}",
        ))  # fmt: skip
        context = ssl.create_default_context(cafile=certificate[0])
        return parse_address(f"wstps://127.0.0.1:{port}").with_access(None, context)

    with contextlib.ExitStack() as stack:
        ends = Ends(stack, through)
        ends.parent[1].sendall(b"12345678")
        assert ends.server[1].recv(8, socket.MSG_WAITALL) == b"12345678"
        both(
            (send, ends.parent[0], 3_000_000), (assert_comes, ends.server[0], 3_000_000),
            (send, ends.server[0], 3_000_000), (assert_comes, ends.parent[0], 3_000_000),
        )  # fmt: skip
        ends.wait_for_the_end()


def test_messages_pass_beside_data_that_nobody_takes(ends):
    """Both data connections are full, in both directions."""
    for sock in (ends.parent[0], ends.server[0]):
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(BLOCK)
    for source, sink in ((ends.parent[1], ends.server[1]), (ends.server[1], ends.parent[1])):
        source.sendall(struct.pack(">2I", 3, 0))
        assert sink.recv(8, socket.MSG_WAITALL) == struct.pack(">2I", 3, 0)


@pytest.mark.parametrize("first", ["parent", "server"])
def test_one_end_of_the_data_ends_first(ends, first):
    """What the other end still writes arrives, and its messages end, too."""
    one, other = getattr(ends, first), ends.server if first == "parent" else ends.parent
    both((send, one[0], 300_000), (assert_comes, other[0], 300_000))
    assert other[1].recv(8) == b""
    both((send, other[0], 300_000), (assert_comes, one[0], 300_000))
    ends.wait_for_the_end()


@pytest.mark.parametrize("first", ["parent", "server"])
def test_one_end_of_the_messages_ends_first(ends, first):
    """Messages the other way pass, and data."""
    one, other = getattr(ends, first), ends.server if first == "parent" else ends.parent
    one[1].shutdown(socket.SHUT_WR)
    assert other[1].recv(8) == b""
    other[1].sendall(b"12345678")
    assert one[1].recv(8, socket.MSG_WAITALL) == b"12345678"
    both((send, one[0], 300_000), (assert_comes, other[0], 300_000))
    both((send, other[0], 300_000), (assert_comes, one[0], 300_000))
    ends.wait_for_the_end()


@pytest.mark.parametrize("first", ["parent", "server"])
def test_an_end_that_is_gone(ends, first):
    """It is gone while the other one writes to it without a pause."""
    one, other = getattr(ends, first), ends.server if first == "parent" else ends.parent
    other[0].setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            other[0].send(BLOCK)
    for sock in one:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    other[0].settimeout(DEADLINE)
    assert other[0].recv(8) == b"", "not a reset: an end"
    assert other[1].recv(8) == b""
    other[0].close()
    ends.wait_for_the_end()
