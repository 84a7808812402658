"""What a session says when the other side is none, ends, or is no server: typed errors with what, where, what to do."""

import contextlib
import http.server
import socket
import struct
import threading

import pytest

from tests.support.cases import for_all
from tests.support.packets import input_name_packet
from wstpserver.client import (
    ConnectError,
    EvaluationTimeout,
    LinkClosed,
    LinkSyntaxError,
    LinkTimeout,
    Session,
    connect,
)
from wstpserver.wire.encode import encode
from wstpserver.wire.errors import RemoteProtocolError, WSTPError
from wstpserver.wire.packets import return_packet
from wstpserver.wire.values import Function, PackedArray, Symbol

from .helpers import PROMPT, Kernel, Worker, dies, peer, raw_peer, session_with, takes
from .relay import Relay


def silent(socks):
    while socks[0].recv(1 << 16):
        pass


def test_a_closed_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with takes(0), pytest.raises(ConnectError, match=f"{port}@127.0.0.1: .*refused.* wstpserver is running"):
            Session(f"{port}@127.0.0.1", PROMPT)


def test_a_http_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None
        worker = Worker(server.serve_forever)
        try:
            with pytest.raises((ConnectError, LinkTimeout), match=f"{server.server_port}@127.0.0.1: .* Check the port"):
                Session(f"{server.server_port}@127.0.0.1", 2)
        finally:
            server.shutdown()
        worker.finish()


def test_silence():
    nothing = pytest.raises(LinkTimeout, match="not greeted within 0.3 s. Check the port")
    with raw_peer(silent) as port, takes(0.3), nothing:
        Session(f"{port}@127.0.0.1", 0.3)


@for_all("address", ["a b@c", "99999@localhost", "1@h,2@h,3@h"])
def test_an_address_that_is_none(address):
    with pytest.raises(LinkSyntaxError, match="is not a link address"):
        Session(address)


@pytest.mark.parametrize("toward", ["server", "client"])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 40, 54, 55, 56, 71, 100, 150])
def test_a_connection_dropped_at_each_step_of_the_handshake(running, toward, count):
    with Relay(running.port) as relay:
        relay.cut(toward, count)
        with takes(0), pytest.raises(ConnectError) as caught:
            connect(relay.address, PROMPT, without_kernel=True)
        assert caught.value.where == relay.address
        assert caught.value.message


@pytest.mark.parametrize("toward", ["server", "client"])
def test_a_connection_dropped_at_each_step_of_an_evaluation(running, toward):
    """Without reconnection: LinkClosed, at once, and at each call from then on."""
    for count in (1, 2, 5, 10, 20, 30, 40):
        with Relay(running.port) as relay, Session(relay.address, PROMPT) as session:
            session.synchronize(PROMPT)
            session.command("SetKeepAlive", False)  # so that the kernel is not left behind
            relay.cut(toward, count)
            with takes(0), pytest.raises(LinkClosed) as caught:
                assert session.evaluate('StringJoin["a", "a rather long text"]', PROMPT) is not None
                session.evaluate('StringJoin["a", "a rather long text"]', PROMPT)
            assert caught.value.where == relay.address
            with takes(0), pytest.raises(LinkClosed):
                session.evaluate(1, PROMPT)


@for_all(
    "value",
    ["a" * 5000, 1 << 5000, PackedArray.from_list([1.5] * 1000), Function(Symbol("f"), (1,) * 1000)],
    ids=["text", "integer", "array", "function"],
)
@for_all("part", [0.01, 0.5, 0.99])
def test_a_kernel_that_dies_in_the_middle_of_a_result(value, part):
    def rule(kernel):
        whole = encode(return_packet(value))
        kernel.link.put_raw(whole[: int(len(whole) * part)])
        return dies(kernel)

    middle = pytest.raises(LinkClosed, match="in the middle of an expression")
    with session_with(Kernel({"go": rule})) as session, takes(0), middle:
        session.evaluate("go", PROMPT)


def test_a_real_kernel_that_dies(running):
    """Behind a server: told at once, with its reason."""
    with Session(f"{running.port}@127.0.0.1", PROMPT) as session:
        session.synchronize(PROMPT)
        with takes(0), pytest.raises(LinkClosed, match="the server says: .*kernel"):
            session.evaluate("Die[]", PROMPT)


def test_bytes_that_are_no_expression():
    def script(link):
        link.put(input_name_packet("In[1]:= "))
        link.get(PROMPT)
        link.put_raw(b"no expression at all")
        with contextlib.suppress(WSTPError):
            link.get(PROMPT)

    with peer(script) as name, Session(name, PROMPT, keep_kernel=True) as session:
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match="at byte"):
                session.evaluate(1, PROMPT)


def test_a_peer_that_greets_and_says_nothing_more():
    """A timeout is what it says, at each step."""
    release = threading.Event()

    def script(link):
        assert release.wait(PROMPT)

    with peer(script) as name, Session(name, PROMPT, keep_kernel=True) as session:
        for call in (session.evaluate, session.evaluate_text, session.enter_expression):
            with takes(0.2), pytest.raises(EvaluationTimeout):
                call("1", 0.2)
        with takes(0.2), pytest.raises(EvaluationTimeout):
            next(session.evaluate_many(["1"], 0.2))
        with takes(0.2), pytest.raises(TimeoutError):
            session.command("GetKernelID", timeout=0.2)
        release.set()


def test_a_peer_that_takes_nothing():
    """Its buffers are full: the timeout holds while sending, too."""
    release = threading.Event()

    def script(socks):
        greet(socks)
        assert release.wait(PROMPT)

    with raw_peer(script, 2) as port, Session(f"{port}@127.0.0.1", PROMPT, keep_kernel=True) as session:
        with takes(0.3), pytest.raises(EvaluationTimeout):
            session.evaluate(["x" * 50_000_000], 0.3)
        with takes(0.3), pytest.raises(EvaluationTimeout):
            session.evaluate(1, 0.3)
        release.set()


def greet(socks):
    """Be a link server, byte by byte; whichever of the two is the data connection."""
    from wstpserver.wire.handshake import ListenHandshake

    for sock in socks:
        handshake = ListenHandshake()
        while not handshake.complete:
            data = sock.recv(1 << 16)
            handshake.receive_data(data)
            sock.sendall(handshake.data_to_send())


@for_all("reset", [False, True])
def test_the_message_connection_alone_is_dropped(reset):
    """The kernel cannot be told to abort any more; that does not stop what comes on the data connection."""

    def rule(kernel):
        return 5

    with session_with(Kernel({"go": rule})) as session:
        assert session.evaluate("go", PROMPT) == 5
        messages = session.link._messages._connection._socket
        if reset:
            messages.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        messages.shutdown(socket.SHUT_RDWR)
        assert session.evaluate("go", PROMPT) == 5
