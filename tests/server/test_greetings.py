"""Clients that greet as they should, each in its own way."""
import contextlib
import os
import resource
import socket
import subprocess
import sys
import uuid

import pytest

from tests.support.serving import one_pool, serving
from tools.harness import processes, rawlink
from tools.harness.fake_kernel import joining
from tools.harness.fake_kernel.codec import Function, encode
from tools.harness.waiting import wait_for

PLUS = Function("EvaluatePacket", Function("Plus", 2, 2))

#: What clients of 10.1 and 13.2 send when they greet a peer of version 4 or 6, first line and rest.
LINES = {
    5: (b"Math Link 5\n", b"-libraryid '!&*' -decoders 0\n-numericsid boxer -tokens 33,98,100,102,116,118,120 -textid"
        b" 'Mar 23 2015, 18:23:51' -formats 1,2,3,4,5,6,7\n-envid ''\n"),
    6: (b"Math Link 6\n", b"-libraryid '!&*' -decoders 0\n-numericsid bichon_frise -tokens 33,98,100,102,116,118"
        b" -textid 'Jan 27 2023, 10:57:24' -formats 1,2,3,4,5,6,7\n-envid ''\n-symboldicts 1"
        b" -stringdicts 1\nSupport6digitAsciiUnicode\n"),
}  # fmt: skip

#: The last line of the server's answer to each.
LAST = {5: b"-envid ''\n", 6: b"Support6digitAsciiUnicode\n"}


def connections(port):
    return [socket.create_connection(("127.0.0.1", port), 60.0) for _ in range(2)]


def first_lines():
    identity = str(uuid.uuid4()).upper().encode()
    return b"id=%s connection=data" % identity, b"id=%s connection=mesg" % identity


def receive_greeting(data, version):
    """The server's answer to a greeting of this version, to its last byte and no further."""
    received = b""
    while not received.endswith(LAST[version]):
        received += joining.receive_exactly(data, 1)
    return received


def assert_works(link, prompt=True):
    if prompt:
        assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
    assert link.evaluate(Function("Plus", 2, 2)) == 4
    link.close(politely=True)


@pytest.mark.parametrize("version", LINES)
@pytest.mark.parametrize("order", ["data first", "message first"])
def test_both_orders_and_both_generations(server, version, order):
    data, message = connections(server.port)
    data_line, message_line = first_lines()
    if order == "message first":
        message.sendall(message_line)
    data.sendall(data_line + joining.WORDS)
    assert joining.receive_exactly(data, 16) == joining.WORDS
    opening, rest = LINES[version]
    data.sendall(opening)
    data.sendall(rest)
    greeting = receive_greeting(data, version)
    if version == 5:
        assert greeting.startswith(b"Math Link 4\n") and greeting.count(b"\n") == 4
    else:
        assert greeting.startswith(b"Math Link 6\n") and greeting.count(b"\n") == 6
        assert greeting.endswith(b"-envid ''\n-symboldicts 0 -stringdicts 0\nSupport6digitAsciiUnicode\n")
    if order == "data first":
        message.sendall(message_line)
    assert_works(rawlink.RawLink(data, message))


def test_everything_at_once(server):
    """Greeting and evaluation in one write, and an interrupting message right behind the line that names the link."""
    data, message = connections(server.port)
    data_line, message_line = first_lines()
    message.sendall(message_line + b"\0\0\0\x05\0\0\0\x01")
    data.sendall(data_line + joining.WORDS + b"".join(LINES[6]) + encode(PLUS) + b"]")
    assert joining.receive_exactly(data, 16) == joining.WORDS
    receive_greeting(data, 6)
    link = rawlink.RawLink(data, message)
    assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
    assert link.get_packet() == ("ReturnPacket", 4)
    link.close()


def test_byte_by_byte(server):
    data, message = connections(server.port)
    data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data_line, message_line = first_lines()
    for byte in message_line:
        message.sendall(bytes([byte]))
    for byte in data_line + joining.WORDS + b"".join(LINES[5]) + encode(PLUS) + b"]":
        data.sendall(bytes([byte]))
    assert joining.receive_exactly(data, 16) == joining.WORDS
    receive_greeting(data, 5)
    link = rawlink.RawLink(data, message)
    assert link.get_packet() == ("InputNamePacket", "In[1]:= ")
    assert link.get_packet() == ("ReturnPacket", 4)
    link.close()


def test_a_client_of_version_3_gets_no_environment_line(server):
    data, message = connections(server.port)
    data_line, message_line = first_lines()
    message.sendall(message_line)
    data.sendall(data_line + joining.WORDS + LINES[5][0].replace(b"5", b"3") + LINES[5][1].replace(b"-envid ''\n", b""))
    joining.receive_exactly(data, 16)
    received = b""
    while received.count(b"\n") < 3:
        received += joining.receive_exactly(data, 1)
    assert b"-envid" not in received
    assert_works(rawlink.RawLink(data, message))


def test_classic_mode(server):
    """What a client sends that forgot -linkoptions 4: it asks for the message port."""
    for _ in range(20):  # a client of a busy machine may be silent for so long that it is greeted as one that waits
        data, message = joining.connect_classic(("127.0.0.1", server.port))
        version, framer = joining.greet(data, 6)
        assert_works(rawlink.RawLink(data, message, framer))
        if version == 6:
            break
    assert version == 6


def test_classic_mode_with_the_greeting_before_the_message_connection(server):
    data = socket.create_connection(("127.0.0.1", server.port), 60.0)
    data.sendall(b"need_msg_portY" + b"".join(LINES[6]))
    answer = b""
    while not answer.endswith(b"Y"):
        answer += joining.receive_exactly(data, 1)
    port = int(answer[len(b"msg_port=") : -1])
    message = socket.create_connection(("127.0.0.1", port), 60.0)
    receive_greeting(data, 6)
    assert_works(rawlink.RawLink(data, message))


def test_a_classic_client_that_reads_first(server):
    """After a silence it is greeted, with the version that suits everybody."""
    data, message = joining.connect_classic(("127.0.0.1", server.port))
    received = b""
    while b"\n" not in received:
        received += joining.receive_exactly(data, 1)
    assert received == b"Math Link 4\n"
    opening, rest = LINES[5]
    data.sendall(opening.replace(b"5", b"4") + rest)
    receive_greeting(data, 5)
    assert_works(rawlink.RawLink(data, message))


def test_a_message_port_of_classic_mode_takes_one_connection_only(server):
    data, message = joining.connect_classic(("127.0.0.1", server.port))
    port = message.getpeername()[1]
    version, framer = joining.greet(data, 5)
    with rawlink.RawLink(data, message, framer) as link:
        assert link.get_packet()[0] == "InputNamePacket"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 60.0)


STRANGER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as connection:
    print("connected", flush=True)
    print(len(connection.recv(1)), flush=True)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others do not say who connects")
def test_a_message_port_of_classic_mode_is_for_its_client_only(server):
    """Another process of this computer is not let in, even if it is first."""
    data = socket.create_connection(("127.0.0.1", server.port), 60.0)
    data.sendall(b"need_msg_portY")
    answer = b""
    while not answer.endswith(b"Y"):
        answer += joining.receive_exactly(data, 1)
    port = int(answer[len(b"msg_port=") : -1])
    words = [sys.executable, "-S", "-E", "-c", STRANGER, str(port)]
    stranger = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=60)
    assert stranger.stdout == "connected\n0\n"
    message = socket.create_connection(("127.0.0.1", port), 60.0)
    _, framer = joining.greet(data, 6)
    assert_works(rawlink.RawLink(data, message, framer))


def test_classic_clients_beside_many_idle_connections(tmp_path, kernel):
    """More descriptors than select() can look at."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 6000:
        pytest.skip("this system does not allow so many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 6000), hard))
    root = {"MaximumUnpairedConnections": 5000, "GreetingTimeout": 300}
    try:
        with serving(tmp_path, one_pool(kernel, root=root)) as server, contextlib.ExitStack() as idle:
            for _ in range(2000):
                idle.enter_context(socket.create_connection(("127.0.0.1", server.port), 60.0))
            wait_for(lambda: len(processes.open_descriptors(server.pid)) > 2000, 60.0, "the idle connections")
            data, message = joining.connect_classic(("127.0.0.1", server.port))
            assert data.fileno() > 1024
            version, framer = joining.greet(data, 6)
            assert_works(rawlink.RawLink(data, message, framer))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_messages_that_came_with_the_first_line_are_not_lost(server, gate):
    """Half a message right behind the line that names the link is completed by what comes later."""
    data, message = connections(server.port)
    data_line, message_line = first_lines()
    message.sendall(message_line + b"\0\0")  # half a record
    data.sendall(data_line + joining.WORDS + b"".join(LINES[6]))
    joining.receive_exactly(data, 16)
    receive_greeting(data, 6)
    link = rawlink.RawLink(data, message)
    assert link.get_packet()[0] == "InputNamePacket"
    link.put("EvaluatePacket", gate.busy())
    gate.wait_until_reached()
    message.sendall(b"\0\x03" + bytes(4))  # the other half: code 3, abort
    head, value = link.get_packet()
    assert (head, value.name) == ("ReturnPacket", "$Aborted")
    link.close()


def test_the_kernel_sees_no_greeting_of_the_client(server):
    """Links of any generation look the same to the kernel: the same bytes arrive."""
    expression = Function("Hold", "text", 1, 2.5, Function("g", os.fspath(server.folder)))
    answers = []
    for version in (3, 4, 5, 6):
        with server.connect(version=version) as link:
            assert link.get_packet()[0] == "InputNamePacket"
            link.put("EvaluatePacket", expression)
            answers.append(link.get_raw())
    assert len(set(answers)) == 1
