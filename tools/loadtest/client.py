"""One client of the load test: two connections, the handshake, evaluations one after the other."""
import asyncio
import os
import time
import uuid

from wstpserver.wire.decode import NEED_DATA, Decoder
from wstpserver.wire.encode import encode
from wstpserver.wire.greeting import ConnectHandshake, GreetingComplete
from wstpserver.wire.messages import CLOSING
from wstpserver.wire.values import Function, Symbol

EVALUATE, PLUS = Symbol("EvaluatePacket"), Symbol("Plus")


class ClientError(Exception):
    """What went wrong, in a few words by which errors are counted."""


class Connection(asyncio.Protocol):
    """One TCP connection: what arrives waits in `received` until somebody takes it, at most `timeout` seconds."""

    def __init__(self, timeout):
        self._timeout = timeout
        self.transport = None
        self.received = bytearray()
        self.ended = False
        self._waiter = None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        self._wake()

    def connection_lost(self, error):
        self.ended = True
        self._wake()

    def _wake(self):
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _give_up(self):
        if not self._waiter.done():
            self._waiter.set_exception(ClientError("no answer in time"))

    async def receive(self):
        """At least one byte; raises ClientError at the end of the stream and when the time is over."""
        loop = asyncio.get_running_loop()
        while not self.received:
            if self.ended:
                raise ClientError("the server closed the link")
            self._waiter = loop.create_future()
            # a timer of our own: asyncio.wait_for makes a task for each wait, which would be half of the cost
            timer = loop.call_later(self._timeout, self._give_up)
            try:
                await self._waiter
            finally:
                timer.cancel()
        data = bytes(self.received)
        self.received.clear()
        return data


class Client:
    """A link in UUID mode; whoever waits for the server raises ClientError after `timeout` seconds without a byte."""

    def __init__(self, host, port, timeout):
        self._address = host, port
        self._timeout = timeout
        self._uuid = str(uuid.uuid4()).upper()
        self._data = self._message = None
        self._decoder = Decoder()

    async def connect(self):
        """Both connections and the greeting."""
        self._data = await self._open("data")
        self._message = await self._open("mesg")
        handshake = ConnectHandshake("uuid", "data", uuid=self._uuid)
        while True:
            self._data.transport.write(handshake.data_to_send())
            events = handshake.receive_data(await self._data.receive())
            if any(isinstance(event, GreetingComplete) for event in events):
                break
        self._data.transport.write(handshake.data_to_send())
        self._decoder.feed(handshake.leftover())

    async def _open(self, channel):
        loop = asyncio.get_running_loop()
        try:
            opening = loop.create_connection(lambda: Connection(self._timeout), *self._address)
            _, connection = await asyncio.wait_for(opening, self._timeout)
        except asyncio.TimeoutError as error:
            raise ClientError("cannot connect: no answer in time") from error
        except OSError as error:
            raise ClientError(f"cannot connect: {os.strerror(error.errno)}") from error
        if channel == "mesg":
            connection.transport.write(ConnectHandshake("uuid", "mesg", uuid=self._uuid).data_to_send())
        return connection

    async def first_prompt(self):
        """Wait for the InputNamePacket; anything else is an error, told with its text."""
        packet = await self._next()
        if packet.head != Symbol("InputNamePacket"):
            raise ClientError(f"{packet.head.name} instead of a prompt: {packet.args}"[:200])

    async def evaluate(self, left, right):
        """Seconds that left + right took; raises ClientError if the answer is wrong."""
        begin = time.perf_counter()
        self._data.transport.write(encode(Function(EVALUATE, (Function(PLUS, (left, right)),))))
        packet = await self._next()
        if packet.head != Symbol("ReturnPacket"):
            raise ClientError(f"{packet.head.name} for an answer")
        if packet.args != (left + right,):
            raise ClientError("wrong answer")
        return time.perf_counter() - begin

    async def _next(self):
        while (expression := self._decoder.next_expression()) is NEED_DATA:
            self._decoder.feed(await self._data.receive())
        if not isinstance(expression, Function) or not isinstance(expression.head, Symbol):
            raise ClientError("an expression that is no packet")
        return expression

    def close(self):
        """Close as the library does: the closing message, then both connections."""
        if self._message is not None:
            self._message.transport.write(CLOSING)
            self._message.transport.close()
        if self._data is not None:
            self._data.transport.close()
