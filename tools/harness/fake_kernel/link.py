"""The kernel's end of a link: frames out and in, messages noticed at any moment between them."""
import select
import struct
import time

from tools.harness.fake_kernel.codec import Function, Raw, decode, encode
from tools.harness.fake_kernel.joining import CLOSING, LinkClosed

TERMINATE, INTERRUPT, ABORT = 1, 2, 3


class Aborted(Exception):
    """The abort message came while an evaluation was running."""


class KernelLink:
    """A joined link. All waiting goes through select, so that a message is seen during any of it."""

    def __init__(self, data, message, framer, write_size=0):
        self._data, self._message, self._framer = data, message, framer
        self._write_size = write_size
        self._record = b""
        self._watch_messages = True
        self.aborted = self.interrupted = False
        data.settimeout(0)
        message.settimeout(0)

    def put(self, head, *args):
        """Write one packet `head[args...]` at once."""
        self.put_raw(encode(Function(head, *args)) + b"]")

    def put_raw(self, data):
        """Write bytes; an abort does not cut a frame in two, it shows afterwards."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._data.send(view[: self._write_size or len(view)]) :]
            except BlockingIOError:
                self._wait(writing=True)
            except ConnectionError as error:
                raise LinkClosed(str(error)) from error

    def get(self, *, abortable=False):
        """(value, wire bytes) of the next whole expression; raises LinkClosed, and Aborted if `abortable`."""
        while (frame := self._framer.next_frame()) is None:
            self._wait(reading=True)
            if abortable and self.aborted:
                raise Aborted
            try:
                data = self._data.recv(1 << 18)
            except BlockingIOError:
                continue
            except ConnectionError as error:
                raise LinkClosed(str(error)) from error
            if not data:
                raise LinkClosed("end of stream")
            self._framer.feed(data)
        return decode(frame), Raw(frame)

    def poll(self, seconds=0.0, other=None):
        """Take messages for `seconds` (None: no limit) or until a message, or `other` is readable."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while not (self.aborted or self.interrupted):
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self._wait(timeout=remaining, other=other) or remaining == 0.0:
                return

    def send_message(self, code, argument=0):
        self._message.sendall(struct.pack(">2I", code, argument))

    def send_messages(self, code, number):
        """So many messages, with the arguments 0, 1 ..., as fast as they are taken."""
        view = memoryview(b"".join(struct.pack(">2I", code, argument) for argument in range(number)))
        while view:
            select.select([], [self._message], [])
            view = view[self._message.send(view) :]

    def close(self, *, politely=False):
        """Close both connections; `politely` as the library does it, with the closing message."""
        if politely:
            try:
                self._message.sendall(CLOSING)
            except OSError:
                pass
        self._message.close()
        self._data.close()

    def _wait(self, *, reading=False, writing=False, timeout=None, other=None):
        """Sleep until something can be done; take messages. True if `other` is readable."""
        inputs = [self._data] if reading else []
        if self._watch_messages:
            inputs.append(self._message)
        if other is not None:
            inputs.append(other)
        readable, _, _ = select.select(inputs, [self._data] if writing else [], [], timeout)
        if self._watch_messages and self._message in readable:
            self._take_messages()
        return other is not None and other in readable

    def _take_messages(self):
        try:
            data = self._message.recv(4096)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self._record += data
        if not data or self._record.startswith(CLOSING):
            self._watch_messages = False  # what follows is the end of the data connection
            return
        while len(self._record) >= 8:
            code, _ = struct.unpack(">2I", self._record[:8])
            self._record = self._record[8:]
            self.aborted |= code == ABORT
            self.interrupted |= code == INTERRUPT
            if code == TERMINATE:
                raise SystemExit(0)
