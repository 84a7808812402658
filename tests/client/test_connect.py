"""Connecting: to what is not there, to what is no WSTP, and to what stops in the middle of the greeting."""

import contextlib
import errno
import http.server
import json
import pickle
import re
import socket
import threading
from pathlib import Path

import pytest

from tests.support.cases import for_all
from wstpserver.client import ConnectError, LinkSyntaxError, LinkTimeout, connect, open_link, transport
from wstpserver.client.address import Endpoint
from wstpserver.wire.values import Function, Symbol

from .helpers import PROMPT, Worker, peer, raw_peer, takes

HANDSHAKES = json.loads((Path(__file__).parents[1] / "data" / "handshakes.json").read_text())


def silent(socks):
    """A peer that says nothing until the other side goes."""
    while socks[0].recv(1 << 16):
        pass


@pytest.mark.parametrize("classic", [False, True])
def test_nobody_listens(closed_port, classic):
    with takes(0), pytest.raises(ConnectError) as caught:
        connect(f"{closed_port}@127.0.0.1", timeout=PROMPT, classic=classic)
    assert caught.value.where == f"{closed_port}@127.0.0.1"
    assert "refused" in caught.value.message
    assert "wstpserver is running" in caught.value.advice
    assert isinstance(caught.value.__cause__, OSError)


def test_every_address_of_a_name_is_tried(closed_port, monkeypatch):
    """As with localhost where only one of ::1 and 127.0.0.1 has a server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", closed_port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", server.getsockname()),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with transport.connect_socket(Endpoint("localhost", 1), transport.Deadline(PROMPT)) as sock:
            assert sock.getpeername() == server.getsockname()


def test_an_unknown_host(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConnectError, match="'nowhere.invalid' does not resolve"):
        connect("1@nowhere.invalid", timeout=PROMPT)


def test_a_resolver_that_hangs_does_not_stretch_the_timeout(monkeypatch):
    release = threading.Event()

    def hang(*_, **__):
        release.wait(PROMPT)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with takes(0.2), pytest.raises(LinkTimeout, match="did not resolve within 0.2 s"):
            connect("1@slow.invalid", timeout=0.2)
    finally:
        release.set()


def test_a_host_that_does_not_answer(monkeypatch):
    """A full backlog drops connection requests, as a firewall does."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            assert filler.connect_ex(server.getsockname()) in (0, errno.EINPROGRESS)
        with takes(0.3), pytest.raises(LinkTimeout, match="within 0.3 s"):
            connect(f"{server.getsockname()[1]}@127.0.0.1", timeout=0.3)


def test_a_host_name_that_cannot_be():
    with pytest.raises(ConnectError, match="does not resolve"):
        connect("1@" + "x" * 70 + ".example.org", timeout=PROMPT)


@for_all("classic", [False, True])
def test_a_http_server(classic):
    """It answers what it takes for a request line with an error page, and closes."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None
        worker = Worker(server.serve_forever)
        try:
            with takes(0), pytest.raises((ConnectError, LinkTimeout)) as caught:
                connect(f"{server.server_port}@127.0.0.1", timeout=1, classic=classic)
        finally:
            server.shutdown()
        worker.finish()
    assert "Check the port" in caught.value.advice


@for_all("classic", [False, True])
@for_all(
    ("answer", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<html>", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"\x15\x03\x01\x00\x02\x02\x46" * 4, ""),
        (b"\0" * 4096, ""),
        (b"x" * 100_000, ""),
    ],
)
def test_another_protocol(classic, answer, says):
    def script(socks):
        with contextlib.suppress(OSError):
            socks[0].sendall(answer)
            silent(socks)

    with raw_peer(script) as port, takes(0), pytest.raises(ConnectError) as caught:
        connect(f"{port}@127.0.0.1", timeout=PROMPT, classic=classic)
    assert says in caught.value.message
    assert caught.value.where == f"{port}@127.0.0.1"


@for_all("classic", [False, True])
def test_silence(classic):
    with raw_peer(silent) as port, takes(0.3), pytest.raises(LinkTimeout, match="not greeted within 0.3 s"):
        connect(f"{port}@127.0.0.1", timeout=0.3, classic=classic)


def greeting_of(note, side):
    """What one side of a recorded conversation said on its data connection before the first expression."""
    conversation = next(entry for entry in HANDSHAKES if note in entry["name"])
    pieces = []
    for event in conversation["events"]:
        if event["connection"] == 0 and event["from"] == side and "hex" in event:
            piece = bytes.fromhex(event["hex"])
            if pieces and pieces[-1].endswith(b"\n") and piece[:1] in b"F\xe4":
                break
            pieces.append(piece)
    return b"".join(pieces)


#: What a listening side of the library answers with version 4, by recording.
ANSWER = greeting_of("listening side answers version 4", "listening")


def test_the_recorded_answer_is_whole():
    assert ANSWER.startswith(b"\x03" + b"\0" * 15 + b"Math Link 4\n")
    assert ANSWER.endswith(b"-envid ''\n")


@for_all("size", [0, 1, 15, 16, 17, 20, 27, 28, 60, len(ANSWER) - 1])
def test_a_peer_that_dies_during_the_greeting(size):
    """Told at once, wherever it happens."""

    def script(socks):
        socks[0].sendall(ANSWER[:size])
        socks[0].shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            silent(socks)

    with raw_peer(script, 2) as port, takes(0), pytest.raises(ConnectError, match="closed the connection"):
        connect(f"{port}@127.0.0.1", timeout=PROMPT)


def test_a_peer_that_trickles_bytes_does_not_stretch_the_timeout():
    stop = threading.Event()

    def script(socks):
        with contextlib.suppress(OSError):
            for byte in ANSWER:
                socks[0].sendall(bytes([byte]))
                if stop.wait(0.1):
                    return

    with raw_peer(script, 2) as port:
        try:
            with takes(0.4), pytest.raises(LinkTimeout, match="not greeted within 0.4 s"):
                connect(f"{port}@127.0.0.1", timeout=0.4)
        finally:
            stop.set()


@for_all("size", [1, 3, 1000])
def test_a_greeting_in_pieces(size):
    """And an expression right behind it is not lost."""
    heard = ANSWER + b"\xe4\x07\0\0\0\n]"

    def script(socks):
        for start in range(0, len(heard), size):
            socks[0].sendall(heard[start : start + size])
        silent(socks)

    with raw_peer(script, 2) as port, connect(f"{port}@127.0.0.1", timeout=PROMPT) as link:
        assert link.get(PROMPT) == 7


def test_what_is_sent_in_uuid_mode():
    """Byte for byte as recorded, apart from the UUID and the version."""
    heard = {}

    def script(socks):
        socks[0].sendall(ANSWER)
        heard["data"] = b""
        while not heard["data"].endswith(b"-envid ''\n"):
            heard["data"] += socks[0].recv(1 << 16)
        heard["mesg"] = socks[1].recv(1 << 16)
        silent(socks)

    with raw_peer(script, 2) as port:
        connect(f"{port}@127.0.0.1", timeout=PROMPT).close()
    identity = heard["mesg"][3:39]
    assert heard["mesg"] == b"id=%b connection=mesg" % identity
    assert identity == identity.upper()
    assert heard["data"].startswith(b"id=%b connection=data\x03" % identity + b"\0" * 15 + b"Math Link 6\n")
    assert heard["data"].count(b"\n") == 4


def test_a_link_server_of_version_5_is_greeted_again_with_4():
    """With 5 on both sides it would send symbols as numbers in a table of its own."""
    heard = []

    def script(socks):
        for answer in (ANSWER.replace(b"Link 4", b"Link 5"), ANSWER):
            if answer == ANSWER:
                socks[0].close()
                socks[1].close()
                socks = [server.accept()[0] for _ in range(2)]
            with contextlib.suppress(OSError):
                socks[0].sendall(answer)
                data = b""
                while data.count(b"\n") < 3:
                    data += socks[0].recv(1 << 16)
                heard.append(re.findall(rb"Math Link \d", data))
        socks[0].sendall(b"\xe4\x07\0\0\0\n]")
        silent(socks)
        for sock in socks:
            sock.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PROMPT)
        worker = Worker(lambda: script([server.accept()[0] for _ in range(2)]))
        with connect(f"{server.getsockname()[1]}@127.0.0.1", timeout=PROMPT) as link:
            assert link.get(PROMPT) == 7
        worker.finish()
    assert heard == [[b"Math Link 6"], [b"Math Link 4"]]


def test_classic_with_a_named_message_port_waits_for_okay():
    """The second connection comes only after OKY, as the library does it."""
    with socket.create_server(("127.0.0.1", 0)) as message_server:
        message_server.settimeout(PROMPT)

        def script(socks):
            assert socks[0].recv(14, socket.MSG_WAITALL) == b"need_msg_portN"
            message_server.setblocking(False)
            with pytest.raises(BlockingIOError):
                message_server.accept()
            message_server.settimeout(PROMPT)
            socks[0].sendall(b"OKY")
            with message_server.accept()[0]:
                socks[0].sendall(ANSWER[16:])
                silent(socks)

        with raw_peer(script) as port:
            name = f"{port}@127.0.0.1,{message_server.getsockname()[1]}@127.0.0.1"
            connect(name, timeout=PROMPT).close()


@for_all("answer", [b"msg_port=0Y", b"msg_port=99999Y", b"msg_port=12a", b"OKY"])
def test_a_wrong_message_port(answer):
    def script(socks):
        socks[0].sendall(answer)
        with contextlib.suppress(OSError):
            silent(socks)

    with raw_peer(script) as port, pytest.raises(ConnectError, match="port"):
        connect(f"{port}@127.0.0.1", timeout=PROMPT, classic=True)


def test_a_message_port_where_nobody_listens(closed_port):
    def script(socks):
        socks[0].sendall(b"msg_port=%dY" % closed_port)
        with contextlib.suppress(OSError):
            silent(socks)

    with raw_peer(script) as port, pytest.raises(ConnectError, match="second connection: the connection was refused"):
        connect(f"{port}@127.0.0.1", timeout=PROMPT, classic=True)


def test_a_failed_connection_leaves_no_socket_behind():
    seen = threading.Event()

    def script(socks):
        silent(socks)  # ends only when the client has closed its end
        seen.set()

    with raw_peer(script) as port, pytest.raises(LinkTimeout):
        connect(f"{port}@127.0.0.1", timeout=0.1)
    assert seen.wait(PROMPT)


def test_a_link_has_no_pool():
    with pytest.raises(LinkSyntaxError, match="Open a Session"):
        connect("wstp://127.0.0.1:1/pool")


@for_all("classic", [False, True])
def test_open_link_connects(classic):
    def script(link):
        link.put(Function(Symbol("f"), (1,)))

    options = ["-wstp", "-linkprotocol", "TCPIP", "-linkconnect", "-linkname"]
    with peer(script, classic=classic) as name:
        words = [*options, name] + ([] if classic else ["-linkoptions", "4"])
        with open_link(words, timeout=PROMPT) as link:
            assert link.get(PROMPT) == Function(Symbol("f"), (1,))
            assert link.name == name


@for_all("classic", [False, True])
def test_open_link_listens(classic):
    names = []
    ready = threading.Event()

    def announce(name):
        names.append(name)
        ready.set()

    def run():
        text = "-linkmode listen -linkprotocol TCPIP -linkname 0@127.0.0.1" + ("" if classic else " -linkoptions 4")
        with open_link(text, timeout=PROMPT, on_listening=announce) as link:
            return link.get(PROMPT)

    worker = Worker(run)
    assert ready.wait(PROMPT)
    assert names[0].count("@127.0.0.1") == (2 if classic else 1)
    with connect(names[0], timeout=PROMPT) as link:
        link.put("hello")
        assert worker.finish() == "hello"


def test_open_link_gives_up_listening():
    with takes(0.2), pytest.raises(LinkTimeout, match="no link within 0.2 s"):
        open_link("-linkmode listen -linkname 0@127.0.0.1", timeout=0.2)


def test_open_link_does_not_launch():
    with pytest.raises(LinkSyntaxError, match="-linklaunch"):
        open_link("-linklaunch -linkname kernel")


def test_errors_survive_pickling():
    error = LinkTimeout("no expression", "1@h", "Wait longer")
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error) == "1@h: no expression. Wait longer"
    assert (copy.message, copy.where, copy.advice) == ("no expression", "1@h", "Wait longer")
    assert isinstance(copy, TimeoutError)


def test_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 on this machine")
    from wstpserver.client import listen

    with listen("0@[::1]") as listener:
        worker = Worker(listener.accept, PROMPT)
        with connect(listener.link_name, timeout=PROMPT) as link, worker.finish() as other:
            link.put(1)
            assert other.get(PROMPT) == 1
            assert listener.link_name.endswith("@[::1]")
