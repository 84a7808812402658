"""A notebook front end as the kernel sees it: its packets, over our own library or the vendor's.

Both open their link with the text that docs/clients/notebook.md gives for "Arguments to MLOpen".
"""

from __future__ import annotations

from tests.interop.vendor import PACKETS, VendorLibrary
from wstpserver.client import open_link
from wstpserver.wire.packets import MessageCode
from wstpserver.wire.values import Function, Symbol

#: Seconds after which something that must come has not come.
DEADLINE = 60.0
LINK_OPTIONS = "-linkmode connect -linkname {port}@{host} -linkprotocol TCPIP -linkoptions 4"
_NAMES = {number: name for name, number in PACKETS.items()}
SUCCESS = '{"status":"ExecutionSuccess"}'
ERROR = '{"status":"ExecutionError"}'


def call(name, *arguments):
    """name[arguments...]"""
    return Function(Symbol(name), arguments)


class OwnTransport:
    """wstpserver.client"""

    def __init__(self, options):
        self._link = open_link(options, DEADLINE)

    def put(self, expression):
        self._link.put(expression)

    def get_packet(self):
        packet = self._link.get_packet(DEADLINE)
        return (packet.name, *packet.arguments)

    def send_message(self, code):
        self._link.send_message(code)

    def close(self):
        self._link.close()


class VendorTransport:
    """The library that WSTP_LIBRARY names."""

    #: How many arguments the packets of a kernel have.
    _COUNTS = {"MessagePacket": 2, "MenuPacket": 2, "CallPacket": 2}

    def __init__(self, options, library):
        self._library = VendorLibrary(library)
        self._link = self._library.open_string(options)
        self._link.activate(DEADLINE)

    def put(self, expression):
        self._link.put(expression, DEADLINE)

    def get_packet(self):
        name = _NAMES[self._link.next_packet(DEADLINE)]
        packet = (name, *(self._link.get(DEADLINE) for _ in range(self._COUNTS.get(name, 1))))
        self._link.new_packet()
        return packet

    def send_message(self, code):
        self._link.send_message(code)

    def close(self):
        """As a front end does it: the closing message, then the end."""
        self._link.close()
        self._library.close()


class FrontEnd:
    """One notebook's kernel. Packets are tuples: (name, argument, ...)."""

    def __init__(self, transport):
        self._transport = transport
        self.closed = False

    def send(self, head, *arguments):
        self._transport.put(call(head, *arguments))

    def put(self, expression):
        self._transport.put(expression)

    def packet(self):
        return self._transport.get_packet()

    def until(self, *names):
        """All packets up to the first one with such a name."""
        packets = [self.packet()]
        while packets[-1][0] not in names:
            packets.append(self.packet())
        return packets

    def enter(self, text):
        """Evaluate a cell of text: its packets up to the next prompt, a dialog's too."""
        self.send("EnterTextPacket", text)
        return self.until("InputNamePacket")

    def enter_expression(self, expression):
        """Evaluate a cell as front ends send it: as an expression."""
        self.send("EnterExpressionPacket", expression)
        return self.until("InputNamePacket")

    def shown(self, text):
        """The text of the value of a cell; None if it has none."""
        return next((content for name, content in self.enter(text) if name == "ReturnTextPacket"), None)

    def evaluate(self, expression):
        """The value of what is evaluated behind the user's back, as for completion or a dynamic object."""
        self.send("EvaluatePacket", expression)
        return self.until("ReturnPacket")[-1][1]

    def command(self, name, *arguments):
        """The server's answer to WSCommandPacket[name[arguments...]], which must be the next packet."""
        self.send("WSCommandPacket", call(name, *arguments))
        head, answer = self.packet()
        assert head == "ReturnPacket", (head, answer)
        return answer

    def connect(self, kernel):
        """ConnectKernel[kernel, time]: the prompt of that kernel."""
        assert self.command("ConnectKernel", kernel, int(DEADLINE)) == SUCCESS
        head, prompt = self.packet()
        assert head == "InputNamePacket", (head, prompt)
        return prompt

    def interrupt(self):
        """Evaluation > Interrupt Evaluation"""
        self._transport.send_message(MessageCode.INTERRUPT)

    def abort(self):
        """Evaluation > Abort Evaluation"""
        self._transport.send_message(MessageCode.ABORT)

    def close(self):
        """Quit the front end, or the kernel in its menu."""
        if not self.closed:
            self.closed = True
            self._transport.close()
