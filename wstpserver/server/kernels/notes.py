"""What survives a crash of the server: notes of each kernel's connection, and what the next server reads from them.

A file without a name, which the keeper holds, has

    the header        which layout this is
    the notes         struct wstpkeep for each kernel, written by C and mapped (cext/wstpkeep.h)
    copies            of scanners that stand in a large frame, mapped
    receive buffers   of all channels, mapped: what was received and not handed on yet is still there
    records           what the server knows of each kernel, as JSON, two places for each: its size, and the text
    long records      the text of those that are longer, as with a long question; two places for each kernel, too
    beginnings        of frames that are not whole yet

What is not used of it takes no memory. Of the kernel's connection the next server asks the system how many bytes have
been moved (`TCP_INFO`, `SIOCINQ`, `SIOCOUTQ`); the notes say what these were.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ujson

from wstpserver._native import ffi, lib
from wstpserver.keeper.protocol import memory_file
from wstpserver.server.relay.epoll_loop import BUFFER_SIZE
from wstpserver.wire.frames import HEADS
from wstpserver.wire.packets import PacketHead

#: Kernels that notes can be made of.
MOST_KERNELS = 16384

#: Receive buffers that are in the file.
MOST_BUFFERS = 32

#: Bytes of a record, of one that is long, and of the beginning of a frame. A record holds at most a prompt and a
#: question, which are kept up to `HELD_FRAME_SIZE` bytes each and take a third more here.
RECORD_SIZE = 2048
LONG_RECORD_SIZE = 262144
KEPT_SIZE = 65536

_NOTES_SIZE = ffi.sizeof("struct wstpkeep")
_SCAN_SIZE = ffi.sizeof("struct wstpscan")

#: Bytes of frames that were dropped, and are in a journal before that is shortened.
_SLACK = 1 << 20

_PAGE = 4096
_HEADER = struct.Struct("<16s5Q")
_NAME = b"wstpserver-notes"
_SIZE = struct.Struct("<I")
_SHORT = RECORD_SIZE - _SIZE.size
_LAYOUT = _HEADER.pack(_NAME, 2, _NOTES_SIZE, _SCAN_SIZE, MOST_KERNELS, BUFFER_SIZE)


def _rounded(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


_NOTES = _PAGE
_COPIES = _NOTES + _rounded(MOST_KERNELS * _NOTES_SIZE)
_BUFFERS = _COPIES + _rounded(MOST_KERNELS * 2 * _SCAN_SIZE)
_RECORDS = _BUFFERS + MOST_BUFFERS * BUFFER_SIZE
_KEPT = _RECORDS + MOST_KERNELS * 2 * RECORD_SIZE
_LONG_RECORDS = _KEPT + MOST_KERNELS * KEPT_SIZE
_END = _LONG_RECORDS + MOST_KERNELS * 2 * LONG_RECORD_SIZE
_MAPPED = _RECORDS


class NotesLost(Exception):
    """A kernel cannot be gone on with; the text says why."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where a kernel's connection stands.

    Attributes:
        boundary: Everything before this place in the stream was handed on, in whole frames.
        position: Of the next byte of `received`.
        received: What the server before had received and not handed on.
        scan: The state of its scanner in the middle of a frame of which it had handed on the beginning; b"" if there
            is none.
        begun: How many evaluations have begun in the kernel.
        busy: Whether the last of them is still open.
        head: The packet that began it.
        record: The server's own record.
        state: The number of the kernel's state, if that has changed since; else None.
        fresh: Whether that says everything about open evaluations.
    """

    boundary: int
    position: int
    received: bytes
    scan: bytes
    begun: int
    busy: bool
    head: PacketHead
    record: dict[str, Any]
    state: int | None
    fresh: bool


class NotesFile:
    """The file.

    Args:
        descriptor: Of the file that another server has begun, which belongs to this object now; None for a new one.

    Raises:
        NotesLost: The other server was another version of the program, with another layout.
        OSError: There is no memory or no space for it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            self.descriptor = memory_file("wstpserver-notes")
            os.truncate(self.descriptor, _END)
            os.pwrite(self.descriptor, _LAYOUT, 0)
        else:
            self.descriptor = descriptor
            if os.pread(descriptor, len(_LAYOUT), 0) != _LAYOUT:
                raise NotesLost("the server before this one was of a version that made other notes")
        self._map = mmap.mmap(self.descriptor, _MAPPED)
        self._memory = ffi.from_buffer("uint8_t[]", self._map)
        self._free = list(range(MOST_KERNELS - 1, -1, -1)) if descriptor is None else self._unused()

    def _unused(self) -> list[int]:
        return [index for index in range(MOST_KERNELS - 1, -1, -1) if not self.notes_at(index).used]

    def buffers(self) -> list[tuple[memoryview, Any]]:
        """The receive buffers of the file, for `epoll_loop.share_buffers`."""
        view = memoryview(self._map)
        places = range(_BUFFERS, _BUFFERS + MOST_BUFFERS * BUFFER_SIZE, BUFFER_SIZE)
        return [(view[place : place + BUFFER_SIZE], self._memory + place) for place in places]

    def shared(self) -> tuple[Any, int]:
        """Where the buffers are mapped, and their size."""
        return self._memory + _BUFFERS, MOST_BUFFERS * BUFFER_SIZE

    def notes_at(self, index: int) -> Any:
        """The notes with this index: cffi `struct wstpkeep *`."""
        return ffi.cast("struct wstpkeep *", self._memory + _NOTES + index * _NOTES_SIZE)

    def copies_at(self, index: int) -> Any:
        """Two places for scanners: cffi `struct wstpscan *`."""
        return ffi.cast("struct wstpscan *", self._memory + _COPIES + index * 2 * _SCAN_SIZE)

    def begin(self) -> KernelNotes | None:
        """Begin the notes of a kernel; None if there are as many as there can be."""
        if not self._free:
            return None
        index = self._free.pop()
        notes = self.notes_at(index)
        ffi.memmove(notes, bytes(_NOTES_SIZE), _NOTES_SIZE)
        notes.used, notes.plain = 1, 1
        notes.valid_scan = notes.valid_record = -1
        return KernelNotes(self, index)

    def go_on(self, index: int) -> KernelNotes:
        """The notes that another server has begun."""
        if index in self._free:
            raise NotesLost("there are no notes of its connection")
        return KernelNotes(self, index)

    def forget(self, index: int) -> None:
        """The kernel is gone."""
        self.notes_at(index).used = 0
        self._free.append(index)

    def buffer(self, place: int, size: int) -> bytes:
        """Bytes in the receive buffers."""
        return bytes(self._map[_BUFFERS + place : _BUFFERS + place + size])


class KernelNotes:
    """The notes of one kernel's connection.

    Attributes:
        state: cffi `struct wstpkeep *`.
        index: Their place in the file.
    """

    __slots__ = ("_file", "index", "state")

    def __init__(self, file: NotesFile, index: int) -> None:
        self._file = file
        self.index = index
        self.state = file.notes_at(index)

    def attach(self, channel: Any, connection: Any) -> None:
        """Have C make notes of what it does: *channel* is a `struct wstpcopy *`, *connection* a `struct wstpcopy_end *`
        of the same connection.
        """
        channel.keep = connection.keep = self.state
        channel.copies = self._file.copies_at(self.index)
        channel.shared, channel.shared_size = self._file.shared()

    def measure(self, descriptor: int, received: int) -> bool:
        """Note how much was written and received before the first frame; False if the system does not say.

        Args:
            descriptor: Of the connection.
            received: Bytes of the first frames that were received already.
        """
        written, taken = lib.wstpkeep_written(descriptor), lib.wstpkeep_taken(descriptor)
        self.state.written, self.state.taken = max(written, 0), max(taken - received, 0)
        if received:
            self.state.kept = 0
        return bool(written >= 0 and taken >= 0)

    def keep(self, data: bytes) -> None:
        """Note what was received of a frame that is not whole, and is not in a receive buffer any more."""
        if data and len(data) <= KEPT_SIZE:
            os.pwrite(self._file.descriptor, data, _KEPT + self.index * KEPT_SIZE)
            self.state.kept = len(data)
        self.state.buffer = 0

    def write(self, record: Mapping[str, Any]) -> bool:
        """Note what the server knows of the kernel; False if that is too much."""
        data = ujson.dumps(record).encode()  # each client that comes and goes leads to one
        if len(data) > LONG_RECORD_SIZE:
            return False
        place = 1 if self.state.valid_record == 0 else 0
        size = _SIZE.pack(len(data))
        if len(data) > _SHORT:
            os.pwrite(self._file.descriptor, data, self._long_place(place))
            data = b""
        os.pwrite(self._file.descriptor, size + data, self._place(place))
        self.state.valid_record = place
        return True

    def stands_at(self) -> list[int]:
        """What tells whether anything has happened since a record was written."""
        out, done = self.state.outs[self.state.valid_out], self.state.ins[self.state.valid_in]
        return [int(out.evaluations), int(done.boundary)]

    def _place(self, place: int) -> int:
        return _RECORDS + (2 * self.index + place) * RECORD_SIZE

    def _long_place(self, place: int) -> int:
        return _LONG_RECORDS + (2 * self.index + place) * LONG_RECORD_SIZE

    def _record(self) -> dict[str, Any]:
        if self.state.valid_record < 0:
            raise NotesLost("there is no record of it")
        place = self.state.valid_record
        data = os.pread(self._file.descriptor, RECORD_SIZE, self._place(place))
        (size,) = _SIZE.unpack_from(data)
        if size > _SHORT:
            text = os.pread(self._file.descriptor, size, self._long_place(place))
        else:
            text = data[_SIZE.size : _SIZE.size + size]
        try:
            record = json.loads(text)
        except ValueError:
            raise NotesLost("its record cannot be read") from None
        if not isinstance(record, dict):
            raise NotesLost("its record cannot be read")
        return record

    def forget(self) -> None:
        """The kernel is gone."""
        self._file.forget(self.index)

    # -- after a crash -------------------------------------------------------------------------------------------

    def recover(self, descriptor: int, beside: tuple[int, int] = (0, 0)) -> Recovered:
        """Find out where the connection stands.

        Args:
            descriptor: Of the connection.
            beside: Bytes that were sent to the kernel and received from it, but not over the connection.

        Raises:
            NotesLost: That cannot be known, or the kernel is in the middle of a frame from its client.
        """
        record = self._record()
        sent, received_beside = beside
        begun = self._begun(int(lib.wstpkeep_written(descriptor)) + sent)
        taken = int(lib.wstpkeep_taken(descriptor)) + received_beside - int(self.state.taken)
        done, out = self.state.ins[self.state.valid_in], self.state.outs[self.state.valid_out]
        position, received, scan = self._received(int(done.boundary), taken)
        fresh = record.get("at") == [begun, int(done.boundary)]
        head = HEADS[out.head] if begun else PacketHead.OTHER
        busy, state = begun > done.idle, int(self.state.state) - 1 if self.state.state else None
        return Recovered(int(done.boundary), position, received, scan, begun, busy, head, record, state, fresh)

    def _begun(self, written: int) -> int:
        """How many evaluations have begun, when so many bytes were written in all."""
        written -= int(self.state.written)
        out = self.state.outs[self.state.valid_out]
        if written == out.begin:
            return int(out.evaluations) - int(out.begins)
        if written == out.end:
            return int(out.evaluations)
        raise NotesLost("its client was in the middle of a packet to it when the server was killed")

    def _received(self, boundary: int, taken: int) -> tuple[int, bytes, bytes]:
        """(position, bytes from there on, the scanner's state there)."""
        state = self.state
        if taken < boundary:
            raise NotesLost("the system does not say how much was received from it")
        if state.valid_scan >= 0:
            copy = self._file.copies_at(self.index)[state.valid_scan]
            position: int
            position, missing = int(copy.consumed), taken - int(copy.consumed)
            if missing and self._in_buffer(position, taken) is None and copy.opaque >= missing:
                lib.wstpscan_skip(ffi.addressof(copy), missing)
                position = taken
            scan = bytes(ffi.buffer(ffi.addressof(copy), _SCAN_SIZE))
        else:
            position, scan = boundary, b""
        if position == taken:
            return position, b"", scan
        received = self._in_buffer(position, taken)
        if received is None and not scan and state.kept == taken - boundary:
            received = os.pread(self._file.descriptor, state.kept, _KEPT + self.index * KEPT_SIZE)
        if received is None:
            raise NotesLost("the server was killed while it received from it")
        return position, received, scan

    def _in_buffer(self, position: int, taken: int) -> bytes | None:
        state = self.state
        if not state.buffer or state.first > position or taken - state.first > BUFFER_SIZE:
            return None
        return self._file.buffer(int(state.buffer) - 1 + position - int(state.first), taken - position)


class Journal:
    """What a kernel wrote while no client was bridged to it, in a file without a name.

    Args:
        position: Returns the place in the kernel's stream of what is handed on now.
        hold: Has the keeper hold the file.
    """

    _HEAD = struct.Struct("<QQ")
    _FRAME = struct.Struct("<QI")

    def __init__(self, position: Callable[[], int], hold: Callable[[int], None]) -> None:
        self._position = position
        self._hold = hold
        self._file = -1
        self._size = 0
        self._first = 0

    def append(self, frame: bytes) -> None:
        """Note one more frame."""
        if self._file < 0:
            self._file = memory_file("wstpserver-output")
            self._size = self._first = self._HEAD.size
            os.pwrite(self._file, self._HEAD.pack(self._first, 0), 0)
            self._hold(self._file)
        data = self._FRAME.pack(self._position(), len(frame)) + frame
        os.pwrite(self._file, data, self._size)
        self._size += len(data)

    def dropped(self, frame: bytes | None, total: int) -> None:
        """Note that the first frame was dropped, or with None one that was never noted; *total* is how many were."""
        if self._file < 0:
            return
        if frame is not None:
            self._first += self._FRAME.size + len(frame)
        if self._first > _SLACK + 2 * (self._size - self._first):
            self._shorten(total)
        else:
            os.pwrite(self._file, self._HEAD.pack(self._first, total), 0)

    def _shorten(self, total: int) -> None:
        """Begin another file, with what is kept."""
        kept = os.pread(self._file, self._size - self._first, self._first)
        file = memory_file("wstpserver-output")
        self._first, self._size = self._HEAD.size, self._HEAD.size + len(kept)
        os.pwrite(file, self._HEAD.pack(self._first, total) + kept, 0)
        self._hold(file)
        os.close(self._file)
        self._file = file

    def clear(self) -> None:
        """Note that nothing is kept."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1

    @classmethod
    def read(cls, file: int, boundary: int) -> tuple[list[bytes], int]:
        """The frames that were handed on before *boundary*, and how many were dropped."""
        size = os.fstat(file).st_size
        if size < cls._HEAD.size:  # it was emptied
            return [], 0
        first, dropped = cls._HEAD.unpack(os.pread(file, cls._HEAD.size, 0))
        frames: list[bytes] = []
        while first + cls._FRAME.size <= size:
            position, length = cls._FRAME.unpack(os.pread(file, cls._FRAME.size, first))
            if position > boundary or first + cls._FRAME.size + length > size:
                break
            frames.append(os.pread(file, length, first + cls._FRAME.size))
            first += cls._FRAME.size + length
        return frames, dropped
