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
import queue
from collections.abc import Iterable
from ctypes import byref, c_char_p, c_int
from pathlib import Path
from typing import Any

from tests.interop.vendor_link import DEFAULT_TIMEOUT, VendorLink
from tests.interop.vendor_prototypes import NEW_LINK, PACKETS, PROTOTYPES, VendorError

__all__ = ["PACKETS", "VendorError", "VendorLibrary", "VendorLink", "VendorLinkServer"]


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
        for name, (result, arguments) in PROTOTYPES.items():
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
        return self.open_words("program", *arguments)

    def open_words(self, *words: str) -> VendorLink:
        """The same by these words exactly, the first of which a program's name usually is."""
        error = c_int()
        argv = (c_char_p * (len(words) + 1))(*[word.encode() for word in words], None)
        pointer = self.call("OpenArgcArgv", self._environment, len(words), argv, byref(error))
        return self._opened(pointer, error.value, " ".join(words))

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
        self._callback = NEW_LINK(lambda _server, link: self._links.put(link))
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
