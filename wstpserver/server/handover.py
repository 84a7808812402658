"""From one program to the next: what is handed over, and the planned restart that does so in the same process.

First the program is tried in a child process: where that could not start, nothing happens. Then, while everybody is
still served, no kernel is launched any more, and those that are starting, and the frames that are under way, come to
their end. Then nothing more is received, so that every link comes to a frame boundary; what a peer does not take at
once is kept. Then the state is written to a file without a name, which the next program inherits with all connections.
The process stays the same, so kernels stay its children, and a service manager notices nothing. If the program cannot
be executed after all, this one goes on as if nothing had happened.

The state is a versioned record of everything that is under way. It consists of values of JSON; bytes are text in base64
(`packed`). Descriptors are numbers that mean something in the process that reads the record: it inherits them, or puts
the numbers of those that it was sent in their place (a server that takes over kernels of one that was killed).

    {"format": 1, "program": "1.2.3",                  the format, and the version of the program that wrote it
     "registry": {...},                                `Registry.record`: kernels, pools, clients, who waits
     "kernels": {id: kernel, ...},                     `KernelSession.hand_over`, for each kernel that has a link
     "clients": [client, ...],                         `ClientSession.hand_over`, in the order of the registry's clients
     "leaving": [link, ...],                           of clients that only have to read why they were closed
     "unpaired": [{...}, ...],                         `LinkHandshakes.hand_over`: connections that are no link yet
     ...}                                              what else `app` hands over

    kernel: {"process": {"pid": 1, "parent": 0, "output": {"descriptor": 5, "rest": "", "lines": []}},
             "link": link, "input_name": "", "question": "", "backlog": ["", ...], "dropped": 0, "discards": false}
    link:   {"data": 7, "messages": 8,                 descriptors of its two connections
             "version": 4, "address": "",              as of `OpenLink`
             "received": "", "messages_received": "",  received, and not passed on: the beginning of a frame perhaps
             "unsent": "", "messages_unsent": "",      to be sent before anything else
             "open_tail": false}                       the last frame that was sent has no `]`

What a record does not say has its default, and what is not known here is passed over, so a later version of the same
format can add to it. A change that an earlier program would misread makes another format; `decode` brings records of
earlier formats to the present one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

import gevent
from gevent import subprocess
from gevent.event import Event

from wstpserver.keeper.protocol import memory_file
from wstpserver.server import CAN_START, HANDOVER_VARIABLE, systemd
from wstpserver.server.connection import Connection, yield_to_loop
from wstpserver.server.handshake import OpenLink
from wstpserver.server.log import Log
from wstpserver.version import VERSION

#: The format of the records that are written here.
FORMAT = 1

#: Seconds that the program has to say that it could start.
CHECK_TIME = 30.0

#: Seconds between two looks at what is still under way, while everybody is served and while nobody is.
SERVING_INTERVAL = 0.02
HALTED_INTERVAL = 0.001

#: Seconds for what follows when a link was closed in the middle of a frame.
CLOSING_TIME = 1.0

#: Seconds after which the program is tried once more before it is executed.
STALE = 1.0

#: How often the loop has to poll with nothing to do before everything counts as halted: what one greenlet leaves to
#: another that is just starting is done by then.
QUIET_TURNS = 3

#: Signals that wait while the program is executed: the next one has no handlers at first.
BLOCKED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)


class HandoverError(Exception):
    """A record cannot be used; the text says why."""


# -- records as bytes --------------------------------------------------------------------------------------------


def encode(record: Mapping[str, Any]) -> bytes:
    """The bytes of a record, with its format and the version of this program."""
    return json.dumps({"format": FORMAT, "program": VERSION, **record}, separators=(",", ":")).encode()


def decode(data: bytes) -> dict[str, Any]:
    """The record of `encode`, in the present format.

    Raises:
        HandoverError: It is none, or its format is one of a later version of the program.
    """
    try:
        record = json.loads(data)
    except ValueError as error:
        raise HandoverError(f"what the server before this one left cannot be read: {error}") from None
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise HandoverError("what the server before this one left has no format")
    check_format(record["format"], str(record.get("program", "")))
    return record


def check_format(number: int, program: str = "") -> None:
    """Check that records of this format can be read here.

    Raises:
        HandoverError: They cannot.
    """
    if not 1 <= number <= FORMAT:
        raise HandoverError(
            f"version {VERSION} cannot go on with what version {program or '(unknown)'} hands over: that has format"
            f" {number}, and only formats up to {FORMAT} are known"
        )


def packed(data: bytes | bytearray | memoryview) -> str:
    """Bytes as a value of JSON."""
    return base64.b64encode(data).decode("ascii")


def unpacked(text: str) -> bytes:
    """The bytes of `packed`."""
    return base64.b64decode(text)


# -- a record in a file ------------------------------------------------------------------------------------------


def store(record: Mapping[str, Any]) -> int:
    """Write a record to a file without a name; returns its descriptor, which the next program inherits.

    Raises:
        OSError: That is not possible.
    """
    descriptor = memory_file("wstpserver-handover")
    try:
        os.set_inheritable(descriptor, True)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(encode(record))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def fetch(descriptor: int) -> dict[str, Any]:
    """Read the record that `store` wrote, and close the file.

    Raises:
        HandoverError: There is none, or it cannot be used.
    """
    try:
        with open(descriptor, "rb") as file:
            file.seek(0)
            return decode(file.read())
    except OSError as error:
        raise HandoverError(f"what the server before this one left cannot be read: {error.strerror}") from None


def descriptors(record: object) -> list[int]:
    """All descriptors that a record names."""
    found: list[int] = []
    if isinstance(record, Mapping):
        for key, value in record.items():
            if key in _DESCRIPTORS and isinstance(value, int):
                found.append(value)
            else:
                found += descriptors(value)
    elif isinstance(record, list):
        for value in record:
            found += descriptors(value)
    return found


#: The keys of descriptors.
_DESCRIPTORS = frozenset({"data", "messages", "descriptor"})


def set_inheritable(numbers: Iterable[int], *, inheritable: bool) -> None:
    """Let the next program have these descriptors, or not."""
    for number in numbers:
        with contextlib.suppress(OSError):
            os.set_inheritable(number, inheritable)


# -- links -------------------------------------------------------------------------------------------------------


def link_record(
    data: Connection,
    messages: Connection,
    version: int,
    address: str,
    *,
    received: bytes = b"",
    messages_received: bytes = b"",
    messages_unsent: bytes = b"",
    open_tail: bool = False,
) -> dict[str, Any]:
    """The record of a link that is at frame boundaries in both directions.

    Args:
        data: Its data connection; what that keeps unsent is in the record.
        messages: Its message connection.
        version: The version of its greeting.
        address: The address of the peer.
        received: What was received on the data connection and not passed on.
        messages_received: The same on the message connection.
        messages_unsent: What is to be sent there before anything else.
        open_tail: Whether the last frame that was sent has no `]`.
    """
    record: dict[str, Any] = {
        "data": data.socket.fileno(),
        "messages": messages.socket.fileno(),
        "version": version,
        "address": address,
    }
    unsent = bytes(data.unsent or b"")
    parts = {
        "received": received,
        "messages_received": messages_received,
        "unsent": unsent,
        "messages_unsent": messages_unsent,
    }
    record |= {name: packed(part) for name, part in parts.items() if part}
    if open_tail:
        record["open_tail"] = True
    return record


def link_of_record(record: Mapping[str, Any]) -> OpenLink:
    """The link of a `link_record`; its `leftover` is what was received.

    Before anything else is written to it, `unsent_of` is sent.

    Raises:
        OSError: A descriptor is none of an open connection.
        KeyError: It is no record of a link.
    """
    data = socket.socket(fileno=record["data"])
    try:
        messages = socket.socket(fileno=record["messages"])
    except BaseException:
        data.close()
        raise
    try:
        for one in (data, messages):
            one.set_inheritable(False)
        return OpenLink(
            Connection(data),
            Connection(messages),
            unpacked(record.get("received", "")),
            unpacked(record.get("messages_received", "")),
            greeting_version=record["version"],
            address=record.get("address", ""),
        )
    except BaseException:
        data.close()
        messages.close()
        raise


# -- the restart -----------------------------------------------------------------------------------------------


def command_line() -> list[str]:
    """The command line of this process, which executes the program again."""
    return [sys.executable, *sys.orig_argv[1:]]


def check_words(port: int, interface: str) -> str:
    """What asks a program whether it could take over from this one (`read_check_words`).

    Args:
        port: The port that this server was asked to listen on.
        interface: The interface.
    """
    return f"check {FORMAT} {port} {interface}"


def read_check_words(words: str) -> tuple[int, int, str]:
    """The format, the port and the interface in what `check_words` of the server returned that asks.

    Raises:
        ValueError: There are none.
    """
    _, number, port, interface = words.split(" ", 3)
    return int(number), int(port), interface


def start_trial(words: str) -> subprocess.Popen:
    """Start a child process that finds out whether the program could start.

    Args:
        words: From `check_words`.

    Raises:
        OSError: It cannot be executed.
    """
    environment = {name: value for name, value in os.environ.items() if name not in systemd.VARIABLES}
    environment[HANDOVER_VARIABLE] = words
    return subprocess.Popen(
        command_line(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def outcome_of(child: subprocess.Popen) -> str:
    """Wait for a trial; returns why the program could not start, or ""."""
    try:
        output, errors = child.communicate(timeout=CHECK_TIME)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"the program did not say within {CHECK_TIME:g} seconds that it could start"
    if child.returncode == 0 and CAN_START in output.decode("utf-8", "replace").splitlines():
        return ""
    told = errors.decode("utf-8", "replace").strip() or output.decode("utf-8", "replace").strip()
    return _without_traceback(told) or f"the program ended with exit status {child.returncode}"


def _without_traceback(text: str) -> str:
    """What a program has said at its end; of a traceback its last line, and the place."""
    before, traceback, after = text.partition("Traceback (most recent call last):\n")
    places = re.findall(r'^ *File "(.*)", line (\d+)', after, re.MULTILINE)
    if not traceback or not places:
        return text
    file, line = places[-1]
    return f"{before}{after.splitlines()[-1]} ({file}, line {line})"


class Ends(Protocol):
    """What a restart needs of the `Dispatcher`: the clients and kernels at both ends of everything under way."""

    @property
    def is_settled(self) -> bool:
        """Whether no kernel is being started or reset, and of none that has ended it is open how."""

    def frames_under_way(self) -> set[tuple[Any, int]]:
        """The clients and kernels that are in the middle of a frame, each with a number that tells frames apart."""

    def halt(self) -> bool:
        """Receive nothing more; to be called until it returns True."""

    def resume(self) -> None:
        """The opposite of `halt`."""

    def close_unhalted(self, ends: Collection[Any] | None = None) -> None:
        """Part with the clients and kernels that stand in the middle of a frame, or with those of them in *ends*."""

    def hand_over(self) -> dict[str, Any]:
        """Everything that the next process needs, once all is halted."""


class Restart:
    """Restarts one server.

    Args:
        log: The log.
        ends: All sessions and kernels.
        stopping: Set when the server is asked to stop, which ends a restart.
        timeout: Returns how long it waits for what is under way (RestartTimeout), in seconds.
        words: What asks the program whether it could start.
        prepare: Has no further kernel launched, and withdraws the advertisement; may wait.
        halt: Stops accepting connections.
        resume: The opposite of both.
        others: Returns what is handed over beside the sessions and kernels.
    """

    def __init__(
        self,
        log: Log,
        ends: Ends,
        stopping: Event,
        timeout: Callable[[], float],
        words: str,
        prepare: Callable[[], None],
        halt: Callable[[], None],
        resume: Callable[[], None],
        others: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._log = log
        self._ends = ends
        self._stopping = stopping
        self._timeout = timeout
        self._words = words
        self._prepare = prepare
        self._halt_others = halt
        self._resume_others = resume
        self._others = others
        self._under_way = False
        self._trial: subprocess.Popen | None = None

    def stop(self) -> None:
        """Give up, because the server stops."""
        if self._trial is not None:
            self._trial.kill()

    def run(self) -> str:
        """Restart; does not return if the program was executed.

        Returns:
            Why it was not, for the administrator.
        """
        if self._under_way:
            return "a restart is under way already"
        self._under_way = True
        self._log.information("Restarting")
        try:
            reason = self._run()
        finally:
            self._under_way = False
        self._log.error(f"The server was not restarted and goes on as before: {reason}")
        return reason

    def _try_program(self) -> str:
        """Try whether the program could start; returns why not, or ""."""
        try:
            self._trial = start_trial(self._words)
        except OSError as error:
            return f"the program cannot be executed: {error.strerror}"
        try:
            reason = outcome_of(self._trial)
        finally:
            self._trial = None
        return "it is being stopped" if self._stopping.is_set() else reason

    def _run(self) -> str:
        reason = self._try_program()
        if reason:
            return reason
        tried = time.monotonic()
        try:
            self._prepare()
            stuck = self._await_frames()
            if time.monotonic() - tried > STALE:
                reason = self._try_program()
                if reason:
                    return reason
            if self._stopping.is_set():
                return "it is being stopped"
            return self._halt_and_execute(stuck)
        finally:
            self._resume_others()

    def _await_frames(self) -> set[Any]:
        """Wait, while everybody is served, for kernels that are starting and for the frames that are under way.

        Returns:
            The clients and kernels whose frame has not come to its end in time.
        """
        deadline = time.monotonic() + self._timeout()
        before = self._ends.frames_under_way()
        while not self._stopping.is_set():
            before &= self._ends.frames_under_way()
            if not before and self._ends.is_settled:
                break
            if time.monotonic() >= deadline:
                break
            gevent.sleep(SERVING_INTERVAL)
        return {end for end, _ in before}

    def _halt_and_execute(self, stuck: set[Any]) -> str:
        began = time.monotonic()
        self._halt_others()
        try:
            if stuck:
                self._ends.close_unhalted(stuck)
            self._halt(began + self._timeout())
            if self._stopping.is_set():
                return "it is being stopped"
            systemd.reloading()
            record = {**self._others(), **self._ends.hand_over(), "began": began, "halted": time.monotonic()}
            return self._execute(record)
        finally:
            self._ends.resume()

    def _halt(self, deadline: float) -> None:
        """Wait until everything can be handed over."""
        quiet, closed = 0, False
        while quiet < QUIET_TURNS and not self._stopping.is_set():
            if self._ends.halt():
                quiet += 1
                yield_to_loop()
                continue
            quiet = 0
            if time.monotonic() >= deadline:
                if closed:
                    return
                self._ends.close_unhalted()
                closed, deadline = True, deadline + CLOSING_TIME
            gevent.sleep(HALTED_INTERVAL)

    def _execute(self, record: Mapping[str, Any]) -> str:
        """Execute the program; returns why that is not possible."""
        numbers = descriptors(record)
        try:
            stored = store(record)
        except OSError as error:
            return f"what is under way cannot be handed over: {error.strerror}"
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_SIGNALS)
        set_inheritable([*numbers, stored], inheritable=True)
        self._log.flush()
        sys.stdout.flush()
        environment = {**os.environ, HANDOVER_VARIABLE: str(stored)}
        try:
            os.execve(sys.executable, command_line(), environment)
        except OSError as error:
            set_inheritable(numbers, inheritable=False)
            os.close(stored)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED_SIGNALS)
            return f"the program cannot be executed: {error.strerror}"
