"""Link names, addresses and link options as the vendor's library writes them.

What is accepted was found by trying it on the library: option names and the values of ``-linkmode`` and
``-linkprotocol`` in any case; the last of two equal options counts; ``-linkconnect``, ``-linkcreate`` and
``-linklaunch`` beat ``-linkmode``; other ``-link...`` options are passed over; abbreviations do not exist.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from wstpserver.client.errors import LinkSyntaxError

#: The port of WSTPServer.
DEFAULT_PORT: Final = 31415
#: A port without a host means this machine. (The library takes the machine's own name there.)
DEFAULT_HOST: Final = "localhost"
#: The bit of ``-linkoptions`` that chooses UUID mode.
UUID_BIT: Final = 4

_URL = re.compile(r"wstp://(?P<authority>[^/?#]*)(?:/(?P<pool>[^/?#]*))?/?", re.IGNORECASE)
_PROTOCOLS: Final = ("tcpip", "tcp")
_MODES: Final = {"connect": "connect", "listen": "listen", "create": "listen", "launch": "launch"}
_MODE_FLAGS: Final = {"-linkconnect": "connect", "-linkcreate": "listen", "-linklaunch": "launch"}
_UUID_NAMES: Final = ("mluseuuidtcpipconnection", "wsuseuuidtcpipconnection")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (name, IPv4 or IPv6 address without brackets) and a TCP port, 0..65535."""

    host: str
    port: int

    def __str__(self) -> str:
        """``PORT@HOST``, as in link names; an IPv6 address in brackets."""
        return f"{self.port}@[{self.host}]" if ":" in self.host else f"{self.port}@{self.host}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a link leads: the data port, in classic mode perhaps the message port, and perhaps a kernel pool."""

    data: Endpoint
    message: Endpoint | None = None
    pool: str | None = None

    @property
    def link_name(self) -> str:
        """``PORT@HOST`` or ``PORT@HOST,PORT2@HOST``."""
        return str(self.data) if self.message is None else f"{self.data},{self.message}"

    def __str__(self) -> str:
        return self.link_name


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What link options say. ``mode``: connect, listen or launch; ``uuid``: one port for both connections."""

    mode: str
    address: Address
    uuid: bool


def parse_address(text: str | int | Address) -> Address:
    """The address that `text` names. LinkSyntaxError if it names none.

    Forms: ``31415``, ``31415@host``, ``host:31415``, ``host``, ``31415@host,31416@host``, an empty string (the
    default port here), and ``wstp://host:port/pool``, where port and pool may be left out. A host may be a name,
    an IPv4 address or an IPv6 address (in brackets before ``:port``).
    """
    if isinstance(text, Address):
        return text
    text = str(text).strip()
    url = _URL.fullmatch(text)
    if url:
        pool = unquote(url["pool"]) if url["pool"] else None
        return Address(_endpoint(url["authority"], text, colon_first=True), None, pool)
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2:
        raise LinkSyntaxError(f"{text!r} is no link address: more than two ports", None, _HOW_TO_WRITE)
    endpoints = [_endpoint(part, text) for part in parts]
    return Address(endpoints[0], endpoints[1] if len(endpoints) == 2 else None)


_HOW_TO_WRITE: Final = "Write PORT@HOST, PORT, or wstp://HOST:PORT/POOL"


def _endpoint(part: str, whole: str, colon_first: bool = False) -> Endpoint:
    """One PORT@HOST, HOST:PORT, PORT or HOST."""
    port, at, host = part.partition("@")
    if not at:
        if re.fullmatch(r"\d+", part) and not colon_first:
            host, port = "", part
        else:
            host, port = _split_host_port(part)
    host = host.strip("[]") if host.startswith("[") and host.endswith("]") else host
    if re.search(r"[\s@\[\]/]", host):
        raise LinkSyntaxError(f"{whole!r} is no link address: {host!r} is no host", None, _HOW_TO_WRITE)
    return Endpoint(host or DEFAULT_HOST, _port(port, whole))


def _split_host_port(part: str) -> tuple[str, str]:
    """``host:port`` with the port perhaps missing; an IPv6 address without brackets has no port."""
    bracketed = re.fullmatch(r"(\[[^\]]*\])(?::(.*))?", part)
    if bracketed:
        return bracketed[1], bracketed[2] or ""
    if part.count(":") > 1:
        return part, ""
    host, _, port = part.partition(":")
    return host, port


def _port(text: str, whole: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > 65535:
        raise LinkSyntaxError(f"{whole!r} is no link address: {text!r} is no port (0 to 65535)", None, _HOW_TO_WRITE)
    return int(text)


def parse_link_options(options: str | Iterable[str]) -> LinkOptions:
    """What a string or an argument list of link options says; other arguments in it are passed over.

    Raises LinkSyntaxError when no ``-linkname`` or no mode is given, when an option lacks its value, and for
    protocols other than TCPIP.

    >>> options = parse_link_options("-linkmode connect -linkprotocol TCPIP -linkname 31415@host -linkoptions 4")
    >>> options.mode, options.address.link_name, options.uuid
    ('connect', '31415@host', True)
    """
    words = _words(options)
    found = dict(_pairs(words))
    mode = found.get("flag") or _mode(found.get("-linkmode"))
    if mode is None:
        raise LinkSyntaxError("the link options do not say what to do", None, "Add -linkmode connect or listen")
    protocol = found.get("-linkprotocol", "TCPIP")
    if protocol.lower() not in _PROTOCOLS:
        raise LinkSyntaxError(f"link protocol {protocol!r} is not supported", None, "Write -linkprotocol TCPIP")
    name = found.get("-linkname")
    if name is None:
        if mode != "listen":
            raise LinkSyntaxError("the link options name no link", None, "Add -linkname PORT@HOST")
        name = "0"
    address = parse_address(name)
    host = found.get("-linkhost")
    if host and "@" not in name:
        address = Address(Endpoint(host, address.data.port))
    return LinkOptions(mode, address, _uses_uuid(found.get("-linkoptions")))


def _words(options: str | Iterable[str]) -> list[str]:
    if not isinstance(options, str):
        return list(options)
    try:
        return shlex.split(options)
    except ValueError as error:
        raise LinkSyntaxError(f"the link options {options!r} cannot be split: {error}") from None


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """The -link options among `words`, names in lower case; the mode flags as ("flag", mode)."""
    position = 0
    while position < len(words):
        name = words[position].lower()
        position += 1
        if name in _MODE_FLAGS:
            yield "flag", _MODE_FLAGS[name]
        elif name in _VALUED:
            # A kernel's arguments may end with a lone option, which the library passes over.
            if position < len(words):
                yield name, words[position]
                position += 1
            elif name != "-linkoptions":
                raise LinkSyntaxError(f"{name} has no value")


_VALUED: Final = ("-linkmode", "-linkname", "-linkprotocol", "-linkhost", "-linkoptions")


def _mode(text: str | None) -> str | None:
    if text is None:
        return None
    if text.lower() not in _MODES:
        raise LinkSyntaxError(f"link mode {text!r} is not supported", None, "Write -linkmode connect or listen")
    return _MODES[text.lower()]


def _uses_uuid(text: str | None) -> bool:
    """Whether ``-linkoptions`` holds the bit for UUID mode; it is a number (0x.. too) or a list of names."""
    if text is None:
        return False
    try:
        return bool(int(text, 0) & UUID_BIT)
    except ValueError:
        return any(name.lower() in _UUID_NAMES for name in re.split(r"[\s|,]+", text))
