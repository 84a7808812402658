"""Advertises the server on the local network by DNS-SD, so that clients find it without an address.

Several servers on one computer need different names. zeroconf probes for a name with questions that ask for a unicast
answer (QU), which reaches only one of the sockets of the computer, so it does not notice the other servers there. The
advertiser therefore asks for all instances of the service by multicast (QM) first, and asks for its own name once more
after it has registered.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import gevent
from gevent import get_hub

from wstpserver.server.log import Log
from wstpserver.version import VERSION

if TYPE_CHECKING:
    from zeroconf import RecordUpdate, ServiceInfo, Zeroconf

#: How the name of an advertised server begins (specification, "Appendix: Command-Line Options").
INSTANCE = "WSTPServer-Instance"

#: Bytes of a name that DNS-SD allows (RFC 6763, section 4.1.1).
LONGEST_NAME = 63

#: Seconds that the withdrawal may take when the server stops.
WITHDRAWAL_TIME = 5.0

#: How often a question is asked, and seconds between two times. A responder answers within 0.12 s.
QUESTIONS = 3
QUESTION_INTERVAL = 0.25

#: How often another name is tried when another server has registered the same one at the same time.
NAME_ATTEMPTS = 10

#: Numbers of DNS (RFC 1035, RFC 2782).
_CLASS_IN = 1
_TYPE_PTR = 12
_TYPE_SRV = 33


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

        for library in ("zeroconf", "asyncio"):
            self._log.adopt(library, "Advertising: ")
        everywhere = bool({"0.0.0.0", "::"} & set(self._hosts))
        self._zeroconf = Zeroconf(interfaces=InterfaceChoice.All if everywhere else _transports(self._hosts))
        addresses = _own_addresses() if everywhere else self._hosts
        _ask(self._zeroconf, self._type, _TYPE_PTR, lambda _: False)  # the answers are kept, and `register_service` looks
        for _ in range(NAME_ATTEMPTS):
            info = self._service(addresses)
            self._zeroconf.register_service(info, allow_name_change=True)
            rival = _ask(self._zeroconf, info.name, _TYPE_SRV, self._is_rival)
            if rival is None or rival > self._host:
                name: str = info.get_name()
                return name
            # Of two that have registered the same name at the same time the one with the smaller host name keeps it.
            self._zeroconf.unregister_service(info)
        raise RuntimeError(f'all names like "{self._name}" are taken')

    def _is_rival(self, host: str) -> bool:
        return host != self._host

    def _service(self, addresses: list[str]) -> ServiceInfo:
        from zeroconf import ServiceInfo

        return ServiceInfo(
            self._type,
            f"{self._name}.{self._type}",
            port=self._port,
            parsed_addresses=addresses,
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


def _ask(zeroconf: Zeroconf, name: str, kind: int, accepts: Callable[[str], bool]) -> str | None:
    """Ask all responders by multicast for the records of a name.

    Args:
        zeroconf: asks; it keeps the answers.
        name: the name in question.
        kind: the type of the records.
        accepts: called in another thread with the host name of each SRV record; True ends the asking.

    Returns:
        The host name that was accepted, None if none was.
    """
    from zeroconf import DNSOutgoing, DNSQuestion, RecordUpdateListener
    from zeroconf import DNSService as Service

    accepted: list[str] = []
    done = threading.Event()

    class Answers(RecordUpdateListener):
        def async_update_records(self, _zeroconf: Zeroconf, _now: float, records: list[RecordUpdate]) -> None:
            for update in records:
                record = update.new
                if isinstance(record, Service) and record.name.lower() == name.lower() and record.ttl:
                    if accepts(record.server):
                        accepted.append(record.server)
                        done.set()

    answers = Answers()
    zeroconf.add_listener(answers, None)
    try:
        for _ in range(QUESTIONS):
            question = DNSOutgoing(0)
            question.add_question(DNSQuestion(name, kind, _CLASS_IN))
            zeroconf.send(question)
            if done.wait(QUESTION_INTERVAL):
                break
    finally:
        zeroconf.remove_listener(answers)
    return accepted[0] if accepted else None


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
