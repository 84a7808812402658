"""Who may connect, and what a client has to prove: address rules, local users, proxies and access tokens.

A connection that is not admitted is closed when it is accepted, before anything is read from it. That has to cost
almost nothing, and entries of the log about it are limited, because anybody can try again and again.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import ipaddress
import os
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from gevent import get_hub

from wstpserver._native import ffi
from wstpserver.server import peers
from wstpserver.server.log import Log, counted
from wstpserver.settings import ServerSettings
from wstpserver.settings.schema import ANY, SELF, user_number
from wstpserver.wire.proxy_protocol import ProxiedAddress, ProxyHeader

#: An address as the system gives it.
SocketAddress: TypeAlias = tuple[Any, ...]

_ROOT = 0

#: Hosts whose verdict is remembered.
_MOST_VERDICTS = 4096

#: Seconds in which refusals from one place have one entry of their own and one that counts the others.
REFUSAL_INTERVAL: Final = 10.0
#: Places that have entries of their own in that time; the others share one.
MOST_PLACES: Final = 16

#: Wrong tokens that one client may say in `ATTEMPT_PERIOD` seconds.
MOST_ATTEMPTS: Final = 5
ATTEMPT_PERIOD: Final = 60.0
#: Clients whose wrong tokens are counted.
_MOST_OFFENDERS = 4096

_NOT_ADMITTED = "its address is not in AllowedAddresses"
_NOBODY = "it is not known which user of this computer it belongs to, and AllowedUsers names some"


class ConnectionRules:
    """Which connections are admitted: AllowedAddresses, AllowedUsers and AcceptProxyProtocolFrom.

    Args:
        settings: The configuration.
        log: Is told of refused connections.
    """

    def __init__(self, settings: ServerSettings, log: Log) -> None:
        self.refusals = RefusalLog(log)
        self.native = NativeRules(_Networks([ANY]), _Networks([]), None)
        self.reconfigure(settings)

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take new settings over, for connections that come from now on."""
        self._addresses = _Networks(settings.allowed_addresses)
        self._proxies = _Networks(settings.accept_proxy_protocol_from)
        self._users = None if ANY in settings.allowed_users else frozenset(_numbers(settings.allowed_users))
        #: Whether there are proxies.
        self.has_proxies = bool(settings.accept_proxy_protocol_from)
        #: Whether only some addresses, and only some users, are admitted.
        self.has_addresses = not self._addresses.is_any
        self.has_users = self._users is not None
        #: Whether every connection is admitted.
        self.is_open = not self.has_addresses and not self.has_users
        self.native.close()
        #: The same for C, which decides on what comes to the port of the server.
        self.native = NativeRules(self._addresses, self._proxies, self._users)

    def may_be_proxy(self, host: str) -> bool:
        """Whether connections from this host may begin with a PROXY header."""
        return host in self._proxies

    def refusal_by_address(self, host: str) -> str:
        """Why a connection from this host is not admitted; "" if it is, or if it may come from a proxy."""
        return "" if host in self._addresses or host in self._proxies else _NOT_ADMITTED

    def refusal_by_user(self, connected: socket.socket, remote: SocketAddress) -> str:
        """Why an accepted connection is not admitted because of the user who made it; "" if it is.

        Args:
            connected: The connection.
            remote: The address of its peer.
        """
        if self._users is None:
            return ""
        user = peers.quick_user(connected)
        if user is not None:
            return self.refusal_of_user(user)
        return self.refusal_by_owner(connected, remote)

    def refusal_by_owner(self, connected: socket.socket, remote: SocketAddress) -> str:
        """The same where the quick way has not told whose the connection is: it may come from another computer."""
        try:
            return self._refusal_of_owner(connected.family, remote, connected.getsockname())
        except OSError:
            return _NOBODY  # the connection is gone

    def refusal_behind_proxy(self, host: str, header: ProxyHeader | None) -> str:
        """Why a connection that may come from a proxy is not admitted; "" if it is.

        Args:
            host: Where it comes from.
            header: What the proxy says; None if the connection does not begin with a header.
        """
        if header is None or header.client is None or header.target is None:
            return "" if host in self._addresses else _NOT_ADMITTED
        if header.client.host not in self._addresses:
            return _NOT_ADMITTED
        if self._users is None:
            return ""
        return self._refusal_of_owner(_family(header.client), header.client, header.target)

    def _refusal_of_owner(self, family: int, remote: SocketAddress, local: SocketAddress) -> str:
        if not _is_here(family, remote[0], local[0]):
            return ""
        try:
            owner = peers.owner_of(family, remote, local)
        except OSError:
            return _NOBODY
        if owner is None:
            return _NOBODY
        return self.refusal_of_user(owner.user)

    def refusal_of_user(self, user: int) -> str:
        """Why connections of this user of this computer are not admitted; "" if they are."""
        assert self._users is not None
        return "" if user in self._users or user == _ROOT else f"{_user_name(user)} is not in AllowedUsers"


class NativeRules:
    """The rules as `wstppeer_accept` takes them. A proxy is admitted until it has said for whom it connects.

    Args:
        addresses: AllowedAddresses.
        proxies: AcceptProxyProtocolFrom.
        users: The numbers of AllowedUsers; None for any.
    """

    def __init__(self, addresses: _Networks, proxies: _Networks, users: frozenset[int] | None) -> None:
        networks = [] if addresses.is_any else [*addresses.networks, *proxies.networks]
        self._networks = ffi.new("struct wstppeer_network[]", len(networks))
        for one, network in zip(self._networks, networks, strict=True):
            one.family = socket.AF_INET if network.version == 4 else socket.AF_INET6
            one.bits = network.prefixlen
            ffi.memmove(one.address, network.network_address.packed, network.max_prefixlen // 8)
        numbers = [] if users is None else sorted({*users, _ROOT})
        self._users = ffi.new("uint32_t[]", numbers)
        self.rules = ffi.new("struct wstppeer_rules *")
        self.rules.networks, self.rules.users = self._networks, self._users
        self.rules.network_count = -1 if addresses.is_any else len(networks)
        self.rules.user_count = -1 if users is None else len(numbers)
        self._netlink: socket.socket | None = None
        self.ask_anew()

    def ask_anew(self) -> None:
        """Use a new socket for the questions about users: an answer on the old one may belong to another question."""
        self.close()
        if self.rules.user_count >= 0:
            self._netlink = peers.open_netlink()
            self.rules.netlink = -1 if self._netlink is None else self._netlink.fileno()

    def close(self) -> None:
        """Give the socket for the questions back."""
        self.rules.netlink = -1
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None


class _Networks:
    """A list of addresses and networks, and whether it holds a host. What was asked is remembered."""

    def __init__(self, listed: Iterable[str]) -> None:
        listed = tuple(listed)
        self.is_any = ANY in listed
        self.networks = [ipaddress.ip_network(text) for text in listed if text != ANY]
        self._verdicts: dict[str, bool] = {}

    def __contains__(self, host: str) -> bool:
        if self.is_any:
            return True
        verdict = self._verdicts.get(host)
        if verdict is None:
            if len(self._verdicts) >= _MOST_VERDICTS:
                self._verdicts.clear()
            address = ipaddress.ip_address(host.partition("%")[0])
            verdict = self._verdicts[host] = any(address in network for network in self.networks)
        return verdict


def _numbers(users: Iterable[str]) -> Iterable[int]:
    """The numbers of these users; a name that is not known any more is nobody's."""
    for user in users:
        number = os.geteuid() if user == SELF else int(user) if user.isdecimal() else user_number(user)
        if number is not None:
            yield number


def _user_name(number: int) -> str:
    try:
        return f"user {importlib.import_module('pwd').getpwuid(number).pw_name} ({number})"
    except (ImportError, KeyError):
        return f"user {number}"


def _family(endpoint: ProxiedAddress) -> int:
    return socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET


def _is_here(family: int, host: str, target: str) -> bool:
    """Whether `host`, which has connected to `target` of this computer, is this computer too."""
    if host == target or host == "::1" or host.startswith("127."):
        return True
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


# -- the log ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Refused:
    """What was refused from one place since its last entry."""

    why: str
    further: int = 0


class RefusalLog:
    """Writes the entries about what was refused: the first of each place at once, the others as a number.

    Args:
        log: Where they go.
        interval: Seconds after which the number is written.
    """

    def __init__(self, log: Log, interval: float = REFUSAL_INTERVAL) -> None:
        self._log = log
        self._interval = interval
        self._places: dict[str, _Refused] = {}
        self._elsewhere = 0
        #: How many there were since the server began.
        self.number = 0
        self._timer: Any = None

    def add(self, place: str, address: str, why: str, number: int = 1) -> None:
        """Note that connections were refused.

        Args:
            place: What is counted together, in words for the log.
            address: Where the (first) connection came from, as text.
            why: The reason.
            number: How many there were.
        """
        self.number += number
        known = self._places.get(place)
        if known is not None:
            known.further += number
        elif len(self._places) < MOST_PLACES:
            self._places[place] = _Refused(why, number - 1)
            self._log.warning(f"Refused a connection from {address}: {why}")
        else:
            self._elsewhere += number
        if self._timer is None:
            self._timer = get_hub().loop.timer(self._interval)
            self._timer.start(self.summarise)

    def summarise(self) -> None:
        """Write what has been counted."""
        self.close()
        places, self._places = self._places, {}
        for place, refused in places.items():
            if refused.further:
                self._log.warning(f"Refused {counted(refused.further, 'connection')} more from {place}: {refused.why}")
        if self._elsewhere:
            self._log.warning(f"Refused {counted(self._elsewhere, 'connection')} from further addresses")
        self._elsewhere = 0

    def close(self) -> None:
        """Stop the timer."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.stop()
            timer.close()


# -- access tokens ----------------------------------------------------------------------------------------------------


class AccessTokens:
    """The tokens that the server knows, and who has said wrong ones.

    Args:
        refusals: Is told of wrong tokens, and of clients that say none.
        clock: Returns the time in seconds.
    """

    def __init__(self, refusals: RefusalLog, clock: Callable[[], float] = time.monotonic) -> None:
        self.refusals = refusals
        self._clock = clock
        self._digests: list[bytes] = []
        #: Wrong tokens of each client, and when the first of them came.
        self._offenders: dict[str, tuple[int, float]] = {}

    @property
    def are_known(self) -> bool:
        """Whether there are any."""
        return bool(self._digests)

    def replace(self, tokens: Iterable[str]) -> None:
        """Know these tokens and no others."""
        self._digests = [_digest(token) for token in tokens]

    def check(self, token: str, who: str) -> str:
        """Compare a token with those that are known, in a time that does not depend on it.

        Args:
            token: What the client said.
            who: The client, or the place that its attempts are counted for.

        Returns:
            Why it is not accepted; "" if it is.
        """
        now = self._clock()
        number, first = self._offenders.get(who, (0, now))
        if now - first >= ATTEMPT_PERIOD:
            number, first = 0, now
        if number >= MOST_ATTEMPTS:
            wait = ATTEMPT_PERIOD - (now - first)
            return f"too many wrong tokens came from {who}; try again in {wait:.0f} s"
        given = _digest(token)
        matches = [hmac.compare_digest(given, known) for known in self._digests]
        if any(matches):
            self._offenders.pop(who, None)
            return ""
        self._offenders.pop(who, None)  # to the end of the order
        while len(self._offenders) >= _MOST_OFFENDERS:
            del self._offenders[next(iter(self._offenders))]
        self._offenders[who] = (number + 1, first)
        return "the access token is wrong"


def _digest(token: str) -> bytes:
    """Of the same length for every token, so that a comparison does not tell how long one is."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


# -- who a client is --------------------------------------------------------------------------------------------------


def is_administrator(connected: socket.socket, header: ProxyHeader | None = None) -> bool:
    """Whether a client is the user that the server runs as, or root, on this computer.

    Where the system does not say who has the other end, every peer on this computer counts as that user, but no client
    of a proxy.

    Args:
        connected: Its connection.
        header: What a proxy says of it; None if it connected by itself.
    """
    try:
        owner = _owner(connected, header)
    except OSError:
        try:
            host = connected.getpeername()[0]
        except OSError:  # the connection is gone
            return False
        return header is None and ipaddress.ip_address(host.partition("%")[0]).is_loopback
    return owner is not None and owner.user in (_ROOT, os.geteuid())


def origin(connected: socket.socket, header: ProxyHeader | None = None) -> str:
    """What the attempts of a client are counted for: its user on this computer, else its host. Arguments as above."""
    try:
        owner = _owner(connected, header)
        if owner is not None:
            return _user_name(owner.user)
        return header.client.host if header is not None and header.client is not None else connected.getpeername()[0]
    except OSError:
        return "somewhere"


def _owner(connected: socket.socket, header: ProxyHeader | None) -> peers.SocketOwner | None:
    if header is None:
        return peers.peer_owner(connected)
    if header.client is None or header.target is None:
        return None
    family = _family(header.client)
    if not _is_here(family, header.client.host, header.target.host):
        return None
    return peers.owner_of(family, header.client, header.target)
