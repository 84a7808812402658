"""The PROXY protocol, versions 1 and 2: the header with which a proxy says for which client it connects.

See https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt. A link never begins with either signature, so a header
and a direct connection can be told apart by the first bytes.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from wstpserver.wire.errors import RemoteProtocolError

#: How a header of each version begins.
SIGNATURE_1: Final = b"PROXY "
SIGNATURE_2: Final = b"\r\n\r\n\x00\r\nQUIT\n"

#: Bytes of a header of version 1 at most, its end of line included.
LONGEST_LINE: Final = 107
#: Bytes that version 2 may announce behind its first 16; more is no header of any known proxy.
LONGEST_REST: Final = 4096

_LINE: Final = re.compile(rb"PROXY (TCP4|TCP6) (\S+) (\S+) ([0-9]{1,5}) ([0-9]{1,5})")
#: Signature, version and command, family and protocol, length of the rest.
_HEAD: Final = struct.Struct(">12sBBH")
_PORTS: Final = struct.Struct(">HH")
_VERSION_2: Final = 0x20
_LOCAL, _PROXY = 0, 1
#: Family and protocol -> bytes of an address: TCP over IPv4, TCP over IPv6.
_SIZES: Final = {0x11: 4, 0x21: 16}
#: Families without addresses that mean anything here: unspecified, and UNIX streams.
_WITHOUT_ADDRESS: Final = (0x00, 0x31)


class ProxiedAddress(NamedTuple):
    """An address and a port; IPv4 addresses that are written as IPv6 ones are IPv4 addresses here."""

    host: str
    port: int


class ProxyHeader(NamedTuple):
    """What a header says.

    Attributes:
        client: Where the client connected from; None if the proxy connects for itself (a health check) or does not
            know.
        target: Where the client connected to; None with `client`.
        size: Bytes of the header.
    """

    client: ProxiedAddress | None
    target: ProxiedAddress | None
    size: int

    @classmethod
    def of_record(cls, record: Sequence[Any]) -> ProxyHeader:
        """The header whose elements came back from JSON."""
        client, target, size = record
        return cls(client and ProxiedAddress(*client), target and ProxiedAddress(*target), size)


def may_be_header(data: bytes) -> bool:
    """Whether `data`, the first bytes of a connection, are a header or the beginning of one."""
    return any(data.startswith(signature[: len(data)]) for signature in (SIGNATURE_1, SIGNATURE_2))


def read_header(data: bytes) -> ProxyHeader | None:
    """Read the header that a connection begins with.

    Args:
        data: What has come in so far; `may_be_header` says that it is no other protocol.

    Returns:
        The header; None if more bytes are needed.

    Raises:
        RemoteProtocolError: It is no header.
    """
    if data.startswith(SIGNATURE_2):
        return _read_2(data)
    if data.startswith(SIGNATURE_1):
        return _read_1(data)
    if may_be_header(data):
        return None
    raise RemoteProtocolError(f"{data[:40]!r} is no PROXY header", 0)


def _read_1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0:
        if len(data) < LONGEST_LINE:
            return None
        raise RemoteProtocolError(f"a PROXY header of more than {LONGEST_LINE} bytes", 0)
    line = data[:end]
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(None, None, end + 2)
    match = _LINE.fullmatch(line)
    try:
        if match is None:
            raise ValueError
        version = 4 if match[1] == b"TCP4" else 6
        client, target = (
            _endpoint(ipaddress.ip_address(host.decode()), int(port), version)
            for host, port in ((match[2], match[4]), (match[3], match[5]))
        )
    except ValueError:
        raise RemoteProtocolError(f"{line!r} is no PROXY header", 0) from None
    return ProxyHeader(client, target, end + 2)


def _read_2(data: bytes) -> ProxyHeader | None:
    if len(data) < _HEAD.size:
        return None
    _, command, family, length = _HEAD.unpack_from(data)
    if command & 0xF0 != _VERSION_2 or command & 0x0F not in (_LOCAL, _PROXY):
        raise RemoteProtocolError(f"a PROXY header with version and command 0x{command:02x}", len(SIGNATURE_2))
    if length > LONGEST_REST:
        raise RemoteProtocolError(f"a PROXY header of {length} bytes", len(SIGNATURE_2))
    size = _HEAD.size + length
    if len(data) < size:
        return None
    if command & 0x0F == _LOCAL or family in _WITHOUT_ADDRESS:
        return ProxyHeader(None, None, size)
    bytes_each = _SIZES.get(family)
    if bytes_each is None or length < 2 * bytes_each + _PORTS.size:
        raise RemoteProtocolError(f"a PROXY header for family and protocol 0x{family:02x}", len(SIGNATURE_2) + 1)
    start = _HEAD.size
    hosts = (data[start : start + bytes_each], data[start + bytes_each : start + 2 * bytes_each])
    ports = _PORTS.unpack_from(data, start + 2 * bytes_each)
    client, target = (
        _endpoint(ipaddress.ip_address(host), port, 4 if bytes_each == 4 else 6)
        for host, port in zip(hosts, ports, strict=True)
    )
    return ProxyHeader(client, target, size)


def _endpoint(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int, version: int) -> ProxiedAddress:
    if address.version != version or not 0 <= port < 1 << 16:
        raise ValueError
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return ProxiedAddress(str(mapped or address), port)
