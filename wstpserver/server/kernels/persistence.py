"""What outlives the server: gives each kernel to the keeper, notes what changes, and finds it all again.

`Persistence.recover` makes a record of the kind that one program hands over to the next (`server.handover`) from what
the keeper has held, so that the server goes on with the kernels of one that was killed as it does with its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from itertools import islice
from typing import Any, Protocol

from gevent import get_hub

from wstpserver._native import lib
from wstpserver.pools.states import Kernel, KernelState
from wstpserver.server.handover import packed, unpacked
from wstpserver.server.kernels.keeper_client import KeeperClient
from wstpserver.server.kernels.kernel_link import passed_beside
from wstpserver.server.kernels.notes import Journal, KernelNotes, NotesFile, NotesLost, Recovered
from wstpserver.server.log import Log
from wstpserver.server.relay.epoll_loop import share_buffers

#: Seconds after which a change is noted that is not worth more: the latest prompt.
LATER = 0.05

#: Seconds after which the record of a kernel follows that has another state, how many are written at a time, and how
#: long the next ones wait. Where clients come and go, kernels change all the time, and a record costs a tenth of a
#: connection.
MOVES_LATER = 1.0
MOVES_AT_ONCE = 50
MOVES_PAUSE = 0.25

#: The names under which the keeper holds things.
_NOTES, _KERNEL, _OUTPUT, _PARENT = "notes", "kernel:", "output:", "parent:"

#: States of kernels by the numbers that the notes have, and the other way round.
_STATES = tuple(KernelState)
_NUMBERS = {state: number for number, state in enumerate(_STATES, 1)}

#: States of a kernel that the next server can go on with.
_LASTING = frozenset({KernelState.FREE.value, KernelState.RESERVED.value, KernelState.BRIDGED.value})


class LastingSession(Protocol):
    """What is needed of a `KernelSession`."""

    record: Kernel
    notes: KernelNotes | None
    input_name: bytes

    @property
    def question(self) -> bytes:
        """The open question, b"" if there is none."""

    @property
    def discards(self) -> bool:
        """Whether what it writes is thrown away."""

    def held(self) -> tuple[dict[str, Any], list[int]]:
        """What the keeper holds of it: a record, and the descriptors of its connections and its output."""


class Persistence:
    """Sees to it that kernels outlive this server, while there is a keeper and `outlive` is not 0.

    Args:
        log: Hears why something is not possible.
        outlive: Seconds that kernels outlive the server (KernelsOutliveServer).
    """

    def __init__(self, log: Log, outlive: float) -> None:
        self._log = log
        self.outlive = outlive
        self.keeper: KeeperClient | None = None
        self._file: NotesFile | None = None
        self._sessions: dict[Kernel, LastingSession] = {}
        #: Whose records are to be written when the loop comes round, and later.
        self._changed: dict[Kernel, None] = {}
        self._later: dict[Kernel, None] = {}
        self._timer: Any = None
        #: Those that have had another state since their record was written, the oldest first.
        self._moved: dict[Kernel, None] = {}
        self._moves_timer: Any = None

    def begin(self, keeper: KeeperClient | None, descriptor: int | None = None) -> None:
        """Use this keeper from now on.

        Args:
            keeper: The keeper; None if there is none.
            descriptor: Of the file of notes of the program before this one in this process.
        """
        self.keeper = keeper
        if keeper is None or (descriptor is None and not self.outlive and _NOTES not in keeper.kept):
            return
        if self._file is None:
            found = keeper.kept.pop(_NOTES, None)
            try:
                self._file = NotesFile(found[1].pop() if found is not None else descriptor)
            except (OSError, NotesLost) as error:
                self._log.warning(f"Kernels of the server before this one cannot be continued: {error}")
            self._file = self._file or self._new_file()
            if self._file is not None:
                share_buffers(self._file.buffers())
        if self._file is not None:
            keeper.hold(_NOTES, {}, [self._file.descriptor])

    def _new_file(self) -> NotesFile | None:
        try:
            return NotesFile()
        except OSError as error:
            self._log.warning(f"Kernels end with this server, because no notes of them can be made: {error}")
            return None

    def set_outlive(self, seconds: float) -> None:
        """Change how long kernels outlive the server. From 0 to more, that is true of those that are started later."""
        self.outlive = seconds
        if self.keeper is not None:
            self.keeper.set_outlive(seconds)
            if seconds and self._file is None:
                self.begin(self.keeper)

    def why_not(self) -> str:
        """Why kernels do not outlive this server, "" if they do."""
        if self.keeper is None or self._file is None:
            return "there is no keeper, or KernelsOutliveServer is 0"
        return ""

    def leave(self, seconds: float) -> None:
        """Leave all kernels to the next server, which has so many seconds to come. Nothing must be received from them
        or sent to them after this.
        """
        self._write_all()
        if self.keeper is not None:
            self.keeper.goodbye(seconds)

    def hand_over(self) -> dict[str, Any]:
        """What the next program in this process needs to go on with it (`handover`)."""
        self._write_all()
        return {} if self._file is None else {"descriptor": self._file.descriptor}

    # -- kernels -------------------------------------------------------------------------------------------------

    def make_notes(self, descriptor: int, received: int) -> KernelNotes | None:
        """Begin the notes of a new kernel; None if it does not outlive the server.

        Args:
            descriptor: Of its data connection, on which the greeting is complete.
            received: Bytes of the first frames that were received already.
        """
        if self._file is None or self.keeper is None or not self.outlive:
            return None
        notes = self._file.begin()
        if notes is not None and not notes.measure(descriptor, received):
            notes.forget()
            return None
        return notes

    @staticmethod
    def passed_beside(record: Mapping[str, Any]) -> tuple[int, int]:
        """How many bytes were sent to the kernel of a record, and received from it, but not over its connection.

        Raises:
            OSError: The connector, which knows that, does not answer.
        """
        found: tuple[int, int] | None = record.get("beside")
        process = record["process"]
        if found is None:
            found = passed_beside(process["pid"]) if "remote" in process else (0, 0)
        return found

    def find_notes(
        self, record: Mapping[str, Any], descriptor: int, received: int, beside: int
    ) -> tuple[KernelNotes, int] | None:
        """The notes that another process has begun of a kernel, and the position of the next byte that it has not
        handed on; None if there are none.

        Args:
            record: What was handed over of the kernel.
            descriptor: Of its data connection.
            received: How much was received, and is handed on by this process.
            beside: How much of the stream was not received over this connection.
        """
        if self._file is None or "notes" not in record:
            return None
        notes = self._file.go_on(record["notes"])
        position = record.get("position")
        if position is None:
            position = int(lib.wstpkeep_taken(descriptor)) + beside - int(notes.state.taken) - received
        return notes, position

    def journal(self, kernel: Kernel, channel: Any) -> Journal:
        """Where the output backlog of a kernel is noted."""

        def hold(file: int) -> None:
            if self.keeper is not None:
                self.keeper.hold(_OUTPUT + kernel.id, {}, [file])

        return Journal(lambda: int(channel.scanner.state.consumed), hold)

    def keep(self, session: LastingSession) -> None:
        """A kernel is ready, or was taken over from another server: from now on it outlives this one."""
        if session.notes is None or self.keeper is None:
            return
        kernel = session.record
        self._sessions[kernel] = session
        self._write(kernel)
        record, descriptors = session.held()
        self.keeper.hold(_KERNEL + kernel.id, {**record, "notes": session.notes.index}, descriptors)

    def forget(self, kernel: Kernel) -> None:
        """A kernel is gone."""
        if self._sessions.pop(kernel, None) is not None and self.keeper is not None:
            self.keeper.release(_KERNEL + kernel.id)
            self.keeper.release(_OUTPUT + kernel.id)
        self._changed.pop(kernel, None)
        self._later.pop(kernel, None)
        self._moved.pop(kernel, None)

    def moved(self, kernel: Kernel, _before: KernelState | None, _since: float) -> None:
        """A kernel has another state. That is noted at once in one word; the record follows."""
        session = self._sessions.get(kernel)
        if session is not None and session.notes is not None:
            session.notes.state.state = _NUMBERS[kernel.state]
            self._moved[kernel] = None
            if self._moves_timer is None:
                self._write_moved_after(MOVES_LATER)

    def changed(self, kernel: Kernel, *, soon: bool = True) -> None:
        """Something about a kernel is to be noted: when the loop comes round, or a little later."""
        if kernel not in self._sessions:
            return
        if not soon:
            self._later[kernel] = None
            if self._timer is None:
                self._timer = get_hub().loop.timer(LATER)
                self._timer.start(self._write_later)
            return
        if not self._changed:
            get_hub().loop.run_callback(self._write_changed)
        self._changed[kernel] = None

    def _write_changed(self) -> None:
        changed, self._changed = self._changed, {}
        for kernel in changed:
            self._write(kernel)

    def _write_later(self) -> None:
        self._timer.stop()
        self._timer.close()
        self._timer = None
        later, self._later = self._later, {}
        for kernel in later:
            self._write(kernel)

    def _write_moved_after(self, seconds: float) -> None:
        self._moves_timer = get_hub().loop.timer(seconds)
        self._moves_timer.start(self._write_moved)

    def _write_moved(self) -> None:
        self._moves_timer.stop()
        self._moves_timer.close()
        self._moves_timer = None
        for kernel in tuple(islice(self._moved, MOVES_AT_ONCE)):
            self._write(kernel)
        if self._moved:
            self._write_moved_after(MOVES_PAUSE)

    def _write_all(self) -> None:
        for kernel in tuple(self._sessions):
            self._write(kernel)

    def _write(self, kernel: Kernel) -> None:
        self._moved.pop(kernel, None)
        session = self._sessions.get(kernel)
        if session is None or session.notes is None:
            return
        notes = session.notes
        record: dict[str, Any] = {"kernel": kernel.record(), "at": notes.stands_at()}
        if kernel.client is not None and kernel.client.keep_alive is not None:
            record["keep_alive"] = kernel.client.keep_alive
        if session.input_name:
            record["input_name"] = packed(session.input_name)
        if session.discards:
            record["discards"] = True
        question = session.question
        if question:
            record["question"] = packed(question)
        if not notes.write(record):  # evaluations are nested very deeply
            record["kernel"].pop("evaluation", None)
            record["at"][1] = -1  # so that nobody takes it for all that there is to know
            notes.write(record)
        notes.state.state = 0

    # -- after a crash -------------------------------------------------------------------------------------------

    def parents(self) -> list[tuple[dict[str, Any], list[int]]]:
        """The prefork parents that the keeper has held for another server, with the descriptors of their sockets."""
        kept = self.keeper.kept if self.keeper is not None else {}
        return [kept.pop(name) for name in tuple(kept) if name.startswith(_PARENT)]

    def keep_parent(self, pid: int, record: Mapping[str, Any], descriptor: int) -> None:
        """A prefork parent outlives this server, as long as a kernel does."""
        if self.keeper is not None:
            self.keeper.hold(f"{_PARENT}{pid}", {"parent": dict(record)}, [descriptor])

    def forget_parent(self, pid: int) -> None:
        """A prefork parent is gone."""
        if self.keeper is not None:
            self.keeper.release(f"{_PARENT}{pid}")

    def recover(self) -> tuple[dict[str, Any], dict[str, bool | None], dict[str, str]]:
        """Find what the keeper has held for a server that has ended.

        Returns:
            A record as of `Dispatcher.hand_over`; the kernels that had a client, by their IDs, and whether they are
            kept when that does not come back (None: the pool says so); those that cannot be gone on with, and why.
        """
        kept = self.keeper.kept if self.keeper is not None else {}
        kernels: dict[str, Any] = {}
        records: list[dict[str, Any]] = []
        awaited: dict[str, bool | None] = {}
        lost: dict[str, str] = {}
        for name in [name for name in kept if name.startswith(_KERNEL)]:
            identifier = name.removeprefix(_KERNEL)
            held, descriptors = kept.pop(name)
            output = kept.pop(_OUTPUT + identifier, None)
            try:
                if self._file is None:
                    raise NotesLost("there are no notes of it")
                notes = self._file.go_on(held["notes"])
                beside = _ask(held["session"])
                found = notes.recover(descriptors[0], beside)
                kernel = _kernel_record(found)
            except NotesLost as error:
                lost[identifier] = str(error)
                _close(descriptors, output)
                continue
            if kernel["state"] == KernelState.BRIDGED.value:
                awaited[identifier] = found.record.get("keep_alive") if found.state is None else None
                kernel["state"] = KernelState.RESERVED.value
            records.append(kernel)
            kernels[identifier] = {**_session_record(held, descriptors, found, output), "beside": beside}
        registry = {"kernels": records, "pools": [], "clients": [], "waiting": []}
        return {"registry": registry, "kernels": kernels, "clients": [], "closing": {}}, awaited, lost


def _ask(session: Mapping[str, Any]) -> tuple[int, int]:
    """`Persistence.passed_beside` for what can be gone without. Raises NotesLost."""
    try:
        return Persistence.passed_beside(session)
    except OSError:
        raise NotesLost("the process that stands for it here does not answer") from None


def _close(descriptors: list[int], output: tuple[dict[str, Any], list[int]] | None) -> None:
    for descriptor in (*descriptors, *(output[1] if output is not None else ())):
        os.close(descriptor)


def _kernel_record(found: Recovered) -> dict[str, Any]:
    """The registry's record of a kernel, with what has happened since it was written. Raises NotesLost."""
    kernel: dict[str, Any] = dict(found.record["kernel"])
    if found.state is not None:
        kernel["state"] = _STATES[found.state].value
        kernel["uses"] = max(1, kernel.get("uses", 0))  # it has been bridged since the record was written
        kernel["needs_reset"] = True
    if kernel["state"] not in _LASTING:
        raise NotesLost(f"it was {kernel['state']}")
    noted = found.record["at"][0]
    kernel["evaluations"] = kernel.get("evaluations", 0) + max(0, found.begun - noted)
    if not found.fresh:
        kernel.pop("evaluation", None)
        if found.busy:
            kernel["evaluation"] = {"open": [[found.head.name, 0, False]]}
            kernel["busy_since"] = time.monotonic()  # or some time before; nobody aborts it because of another one
    return kernel


def _session_record(
    held: Mapping[str, Any],
    descriptors: list[int],
    found: Recovered,
    output: tuple[dict[str, Any], list[int]] | None,
) -> dict[str, Any]:
    """The record of a kernel as of `KernelSession.hand_over`."""
    session: dict[str, Any] = dict(held["session"])
    session["link"] = {
        **session["link"],
        "data": descriptors[0],
        "messages": descriptors[1],
        "received": packed(found.received),
    }
    if len(descriptors) > 2:
        lines = {"descriptor": descriptors[2], "rest": "", "lines": []}
        session["process"] = {**session["process"], "output": lines}
    session |= {name: found.record[name] for name in ("input_name", "question") if name in found.record}
    # a kernel whose answer is thrown away is idle before it is bridged again
    if found.record.get("discards") and (found.state is None or _STATES[found.state] is not KernelState.BRIDGED):
        session["discards"] = True
    session |= {"notes": held["notes"], "position": found.position, "begun": found.begun}
    dropped = 0
    if output is not None:
        frames, dropped = Journal.read(output[1][0], found.boundary)
        os.close(output[1][0])
        session["backlog"] = [packed(frame) for frame in frames]
    if found.scan:
        session["scan"] = packed(found.scan)
        dropped += 1
    if dropped:
        session["dropped"] = dropped
    return session


def scan_of(record: Mapping[str, Any]) -> bytes:
    """The state of a scanner in the record of a kernel, b"" if there is none."""
    return unpacked(record.get("scan", ""))
