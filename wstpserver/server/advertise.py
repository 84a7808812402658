"""Advertises the server on the local network by DNS-SD, so that clients find it without an address.

Several servers on one computer need different names. zeroconf probes for a name with questions that ask for a unicast
answer (QU), which reaches only one of the sockets of the computer, so it does not notice the other servers there. The
advertiser therefore asks for all instances of the service by multicast (QM) first, and asks for its own name once more
after it has registered. On a busy computer an answer may come later than that. So as long as the server is advertised,
it gives up its name when it hears that another server, which goes before it, has the same one (RFC 6762, section 9).
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gevent
from gevent import get_hub

from wstpserver.server.log import Log
from wstpserver.version import VERSION

if TYPE_CHECKING:
    from zeroconf import RecordUpdate, RecordUpdateListener, ServiceInfo, Zeroconf

#: How the name of an advertised server begins (specification, "Appendix: Command-Line Options").
INSTANCE = "WSTPServer-Instance"

#: Bytes of a name that DNS-SD allows (RFC 6763, section 4.1.1).
LONGEST_NAME = 63

#: Seconds that the withdrawal may take when the server stops.
WITHDRAWAL_TIME = 5.0

#: Seconds in which the other servers have answered a question; a responder waits 0.12 s at most.
ANSWER_TIME = 0.75

#: How often another name is tried when another server has registered the same one at the same time.
NAME_ATTEMPTS = 10


def instance_name(service: str) -> str:
    """The name to advertise: `WSTPServer-Instance`, or `WSTPServer-Instance-service`."""
    return f"{INSTANCE}-{service}" if service else INSTANCE


class Advertiser:
    """Registers one service. The calls of zeroconf wait for seconds, so they run in the thread pool of the hub."""

    def __init__(self, log: Log, service_type: str, service: str, listening: Sequence[tuple[str, int]]) -> None:
        """
        Args:
            log: gets the outcome.
            service_type: the type to register, such as `_wstpserver._tcp.local.`.
            service: what follows in the name, or "".
            listening: the addresses of the server; ("0.0.0.0", port) and ("::", port) are all addresses.
        """
        self._log = log
        self._type = service_type
        self._name = instance_name(service)
        self._hosts = [host for host, _ in listening]
        self._port = listening[0][1]
        #: A host name of our own for the addresses: the name of this computer has other addresses, and may be announced
        #: already. It also distinguishes this server from others with the same name.
        self._host = f"{socket.gethostname().partition('.')[0][:40] or 'localhost'}-{secrets.token_hex(4)}.local."
        self._zeroconf: Zeroconf | None = None
        #: What is registered.
        self._info: ServiceInfo | None = None
        #: The last name of ours, in lower case, that a server has which keeps it.
        self._disputed = ""
        #: Where and as what the server is advertised; known once it is.
        self._interfaces: Any = None
        self._addresses: list[str] = []
        #: Wakes the hub from the thread of zeroconf when another server has our name.
        self._rival: Any = None
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        """Begin to advertise; returns at once. A failure is logged, it does not stop the server."""
        self._rival = get_hub().loop.async_()
        self._rival.start(self._name_is_disputed)
        self._greenlet = gevent.spawn(self._start)

    def _name_is_disputed(self) -> None:
        if self._must_yield() and self._greenlet is not None and self._greenlet.ready():
            self._greenlet = gevent.spawn(self._start)

    def _start(self) -> None:
        while True:
            name, problem = get_hub().threadpool.apply(self._register)
            if problem:
                self._log.error(f"The server cannot be advertised: {problem}")
                return
            self._log.information(f'Advertising the server as "{name}"')
            if not self._must_yield():
                return

    def stop(self) -> None:
        """Withdraw the service; returns when that is done, or after WITHDRAWAL_TIME seconds."""
        if self._greenlet is None:
            return
        self._rival.stop()
        with gevent.Timeout(WITHDRAWAL_TIME, exception=False):
            self._greenlet.join()
            get_hub().threadpool.apply(self._close)

    # -- in a thread: nothing here may raise, because the thread pool would report it as well -----------------------

    def _register(self) -> tuple[str, str]:
        """Announce the service under a free name: (that name, why it could not be done)."""
        try:
            return (self._announce() if self._zeroconf is None else self._take_name(self._zeroconf)), ""
        except Exception as error:  # noqa: BLE001 - zeroconf raises many kinds, none of which may stop the server
            self._close()
            return "", str(error) or type(error).__name__

    def _announce(self) -> str:
        if len(self._name.encode()) > LONGEST_NAME:
            raise ValueError(f'the name "{self._name}" has more than {LONGEST_NAME} bytes')
        from zeroconf import DNSQuestionType, InterfaceChoice, ServiceBrowser, Zeroconf

        for library in ("zeroconf", "asyncio"):
            self._log.include(library, "Advertising: ")
        if {"0.0.0.0", "::"} & set(self._hosts):
            self._interfaces, self._addresses = InterfaceChoice.All, _own_addresses()
        else:
            self._interfaces, self._addresses = _transports(self._hosts), self._hosts
        self._zeroconf = Zeroconf(interfaces=self._interfaces)
        # The answers are kept, and `register_service` does not take a name that is among them.
        browser = ServiceBrowser(
            self._zeroconf, self._type, handlers=[lambda **_: None], question_type=DNSQuestionType.QM
        )
        time.sleep(ANSWER_TIME)
        browser.cancel()
        self._zeroconf.add_listener(_listener(self._heard), None)
        return self._take_name(self._zeroconf)

    def _take_name(self, zeroconf: Zeroconf) -> str:
        """Register under a free name, instead of the present one if there is one."""
        if self._info is not None:
            zeroconf.unregister_service(self._info)
        for _ in range(NAME_ATTEMPTS):
            self._info = self._service()
            zeroconf.register_service(self._info, allow_name_change=True)
            if all(host >= self._host for host in self._hosts_of(self._info.name)):
                return self._info.get_name()
            zeroconf.unregister_service(self._info)
        raise RuntimeError(f'all names like "{self._name}" are taken')

    def _heard(self, name: str, host: str) -> None:
        """A server with this host name has this name. Of two with the same name the smaller host name keeps it."""
        if self._info is not None and name == self._info.name.lower() and host < self._host:
            self._disputed = name
            self._rival.send()

    def _must_yield(self) -> bool:
        return self._info is not None and self._disputed == self._info.name.lower()

    def _hosts_of(self, name: str) -> set[str]:
        """The host names of all servers that have registered this name, asked without what is known already."""
        from zeroconf import DNSQuestionType, Zeroconf

        hosts: set[str] = set()

        def heard(named: str, host: str) -> None:
            if named == name.lower():
                hosts.add(host)

        with Zeroconf(interfaces=self._interfaces) as fresh:
            fresh.add_listener(_listener(heard), None)
            fresh.get_service_info(self._type, name, int(ANSWER_TIME * 1000), DNSQuestionType.QM)
            time.sleep(ANSWER_TIME)  # that was the first answer, there may be more
        return hosts

    def _service(self) -> ServiceInfo:
        from zeroconf import ServiceInfo

        return ServiceInfo(
            self._type,
            f"{self._name}.{self._type}",
            port=self._port,
            parsed_addresses=self._addresses,
            properties={"version": VERSION, "protocol": "WSTP"},
            server=self._host,
        )

    def _close(self) -> None:
        """Withdraw what was announced."""
        try:
            if self._zeroconf is not None:
                self._zeroconf.close()
        except Exception as error:  # noqa: BLE001 - as above
            self._log.warning(f"Advertising did not end in good order: {error or type(error).__name__}")


def _listener(heard: Callable[[str, str], None]) -> RecordUpdateListener:
    """What calls `heard`, in the thread of zeroconf, with each name that is announced (in lower case) and its host."""
    from zeroconf import RecordUpdateListener

    class Announcements(RecordUpdateListener):
        def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
            for update in records:
                host = getattr(update.new, "server", None)  # of SRV records
                if host is not None:
                    heard(update.new.name.lower(), host)

    return Announcements()


def _transports(hosts: list[str]) -> list[str]:
    """The addresses to multicast from. The loopback interface multicasts with IPv4 only."""
    return list(dict.fromkeys("127.0.0.1" if ipaddress.ip_address(host).is_loopback else host for host in hosts))


def _own_addresses() -> list[str]:
    """The addresses by which other computers may reach this one."""
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
