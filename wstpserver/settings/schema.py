"""The schema: every option of the configuration, its kind of value, its range and its default.

Everything that knows about options reads the tables here: validation, defaults, the settings dataclasses (a
test compares their fields), `--check`, the differences that a reload logs, the default configuration file and
`docs/configuration.md`. Rows are in the order of the documentation, extensions after the documented keys.
"""

from __future__ import annotations

import importlib
import ipaddress
import json
import math
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from enum import Enum
from functools import cached_property
from typing import Any


class Automatic(Enum):
    """The default of an option whose value is determined when the settings are resolved."""

    AUTOMATIC = "automatic"

    def __repr__(self) -> str:
        return self.value


AUTOMATIC = Automatic.AUTOMATIC


class Level(Enum):
    """Where in the file a key belongs."""

    ROOT = "root"
    POOL = "pool"


class Kind(Enum):
    """The kind of value an option takes; the text says what an error message expects."""

    BOOLEAN = "true or false"
    INTEGER = "an integer"
    NUMBER = "a number"
    TEXT = "a string"
    WORDS = "a string of command-line options"
    VARIABLES = "an object of environment variables, each a string, or null for none"
    NETWORKS = 'a list of addresses and networks such as ["192.0.2.7", "2001:db8::/32"]'
    USERS = 'a list of user names and numbers such as ["self", "anna", 1000]'
    POOLS = "an object with one member for each pool"


@dataclass(frozen=True)
class Option:
    """One row of the schema.

    Attributes:
        key: The key in the file.
        level: Where in the file the key belongs.
        kind: The kind of value.
        summary: A noun phrase as in the documentation's tables.
        details: Whole sentences for the reference page.
        default: The default as the settings hold it, or `AUTOMATIC`.
        automatic: The rule in words when the default is `AUTOMATIC`.
        unit: The unit of a number.
        minimum: The smallest value, inclusive; given together with `maximum`.
        maximum: The largest value, inclusive.
        pattern: A regular expression that a string must match as a whole.
        pattern_meaning: What an error message expects where there is a pattern.
        required: Whether the key must be in the file.
        reloadable: Whether a reload changes the value; otherwise it is kept until the server is restarted.
        extension: Whether only this server has the key.
        sample: The value that the default configuration file shows, as JSON text.
        environment: The environment variable that overrides the file, if there is one.
        infinity: What `Infinity` stands for where a number of seconds is expected: the value for no limit, or
            one that no server reaches. Finite, so that the server can compute with it.
    """

    key: str
    level: Level
    kind: Kind
    summary: str
    details: str = ""
    _: KW_ONLY
    default: Any
    automatic: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ""
    pattern_meaning: str = ""
    required: bool = False
    reloadable: bool = True
    extension: bool = False
    sample: str = ""
    environment: str = ""
    infinity: float | None = None

    @cached_property
    def field(self) -> str:
        """Name of the option in the settings dataclasses: the key in snake case."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", self.key).lower()

    @property
    def expected(self) -> str:
        """What a value must be, as an error message says it."""
        text = self.pattern_meaning or self.kind.value
        if self.minimum is not None and self.maximum is not None:
            text += f" from {_number_text(self.minimum)} to {_number_text(self.maximum)}"
        if self.infinity is not None:
            text += " or Infinity"
        return text

    def convert(self, value: Any) -> Any:
        """Convert a value to what the settings hold.

        Args:
            value: What JSON gave, or what a program wrote. `"automatic"` is the same as leaving the key out
                where the default is automatic. `Infinity` (the number, or its name in a string) is valid for
                options that have `infinity`.

        Returns:
            The value, in range.

        Raises:
            ValueError: With a message for the user: what was expected and what was given.
        """
        if value is AUTOMATIC:
            return value
        if self.default is AUTOMATIC and isinstance(value, str) and value.lower() == "automatic":
            return AUTOMATIC
        if self.infinity is not None and (value == math.inf or value == "Infinity"):
            return self.infinity
        converted = _CONVERTERS[self.kind](self, value)
        self._check_range(converted)
        return converted

    def _check_range(self, value: Any) -> None:
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise _unexpected(self, value)
        too_small = self.minimum is not None and value < self.minimum
        too_large = self.maximum is not None and value > self.maximum
        if too_small or too_large:
            raise _unexpected(self, value)


def _number_text(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else repr(number)


def describe(value: Any) -> str:
    """Show a value in an error message, cut to one short line."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        shown = value if len(value) <= 40 else value[:37] + "..."
        return f"the string {shown!r}"
    text = "Infinity" if value == math.inf else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def split_words(text: str, *, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """Split command-line options into words as a shell does.

    Args:
        text: The options in one string.
        windows: Split as on Windows: a backslash is part of a path, and quotes only group.

    Returns:
        The words.

    Raises:
        ValueError: A quote is not closed, or the text holds a NUL character.
    """
    if "\0" in text:
        raise ValueError("a command-line option cannot hold a NUL character")
    try:
        words = shlex.split(text, posix=not windows)
    except ValueError as error:
        raise ValueError(f"{str(error).lower()} in {describe(text)}") from None
    if windows:
        words = [re.sub(r'"([^"]*)"', r"\1", word) for word in words]
    return tuple(words)


def _unexpected(option: Option, value: Any) -> ValueError:
    message = f"expected {option.expected}, got {describe(value)}"
    if option.kind is Kind.BOOLEAN and isinstance(value, str) and value.lower() in ("true", "false"):
        message += " (write it without the quotes)"
    return ValueError(message)


def _boolean(option: Option, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _unexpected(option, value)
    return value


def _integer(option: Option, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unexpected(option, value)
    return value


def _number(option: Option, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _unexpected(option, value)
    try:
        number = float(value)
    except OverflowError:
        raise _unexpected(option, value) from None
    if math.isnan(number):
        raise _unexpected(option, value)
    return number


def _text(option: Option, value: Any) -> str:
    if not isinstance(value, str):
        raise _unexpected(option, value)
    return value


def _words(option: Option, value: Any) -> tuple[str, ...]:
    return split_words(_text(option, value))


def _variables(option: Option, value: Any) -> tuple[str, ...]:
    """`NAME=value` for each member, `NAME` alone for null."""
    if not isinstance(value, dict):
        raise _unexpected(option, value)
    return tuple(_variable(name, text) for name, text in value.items())


def _variable(name: str, text: Any) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError(f"{describe(name)} is not the name of an environment variable")
    if text is None:
        return name
    if not isinstance(text, str) or "\0" in text:
        raise ValueError(f"{name}: expected a string without NUL characters, or null, got {describe(text)}")
    return f"{name}={text}"


def variables_text(variables: tuple[str, ...]) -> str:
    """Environment variables as the file writes them, in one line."""
    parts = [variable.partition("=") for variable in variables]
    return json.dumps({name: text if equals else None for name, equals, text in parts}, ensure_ascii=False)


def _pools(option: Option, value: Any) -> Any:
    if not isinstance(value, dict):
        raise _unexpected(option, value)
    return value


#: The element of a list of networks or users that stands for all of them, and the one for the server's own user.
ANY = "any"
SELF = "self"


def _networks(option: Option, value: Any) -> tuple[str, ...]:
    return tuple(_network(item) for item in _elements(option, value))


def _network(item: Any) -> str:
    """An address, or a network with its length, in the usual form."""
    if item == ANY:
        return ANY
    try:
        if not isinstance(item, str):
            raise ValueError
        network = ipaddress.ip_network(item.strip(), strict=False)
    except ValueError:
        raise ValueError(f'{describe(item)} is neither an address, nor a network, nor "{ANY}"') from None
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _users(option: Option, value: Any) -> tuple[str, ...]:
    return tuple(_user(item) for item in _elements(option, value))


def _user(item: Any) -> str:
    """A user's name as it is, or the number as text."""
    text = str(item) if isinstance(item, (str, int)) and not isinstance(item, bool) else ""
    if text in (ANY, SELF) or re.fullmatch("[0-9]{1,10}", text):
        return text
    if not text or isinstance(item, int):
        raise ValueError(f"{describe(item)} is neither the name nor the number of a user")
    if user_number(text) is None:
        raise ValueError(f"there is no user {text[:40]!r} on this computer")
    return text


def user_number(name: str) -> int | None:
    """Return the number of a user; None if this computer has no such user, or no such numbers."""
    try:
        return int(importlib.import_module("pwd").getpwnam(name).pw_uid)
    except (ImportError, KeyError, ValueError):
        return None


def _elements(option: Option, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _unexpected(option, value)
    if not value and option.default:
        raise ValueError(f'an empty list would admit nobody; write ["{ANY}"] to admit everybody')
    return value


_CONVERTERS: dict[Kind, Callable[[Option, Any], Any]] = {
    Kind.BOOLEAN: _boolean,
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.TEXT: _text,
    Kind.WORDS: _words,
    Kind.VARIABLES: _variables,
    Kind.NETWORKS: _networks,
    Kind.USERS: _users,
    Kind.POOLS: _pools,
}

_YEAR = 365 * 86400.0
_MIB = 1 << 20
_TIB = 1 << 40

# fmt: off
ROOT_OPTIONS: tuple[Option, ...] = (
    Option(
        "AllowStealingKernels", Level.ROOT, Kind.BOOLEAN,
        "whether a client can use a kernel ID to bridge to a kernel already bridged to another client",
        "With true you can move to another computer and keep the session without first unbridging it "
        "on the computer you left.",
        default=True,
        sample="false",
    ),
    Option(
        "AllowSilentKernelReplacement", Level.ROOT, Kind.BOOLEAN,
        "whether a new kernel silently takes the place of a bridged kernel that dies, without closing the "
        "client's link",
        "The client gets a text that says so and an InputNamePacket; an evaluation that was under way returns "
        "$Aborted. Kernels that the server closed (for instance because KeepAlive is false) or that the client ended "
        "with Quit[] are not replaced. With false the client's link is closed when its kernel dies.",
        default=False,
        sample="false",
    ),
    Option(
        "EnableAutomaticKernelConnection", Level.ROOT, Kind.BOOLEAN,
        "whether a kernel of the default pool is bridged to a client as soon as the client connects; with "
        "false, when the client's first expression other than a WSCommandPacket arrives",
        default=True,
        sample="true",
    ),
    Option(
        "SendInputNamePacketUponKernelConnection", Level.ROOT, Kind.BOOLEAN,
        "whether the client is sent an InputNamePacket when it is bridged to a kernel later than at its "
        "connection",
        "At the automatic connection and after a silent replacement it is always sent.",
        default=True,
        sample="true",
    ),
    Option(
        "Pools", Level.ROOT, Kind.POOLS,
        "the kernel pools, each under its name",
        "At least one pool is required. The first pool is the first in the file. A name must not look like "
        "a kernel ID (xxxx-xxxx-xxxx).",
        default=AUTOMATIC,
        required=True,
    ),
    # Extensions.
    Option(
        "Port", Level.ROOT, Kind.INTEGER,
        "the port to listen on",
        "--port and WSTPSERVER_PORT override it. With 0 the system chooses a free port; the log says which.",
        default=31415,
        minimum=0, maximum=65535, reloadable=False, extension=True, sample="31415", environment="WSTPSERVER_PORT",
    ),
    Option(
        "Interface", Level.ROOT, Kind.TEXT,
        "the interface to listen on: a host name or an address; empty for all",
        "--interface and WSTPSERVER_INTERFACE override it. With localhost the server cannot be reached from "
        "other computers.",
        default="",
        reloadable=False, extension=True, sample='"localhost"', environment="WSTPSERVER_INTERFACE",
    ),
    Option(
        "KernelStartTimeout", Level.ROOT, Kind.NUMBER,
        "how long a kernel may take from its launch to the end of its initialisation",
        "A kernel that is slower is stopped, and the log shows the last lines it wrote.",
        default=60.0,
        unit="seconds", minimum=0.1, maximum=_YEAR, infinity=_YEAR, extension=True, sample="60",
    ),
    Option(
        "KernelWaitTimeout", Level.ROOT, Kind.NUMBER,
        "how long a client waits for a kernel when its pool is full",
        "A client that gets no kernel in this time is told why, and its link is closed. With 0 it does not wait.",
        default=60.0,
        unit="seconds", minimum=0, maximum=_YEAR, infinity=_YEAR, extension=True, sample="60",
    ),
    Option(
        "KernelStartConcurrency", Level.ROOT, Kind.INTEGER,
        "how many kernels may be starting at the same time",
        default=AUTOMATIC,
        automatic="the number of processors, at least 2",
        minimum=1, maximum=1024, extension=True, sample="2",
    ),
    Option(
        "RestartTimeout", Level.ROOT, Kind.NUMBER,
        "how long a restart of the server waits for kernels that are starting, and for a client or kernel that is in "
        "the middle of a packet",
        "Everybody is served meanwhile. Whoever is in the middle of a packet then is told so, and its link is closed.",
        default=30.0,
        unit="seconds", minimum=0, maximum=_YEAR, infinity=_YEAR, extension=True, sample="30",
    ),
    Option(
        "KernelsOutliveServer", Level.ROOT, Kind.NUMBER,
        "how long kernels wait for the next server with the same port after this one was killed or has crashed",
        "Their computations go on, and clients reconnect by the kernel's ID. With 0 they end at once. On Linux only; "
        "elsewhere they always end.",
        default=60.0,
        unit="seconds", minimum=0, maximum=_YEAR, infinity=_YEAR, extension=True, sample="60",
    ),
    Option(
        "MissedOutputLimit", Level.ROOT, Kind.INTEGER,
        "how much of the output that a kernel writes while no client is bridged to it is kept",
        "The oldest frames are dropped first. WSCommandPacket[GetMissedOutput[]] returns what was kept.",
        default=16 * _MIB,
        unit="bytes for each kernel", minimum=0, maximum=_TIB, extension=True, sample="16777216",
    ),
    Option(
        "EvaluationQueueLimit", Level.ROOT, Kind.INTEGER,
        "how much a client may send ahead in evaluations that wait for its kernel; above that the server stops "
        "reading from it until they are done",
        default=16 * _MIB,
        unit="bytes for each client", minimum=1, maximum=_TIB, extension=True, sample="16777216",
    ),
    Option(
        "MaximumClients", Level.ROOT, Kind.INTEGER,
        "how many clients may be connected at the same time; 0 for no limit",
        "A further client is told so and its link is closed.",
        default=0,
        minimum=0, maximum=1_000_000, extension=True, sample="100",
    ),
    Option(
        "ClientIdleTimeout", Level.ROOT, Kind.NUMBER,
        "how long a client may stay connected with nothing under way; 0 for no limit",
        "Something is under way while its kernel evaluates, while it waits for a kernel or for the reply to a command, "
        "and while it sends. A client that is idle for longer is told so, and its link is closed; its kernel is kept "
        "or closed as when the client closes the link.",
        default=0.0,
        unit="seconds", minimum=0, maximum=_YEAR, infinity=0.0, extension=True, sample="86400",
    ),
    Option(
        "GreetingTimeout", Level.ROOT, Kind.NUMBER,
        "how long a new connection may take until its link is established",
        default=10.0,
        unit="seconds", minimum=0.1, maximum=_YEAR, infinity=_YEAR, extension=True, sample="10",
    ),
    Option(
        "MaximumUnpairedConnections", Level.ROOT, Kind.INTEGER,
        "how many connections whose link is not established yet are held open at the same time",
        "When there are more, the oldest is closed.",
        default=1024,
        minimum=1, maximum=1_000_000, extension=True, sample="1024",
    ),
    Option(
        "MaximumKernelsOutsidePools", Level.ROOT, Kind.INTEGER,
        "how many kernels that belong to no pool may run at the same time; 0 for no limit",
        "These are the kernels that clients start with StartKernel. At the limit, StartKernel fails.",
        default=64,
        minimum=0, maximum=10_000, extension=True, sample="64",
    ),
    Option(
        "KernelTransportInterface", Level.ROOT, Kind.TEXT,
        "where kernels on other machines connect to the server if KernelTransport of their pool is tcp: a host, or "
        "a host and a port (node0:4000)",
        "The host must be a name or an address of this machine that the other machines know. Without a port the system "
        "chooses one.",
        default="",
        pattern=r"|\[[^\]\s]+\](:\d{1,5})?|[^:\s]+(:\d{1,5})?|[^\[\]\s]*:[^\[\]\s]*:[^\[\]\s]*",
        pattern_meaning="a host, or a host and a port such as node0:4000",
        extension=True, sample='"node0"',
    ),
    Option(
        "MaximumKernels", Level.ROOT, Kind.INTEGER,
        "how many kernels may run at the same time in all, those of all pools and those outside pools; 0 for no limit",
        "Set it to the number of your licence's kernels. A kernel counts until its process has ended. At the limit a "
        "client waits as in a full pool, and a free kernel of another pool is closed for it if that pool has more than "
        "its minimum. StartKernel fails, and its client is told who holds the kernels.",
        default=0,
        minimum=0, maximum=1_000_000, extension=True, sample="16",
    ),
    Option(
        "ShowInitializationCode", Level.ROOT, Kind.BOOLEAN,
        "whether GetServerInformation shows the InitializationCode of each pool",
        "With false it shows an empty string instead. Set it to false when the code holds passwords: every client can "
        "ask for the server's information.",
        default=True,
        extension=True, sample="true",
    ),
    Option(
        "AllowedAddresses", Level.ROOT, Kind.NETWORKS,
        "from which addresses and networks clients may connect",
        'Connections from elsewhere are closed before anything is read from them. "any" stands for all addresses.',
        default=("any",),
        extension=True, sample='["127.0.0.0/8", "::1", "192.0.2.0/24"]',
    ),
    Option(
        "AllowedUsers", Level.ROOT, Kind.USERS,
        "which users of the server's computer may connect",
        '"self" stands for the user that the server runs as, "any" for all users; root may always connect. Linux only: '
        'elsewhere no local connection is admitted unless the list holds "any". Connections from other computers have '
        "no user; AllowedAddresses is about them.",
        default=("any",),
        extension=True, sample='["self"]',
    ),
    Option(
        "AccessTokenFile", Level.ROOT, Kind.TEXT,
        "path of the file that holds the access tokens, one a line; empty for no tokens",
        "A client proves that it has one with WSCommandPacket[Authenticate[\"token\"]]. See RequireAccessToken.",
        default="",
        extension=True, sample='"/etc/wstpserver/tokens"',
    ),
    Option(
        "AcceptProxyProtocolFrom", Level.ROOT, Kind.NETWORKS,
        "the addresses of proxies (stunnel, HAProxy) that may say with the PROXY protocol, version 1 or 2, for which "
        "client they connect",
        "All rules and the log are then about that client. Name only addresses from which nobody else can connect, or "
        "restrict local users with AllowedUsers. A connection from there without a PROXY header counts as one of "
        "the proxy itself.",
        default=(),
        extension=True, sample='["127.0.0.1", "::1"]',
    ),
    Option(
        "InformationFor", Level.ROOT, Kind.TEXT,
        "which clients are told kernel IDs, missed output and the server's information: any, only those that are "
        "bridged to a kernel, or only those with an access token",
        "The server's own user and root on the server's computer are always told the server's information.",
        default="any",
        pattern="any|bridged|token",
        pattern_meaning='"any", "bridged" or "token"',
        extension=True, sample='"bridged"',
    ),
    Option(
        "AdvertisedServiceType", Level.ROOT, Kind.TEXT,
        "the DNS-SD service type that --advertise registers the server under",
        "Clients that discover the server must look for the same type.",
        default="_wstpserver._tcp.local.",
        pattern=r"_(?=[^.]{1,15}\.)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\._tcp\.local\.",
        pattern_meaning='a service type such as "_wstpserver._tcp.local."',
        reloadable=False, extension=True, sample='"_wstpserver._tcp.local."',
    ),
    Option(
        "HTTPPort", Level.ROOT, Kind.INTEGER,
        "the port for metrics, probes and the status page; -1 for none",
        "docs/monitoring.md says what is there. With 0 the system chooses a free port; the log says which.",
        default=-1,
        minimum=-1, maximum=65535, extension=True, sample="31416",
    ),
    Option(
        "HTTPInterface", Level.ROOT, Kind.TEXT,
        "the interface for HTTP: a host name or an address; empty for all",
        "What is shown there is not encrypted, and everybody who reaches the port can read it. For other computers, "
        "put a proxy with TLS in front of it.",
        default="localhost",
        extension=True, sample='"localhost"',
    ),
    Option(
        "HTTPHostNames", Level.ROOT, Kind.WORDS,
        "further names, separated by blanks, under which the server is reached by HTTP",
        "A request that names another host is refused, so that no page of the web can read the status page through the "
        "browser of somebody here. Addresses, localhost, the name of this computer and HTTPInterface are always valid; "
        "add the name of a proxy that passes it on. A * is valid for every name.",
        default=(),
        extension=True, sample='"status.example.org"',
    ),
)

POOL_OPTIONS: tuple[Option, ...] = (
    Option(
        "Default", Level.POOL, Kind.BOOLEAN,
        "whether this pool is the default for new clients",
        "Exactly one pool is the default pool.",
        default=AUTOMATIC,
        automatic="true for the first pool, unless another pool says true or this one false",
        sample="true",
    ),
    Option(
        "KernelPath", Level.POOL, Kind.TEXT,
        "path to the kernel executable that the kernels of the pool run",
        "A name without a folder is looked for on PATH, a relative path from the folder of the configuration "
        "file; a ~ at the beginning is your home folder.",
        default=AUTOMATIC,
        automatic="discovered; when no kernel is found KernelPath becomes required",
        sample='"/usr/local/Wolfram/Mathematica/13.2/Executables/WolframKernel"',
    ),
    Option(
        "InitializationCode", Level.POOL, Kind.TEXT,
        "initialization code to run in the kernels of the pool",
        default="",
        sample='"x=2+2"',
    ),
    Option(
        "InitializationFile", Level.POOL, Kind.TEXT,
        "initialization file to run in the kernels of the pool, before InitializationCode",
        default="",
        sample='"/path/to/your/initialization/file.wl"',
    ),
    Option(
        "KernelOptions", Level.POOL, Kind.WORDS,
        "additional command-line options for the kernel executable",
        "The string is split into words as a shell splits them. The server adds -wstp and the options of "
        "the link; -wstp or -mathlink given here is not added again.",
        default=(),
        sample='"-yourkerneloption1 -yourkerneloption2"',
    ),
    Option(
        "KeepAlive", Level.POOL, Kind.BOOLEAN,
        "whether kernels are kept alive indefinitely (true) or closed when they become unbridged (false)",
        default=True,
        sample="true",
    ),
    Option(
        "MaximumKernelNumber", Level.POOL, Kind.INTEGER,
        "the maximum number of running kernels the pool can contain",
        "Kernels that are starting count as running.",
        default=AUTOMATIC,
        automatic="MinimumKernelNumber if that is greater than 0, otherwise 2",
        minimum=1, maximum=10_000, sample="4",
    ),
    Option(
        "MinimumKernelNumber", Level.POOL, Kind.INTEGER,
        "the minimum number of running kernels the pool always contains",
        "This many kernels are started with the server. The default is lowered to MaximumKernelNumber where "
        "only that is given and it is smaller.",
        default=2,
        minimum=0, maximum=10_000, sample="2",
    ),
    Option(
        "ParallelKernelDefault", Level.POOL, Kind.BOOLEAN,
        "whether this pool is the default for parallel computing",
        "At most one pool is.",
        default=AUTOMATIC,
        automatic="true for the first pool with ParallelKernels true, unless another pool says true or "
        "this one false",
        sample="true",
    ),
    Option(
        "ParallelKernels", Level.POOL, Kind.BOOLEAN,
        "whether the kernels of the pool are configured for parallel computing",
        "Parallel is accepted as another name of this key.",
        default=False,
        sample="false",
    ),
    Option(
        "ReservePreviouslyConnectedKernels", Level.POOL, Kind.BOOLEAN,
        "whether previously bridged kernels can only be bridged again to clients that request them by their "
        "IDs",
        "With false previously bridged kernels are given out first, in the order in which they were "
        "unbridged. A kernel whose client connected to another kernel before it evaluated anything counts as never "
        "bridged.",
        default=True,
        sample="false",
    ),
    # Extensions.
    Option(
        "ParallelKernelOptions", Level.POOL, Kind.WORDS,
        "command-line options that a kernel gets in addition where ParallelKernels is true",
        default=("-subkernel", "-noinit"),
        extension=True, sample='"-subkernel -noinit"',
    ),
    Option(
        "MaximumKernelUses", Level.POOL, Kind.INTEGER,
        "after how many clients a free kernel is replaced by a fresh one; 0 for never",
        "A client that reconnects to the kernel by its ID counts again. A reserved kernel is not free.",
        default=0,
        minimum=0, maximum=1_000_000_000, extension=True, sample="100",
    ),
    Option(
        "MaximumKernelEvaluations", Level.POOL, Kind.INTEGER,
        "after how many evaluations a free kernel is replaced by a fresh one; 0 for never",
        "Evaluations of clients count; those of the server (such as InitializationCode) do not.",
        default=0,
        minimum=0, maximum=1_000_000_000, extension=True, sample="10000",
    ),
    Option(
        "MaximumKernelAge", Level.POOL, Kind.NUMBER,
        "the age at which a free kernel is replaced by a fresh one; 0 for never",
        "The age is the time since the kernel became ready. The limit of each kernel is up to a tenth lower, so that "
        "the kernels of a pool are not all replaced at once.",
        default=0.0,
        unit="seconds", minimum=0, maximum=_YEAR, infinity=0.0, extension=True, sample="86400",
    ),
    Option(
        "KernelMemoryLimit", Level.POOL, Kind.INTEGER,
        "the resident memory above which a kernel is closed; 0 for no limit",
        "A free kernel is closed and replaced; the client of a bridged kernel is told first. The limit applies to the "
        "largest process of the kernel, which is checked once a second. Embedded kernels share some hundred megabytes "
        "of memory, which count for each of them. A kernel that is above the limit as soon as it is ready has "
        "failed to start.",
        default=0,
        unit="bytes", minimum=0, maximum=_TIB, extension=True, sample="4294967296",
    ),
    Option(
        "ReservedKernelTimeout", Level.POOL, Kind.NUMBER,
        "how long a reserved kernel that no client is bridged to is kept; 0 for ever",
        "A busy kernel is not closed: the time begins when its evaluation ends.",
        default=0.0,
        unit="seconds", minimum=0, maximum=_YEAR, infinity=0.0, extension=True, sample="86400",
    ),
    Option(
        "EvaluationTimeLimit", Level.POOL, Kind.NUMBER,
        "how long one evaluation may take; 0 for no limit",
        "A longer evaluation is aborted, whether a client is bridged or not; a kernel that does not answer within "
        "5 seconds is closed. The client is told of both. The time of dialogs and questions to the client counts.",
        default=0.0,
        unit="seconds", minimum=0, maximum=_YEAR, infinity=0.0, extension=True, sample="3600",
    ),
    Option(
        "KernelStartTimeout", Level.POOL, Kind.NUMBER,
        "how long a kernel of the pool may take from its launch to the end of its initialisation",
        default=AUTOMATIC,
        automatic="KernelStartTimeout at the root",
        unit="seconds", minimum=0.1, maximum=_YEAR, infinity=_YEAR, extension=True, sample="120",
    ),
    Option(
        "KernelWaitTimeout", Level.POOL, Kind.NUMBER,
        "how long a client waits for a kernel of the pool when the pool is full",
        "As KernelWaitTimeout at the root. A client that asks by ConnectKernel says itself how long it waits.",
        default=AUTOMATIC,
        automatic="KernelWaitTimeout at the root",
        unit="seconds", minimum=0, maximum=_YEAR, infinity=_YEAR, extension=True, sample="300",
    ),
    Option(
        "KernelDirectory", Level.POOL, Kind.TEXT,
        "the folder that the kernels of the pool are started in; empty for that of the server",
        "A relative path is looked for from the folder of the configuration file; a ~ at the beginning is your home "
        "folder. It holds for StartKernel without a command line, too, if this is the default pool.",
        default="",
        extension=True, sample='"~"',
    ),
    Option(
        "KernelEnvironment", Level.POOL, Kind.VARIABLES,
        "environment variables that the kernels of the pool get beside those of the server, or instead of them",
        "null takes a variable away. Embedded kernels have loaded their engine before they get them. It holds for "
        "StartKernel without a command line, too, if this is the default pool. A reload does not log the values.",
        default=(),
        extension=True, sample='{"OMP_NUM_THREADS":"1", "DISPLAY":null}',
    ),
    Option(
        "ResetCode", Level.POOL, Kind.TEXT,
        "code to run in a kernel after it was unbridged, before it is given to another client",
        "It runs as soon as the kernel is free and idle, at most KernelStartTimeout seconds. What it prints goes to "
        "the log, and what the kernel wrote while no client was bridged to it is dropped. If it returns $Failed or "
        "$Aborted, or does not finish, the kernel is closed. It does not run in a reserved kernel, nor when a client "
        "takes over a bridged or busy kernel by its ID: such a client wants the session as it is.",
        default="",
        extension=True, sample='"ClearAll[\\"Global`*\\"]"',
    ),
    Option(
        "KernelLauncher", Level.POOL, Kind.WORDS,
        "command line of a program that runs a program on another machine and connects its standard input and output "
        "(srun, ssh, kubectl exec, docker exec); the kernels of the pool run there. Empty for this machine",
        "{pool}, {id} and {server} stand for the name of the pool, the ID of the kernel and the name of this machine. "
        "KernelPath and InitializationFile are paths on the other machine, and without KernelPath a kernel is looked "
        "for there. The page on clusters has recipes.",
        default=(),
        extension=True, sample='"ssh -o BatchMode=yes node7"',
    ),
    Option(
        "KernelAgent", Level.POOL, Kind.WORDS,
        "command line of the agent that starts the kernel on the other machine",
        "If it ends with -, it is a Python interpreter (3.8 or later), and the server sends the agent to it, so that "
        "nothing need be installed there. Where wstpserver is installed, wstpserver-agent does the same.",
        default=("python3", "-"),
        extension=True, sample='"/opt/python/bin/python3 -"',
    ),
    Option(
        "KernelTransport", Level.POOL, Kind.TEXT,
        "how the data of kernels on another machine reaches the server: stdio, through the launcher; or tcp, by "
        "connections of their own to KernelTransportInterface",
        "With stdio the data is as safe as the launcher makes it. With tcp it is not encrypted.",
        default="stdio",
        pattern="stdio|tcp",
        pattern_meaning='"stdio" or "tcp"',
        extension=True, sample='"tcp"',
    ),
    Option(
        "RequireAccessToken", Level.POOL, Kind.BOOLEAN,
        "whether only clients that have said an access token get kernels of this pool",
        "If all pools say so, a client has to say its token before anything else.",
        default=AUTOMATIC,
        automatic="true if AccessTokenFile is given",
        extension=True, sample="false",
    ),
)
# fmt: on

ROOT_BY_KEY: dict[str, Option] = {option.key: option for option in ROOT_OPTIONS}
POOL_BY_KEY: dict[str, Option] = {option.key: option for option in POOL_OPTIONS}

#: Other names of pool keys: the documentation's parallel example writes "Parallel" for "ParallelKernels".
POOL_ALIASES: dict[str, str] = {"Parallel": "ParallelKernels"}

#: The environment variables that are not the value of a key.
CONFIGURATION_FILE = "WSTPSERVER_CONFIGURATION_FILE"
DISABLE_ADVERTISING = "WSTPSERVER_DISABLE_ADVERTISING"

#: Each environment variable with what it does, for the reference page.
ENVIRONMENT_VARIABLES: dict[str, str] = {
    CONFIGURATION_FILE: "path of the configuration file to use, instead of the search",
    **{option.environment: option.summary.partition(":")[0] for option in ROOT_OPTIONS if option.environment},
    DISABLE_ADVERTISING: "if set, the server is not advertised, whatever the command line says",
}
