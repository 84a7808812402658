"""A link that deals in bytes: for tests that must see them all, and for running a kernel without a server.

It shares its few lines with the test kernel and nothing with the product.
"""
import collections
import contextlib
import select
import socket
import struct
import subprocess
import uuid

from tools.harness.fake_kernel import joining
from tools.harness.fake_kernel.codec import Function, decode, encode
from tools.harness.fake_kernel.framing import Framer


class RawLink:
    """Both connections of a joined link. Every wait ends after `timeout` seconds with TimeoutError."""

    def __init__(self, data, message, framer=None, timeout=60.0, version=None):
        self.data, self.message = data, message
        self.framer = framer or Framer()
        self.version = version  # the lower one of both sides' greetings
        self._notices = collections.deque()
        for connection in (data, message):
            connection.settimeout(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def put(self, head, *args):
        """Write the packet head[args...]."""
        self.put_raw(encode(Function(head, *args)) + b"]")

    def put_raw(self, data):
        self.data.sendall(data)

    def get_raw(self):
        """The bytes of the next whole expression, without its end of packet; raises LinkClosed."""
        while (frame := self.framer.next_frame()) is None:
            self.framer.feed(joining.receive(self.data, 1 << 18))
        return frame.removesuffix(b"]")

    def pending_frame(self):
        """The bytes of the next whole expression if it is here already, else None; raises LinkClosed."""
        while (frame := self.framer.next_frame()) is None:
            if not select.select([self.data], [], [], 0)[0]:
                return None
            self.framer.feed(joining.receive(self.data, 1 << 18))
        return frame.removesuffix(b"]")

    def get(self):
        """The next expression as a value of tools.harness.fake_kernel.codec."""
        return decode(self.get_raw())

    def get_packet(self):
        """(head, arguments...) of the next packet."""
        packet = self.get()
        return (packet.head.short, *packet.args)

    def answer(self):
        """The next packet but those in which the server says something of its own: `notice` has them later."""
        while (packet := self.get_packet())[0] == "TextPacket" and packet[1].startswith("WSTPServer: "):
            self._notices.append(packet[1])
        return packet

    def notice(self):
        """What the server says of its own accord: the text of the first such packet, which comes next or has come."""
        if self._notices:
            return self._notices.popleft()
        head, text = self.get_packet()
        assert head == "TextPacket" and text.startswith("WSTPServer: "), (head, text)
        return text

    def evaluate(self, expression):
        """The answer to EvaluatePacket[expression]; the next packet must be that answer."""
        self.put("EvaluatePacket", expression)
        head, value = self.get_packet()
        assert head == "ReturnPacket", (head, value)
        return value

    def command(self, name, *args):
        """The text of the answer to WSCommandPacket[name[args...]]."""
        self.put("WSCommandPacket", Function(name, *args))
        head, value = self.answer()  # a client that has just connected may be told meanwhile that no kernel is free
        assert head == "ReturnPacket", (head, value)
        return value

    def send_message(self, code, argument=0):
        self.message.sendall(struct.pack(">2I", code, argument))

    def get_message(self):
        """(code, argument) of the next message from the peer."""
        return struct.unpack(">2I", joining.receive_exactly(self.message, 8))

    def at_end(self):
        """Whether the peer has closed the data connection and nothing is left to read (waits for either)."""
        try:
            self.get_raw()
        except joining.LinkClosed:
            return True
        return False

    def close(self, *, politely=False):
        """Close both connections; `politely`: with the closing message, as the library does it."""
        if politely:
            with contextlib.suppress(OSError):
                self.message.sendall(joining.CLOSING)
        self.message.close()
        self.data.close()

    def reset(self):
        """Break both connections off, as a client does that was killed with data unread."""
        for connection in (self.message, self.data):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()


def connect(port, host="127.0.0.1", version=6, timeout=60.0, before=b"", *, without_kernel=False):
    """A client's link to a link server in UUID mode.

    `before` goes first on both connections; `without_kernel`: a WSTPServer is told that the link wants none yet.
    """
    data, message = joining.connect_uuid(host, port, str(uuid.uuid4()).upper(), timeout, before)
    peer_version, framer = joining.greet(data, version, b" -kernel none" if without_kernel else b"")
    return RawLink(data, message, framer, timeout, min(version, peer_version))


@contextlib.contextmanager
def running_kernel(path, *options, version=4, timeout=60.0, **popen):
    """Start the kernel `path` as a parent does, without a server; yields (link, process); ends both."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        names = [f"{listener.getsockname()[1]}@127.0.0.1" for listener in listeners]
        link_arguments = ["-linkprotocol", "TCPIP", "-linkconnect", "-linkname", ",".join(names)]
        process = stack.enter_context(subprocess.Popen([path, "-wstp", *options, *link_arguments], **popen))
        stack.callback(process.kill)
        link = stack.enter_context(accept_classic(*listeners, version, timeout))
        yield link, process


def accept_classic(data_listener, message_listener, version=4, timeout=60.0):
    """The listening side's link in classic mode; the kernel names both ports."""
    for listener in (data_listener, message_listener):
        listener.settimeout(timeout)
    data, _ = data_listener.accept()
    data.settimeout(timeout)
    data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = joining.receive_exactly(data, len(b"need_msg_portN"))
    assert request == b"need_msg_portN", request
    data.sendall(b"OKY")
    message, _ = message_listener.accept()
    peer_version, framer = joining.greet(data, version)
    return RawLink(data, message, framer, timeout, min(version, peer_version))
