"""The header of the PROXY protocol: both versions, whole and in pieces, and what is none."""

import socket
import struct

import pytest

from tests.support.cases import for_all
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.handshake import ListenHandshake
from wstpserver.wire.proxy_protocol import ProxiedAddress, ProxyHeader, may_be_header, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
GREETING = b"id=23E744F7-9AE5-481E-B5EA-9AE4CBF1C047 connection=data"


def version_2(command=0x21, family=0x11, body=b""):
    return SIGNATURE + struct.pack(">BBH", command, family, len(body)) + body


def addresses(family, client, target):
    packed = [socket.inet_pton(family, host) for host, _ in (client, target)]
    return b"".join(packed) + struct.pack(">HH", client[1], target[1])


V4 = addresses(socket.AF_INET, ("192.0.2.7", 50000), ("198.51.100.1", 31415))
V6 = addresses(socket.AF_INET6, ("2001:db8::7", 50000), ("2001:db8::1", 31415))
MAPPED = addresses(socket.AF_INET6, ("::ffff:192.0.2.7", 50000), ("::ffff:198.51.100.1", 31415))

IN_4 = (ProxiedAddress("192.0.2.7", 50000), ProxiedAddress("198.51.100.1", 31415))
IN_6 = (ProxiedAddress("2001:db8::7", 50000), ProxiedAddress("2001:db8::1", 31415))
NOBODY = (None, None)

HEADERS = {
    b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 31415\r\n": IN_4,
    b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 31415\r\n": IN_6,
    b"PROXY TCP6 2001:0DB8:0000:0000:0000:0000:0000:0007 2001:db8::1 50000 31415\r\n": IN_6,
    b"PROXY UNKNOWN\r\n": NOBODY,
    b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n": NOBODY,
    version_2(body=V4): IN_4,
    version_2(family=0x21, body=V6): IN_6,
    version_2(family=0x21, body=MAPPED): IN_4,
    version_2(body=V4 + b"\x03\x00\x04abcd" + b"\x05\x00\x03key"): IN_4,  # with further fields, as HAProxy adds them
    version_2(command=0x20, family=0x00): NOBODY,  # a health check
    version_2(command=0x20, body=V4): NOBODY,
    version_2(family=0x00, body=b"\x04\x00\x01."): NOBODY,
    version_2(family=0x31, body=bytes(216)): NOBODY,
}


@for_all(("header", "expected"), HEADERS.items(), ids=repr)
def test_a_header(header, expected):
    read = ProxyHeader(*expected, len(header))
    assert read_header(header) == read
    assert read_header(header + GREETING) == read


@for_all("header", HEADERS, ids=repr)
def test_a_header_in_pieces(header):
    for size in range(len(header)):
        assert may_be_header(header[:size])
        assert read_header(header[:size]) is None


@for_all(
    "data",
    [
        b"PROXY TCP4 192.0.2.7 198.51.100.1 50000\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 70000\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 50000 31415\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 50000 31415\r\n",
        b"PROXY TCP4 192.0.2.300 198.51.100.1 50000 31415\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 50000 31415\r\n",
        b"PROXY  TCP4 192.0.2.7 198.51.100.1 50000 31415\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 31415\n" + b"x" * 100,
        b"PROXY TCP4 " + b"\xff" * 200,
        version_2(command=0x11, body=V4),
        version_2(command=0x22, body=V4),
        version_2(family=0x12, body=V4),
        version_2(family=0x21, body=V4),
        version_2(body=V4[:-1]),
        version_2(body=bytes(5000)),
        GREETING,
    ],
    ids=repr,
)
def test_what_is_no_header(data):
    with pytest.raises(RemoteProtocolError):
        read_header(data)


@for_all("data", [GREETING, b"need_msg_portY", b"Math Link 6\n", b"GET / HTTP/1.1", b"PROXX", b"\r\nX"])
def test_no_link_begins_like_a_header(data):
    assert not may_be_header(data)


def test_a_link_that_begins_with_a_header_is_no_link():
    """A peer that is not one of the listed proxies cannot say that it is somebody else."""
    with pytest.raises(RemoteProtocolError, match="PROXY protocol header"):
        ListenHandshake().receive_data(b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 31415\r\n" + GREETING)
