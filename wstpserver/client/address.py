"""Link names, addresses and link options as the vendor's library writes them.

What is accepted was found by trying it on the library: option names and the values of ``-linkmode`` and
``-linkprotocol`` in any case; the last of two equal options counts; ``-linkconnect``, ``-linkcreate`` and
``-linklaunch`` beat ``-linkmode``; other ``-link...`` options are ignored; abbreviations do not exist.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wstpserver.client.errors import LinkSyntaxError

if TYPE_CHECKING:
    import ssl

#: The port of WSTPServer.
DEFAULT_PORT: Final = 31415
#: A port without a host means this machine. (The vendor's library takes the machine's own name there, which is another
#: address than the loopback one.)
DEFAULT_HOST: Final = "localhost"
#: The environment variable with the address of the server that is meant where none is named.
ENVIRONMENT_VARIABLE: Final = "WSTPSERVER"
#: The environment variable with the path of a file whose first line is the access token for that server.
TOKEN_FILE_VARIABLE: Final = "WSTPSERVER_TOKEN_FILE"
#: The bit of ``-linkoptions`` that chooses UUID mode.
UUID_BIT: Final = 4

#: Compiled for addresses that may be one: most are none.
_URL = r"(?i:wstp(?P<tls>s?)://(?P<authority>[^/?#]*)(?:/(?P<pool>[^/?#]*))?/?)"
_PROTOCOLS: Final = ("tcpip", "tcp")
_MODES: Final = {"connect": "connect", "listen": "listen", "create": "listen", "launch": "launch"}
_MODE_FLAGS: Final = {"-linkconnect": "connect", "-linkcreate": "listen", "-linklaunch": "launch"}
_UUID_NAMES: Final = ("mluseuuidtcpipconnection", "wsuseuuidtcpipconnection")


class Endpoint(NamedTuple):
    """A host and a TCP port.

    Attributes:
        host: A name, an IPv4 address, or an IPv6 address without brackets.
        port: 0 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """``PORT@HOST``, as in link names; an IPv6 address in brackets."""
        return f"{self.port}@[{self.host}]" if ":" in self.host else f"{self.port}@{self.host}"


class Address(NamedTuple):
    """Where a link leads.

    Attributes:
        data: The host and port of the data connection.
        message: The host and port of the message connection; None in UUID mode, and where the peer names it.
        pool: The kernel pool, or the ID of a kernel; None if none is named.
        tls: Whether the connections are encrypted.
        token: The access token to say there; "" for none, None for that of `default_token`.
        context: How certificates are checked with `tls`; None as `ssl.create_default_context` does.
    """

    data: Endpoint
    message: Endpoint | None = None
    pool: str | None = None
    tls: bool = False
    token: str | None = None
    context: ssl.SSLContext | None = None

    @property
    def link_name(self) -> str:
        """``PORT@HOST`` or ``PORT@HOST,PORT2@HOST``; ``wstps://HOST:PORT`` with TLS."""
        if self.tls:
            host = f"[{self.data.host}]" if ":" in self.data.host else self.data.host
            return f"wstps://{host}:{self.data.port}"
        return str(self.data) if self.message is None else f"{self.data},{self.message}"

    @property
    def server(self) -> Address:
        """The same without the pool."""
        return self._replace(pool=None)

    def with_access(self, token: str | None, context: ssl.SSLContext | None) -> Address:
        """The same with this token and this way of checking certificates; None leaves what is there."""
        return self._replace(
            token=self.token if token is None else token,
            context=self.context if context is None else context,
        )

    def __str__(self) -> str:
        return self.link_name

    def __eq__(self, other: object) -> bool:
        return self[:_PLACE] == other[:_PLACE] if isinstance(other, Address) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:_PLACE])

    def __repr__(self) -> str:
        """Without the token, which is a secret."""
        fields = (f"{name}={value!r}" for name, value in zip(self._fields[:_PLACE], self, strict=False))
        return f"Address({', '.join(fields)})"


#: So many fields of an address say where it leads; what follows says how a client gets in.
_PLACE: Final = 4


class LinkOptions(NamedTuple):
    """What link options say.

    Attributes:
        mode: "connect" or "listen".
        address: The link name.
        uuid: Whether one port takes both connections (``-linkoptions 4``).
    """

    mode: str
    address: Address
    uuid: bool


def default_address() -> str:
    """Return the address of the server that is meant where none is named.

    Returns:
        The value of the environment variable WSTPSERVER; "" if it is unset or empty, which is port 31415 of this
        machine.
    """
    return os.environ.get(ENVIRONMENT_VARIABLE, "").strip()


def default_token() -> str:
    """Return the access token for servers where none is given.

    Returns:
        The first line of the file that the environment variable WSTPSERVER_TOKEN_FILE names that is neither empty nor
        begins with #; "" if the variable is unset or empty.

    Raises:
        LinkSyntaxError: There is no such line, or the file cannot be read.
    """
    path = os.environ.get(TOKEN_FILE_VARIABLE, "").strip()
    if not path:
        return ""
    try:
        with open(os.path.expanduser(path), encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise LinkSyntaxError(f"the environment variable {TOKEN_FILE_VARIABLE}: {path!r}: {reason}") from None
    token = next((line for line in lines if line and not line.startswith("#")), None)
    if token is None:
        raise LinkSyntaxError(f"the environment variable {TOKEN_FILE_VARIABLE}: {path!r} holds no token")
    return token


def parse_address(text: str | int | Address) -> Address:
    """Read an address.

    Args:
        text: ``31415``, ``31415@host``, ``host:31415``, ``host``, ``31415@host,31416@host``, or
            ``wstp://host:port/pool``, where port and pool may be left out; ``wstps://`` for TLS. A host may be a name,
            an IPv4 address or an IPv6 address (in brackets before ``:port``). An empty string is the address of
            `default_address`.

    Returns:
        The address.

    Raises:
        LinkSyntaxError: The text is no address; it says so too if that is the value of WSTPSERVER.
    """
    if isinstance(text, Address):
        return text
    text = str(text).strip()
    if text:
        return _read_address(text)
    text = default_address()
    try:
        return _read_address(text)
    except LinkSyntaxError as error:
        message = f"the environment variable {ENVIRONMENT_VARIABLE}: {error.message}"
        raise LinkSyntaxError(message, None, error.advice) from None


def _unquoted(pool: str) -> str:
    if "%" not in pool:
        return pool
    from urllib.parse import unquote  # which takes a while

    return unquote(pool)


def _read_address(text: str) -> Address:
    url = re.fullmatch(_URL, text) if "://" in text else None
    if url:
        pool = _unquoted(url["pool"]) if url["pool"] else None
        host, port = _split_host_port(url["authority"])
        return Address(_endpoint(host, port, text), None, pool, bool(url["tls"]))
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 2:
        raise LinkSyntaxError(f"{text!r} is not a link address: more than two ports", None, _HOW_TO_WRITE)
    endpoints = [_read_endpoint(part, text) for part in parts]
    return Address(endpoints[0], endpoints[1] if len(endpoints) == 2 else None)


_HOW_TO_WRITE: Final = "Write PORT@HOST, PORT, or wstp://HOST:PORT/POOL, with TLS wstps://HOST:PORT/POOL"


def _read_endpoint(part: str, whole: str) -> Endpoint:
    """One PORT@HOST, HOST:PORT, PORT or HOST."""
    port, at, host = part.partition("@")
    if not at:
        host, port = ("", part) if re.fullmatch(r"\d+", part) else _split_host_port(part)
    return _endpoint(host, port, whole)


def _endpoint(host: str, port: str, whole: str) -> Endpoint:
    host = host.strip("[]") if host.startswith("[") and host.endswith("]") else host
    if re.search(r"[\s@\[\]/]", host):
        raise LinkSyntaxError(f"{whole!r} is not a link address: {host!r} is not a host", None, _HOW_TO_WRITE)
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
        message = f"{whole!r} is not a link address: {text!r} is not a port (0 to 65535)"
        raise LinkSyntaxError(message, None, _HOW_TO_WRITE)
    return int(text)


def parse_link_options(options: str | Iterable[str]) -> LinkOptions:
    """Read link options.

    Args:
        options: One string, or a list of arguments; other arguments in it are ignored.

    Returns:
        What the options say.

    Raises:
        LinkSyntaxError: No ``-linkname`` or no mode is given, the mode is launch, an option has no value, or the
            protocol is not TCPIP.

    Example:
        >>> options = parse_link_options("-linkmode connect -linkprotocol TCPIP -linkname 31415@host -linkoptions 4")
        >>> options.mode, options.address.link_name, options.uuid
        ('connect', '31415@host', True)
    """
    words = _words(options)
    found = dict(_pairs(words))
    mode = found.get("flag") or _mode(found.get("-linkmode"))
    if mode is None:
        raise LinkSyntaxError("the link options do not say what to do", None, "Add -linkmode connect or listen")
    if mode == "launch":
        # The name is a command then, which is not to be taken for a host.
        raise LinkSyntaxError("-linklaunch is not supported", None, _INSTEAD_OF_LAUNCH)
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
        address = Address(Endpoint(host, address.data.port))  # a name that is a port alone
    return LinkOptions(mode, address, _uses_uuid(found.get("-linkoptions")))


_INSTEAD_OF_LAUNCH: Final = "Start the program and use -linkmode connect or listen"


def _words(options: str | Iterable[str]) -> list[str]:
    if not isinstance(options, str):
        return list(options)
    try:
        import shlex  # which takes a while

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
            # A kernel's arguments may end with a lone option, which the library ignores.
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
