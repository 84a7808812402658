"""Finds the WSTPServers that advertise themselves on the local network by DNS-SD."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from wstpserver.client.address import Endpoint
from wstpserver.client.deadline import Deadline

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf


#: What servers register themselves as, unless their configuration says otherwise (AdvertisedServiceType).
SERVICE_TYPE: Final = "_wstpserver._tcp.local."

#: Seconds in which the servers of a local network have answered.
DEFAULT_TIMEOUT: Final = 2.0


def discover(
    timeout: float = DEFAULT_TIMEOUT,
    service_type: str = SERVICE_TYPE,
    *,
    enough: int | None = None,
    interfaces: Sequence[str] | None = None,
) -> list[tuple[str, str]]:
    """Find the servers that advertise themselves.

    Args:
        timeout: Seconds in which a server must answer.
        service_type: What servers register themselves as (AdvertisedServiceType in their configuration).
        enough: Return as soon as this number of servers has answered; None to wait for the time-out.
        interfaces: Addresses of this computer to ask from; None for all.

    Returns:
        The name and the address, ``port@host``, of each server that has answered, by name. An empty list where nobody
        answers or the network cannot be asked.
    """
    # not at the top: it takes a tenth of a second, and most clients know their server
    from zeroconf import InterfaceChoice, ServiceBrowser, Zeroconf

    try:
        network = Zeroconf(interfaces=InterfaceChoice.All if interfaces is None else list(interfaces))
    except OSError:  # no network, or none that can multicast
        return []
    found = _Found(enough, timeout)
    try:
        browser = ServiceBrowser(network, service_type, handlers=[found.changed])
        found.wait()
        browser.cancel()
    finally:
        network.close()
    return found.servers()


class _Found:
    """Listens to a browser and asks each service for its address, each in a thread: one may not answer."""

    def __init__(self, enough: int | None, timeout: float) -> None:
        self._enough = enough
        self._deadline = Deadline(timeout)
        self._addresses: dict[str, str] = {}
        self._changed = threading.Condition()

    def changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """What a browser calls, with these names: a service has come, changed or gone."""
        if state_change.name != "Removed":
            threading.Thread(target=self._resolve, args=(zeroconf, service_type, name), daemon=True).start()
            return
        with self._changed:
            self._addresses.pop(name.removesuffix(f".{service_type}"), None)

    def _resolve(self, network: Zeroconf, service_type: str, name: str) -> None:
        from zeroconf import Error, IPVersion

        try:
            info = network.get_service_info(service_type, name, int(1000 * (self._deadline.remaining() or 0)))
        except Error:  # the network was closed meanwhile
            return
        hosts = [] if info is None else info.parsed_scoped_addresses(IPVersion.All)
        if info is None or info.port is None or not hosts:
            return
        with self._changed:
            self._addresses[info.get_name()] = str(Endpoint(nearest(hosts), info.port))
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until enough servers are known, or for the time-out."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._enough is not None and len(self._addresses) >= self._enough, self._deadline.remaining()
            )

    def servers(self) -> list[tuple[str, str]]:
        """(name, address) of every server that has answered, by name."""
        with self._changed:
            return sorted(self._addresses.items())


def nearest(hosts: Iterable[str]) -> str:
    """Return the address of a server that has most in common with the one of this computer on the way to it.

    A server may advertise addresses of networks that this computer is not in.
    """
    return max(hosts, key=_common_bits)


def _common_bits(host: str) -> int:
    """How many leading bits *host* shares with our own address on the way to it; -1 if there is no way."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # of a datagram socket: nothing is sent
            own = probe.getsockname()[0]
        theirs, ours = (ipaddress.ip_address(text.partition("%")[0]) for text in (host, own))
    except (OSError, ValueError):
        return -1
    different = int(theirs) ^ int(ours)
    # IPv6 addresses have more bits to share, but no more to say
    return (theirs.max_prefixlen - different.bit_length()) * 32 // theirs.max_prefixlen
