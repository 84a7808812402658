"""The server's log, in the documented format::

    WSTPServer: Logger (0, 2020-09-29 16:50:00): Information:
        Using "/usr/local/Wolfram/.../WolframKernel" as a default kernel path

(with a blank behind the colon of the first line, and a blank line after each entry). The number is that
of the logger; a server has one, number 0. Times are local.
"""

from __future__ import annotations

import threading
import time
from enum import IntEnum

from wstpserver.server.log_sink import LogSink

#: Characters of traffic and of other people's text that one entry shows.
SHOWN_CONTENT = 200


class LogLevel(IntEnum):
    """How much is logged; each level includes those before it.

    ERROR is the level of a server nobody looks at: starting, stopping and what went wrong.
    """

    ERROR = 1
    DEBUG = 2
    TRACE = 3


def parse_log_level(text: str) -> LogLevel:
    """A level as the command line writes it, by name or number. Raises ValueError for the user."""
    for level in LogLevel:
        if text.lower() in (level.name.lower(), str(level.value)):
            return level
    raise ValueError(f"expected error, debug, trace, 1, 2 or 3, got {text[:40]!r}")


class Log:
    """Writes entries to stdout or a file. Nothing but the constructor raises, whatever happens to the file.

    ``information``, ``warning`` and ``error`` are always written, ``debug`` and ``trace`` at their levels;
    look at ``debug_enabled`` and ``trace_enabled`` before making a costly message. Entries that could not be
    written are counted, and the log says so as soon as it can. Safe to use from several threads.
    """

    def __init__(self, level: LogLevel = LogLevel.ERROR, path: str | None = None) -> None:
        """``path`` None or "" is stdout. Raises OSError when the file cannot be opened."""
        self._sink = LogSink(path)
        self._lock = threading.RLock()
        self._dropped = 0
        self._drop_reason = ""
        self._second = -1
        self._stamp = ""
        self.set_level(level)

    def set_level(self, level: LogLevel) -> None:
        """Log more or less from now on."""
        self.level = level
        self.debug_enabled = level >= LogLevel.DEBUG
        self.trace_enabled = level >= LogLevel.TRACE

    def information(self, message: str) -> None:
        """Something that the person operating the server wants to know."""
        self._write("Information", message)

    def warning(self, message: str) -> None:
        """Something that works, but not as it should."""
        self._write("Warning", message)

    def error(self, message: str) -> None:
        """Something that does not work."""
        self._write("Error", message)

    def debug(self, message: str) -> None:
        """An event in the life of a client, a kernel or a bridge."""
        if self.debug_enabled:
            self._write("Debug", message)

    def trace(self, message: str) -> None:
        """Traffic."""
        if self.trace_enabled:
            self._write("Trace", message)

    def reopen(self) -> None:
        """Open the log file anew, as after a rotation; if that fails the old one stays in use."""
        with self._lock:
            try:
                self._sink.reopen()
            except OSError as error:
                self.error(f'The log file "{self._sink.path}" cannot be opened again ({error.strerror})')

    def flush(self) -> bool:
        """Try again to write what is left; True if nothing is left then. To be called now and then."""
        with self._lock:
            self._report_dropped()
            return self._sink.flush()

    def close(self) -> None:
        """Write what can be written and close the file."""
        with self._lock:
            self.flush()
            self._sink.close()

    def _write(self, severity: str, message: str) -> None:
        with self._lock:
            self._report_dropped()
            if self._dropped or not self._sink.write(self._entry(severity, message)):
                self._dropped += 1
                self._drop_reason = self._sink.failure

    def _report_dropped(self) -> None:
        """Say how many entries are missing here, if any, as soon as all before them are written."""
        if not self._dropped or not self._sink.flush():
            return
        message = f"{self._dropped} log entries are missing here: {self._drop_reason}"
        if self._sink.write(self._entry("Warning", message)):
            self._dropped = 0

    def _entry(self, severity: str, message: str) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
        lines = escape(message).replace("\n", "\n    ")
        entry = f"WSTPServer: Logger (0, {self._stamp}): {severity}: \n    {lines}\n\n"
        return entry.encode("utf-8", "backslashreplace")


def _written_out(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


#: Control characters, and those by which a text would show what is not there: line separators and the ones
#: that turn the direction of writing.
_HARMFUL = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: _written_out(code) for code in _HARMFUL if chr(code) not in "\n\t"}


def escape(text: str) -> str:
    """Text with control characters written out, but for line feeds and tabs; ends of lines become ``\\n``."""
    if text.isascii() and text.isprintable():
        return text
    return text.replace("\r\n", "\n").rstrip("\n").translate(_ESCAPES)


def shorten(content: bytes | str, limit: int = SHOWN_CONTENT) -> str:
    """Content for one line of the log: at most ``limit`` characters, nothing in it but printable ones."""
    if isinstance(content, bytes):
        content = content[: limit + 1].decode("utf-8", "backslashreplace")
    shown = "".join(
        character if character.isprintable() else _written_out(ord(character))
        for character in content[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
