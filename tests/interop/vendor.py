"""The vendor's WSTP or MathLink library through ctypes, as a peer for the interoperability tests.

The library is not part of this project: its path comes from the environment variable ``WSTP_LIBRARY``, and
tests that need it skip without it. Both generations work, names starting with ``WS`` and with ``ML``.

    library = VendorLibrary(path)
    server = library.link_server()                         # listens in UUID mode on server.port
    link = library.open_string("-linkmode connect -linkprotocol TCPIP -linkname 31415 -linkoptions 4")
    link.activate(); link.put(expression); expression = link.get(timeout=5); link.close()

Every blocking call has a deadline: the library calls the link's yield function while it waits, and the yield
function gives the call up when the time is over (error 1, and the link is of no use any more). One link is
for one thread at a time.
"""
from __future__ import annotations

import ctypes
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from ctypes import POINTER, byref, c_char_p, c_double, c_int, c_int64, c_ubyte, c_ushort, c_void_p
from pathlib import Path
from typing import Any

from wstpserver.wire.values import Function, Symbol

#: Where the tests find the library.
LIBRARY_VARIABLE = "WSTP_LIBRARY"
#: Seconds a blocking call may take when the caller says nothing.
DEFAULT_TIMEOUT = 20.0

TOKEN_FUNCTION, TOKEN_SYMBOL, TOKEN_STRING = ord("F"), ord("#"), ord('"')
TOKEN_INTEGER, TOKEN_REAL, TOKEN_ERROR = ord("+"), ord("*"), 0

#: Packet numbers as NextPacket returns them.
PACKETS = {
    "InputPacket": 1, "TextPacket": 2, "ReturnPacket": 3, "ReturnTextPacket": 4, "MessagePacket": 5,
    "MenuPacket": 6, "CallPacket": 7, "InputNamePacket": 8, "OutputNamePacket": 9, "SyntaxPacket": 10,
    "DisplayPacket": 11, "DisplayEndPacket": 12, "EvaluatePacket": 13, "EnterTextPacket": 14,
    "EnterExpressionPacket": 15, "ReturnExpressionPacket": 16, "SuspendPacket": 17, "ResumePacket": 18,
    "BeginDialogPacket": 19, "EndDialogPacket": 20, "InputStringPacket": 21,
}  # fmt: skip

_YIELD = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)
_NEW_LINK = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)
_HANDLER = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_int)
_BYTES = POINTER(c_ubyte)

#: Result and argument types of the functions used, by name without the WS or ML.
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "Initialize": (c_void_p, [c_void_p]),
    "Deinitialize": (None, [c_void_p]),
    "OpenString": (c_void_p, [c_void_p, c_char_p, POINTER(c_int)]),
    "OpenArgcArgv": (c_void_p, [c_void_p, c_int, POINTER(c_char_p), POINTER(c_int)]),
    "Activate": (c_int, [c_void_p]),
    "Close": (None, [c_void_p]),
    "LinkName": (c_void_p, [c_void_p]),
    "Ready": (c_int, [c_void_p]),
    "Flush": (c_int, [c_void_p]),
    "Error": (c_int, [c_void_p]),
    "ErrorMessage": (c_void_p, [c_void_p]),
    "ClearError": (c_int, [c_void_p]),
    "SetYieldFunction": (c_int, [c_void_p, _YIELD]),
    "SetMessageHandler": (c_int, [c_void_p, _HANDLER]),
    "PutMessage": (c_int, [c_void_p, c_int]),
    "PutMessageWithArg": (c_int, [c_void_p, c_int, c_int]),
    "GetMessage": (c_int, [c_void_p, POINTER(c_int), POINTER(c_int)]),
    "MessageReady": (c_int, [c_void_p]),
    "NewLinkServerWithPortAndInterface": (c_void_p, [c_void_p, c_ushort, c_char_p, c_void_p, POINTER(c_int)]),
    "RegisterCallbackFunctionWithLinkServer": (None, [c_void_p, _NEW_LINK]),
    "PortFromLinkServer": (c_ushort, [c_void_p, POINTER(c_int)]),
    "ShutdownLinkServer": (None, [c_void_p]),
    "NextPacket": (c_int, [c_void_p]),
    "NewPacket": (c_int, [c_void_p]),
    "EndPacket": (c_int, [c_void_p]),
    "PutType": (c_int, [c_void_p, c_int]),
    "PutArgCount": (c_int, [c_void_p, c_int]),
    "PutFunction": (c_int, [c_void_p, c_char_p, c_int]),
    "PutUTF8Symbol": (c_int, [c_void_p, c_char_p, c_int]),
    "PutUTF8String": (c_int, [c_void_p, c_char_p, c_int]),
    "PutInteger32": (c_int, [c_void_p, c_int]),
    "PutInteger64": (c_int, [c_void_p, c_int64]),
    "PutReal64": (c_int, [c_void_p, c_double]),
    "PutReal64List": (c_int, [c_void_p, POINTER(c_double), c_int]),
    "GetNext": (c_int, [c_void_p]),
    "GetArgCount": (c_int, [c_void_p, POINTER(c_int)]),
    "GetInteger64": (c_int, [c_void_p, POINTER(c_int64)]),
    "GetReal64": (c_int, [c_void_p, POINTER(c_double)]),
    "GetUTF8String": (c_int, [c_void_p, POINTER(_BYTES), POINTER(c_int), POINTER(c_int)]),
    "ReleaseUTF8String": (None, [c_void_p, _BYTES, c_int]),
    "GetUTF8Symbol": (c_int, [c_void_p, POINTER(_BYTES), POINTER(c_int), POINTER(c_int)]),
    "ReleaseUTF8Symbol": (None, [c_void_p, _BYTES, c_int]),
    "GetReal64List": (c_int, [c_void_p, POINTER(POINTER(c_double)), POINTER(c_int)]),
    "ReleaseReal64List": (None, [c_void_p, POINTER(c_double), c_int]),
    "GetNumberAsString": (c_int, [c_void_p, POINTER(c_void_p)]),
    "ReleaseString": (None, [c_void_p, c_void_p]),
}


class VendorError(Exception):
    """The vendor's library reported an error; ``code`` is its number (11: link closed)."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


def library_path() -> Path | None:
    """Where the library is, by ``WSTP_LIBRARY``; None if the variable is unset or names no file."""
    path = os.environ.get(LIBRARY_VARIABLE)
    return Path(path) if path and Path(path).is_file() else None


class VendorLibrary:
    """One environment of the library at `path`; ``prefix`` is "WS" or "ML"."""

    def __init__(self, path: str | Path) -> None:
        self._uuid = None
        for name in ("libuuid.so.1", "libuuid.so"):
            try:
                # The library names no dependency on it and wants its symbols in the global scope.
                self._uuid = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
                break
            except OSError:
                continue
        self._library = ctypes.CDLL(str(path))
        self.prefix = "WS" if hasattr(self._library, "WSInitialize") else "ML"
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(self._library, self.prefix + name)
            function.restype, function.argtypes = result, arguments
        self._environment = self.call("Initialize", None)
        if not self._environment:
            raise VendorError("the library did not initialise")

    def call(self, name: str, *arguments: Any) -> Any:
        """The library's function `name` without its prefix: ``call("Flush", link.pointer)``."""
        return getattr(self._library, self.prefix + name)(*arguments)

    def open_string(self, text: str) -> VendorLink:
        """A link by an option line such as ``-linkmode listen -linkprotocol TCPIP``; not yet activated.

        Listening is for classic mode only; ``name`` then is "PORT@HOST,PORT2@HOST". For UUID mode see `link_server`.
        """
        error = c_int()
        pointer = self.call("OpenString", self._environment, text.encode(), byref(error))
        return self._opened(pointer, error.value, text)

    def open_argv(self, arguments: Iterable[str]) -> VendorLink:
        """A link by a program's arguments (without the program's name); not yet activated."""
        words = ["program", *arguments]
        error = c_int()
        argv = (c_char_p * (len(words) + 1))(*[word.encode() for word in words], None)
        pointer = self.call("OpenArgcArgv", self._environment, len(words), argv, byref(error))
        return self._opened(pointer, error.value, " ".join(words[1:]))

    def _opened(self, pointer: int | None, error: int, what: str) -> VendorLink:
        if not pointer:
            raise VendorError(f"cannot open a link with {what!r}: error {error}", error)
        return VendorLink(self, pointer)

    def link_server(self, port: int = 0, interface: str = "127.0.0.1") -> VendorLinkServer:
        """A link server, the library's way to accept links in UUID mode on one port."""
        error = c_int()
        name = "NewLinkServerWithPortAndInterface"
        pointer = self.call(name, self._environment, port, interface.encode(), None, byref(error))
        if not pointer:
            raise VendorError(f"cannot make a link server on port {port}: error {error.value}", error.value)
        return VendorLinkServer(self, pointer)

    def close(self) -> None:
        """Give the environment back. Close its links and servers first."""
        environment, self._environment = self._environment, None
        if environment:
            self.call("Deinitialize", environment)

    def __enter__(self) -> VendorLibrary:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VendorLinkServer:
    """A listening link server; every link it gives must still be activated."""

    def __init__(self, library: VendorLibrary, pointer: int) -> None:
        self._library, self._pointer = library, pointer
        self.port = int(library.call("PortFromLinkServer", pointer, byref(c_int())))
        self._links: queue.Queue[int] = queue.Queue()
        # Not WaitForNewLink: that call cannot be given up, and the one of 2015 never returns.
        self._callback = _NEW_LINK(lambda _server, link: self._links.put(link))
        library.call("RegisterCallbackFunctionWithLinkServer", pointer, self._callback)

    def wait_for_link(self, timeout: float = DEFAULT_TIMEOUT) -> VendorLink:
        """The next link whose two connections have both come; VendorError after `timeout` seconds."""
        try:
            return VendorLink(self._library, self._links.get(timeout=timeout))
        except queue.Empty:
            raise VendorError(f"no client within {timeout} s") from None

    def close(self) -> None:
        pointer, self._pointer = self._pointer, 0
        if pointer:
            self._library.call("ShutdownLinkServer", pointer)

    def __enter__(self) -> VendorLinkServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class VendorLink:
    """One link of the library; ``messages`` collects what came out of band as (code, argument)."""

    def __init__(self, library: VendorLibrary, pointer: int) -> None:
        self._library, self.pointer = library, pointer
        self._deadline = float("inf")
        self._inside_packet = False
        self._closing = False
        self._in_use = threading.RLock()  # the library crashes when a link is closed while a call uses it
        self.messages: list[tuple[int, int]] = []
        # ctypes keeps no reference to a callback: these two must live as long as the link.
        self._yield = _YIELD(lambda _link, _parameters: int(self._closing or time.monotonic() > self._deadline))
        self._handler = _HANDLER(lambda _link, code, argument: self.messages.append((code, argument)))
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
        data, size, characters = _BYTES(), c_int(), c_int()
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
        code, argument = c_int(), c_int()
        while len(self.messages) < count:
            if time.monotonic() > deadline:
                raise VendorError(f"{len(self.messages)} of {count} messages within {timeout} s")
            if self.call("MessageReady") and self.call("GetMessage", byref(code), byref(argument)):
                self.messages.append((code.value, argument.value))
            else:
                self.ready()  # the library looks at its connections only when it is called
                threading.Event().wait(0.002)
        return self.messages

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
