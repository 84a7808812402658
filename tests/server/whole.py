"""A dispatcher with sessions and kernels on real connections, whose other sides are in the hands of a test."""

from __future__ import annotations

import socket

import gevent
from gevent.event import AsyncResult

from tests.server.connections import tcp_pair
from tests.support.settings import make_settings
from tools.harness.fake_kernel.codec import Function, decode, encode
from tools.harness.fake_kernel.framing import Framer
from wstpserver.pools.states import Client, Purpose
from wstpserver.server.bridge.client_session import ClientSession
from wstpserver.server.bridge.dispatcher import Dispatcher
from wstpserver.server.bridge.kernel_session import KernelSession
from wstpserver.server.connection import Connection
from wstpserver.server.handshake import OpenLink
from wstpserver.server.kernels.persistence import Persistence
from wstpserver.server.log import Log


def packet(head, *args, end=True):
    return encode(Function(head, *args)) + (b"]" if end else b"")


class Peer:
    """The other side of a data connection: whole packets in, bytes out. `get` waits without letting greenlets run."""

    def __init__(self, connection):
        self.connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(60)
        self._framer = Framer()

    def get(self):
        """(head, arguments...) of the next packet."""
        while (frame := self._framer.next_frame()) is None:
            data = self.connection.recv(1 << 17)
            assert data, "the connection has ended"
            self._framer.feed(data)
        value = decode(frame.removesuffix(b"]"))
        return (value.head.short, *value.args)

    def pending(self):
        """Whatever has come and was not asked for."""
        self.connection.setblocking(False)
        try:
            while data := self.connection.recv(1 << 17):
                self._framer.feed(data)
        except BlockingIOError:
            pass
        self.connection.settimeout(60)
        return self._framer.pending.lstrip(b"]")

    def put(self, data):
        self.connection.sendall(data)

    def close(self):
        self.connection.close()


class Process:
    pid = 1
    remote = None

    def __init__(self):
        self.exited = AsyncResult()

    def kill_group(self, _signal):
        pass

    def stop(self, _grace=None):
        if not self.exited.ready():
            self.exited.set(0)

    def last_output(self):
        return ""


class _Line:
    def join(self, *_):
        """No kernel is started here."""

    leave = join


class _Launcher:
    line = _Line()
    persistence = Persistence(Log(), 0.0)


class Server:
    """A dispatcher whose kernels and clients are made by `kernel` and `client`."""

    def __init__(self, **settings):
        pools = [{"name": "Main", "KernelPath": "/bin/true", "MinimumKernelNumber": 0, "MaximumKernelNumber": 1}]
        built = make_settings(pools=pools, **{"AllowStealingKernels": True, **settings})
        self.dispatcher = Dispatcher(built, Log(), _Launcher())
        self._others: list[socket.socket] = []
        self._links: list[OpenLink] = []
        self._running: list[gevent.Greenlet] = []
        self._peers: list[Peer] = []
        self.sessions: list[ClientSession] = []

    def kernel(self, version=4):
        """(KernelSession, Peer) of a new free kernel."""
        ours, theirs = tcp_pair()
        messages, far_messages = tcp_pair()
        self._others.append(far_messages)
        dispatcher = self.dispatcher
        record = dispatcher.registry.start_outside_pools()
        link = OpenLink(Connection(ours), Connection(messages), b"", greeting_version=version)
        self._links.append(link)
        kernel = KernelSession(dispatcher, record, Process(), link, 1 << 20)
        dispatcher.supervisor.sessions[record] = kernel
        dispatcher.registry.ready(record)
        self._peers.append(Peer(theirs))
        return kernel, self._peers[-1]

    def client(self, kernel=None, version=4):
        """(ClientSession, Peer, greenlet) of a new client, bridged with that kernel."""
        ours, theirs = tcp_pair()
        messages, far_messages = tcp_pair()
        self._others.append(far_messages)
        record = Client(f"client {len(self.sessions)}")
        session = self.dispatcher.make_session(
            record, record.name, Connection(ours), Connection(messages), greeting_version=version
        )
        self.sessions.append(session)
        self.dispatcher.open_session(session, without_kernel=True)
        running = gevent.spawn(self._run, session)
        if kernel is not None:
            self.connect(session, kernel)
        self._running.append(running)
        self._peers.append(Peer(theirs))
        return session, self._peers[-1], running

    def connect(self, session, kernel):
        self.dispatcher.registry.connect_to_kernel(session.record, kernel.record, Purpose.AUTOMATIC)

    def disconnect(self, session):
        self.dispatcher.registry.disconnect(session.record)

    def close(self):
        """End everything."""
        for session in tuple(self.dispatcher.sessions.values()):
            session.end()
        gevent.joinall(self._running, timeout=60)
        self.dispatcher.stop()
        with gevent.Timeout(20):  # kernels give their links back when their last frames are sent
            while any(link.messages.socket.fileno() >= 0 for link in self._links):
                gevent.sleep(0.001)
        for peer in self._peers:
            peer.close()
        for connection in self._others:
            connection.close()

    def _run(self, session):
        why = "defect"
        try:
            why = session.run(b"")
        finally:
            self.dispatcher.close_session(session, why)
            session.release()
