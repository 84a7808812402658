"""What connects to the port and is no client, or hardly one."""
import contextlib
import os
import re
import socket
import uuid

import pytest

from tests.support.serving import assert_serves, one_pool, reset, serving
from tools.harness import rawlink
from tools.harness.fake_kernel import joining
from tools.harness.kernels import make_kernel
from tools.harness.waiting import wait_for

TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(64))


def open_connection(port, data=b""):
    connection = socket.create_connection(("127.0.0.1", port), 60.0)
    connection.sendall(data)
    return connection


def assert_closed(connection):
    """The server ends the connection, with or without an answer before."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(4096):
            pass
    connection.close()


def name_in_log(connection):
    """The client's end of a connection as a pattern for the log."""
    return re.escape(f"127.0.0.1:{connection.getsockname()[1]}")


def id_line(identity, channel):
    return b"id=%s connection=%s" % (identity.encode(), channel)


def new_identity():
    return str(uuid.uuid4()).upper()


MALFORMED = {
    "a UUID with a wrong digit": (id_line("G3E744F7-9AE5-481E-B5EA-9AE4CBF1C047", b"data"), "names the link"),
    "a UUID that is too short": (b"id=23E744F7-9AE5 connection=data" + b"." * 40, "names the link"),
    "a connection of no kind": (id_line("23E744F7-9AE5-481E-B5EA-9AE4CBF1C047", b"file"), "cannot begin with"),
    "an HTTP request": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "an HTTP request"),
    "a TLS hello": (TLS_HELLO, "a TLS hello"),
    "an SSH banner": (b"SSH-2.0-OpenSSH_9.6\r\n", "an SSH banner"),
    "a greeting without a first line": (b"Math Link 6\n", "without the line"),
    "zero bytes": (bytes(100), "no WSTP greeting"),
    "a classic link with a port of its own": (b"need_msg_portN", "message port of its own"),
    "a classic link that asks in another way": (b"need_msg_portX", "cannot begin with"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_no_link_is_closed_with_a_reason_in_the_log(server, case):
    data, reason = MALFORMED[case]
    seen = len(server.log)
    assert_closed(open_connection(server.port, data))
    wait_for(lambda: reason in server.log[seen:], 60.0, f"{reason!r} in the log")
    assert re.search(r"Warning: \n    Closed a connection from 127\.0\.0\.1:\d+: ", server.log[seen:])


def test_random_bytes(server):
    for size in (1, 16, 55, 200, 70000):
        connection = open_connection(server.port)
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"?" + os.urandom(size))
        assert_closed(connection)


def test_a_data_connection_that_goes_astray_after_its_first_line(server):
    identity = new_identity()
    connection = open_connection(server.port, id_line(identity, b"data") + joining.WORDS + b"HELO there\n")
    assert_closed(connection)
    server.wait_for_log("instead of a greeting the peer sent")


def test_a_greeting_line_without_end(server):
    connection = open_connection(server.port, id_line(new_identity(), b"data") + joining.WORDS)
    with contextlib.suppress(ConnectionError):
        connection.sendall(b"Math Link 6\n" + b"-textid " * 2000)
    assert_closed(connection)
    server.wait_for_log("a greeting line of more than")


@pytest.mark.parametrize("sent", [b"", b"id=23E744F7", b"need_msg_portY"])
def test_a_connection_that_ends_early(server, sent):
    """Nothing but a line at level debug: port scanners and health checks do so all day."""
    seen = len(server.log)
    connection = open_connection(server.port, sent)
    name = name_in_log(connection)
    connection.close()
    server.wait_for_log(rf"Debug: \n    A connection from {name} ended during its greeting")
    assert "Warning" not in server.log[seen:]


@pytest.mark.parametrize(
    "sent", [b"", b"id=23E744F7", b"need_msg_portY", id_line("63E744F7-9AE5-481E-B5EA-9AE4CBF1C047", b"data")]
)
def test_a_connection_that_is_broken_off(server, sent):
    reset(open_connection(server.port, sent))


def test_two_data_connections_with_one_uuid(server):
    identity = new_identity()
    first = open_connection(server.port, id_line(identity, b"data") + joining.WORDS)
    assert joining.receive_exactly(first, 16) == joining.WORDS
    _, framer = joining.greet(first)
    assert_closed(open_connection(server.port, id_line(identity, b"data") + joining.WORDS))
    server.wait_for_log(f"a second data connection says that it is {identity}")
    message = open_connection(server.port, id_line(identity, b"mesg"))
    link = rawlink.RawLink(first, message, framer)  # the first one has not been harmed
    assert link.get_packet()[0] == "InputNamePacket"
    link.close()


def test_two_message_connections_with_one_uuid(server):
    identity = new_identity()
    first = open_connection(server.port, id_line(identity, b"mesg"))
    assert_closed(open_connection(server.port, id_line(identity, b"mesg")))
    server.wait_for_log(f"a second message connection says that it is {identity}")
    data = open_connection(server.port, id_line(identity, b"data") + joining.WORDS)
    assert joining.receive_exactly(data, 16) == joining.WORDS
    _, framer = joining.greet(data)
    link = rawlink.RawLink(data, first, framer)
    assert link.get_packet()[0] == "InputNamePacket"
    link.close()


@pytest.fixture(scope="module")
def impatient(tmp_path_factory):
    """A server that gives a greeting a second and holds eight connections that are no link."""
    folder = tmp_path_factory.mktemp("impatient")
    root = {"GreetingTimeout": 1, "MaximumUnpairedConnections": 8}
    with serving(folder, one_pool(make_kernel(folder), 1, root, ReservePreviouslyConnectedKernels=False)) as server:
        yield server


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"id=23E744F7-9AE5-481E",
        id_line("33E744F7-9AE5-481E-B5EA-9AE4CBF1C047", b"mesg"),
        id_line("43E744F7-9AE5-481E-B5EA-9AE4CBF1C047", b"data"),
        id_line("53E744F7-9AE5-481E-B5EA-9AE4CBF1C047", b"data") + joining.WORDS + b"Math Link 6\n-libraryid",
        b"need_msg_portY",
        b"need_msg_portYMath Link 6\n",
    ],
)
def test_a_greeting_that_does_not_go_on(impatient, sent):
    connection = open_connection(impatient.port, sent)
    name = name_in_log(connection)
    assert_closed(connection)
    reason = "it was told to make a second connection to port" if sent.startswith(b"need") else "its greeting did not"
    impatient.wait_for_log(f"Closed a connection from {name}: {reason}")
    assert_serves(impatient)


def test_a_half_pair_of_a_data_connection(impatient):
    connection = open_connection(impatient.port, id_line(new_identity(), b"data") + joining.WORDS)
    assert joining.receive_exactly(connection, 16) == joining.WORDS
    joining.greet(connection)
    name = name_in_log(connection)
    assert_closed(connection)
    impatient.wait_for_log(f"Closed a connection from {name}: its greeting did not come in time")
    assert_serves(impatient)


def test_a_classic_client_whose_second_connection_is_blocked(impatient):
    """The log names the port, what may block it, and the way out."""
    connection = open_connection(impatient.port, b"need_msg_portY")
    name = name_in_log(connection)
    answer = b""
    while not answer.endswith(b"Y"):
        answer += joining.receive_exactly(connection, 1)
    port = int(answer[len(b"msg_port=") : -1])
    assert_closed(connection)
    impatient.wait_for_log(
        f"Closed a connection from {name}: it was told to make a second connection to port {port}, and none came in"
        " time; perhaps a firewall blocks that port. With -linkoptions 4 "
    )


def test_too_many_connections_that_are_no_link(impatient):
    """The oldest have to go, and whoever comes is served."""
    idlers = [open_connection(impatient.port) for _ in range(30)]
    assert_serves(impatient)
    impatient.wait_for_log("it has not become a link, and its place is needed by a new connection")
    for connection in idlers:
        assert_closed(connection)
    assert_serves(impatient)
