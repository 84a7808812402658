"""A relay between a client and a server, which breaks connections when it is told to."""

import contextlib
import select
import socket
import struct
import threading

#: A socket closed with this option resets its connection.
_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Passes connections to `port` of this machine on, from `self.port`; a context manager.

    `cut(toward, count)`: the next link is broken, both connections of it, when `count` bytes have gone to the "server"
    or to the "client" on its data connection; the bytes beyond are not passed on. `broken` is set by that.
    """

    def __init__(self, port):
        self._target = ("127.0.0.1", port)
        # Never listens: it keeps the port from being given to another server while nobody is to be found there.
        self._holder = _bound(0)
        self.port = self._holder.getsockname()[1]
        self._listener = _listening(self.port)
        self.address = f"{self.port}@127.0.0.1"
        self._requests = []
        self._pairs = []
        self._limit = None
        self._listening = True
        #: Connections accepted so far.
        self.accepted = 0
        #: Bytes that have passed on data connections since `cut`, by direction.
        self.passed = {"server": 0, "client": 0}
        self.broken = threading.Event()
        self._end, self._stop = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def cut(self, toward, count):
        self.broken.clear()
        self.passed = {"server": 0, "client": 0}
        self._limit = (toward, count)

    def break_all(self):
        """Reset every connection there is."""
        self._do(self._reset)

    def stop_listening(self):
        """From now on connections are refused."""
        self._do(self._refuse)

    def listen_again(self):
        """From now on connections are accepted again."""
        self._do(self._accept_again)

    def _accept_again(self):
        self._listener = _listening(self.port)
        self._listening = True

    def _do(self, action):
        """Have the relay's thread do it: a socket that a thread waits for does not end when another one closes it."""
        done = threading.Event()
        self._requests.append((action, done))
        self._stop.send(b".")
        assert done.wait(60)

    def _refuse(self):
        self._listening = False
        self._listener.close()

    def _reset(self):
        for pair in self._pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    sock.close()
        self._pairs.clear()
        self.broken.set()

    def _run(self):
        while True:
            sockets = [sock for pair in self._pairs for sock in pair]
            listeners = [self._listener] if self._listening else []
            ready = select.select([self._end, *listeners, *sockets], [], [])[0]
            if self._end in ready and not self._serve_requests():
                return
            for sock in ready:
                if sock is self._listener:
                    self._accept()
                elif sock is not self._end:
                    self._pass_on(sock)

    def _serve_requests(self):
        """Do what was asked for; False if it was the end."""
        for _ in self._end.recv(100):
            if not self._requests:
                self._reset()
                return False
            action, done = self._requests.pop(0)
            action()
            done.set()
        return True

    def _accept(self):
        client = self._listener.accept()[0]
        self.accepted += 1
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.append((client, server))

    def _pass_on(self, sock):
        pair = next((pair for pair in self._pairs if sock in pair), None)
        if pair is None:
            return
        toward = "server" if sock is pair[0] else "client"
        other = pair[1] if sock is pair[0] else pair[0]
        try:
            data = sock.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._pairs.remove(pair)
            for end in pair:
                end.close()
            return
        if self._limit is not None and self._limit[0] == toward:
            left = self._limit[1] - self.passed[toward]
            if len(data) >= left:
                other.sendall(data[:left])
                self.passed[toward] += left
                self._limit = None
                # What was passed on must arrive before the reset destroys it.
                _until_taken(other)
                self._reset()
                return
        self.passed[toward] += len(data)
        other.sendall(data)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.send(b".")
        self._thread.join()
        self._listener.close()
        self._holder.close()
        self._end.close()
        self._stop.close()


def _bound(port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def _listening(port):
    sock = _bound(port)
    sock.listen()
    return sock


def _until_taken(sock):
    """End the sending direction in order, and wait for the other side's end, a moment at most."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        select.select([sock], [], [], 0.3)
