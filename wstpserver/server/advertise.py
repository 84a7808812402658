"""Tells the local network of the server by DNS-SD, so that clients find it without an address."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gevent
from gevent import get_hub

from wstpserver.server.log import Log
from wstpserver.version import VERSION

if TYPE_CHECKING:
    from zeroconf import ServiceInfo, Zeroconf

#: What the name of an advertised server begins with (specification, "Appendix: Command-Line Options").
INSTANCE = "WSTPServer-Instance"

#: Bytes of a name that DNS-SD allows (RFC 6763, section 4.1.1).
LONGEST_NAME = 63

#: Seconds that the withdrawal may take when the server stops.
WITHDRAWAL_TIME = 5.0


def instance_name(service: str) -> str:
    """The name to advertise: ``WSTPServer-Instance``, or ``WSTPServer-Instance-service``."""
    return f"{INSTANCE}-{service}" if service else INSTANCE


class Advertiser:
    """Registers one service. zeroconf's calls wait for seconds, so they run in the hub's threads."""

    def __init__(self, log: Log, service_type: str, service: str, listening: Sequence[tuple[str, int]]) -> None:
        """*listening* is what the server listens on: ("0.0.0.0", port) and ("::", port) are every address."""
        self._log = log
        self._type = service_type
        self._name = instance_name(service)
        self._hosts = [host for host, _ in listening]
        self._port = listening[0][1]
        self._zeroconf: Zeroconf | None = None
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to advertise; returns at once. A failure is logged, it does not stop the server."""
        self._greenlet = gevent.spawn(self._start)

    def _start(self) -> None:
        name, problem = get_hub().threadpool.apply(self._register)
        if problem:
            self._log.error(f"The server cannot be advertised: {problem}")
        else:
            self._log.information(f'Advertising the server as "{name}"')

    def stop(self) -> None:
        """Withdraw the service; returns when that is done, or after WITHDRAWAL_TIME seconds."""
        if self._greenlet is None:
            return
        with gevent.Timeout(WITHDRAWAL_TIME, False):
            self._greenlet.join()
            get_hub().threadpool.apply(self._close)

    # -- in a thread: nothing here may raise, because the thread pool would report it as well -----------------------

    def _register(self) -> tuple[str, str]:
        """Announce the service under a free name: (that name, why it could not be done)."""
        try:
            return self._announce(), ""
        except Exception as error:  # noqa: BLE001 - zeroconf raises many kinds, none of which may stop the server
            self._close()
            return "", str(error) or type(error).__name__

    def _announce(self) -> str:
        if len(self._name.encode()) > LONGEST_NAME:
            raise ValueError(f'the name "{self._name}" has more than {LONGEST_NAME} bytes')
        from zeroconf import InterfaceChoice, Zeroconf

        _send_reports_to(self._log)
        everywhere = bool({"0.0.0.0", "::"} & set(self._hosts))
        self._zeroconf = Zeroconf(interfaces=InterfaceChoice.All if everywhere else _transports(self._hosts))
        info = self._service(_own_addresses() if everywhere else self._hosts)
        self._zeroconf.register_service(info, allow_name_change=True)
        return info.get_name()

    def _service(self, addresses: list[str]) -> ServiceInfo:
        from zeroconf import ServiceInfo

        return ServiceInfo(
            self._type,
            f"{self._name}.{self._type}",
            port=self._port,
            parsed_addresses=addresses,
            properties={"version": VERSION, "protocol": "WSTP"},
            server=_host_name(),
        )

    def _close(self) -> None:
        """Withdraw what was announced."""
        try:
            if self._zeroconf is not None:
                self._zeroconf.close()
        except Exception as error:  # noqa: BLE001 - as above
            self._log.warning(f"Advertising did not end in good order: {error or type(error).__name__}")


def _host_name() -> str:
    """A name of our own for the addresses: this computer's name has other addresses, and may be announced already."""
    return f"{socket.gethostname().partition('.')[0][:40] or 'localhost'}-{secrets.token_hex(4)}.local."


def _transports(hosts: list[str]) -> list[str]:
    """The addresses to multicast from. The loopback interface multicasts with IPv4 only."""
    return list(dict.fromkeys("127.0.0.1" if ipaddress.ip_address(host).is_loopback else host for host in hosts))


def _own_addresses() -> list[str]:
    """The addresses of this computer that others may reach it by."""
    import ifaddr

    found = [
        address.ip if isinstance(address.ip, str) else address.ip[0]
        for adapter in ifaddr.get_adapters()
        for address in adapter.ips
    ]
    reachable = [host for host in found if not _is_local(ipaddress.ip_address(host))]
    return reachable or ["127.0.0.1"]


def _is_local(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_link_local


class _ToLog(logging.Handler):
    """Takes what zeroconf reports about its packets, which would go to stderr."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._target = log

    def emit(self, record: logging.LogRecord) -> None:
        self._target.debug(f"Advertising: {record.getMessage()}")


def _send_reports_to(log: Log) -> None:
    for name in ("zeroconf", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [_ToLog(log)]
        logger.propagate = False
