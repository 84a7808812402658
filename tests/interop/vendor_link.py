"""One link of the vendor's library: see `vendor`."""
from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterable
from ctypes import POINTER, byref, c_double, c_int, c_void_p
from typing import Any

from tests.interop.vendor_prototypes import (
    BYTES,
    HANDLER,
    TOKEN_FUNCTION,
    TOKEN_INTEGER,
    TOKEN_REAL,
    TOKEN_STRING,
    TOKEN_SYMBOL,
    YIELD,
    VendorError,
)
from wstpserver.wire.values import Function, Symbol

#: Seconds a blocking call may take when the caller says nothing.
DEFAULT_TIMEOUT = 60.0
#: Seconds after which a message that was announced does not come that way any more.
_NOT_YET = 0.1


class VendorLink:
    """One link of the library; ``messages`` collects what came out of band as (code, argument)."""

    def __init__(self, library: Any, pointer: int) -> None:
        self._library, self.pointer = library, pointer
        self._deadline = float("inf")
        self._inside_packet = False
        self._closing = False
        self._in_use = threading.RLock()  # the library crashes when a link is closed while a call uses it
        self.messages: list[tuple[int, int]] = []
        # ctypes keeps no reference to a callback: these two must live as long as the link.
        self._yield = YIELD(lambda _link, _parameters: int(self._closing or time.monotonic() > self._deadline))
        self._handler = HANDLER(lambda _link, code, argument: self.messages.append((code, argument)))
        self.call("SetYieldFunction", self._yield)
        self.call("SetMessageHandler", self._handler)

    def call(self, name: str, *arguments: Any) -> Any:
        """The library's function `name` on this link, unchecked."""
        return self._library.call(name, self.pointer, *arguments)

    def check(self, name: str, *arguments: Any, timeout: float = DEFAULT_TIMEOUT) -> None:
        """The library's function `name` on this link; VendorError if it fails or `timeout` seconds pass."""
        self._within(timeout, lambda: self._succeed(name, *arguments))

    def _succeed(self, name: str, *arguments: Any) -> None:
        if not self.call(name, *arguments):
            raise self.error(name)

    def _within(self, timeout: float, action: Callable[[], Any]) -> Any:
        with self._in_use:
            if not self.pointer:
                raise VendorError("the link was closed here")
            self._deadline = time.monotonic() + timeout
            try:
                return action()
            finally:
                self._deadline = float("inf")

    def error(self, name: str) -> VendorError:
        """The library's own words for what is wrong with the link now."""
        code = self.call("Error")
        text = ctypes.string_at(self.call("ErrorMessage")).decode("utf-8", "replace")
        return VendorError(f"{self._library.prefix}{name}: error {code}: {text}", code)

    @property
    def name(self) -> str:
        """The link name; for a listening link with its port, so that the other side can connect."""
        return ctypes.string_at(self.call("LinkName")).decode()

    def activate(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.check("Activate", timeout=timeout)

    def ready(self) -> bool:
        return bool(self.call("Ready"))

    def put(self, expression: Any, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Send one whole expression of int, float, str, Symbol, Function and lists of these, and flush."""
        self.put_part(expression)
        self.check("EndPacket", timeout=timeout)
        self.check("Flush", timeout=timeout)

    def put_part(self, expression: Any) -> None:
        """One expression without EndPacket and Flush."""
        todo = [expression]
        while todo:
            self._put_one(todo.pop(), todo)

    def _put_one(self, item: Any, todo: list[Any]) -> None:
        if isinstance(item, (list, tuple)):
            item = Function(Symbol("List"), tuple(item))
        if isinstance(item, Function):
            self.check("PutType", TOKEN_FUNCTION)
            self.check("PutArgCount", len(item.args))
            todo.extend(reversed((item.head, *item.args)))
        elif isinstance(item, Symbol):
            encoded = item.name.encode()
            self.check("PutUTF8Symbol", encoded, len(encoded))
        elif isinstance(item, str):
            encoded = item.encode()
            self.check("PutUTF8String", encoded, len(encoded))
        elif isinstance(item, float):
            self.check("PutReal64", item)
        elif isinstance(item, int) and abs(item) < 2**63:
            self.check("PutInteger32" if -(2**31) <= item < 2**31 else "PutInteger64", item)
        else:
            raise TypeError(f"the vendor's link cannot send {item!r}")

    def put_reals(self, values: Iterable[float]) -> None:
        """A packed list of machine reals, without EndPacket and Flush."""
        numbers = list(values)
        self.check("PutReal64List", (c_double * len(numbers))(*numbers), len(numbers))

    def get(self, timeout: float = DEFAULT_TIMEOUT) -> Any:
        """Receive one whole expression: int, float, str, Symbol or Function (lists are Functions of List).

        After `next_packet` it is the next argument of that packet.
        """
        if not self._inside_packet:
            self.call("NewPacket")
        return self._within(timeout, self._get)

    def _get(self) -> Any:
        done: list[Any] = []
        open_functions: list[tuple[int, list[Any]]] = []
        while True:
            item = self._get_one()
            if isinstance(item, _Count):
                open_functions.append((item + 1, []))
                continue
            while open_functions:
                missing, parts = open_functions[-1]
                parts.append(item)
                if len(parts) < missing:
                    break
                open_functions.pop()
                item = Function(parts[0], tuple(parts[1:]))
            else:
                done.append(item)
            if done:
                return done[0]

    def _get_one(self) -> Any:
        token = self.call("GetNext")
        if token == TOKEN_FUNCTION:
            count = c_int()
            self._succeed("GetArgCount", byref(count))
            return _Count(count.value)
        if token == TOKEN_STRING:
            return self._get_text("UTF8String")
        if token == TOKEN_SYMBOL:
            return Symbol(self._get_text("UTF8Symbol"))
        if token == TOKEN_REAL:
            real = c_double()
            self._succeed("GetReal64", byref(real))
            return real.value
        if token == TOKEN_INTEGER:
            return self._get_integer()
        raise self.error("GetNext")

    def _get_text(self, kind: str) -> str:
        data, size, characters = BYTES(), c_int(), c_int()
        self._succeed("Get" + kind, byref(data), byref(size), byref(characters))
        try:
            return ctypes.string_at(data, size.value).decode()
        finally:
            self.call("Release" + kind, data, size.value)

    def _get_integer(self) -> int:
        text = c_void_p()
        self._succeed("GetNumberAsString", byref(text))
        try:
            return int(ctypes.string_at(text.value or 0))
        finally:
            self.call("ReleaseString", text)

    def get_reals(self, timeout: float = DEFAULT_TIMEOUT) -> int:
        """Receive one packed list of machine reals; how many they were."""
        data, count = POINTER(c_double)(), c_int()
        self.call("NewPacket")
        self.check("GetReal64List", byref(data), byref(count), timeout=timeout)
        self.call("ReleaseReal64List", data, count.value)
        return count.value

    def next_packet(self, timeout: float = DEFAULT_TIMEOUT) -> int:
        """The number of the next packet (see PACKETS), its contents still to be read or thrown away."""
        packet = int(self._within(timeout, lambda: self.call("NextPacket")))
        if packet == 0:
            raise self.error("NextPacket")
        self._inside_packet = True
        return packet

    def new_packet(self) -> None:
        """Throw the rest of the packet being read away."""
        self.call("NewPacket")
        self._inside_packet = False

    def send_message(self, code: int, argument: int = 0) -> None:
        self.check("PutMessageWithArg", code, argument)

    def poll_messages(self, count: int = 1, timeout: float = DEFAULT_TIMEOUT) -> list[tuple[int, int]]:
        """Wait until ``messages`` holds `count` of them: what came so far while reading, and what comes now."""
        deadline = time.monotonic() + timeout
        while len(self.messages) < count:
            if time.monotonic() > deadline:
                raise VendorError(f"{len(self.messages)} of {count} messages within {timeout} s")
            if not self._take_message():
                self.ready()  # the library looks at its connections only when it is called
                threading.Event().wait(0.002)
        return self.messages

    def _take_message(self) -> bool:
        """Take a message that the library has put aside, for a call later than the one that brought it.

        Between the two calls here, or in the second one, the library may still give it to the handler. GetMessage then
        says 0, which is no message, or waits for another one; when the yield function gives that up it returns -1, and
        the link is as good as before.
        """
        if not self.call("MessageReady"):
            return False
        code, argument = c_int(), c_int()
        taken = self._within(_NOT_YET, lambda: self.call("GetMessage", byref(code), byref(argument)))
        if taken <= 0 or code.value == 0:
            return False
        self.messages.append((code.value, argument.value))
        return True

    def close(self) -> None:
        """The library's own close: what was not flushed is lost, message 9 goes out, both connections end.

        A call of another thread that waits on the link is given up first; if it does not end the link is left open.
        """
        self._closing = True
        if not self._in_use.acquire(timeout=5):
            return
        try:
            pointer, self.pointer = self.pointer, 0
            if pointer:
                self._library.call("Close", pointer)
        finally:
            self._in_use.release()

    def __enter__(self) -> VendorLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Count(int):
    """An argument count on its way through the reader, told apart from an integer by its type."""
