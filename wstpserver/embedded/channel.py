"""The kernel's end of its link: whole packets out of any thread, whole packets in, and waits that an abort can end;
the thread that reads the link's messages while the main thread evaluates; and standard output, which goes the same way.

Errors of the link end the session. They are raised as SystemExit, which no builtin catches.
"""

from __future__ import annotations

import codecs
import os
import select
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from wstpserver.client.errors import LinkError, LinkTimeout
from wstpserver.client.link import Link
from wstpserver.embedded.interrupts import ENFORCE_AFTER, ENFORCE_AGAIN, EvaluationInterrupts
from wstpserver.embedded.process import EXIT_OK, EXIT_PROTOCOL
from wstpserver.wire.errors import RemoteProtocolError
from wstpserver.wire.packets import MessageCode
from wstpserver.wire.values import Function

#: Seconds between two checks for due interrupts, while an evaluation waits for the client.
POLL = 0.02

#: Bytes read at once.
CHUNK = 65536

#: Whether a pipe can be read without blocking. On Windows only the thread reads, and text may come late.
CAN_POLL = sys.platform != "win32"

#: SO_TIMESTAMPNS of Linux on all processors Python runs on but SPARC and PA-RISC, where the option is refused.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
_ANCILLARY_SIZE = 64

#: Bytes of messages that are looked at together.
_PEEKED_MESSAGES = 4096

#: Seconds an evaluation has to end after its abort, when the link is closing.
CLOSING_GRACE = 1.0

#: Seconds the kernel has to carry out what was sent before the other side disappeared without a message.
ORPHAN_GRACE = 2.0


class SocketTimestamps:
    """When the bytes of a link arrived, as the system noted it. Looks at both connections, reads from neither.

    An abort comes on another connection than the evaluation it is meant for, so the order in which two threads look at
    the two connections proves nothing. Linux tells when the first unread byte of a socket arrived (20 us after it was
    sent on the same machine, whatever the load). Elsewhere the times are unknown, and `EvaluationInterrupts` decides by
    whether there was unread input.
    """

    def __init__(self, link: Link) -> None:
        self._data = _peeking_socket(link.fileno())
        self._messages = _peeking_socket(link.message_fileno())
        self._can_stamp = sys.platform == "linux" and struct.calcsize("P") == 8
        if self._can_stamp:
            try:
                for sock in (self._data, self._messages):
                    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            except OSError:
                self._can_stamp = False

    def wait_for_data(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds; True when there is unread data, or the end of it."""
        return _readable(self._data, timeout)

    def data_stamp(self) -> float | None:
        """When the first unread byte of data arrived, in seconds of one clock for both connections; None if unknown."""
        return self._peek(self._data, 1)[0]

    def message_stamp(self) -> tuple[float | None, int]:
        """When the last of the unread messages arrived, and how many bytes of them there are."""
        return self._peek(self._messages, _PEEKED_MESSAGES)

    def _peek(self, sock: socket.socket, size: int) -> tuple[float | None, int]:
        """When the last of the first `size` unread bytes arrived, and how many of them there are."""
        if not self._can_stamp:
            return None, 0
        try:
            data, ancillary, _, _ = sock.recvmsg(size, _ANCILLARY_SIZE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return None, 0
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(content)
                return float(seconds + nanoseconds / 1e9), len(data)
        return None, len(data)


def _peeking_socket(descriptor: int) -> socket.socket:
    """The same socket, under a descriptor of its own where the system allows it (a SOCKET of Windows is no descriptor).

    Not by socket.dup(): that makes the socket blocking, for the link too.
    """
    return socket.socket(fileno=descriptor if sys.platform == "win32" else os.dup(descriptor))


def _readable(sock: socket.socket, timeout: float | None) -> bool:
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], timeout)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(None if timeout is None else int(timeout * 1000)))


class LinkChannel:
    """Reads in the main thread, writes from any.

    Attributes:
        before_writing: Called in the main thread before packets are written, to send what was printed before them.
    """

    def __init__(self, link: Link, timestamps: SocketTimestamps, interrupts: EvaluationInterrupts) -> None:
        self._link = link
        self._timestamps = timestamps
        self._interrupts = interrupts
        self._writing = threading.Lock()
        self._deferred: deque[Any] = deque()
        self._arrived: float | None = None  # when the first byte of the expression being received arrived
        self._latest: float | None = None  # when the last piece that was read arrived
        self.before_writing: Callable[[], None] = lambda: None

    def write(self, *packets: Function) -> None:
        """Send packets in this order, in the main thread.

        Raises:
            LocalProtocolError: No link can carry one of them; nothing of it was sent.
        """
        with self._interrupts.masked():
            self.before_writing()
            self.write_from_thread(*packets)

    def write_from_thread(self, *packets: Function) -> None:
        """Send packets from any thread, with no packet of another thread between them."""
        try:
            with self._writing:
                for one in packets:
                    self._link.put(one)
        except LinkError as error:
            raise SystemExit(EXIT_OK) from error

    def read(self) -> Any:
        """Wait without limit for the next expression, while no evaluation runs.

        From here on, evaluations count as caused by this expression: see `EvaluationInterrupts.input_arrived`.
        """
        if self._deferred:
            return self._deferred.popleft()
        while not self._is_complete():
            self._timestamps.wait_for_data(None)
        return self._receive()

    def read_during_evaluation(self, timeout: float | None = None) -> Any:
        """Wait for the next expression that arrives, for an evaluation that needs it.

        Args:
            timeout: Seconds; None waits without limit.

        Returns:
            The expression; None after the timeout.

        Raises:
            AbortInterrupt, TimeLimitReached: As soon as they are due.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self._is_complete():
            if self._interrupts.due:
                self._interrupts.act()
            if until is not None and time.monotonic() >= until:
                return None
            self._timestamps.wait_for_data(POLL)
        return self._receive()

    def defer(self, expression: Any) -> None:
        """Keep an expression that arrived while another was waited for; `read` returns it later."""
        self._deferred.append(expression)

    def _is_complete(self) -> bool:
        """Whether a whole expression is here, or the end; notes when its first byte arrived.

        The connection is read only after the system was asked for the time stamp of the byte that comes next.
        """
        with self._interrupts.masked():
            if self._link.holds_one():  # it came together with the previous one
                return True
            if not self._timestamps.wait_for_data(0):
                return False
            self._latest = self._timestamps.data_stamp()
            if self._arrived is None:
                self._arrived = self._latest
            return self._link.ready(0)

    def _receive(self) -> Any:
        try:
            with self._interrupts.masked():
                expression = self._link.get()
        except LinkError as error:
            raise SystemExit(EXIT_OK) from error
        except RemoteProtocolError as error:
            print(f"wstpkernel: {error}", file=sys.stderr)
            raise SystemExit(EXIT_PROTOCOL) from error
        self._interrupts.input_arrived = self._latest if self._arrived is None else self._arrived
        self._arrived = None
        return expression


class MessageThread:
    """Turns messages into requests of `EvaluationInterrupts`, and enforces them."""

    def __init__(self, link: Link, timestamps: SocketTimestamps, interrupts: EvaluationInterrupts) -> None:
        self._link = link
        self._timestamps = timestamps
        self._interrupts = interrupts
        self._arrived: float | None = None  # when the last of the messages arrived that were read together

    def start(self) -> None:
        """Look at the messages that are there, then read on in a new thread."""
        wait = self._next(0)
        threading.Thread(target=self._run, args=(wait,), name="messages", daemon=True).start()

    def _run(self, wait: float | None) -> None:
        while True:
            wait = self._next(wait)

    def _next(self, wait: float | None) -> float | None:
        """Wait `wait` seconds for a message and carry it out; returns how long to wait for the next."""
        try:
            code, _ = self._link.next_message(wait, on_arrival=self._note_arrival)
        except LinkTimeout:
            return self._enforce(just_requested=False)
        except LinkError:
            time.sleep(ORPHAN_GRACE)
            self._end()
        self._carry_out(code)
        return self._enforce(just_requested=True)

    def _note_arrival(self) -> int | None:
        self._arrived, count = self._timestamps.message_stamp()
        return count or None

    def _carry_out(self, code: int) -> None:
        if code in (MessageCode.ABORT, MessageCode.INTERRUPT):
            interrupts = self._interrupts
            request = interrupts.request_abort if code == MessageCode.ABORT else interrupts.request_interrupt
            request(self._arrived, input_waits=self._timestamps.wait_for_data(0))
        elif code in (MessageCode.TERMINATE, MessageCode.LINK_CLOSING):
            self._end()

    def _enforce(self, *, just_requested: bool) -> float | None:
        """Enforce a pending abort; returns the seconds until the next attempt, None if there is nothing to enforce."""
        if not self._interrupts.abort_requested:
            return ENFORCE_AFTER if self._interrupts.abort_is_held() else None
        if just_requested:
            return ENFORCE_AFTER
        self._interrupts.enforce()
        return ENFORCE_AGAIN

    def _end(self) -> NoReturn:
        """The link is closing: abort the evaluation, and end the process even if the evaluation does not end."""
        until = time.monotonic() + CLOSING_GRACE
        while self._interrupts.request_abort() and time.monotonic() < until:
            self._interrupts.enforce()
            time.sleep(ENFORCE_AGAIN)
        sys.stderr.flush()
        os._exit(EXIT_OK)


class StandardOutput:
    """File descriptor 1: what Python's print or a program started by Run writes there is passed to `emit`.

    Descriptor 1 becomes a pipe. A thread reads it, so that no writer blocks on a full pipe and text appears as it is
    written. Before a packet is sent, the main thread reads what is left, so that text precedes the result it belongs
    to. Descriptor 2 stays unchanged: it is the log of the server. `emit` is called in any thread.
    """

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._reader, writer = os.pipe()
        if CAN_POLL:
            os.set_blocking(self._reader, False)
        sys.stdout.flush()
        os.dup2(writer, 1)
        os.close(writer)
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115

    def start(self) -> None:
        """Begin to read, in a new thread."""
        threading.Thread(target=self._read_on, name="standard output", daemon=True).start()

    def flush(self) -> None:
        """Send what has been written so far. For the main thread."""
        sys.stdout.flush()
        if CAN_POLL:
            self._drain()

    def _drain(self) -> None:
        with self._lock:
            while True:
                try:
                    data = os.read(self._reader, CHUNK)
                except BlockingIOError:
                    return
                self._take(data)

    def _take(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if text:
            self._emit(text)

    def _read_on(self) -> None:
        try:
            while True:
                if CAN_POLL:
                    select.select([self._reader], [], [])
                    self._drain()
                else:
                    self._take(os.read(self._reader, CHUNK))
        except SystemExit:  # the link is gone
            return
