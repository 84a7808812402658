"""The server's log, in the documented format, on the standard `logging` module.

    WSTPServer: Logger (0, 2020-09-29 16:50:00): Information:
        Using "/usr/local/Wolfram/.../WolframKernel" as a default kernel path

There is a blank after the colon of the first line and an empty line after each entry. The number is that of the
logger; a server has one, number 0. Times are local.

A log that cannot be written must neither stop nor delay the server. `LogSink` therefore survives a full disk, a closed
pipe and a reader that does not read: it keeps what cannot be written now up to a limit, tries again, and refuses what
exceeds the limit. `LogHandler` counts the refused entries and reports them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import stat
import sys
import time
import unicodedata
from collections.abc import Iterator
from enum import IntEnum

#: Characters of traffic and of texts from outside that one entry shows.
SHOWN_CONTENT = 200

#: Bytes kept for a stream that does not take them: some thousand entries.
BACKLOG_LIMIT = 1 << 20

#: The level of traffic, below `logging.DEBUG`.
TRACE = 5

#: What a pipe that is reported as writable takes without blocking.
_PIPE_CHUNK = getattr(select, "PIPE_BUF", 512)
_FILE_CHUNK = 1 << 20

#: What an entry calls its level.
SEVERITIES = {
    logging.INFO: "Information",
    logging.WARNING: "Warning",
    logging.ERROR: "Error",
    logging.DEBUG: "Debug",
    TRACE: "Trace",
}

#: Each `Log` has a logger of its own, so that several servers in one process do not share one.
_numbers = itertools.count()


class LogLevel(IntEnum):
    """How much is logged; each level includes those before it.

    ERROR is the level for a server that is not being watched: starting, stopping and failures.
    """

    ERROR = 1
    DEBUG = 2
    TRACE = 3


_THRESHOLDS = {LogLevel.ERROR: logging.INFO, LogLevel.DEBUG: logging.DEBUG, LogLevel.TRACE: TRACE}


def parse_log_level(text: str) -> LogLevel:
    """Read a level as the command line writes it, by name or number.

    Raises:
        ValueError: it is neither; the text is for the user.
    """
    for level in LogLevel:
        if text.lower() in (level.name.lower(), str(level.value)):
            return level
    raise ValueError(f"expected error, debug, trace, 1, 2 or 3, got {text[:40]!r}")


def counted(number: int, what: str) -> str:
    """A number with what is counted, as "1 kernel" and "2 kernels", for an entry."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Log:
    """Writes entries to stdout or a file. Only the constructor raises, whatever happens to the file.

    `information`, `warning` and `error` are always written, `debug` and `trace` at their levels. Check
    `debug_enabled` and `trace_enabled` before you build a costly message. Safe to use from several threads.
    """

    def __init__(self, level: LogLevel = LogLevel.ERROR, path: str | None = None) -> None:
        """Open the log.

        Args:
            level: how much is logged.
            path: the file to append to; None or "" is stdout.

        Raises:
            OSError: the file cannot be opened.
        """
        self._handler = LogHandler(path)
        self._logger = logging.getLogger(f"wstpserver.log{next(_numbers)}")
        self._logger.propagate = False
        self._logger.addHandler(self._handler)
        self.set_level(level)

    def set_level(self, level: LogLevel) -> None:
        """Log more or less from now on."""
        self.level = level
        self.debug_enabled = level >= LogLevel.DEBUG
        self.trace_enabled = level >= LogLevel.TRACE
        self._logger.setLevel(_THRESHOLDS[level])

    def information(self, message: str) -> None:
        """Log what the operator of the server wants to know."""
        self._logger.info(message)

    def warning(self, message: str) -> None:
        """Log what works, but not as it should."""
        self._logger.warning(message)

    def error(self, message: str) -> None:
        """Log what does not work."""
        self._logger.error(message)

    def debug(self, message: str) -> None:
        """Log an event of a client, a kernel or a bridge."""
        if self.debug_enabled:
            self._logger.debug(message)

    def trace(self, message: str) -> None:
        """Log traffic."""
        if self.trace_enabled:
            self._logger.log(TRACE, message)

    def include(self, name: str, prefix: str) -> None:
        """Take over what a library logs under *name*, warnings and above, as debug entries that begin with *prefix*.

        Without this, `logging` prints it to stderr.
        """
        logger = logging.getLogger(name)
        logger.handlers[:] = [_LibraryHandler(self, prefix)]
        logger.propagate = False

    def follow(self, handler: logging.Handler) -> None:
        """Give every entry to *handler* as well, from now on."""
        self._logger.addHandler(handler)

    def unfollow(self, handler: logging.Handler) -> None:
        """The opposite of `follow`."""
        self._logger.removeHandler(handler)

    def reopen(self) -> None:
        """Open the log file anew, as after a rotation; if that fails the old one stays in use."""
        problem = self._handler.reopen()
        if problem:
            self.error(problem)

    def flush(self) -> bool:
        """Try again to write what is left; True if nothing is left then. To be called now and then."""
        return self._handler.try_flush()

    def close(self) -> None:
        """Write what can be written and close the file."""
        self._logger.removeHandler(self._handler)
        self._handler.close()


class LogHandler(logging.Handler):
    """Writes formatted records to a `LogSink` and reports how many were lost once it can be written again."""

    def __init__(self, path: str | None = None) -> None:
        """Open the sink. Raises OSError when the file cannot be opened."""
        super().__init__()
        self._sink = LogSink(path)
        self._lost = 0
        self._reason = ""
        self.setFormatter(LogFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, keep it for later, or count it as lost."""
        self._report_lost()
        if self._lost or not self._sink.write(self._encode(record)):
            self._lost += 1
            self._reason = self._sink.failure

    def try_flush(self) -> bool:
        """Write what is left; True if nothing is left then."""
        with self._locked():
            self._report_lost()
            return self._sink.flush()

    def reopen(self) -> str:
        """Open the file anew; returns why that failed, or ""."""
        with self._locked():
            try:
                self._sink.reopen()
            except OSError as error:
                return f'The log file "{self._sink.path}" cannot be opened again ({error.strerror})'
        return ""

    def close(self) -> None:
        """Write what can be written and close the sink."""
        with self._locked():
            self._report_lost()
            self._sink.close()
        super().close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _report_lost(self) -> None:
        """Say how many entries are missing here, if any, as soon as all before them are written."""
        if not self._lost or not self._sink.flush():
            return
        message = f"{self._lost} log entries are missing here: {self._reason}"
        attributes = {"levelno": logging.WARNING, "msg": message, "created": time.time()}
        if self._sink.write(self._encode(logging.makeLogRecord(attributes))):
            self._lost = 0

    def _encode(self, record: logging.LogRecord) -> bytes:
        return self.format(record).encode("utf-8", "backslashreplace")


class LogFormatter(logging.Formatter):
    """The documented format of an entry, the empty line after it included."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        """The entry as text. Nothing in the message can look like another entry."""
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        lines = escape(record.getMessage()).replace("\n", "\n    ")
        return f"WSTPServer: Logger (0, {self._stamp}): {SEVERITIES[record.levelno]}: \n    {lines}\n\n"


class _LibraryHandler(logging.Handler):
    """Passes the records of a library to the server's log."""

    def __init__(self, log: Log, prefix: str) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._prefix = prefix

    def emit(self, record: logging.LogRecord) -> None:
        self._log.debug(self._prefix + record.getMessage())


class LogSink:
    """Writes bytes to a file (appending) or to stdout, and never blocks.

    `failure` is the reason why the last attempt to write did not succeed, "" after one that did.
    """

    def __init__(self, path: str | None = None) -> None:
        """Open the file; None or "" is stdout.

        Raises:
            OSError: the file cannot be opened. Nothing raises after that.
        """
        self.path = path or None
        self.failure = ""
        self._backlog = bytearray()
        self._descriptor = -1
        self._attach(self._open())

    def write(self, data: bytes) -> bool:
        """Write, or keep for later; False if there is no room for it."""
        if len(self._backlog) + len(data) > BACKLOG_LIMIT and not self.flush():
            return False
        self._backlog += data
        self.flush()
        return True

    def flush(self) -> bool:
        """Write what can be written now; True if nothing is left."""
        try:
            while self._backlog and self._writable():
                written = os.write(self._descriptor, bytes(self._backlog[: self._chunk]))
                del self._backlog[:written]
                self.failure = ""
        except BlockingIOError:
            self.failure = "its reader does not read"
        except OSError as error:
            self.failure = error.strerror or str(error)
        return not self._backlog

    def reopen(self) -> None:
        """Open the file anew under its name, as after a rotation. Raises OSError and keeps the old one."""
        if self.path is None:
            return
        descriptor = self._open()
        self.flush()
        os.close(self._descriptor)
        self._attach(descriptor)

    def close(self) -> None:
        """Write what can be written and close."""
        if self._descriptor >= 0:
            self.flush()
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        if self.path is None:
            return _duplicate_stdout()
        # Without O_NONBLOCK a named pipe without a reader would block the start.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        return os.open(self.path, flags, 0o640)

    def _attach(self, descriptor: int) -> None:
        self._descriptor = descriptor
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._chunk = _FILE_CHUNK if regular else _PIPE_CHUNK
        self._poll = None
        if not regular and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)

    def _writable(self) -> bool:
        """Whether a write would not block. Also true when it would fail, so that the reason shows."""
        if self._poll is None or self._poll.poll(0):
            return True
        self.failure = "its reader does not read"
        return False


def _duplicate_stdout() -> int:
    """A descriptor of our own for stdout, or for /dev/null when the server was started without stdout.

    If descriptor 1 was closed at the start, it may be a client's connection by now.
    """
    if sys.__stdout__ is None:
        return os.open(os.devnull, os.O_WRONLY)
    sys.__stdout__.flush()
    return os.dup(1)


#: Categories of characters that could hide or reorder text on a terminal: control characters, format characters (among
#: them everything that changes the direction of writing, and what has no width), line and paragraph separators.
_HARMFUL = frozenset(("Cc", "Cf", "Zl", "Zp"))


class _Escapes(dict[int, int | str]):
    """What `str.translate` puts in the place of each character."""

    def __missing__(self, code: int) -> int | str:
        return _written_out(code) if unicodedata.category(chr(code)) in _HARMFUL else code


_ESCAPES = _Escapes({ord("\n"): "\n", ord("\t"): "\t"})


def _written_out(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape(text: str) -> str:
    """Text with control and format characters written out, except line feeds and tabs; ends of lines become LF."""
    if text.isascii() and text.isprintable():
        return text
    return text.replace("\r\n", "\n").rstrip("\n").translate(_ESCAPES)


def shorten(content: bytes | str, limit: int = SHOWN_CONTENT) -> str:
    """Content for one line of the log: at most *limit* characters, only printable ones."""
    if isinstance(content, bytes):
        content = content[: limit + 1].decode("utf-8", "backslashreplace")
    shown = "".join(
        character if character.isprintable() else _written_out(ord(character)) for character in content[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
