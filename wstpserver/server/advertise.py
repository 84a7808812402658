"""Tells the local network of the server by DNS-SD, so that clients find it without an address."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import gevent
from gevent import get_hub

from wstpserver.server.log import Log
from wstpserver.version import VERSION

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

#: What the name of an advertised server begins with (specification, "Appendix: Command-Line Options").
INSTANCE = "WSTPServer-Instance"

#: Seconds that the withdrawal may take when the server stops.
WITHDRAWAL_TIME = 5.0


def instance_name(service: str) -> str:
    """The name to advertise: ``WSTPServer-Instance``, or ``WSTPServer-Instance-service``."""
    return f"{INSTANCE}-{service}" if service else INSTANCE


class Advertiser:
    """Registers one service. zeroconf's calls wait for seconds, so they run in the hub's threads."""

    def __init__(self, log: Log, service_type: str, service: str, addresses: list[tuple[str, int]]) -> None:
        """*addresses* are those the server listens on, ("0.0.0.0", port) for all."""
        self._log = log
        self._type = service_type
        self._name = instance_name(service)
        self._addresses = addresses
        self._zeroconf: Zeroconf | None = None
        self._info: ServiceInfo | None = None
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to advertise; returns at once. A failure is logged, it does not stop the server."""
        self._greenlet = gevent.spawn(self._start)

    def _start(self) -> None:
        try:
            name = get_hub().threadpool.apply(self._register)
        except Exception as error:  # noqa: BLE001 - zeroconf raises many kinds, none of which may stop the server
            self._log.error(f"The server cannot be advertised: {error or type(error).__name__}")
            return
        self._log.information(f'Advertising the server as "{name}"')

    def _register(self) -> str:
        """In a thread: announce the service under a free name and return that name."""
        from zeroconf import InterfaceChoice, ServiceInfo, Zeroconf

        port = self._addresses[0][1]
        hosts = [host for host, _ in self._addresses if host not in ("0.0.0.0", "::")]
        everywhere = len(hosts) < len(self._addresses)
        self._zeroconf = Zeroconf(interfaces=InterfaceChoice.All if everywhere else hosts)
        host_name = socket.gethostname().partition(".")[0] or "localhost"
        self._info = ServiceInfo(
            self._type,
            f"{self._name}.{self._type}",
            port=port,
            parsed_addresses=_own_addresses() if everywhere else hosts,
            properties={"version": VERSION, "protocol": "WSTP"},
            server=f"{host_name}.local.",
        )
        self._zeroconf.register_service(self._info, allow_name_change=True)
        return self._info.get_name()

    def stop(self) -> None:
        """Withdraw the service; returns when that is done, or after WITHDRAWAL_TIME seconds."""
        if self._greenlet is None:
            return
        with gevent.Timeout(WITHDRAWAL_TIME, False):
            self._greenlet.join()
            get_hub().threadpool.apply(self._withdraw)

    def _withdraw(self) -> None:
        if self._zeroconf is not None:
            self._zeroconf.unregister_all_services()
            self._zeroconf.close()


def _own_addresses() -> list[str]:
    """The addresses of this machine that others may reach it by."""
    import ifaddr

    found = [
        ip.ip if isinstance(ip.ip, str) else ip.ip[0] for adapter in ifaddr.get_adapters() for ip in adapter.ips
    ]
    reachable = [address for address in found if not address.startswith(("127.", "fe80:")) and address != "::1"]
    return reachable or ["127.0.0.1"]
