"""The server as a whole: connecting to it, its status, and the commands reload and stop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from wstpserver.cli.script.connect import is_on_this_machine
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, WaitNotice
from wstpserver.client import (
    Address,
    Callbacks,
    CommandError,
    ConnectError,
    LinkError,
    LinkTimeout,
    Session,
    connect,
)
from wstpserver.client.commands import KernelInformation, PoolInformation, read_information
from wstpserver.client.deadline import Deadline

#: Seconds for the server to take the connection and to answer a question.
ANSWER_TIMEOUT: Final = 10.0
#: Seconds for the server to stop: running replies have 10 s, and closing kernels takes some more.
_STOP_TIMEOUT: Final = 60.0
_STOP_INTERVAL: Final = 0.1
_START_ADVICE: Final = "Start wstpserver, or name another server: --server PORT@HOST"


def open_server(
    address: Address,
    terminal: Terminal,
    timeout: float = ANSWER_TIMEOUT,
    callbacks: Callbacks | None = None,
    *,
    announce: bool = True,
) -> Session:
    """Open a session for commands: it takes no kernel, and none is started for it.

    Args:
        address: The server.
        terminal: Is told if connecting takes long, unless `announce` is false.
        timeout: Seconds to connect.
        callbacks: For the session.
        announce: See `terminal`.

    Raises:
        ConnectError: Nobody answers there.
        LinkTimeout: The server does not greet in time.
    """
    limit = Deadline(timeout)
    notice = WaitNotice(terminal, f"connecting to {address}", limit)
    try:
        with notice if announce else contextlib.nullcontext():
            link = connect(address, limit.remaining(), without_kernel=True)
    except ConnectError as error:
        raise ConnectError(error.message, error.where, error.advice or _START_ADVICE) from error
    except LinkTimeout as error:
        raise LinkTimeout(error.message, error.where or str(address), error.advice or _START_ADVICE) from error
    return Session(link, callbacks=callbacks, results="expression")


# Commands for the server as a whole; servers that do not know them get a signal


def reload(address: Address, terminal: Terminal) -> int:
    """Have the server read its configuration again. ProgramError if it does not."""
    with open_server(address, terminal) as session:
        if _commanded(session, "ReloadConfiguration", address):
            terminal.write("the server has read its configuration again; its log says what changed\n")
            return ExitCode.OK
        process = _process_here(address, _ask(session))
    _send(process, "SIGHUP")
    terminal.write(f"told the server (process {process}) to read its configuration again; its log says what changed\n")
    return ExitCode.OK


def stop(address: Address, terminal: Terminal, keep_kernels: float | None = None) -> int:
    """Stop the server, and wait until it has ended.

    Args:
        address: Where it is.
        terminal: Hears of it.
        keep_kernels: Seconds for which its kernels are left to the next server; None to close them.

    Raises:
        ProgramError: It does not end, or cannot leave its kernels.
    """
    arguments = () if keep_kernels is None else (keep_kernels,)
    process: int | None = None
    with open_server(address, terminal) as session:
        try:
            process = _process_here(address, _ask(session))
        except ProgramError:
            pass  # of a server elsewhere the end of its port is waited for
        except CommandError:
            pass  # it tells nothing to this client, but may do what it says
        if not _commanded(session, "StopServer", address, *arguments):
            if arguments:
                raise ProgramError("this server cannot leave its kernels to another one")
            process = _process_here(address, _ask(session))
            _send(process, "SIGTERM")
    named = "the server" if process is None else f"the server (process {process})"
    deadline = Deadline(_STOP_TIMEOUT)
    with WaitNotice(terminal, f"waiting for {named} to close its kernels and stop", deadline):
        while _listens(address) if process is None else _command_line(process):
            if deadline.expired:
                raise ProgramError(f"{named} did not stop {deadline}", ExitCode.TIMED_OUT)
            time.sleep(_STOP_INTERVAL)
    terminal.write(f"{named} has stopped\n")
    return ExitCode.OK


def restart(address: Address, terminal: Terminal) -> int:
    """Have the server execute its program again, and wait until it goes on. Nobody loses a link or a kernel.

    Raises:
        ProgramError: It was not restarted; the text says why.
    """
    with open_server(address, terminal) as session:
        try:
            with WaitNotice(terminal, "waiting for the server to restart"):
                session.command("RestartServer", timeout=None)
        except CommandError as error:
            if not error.reply:
                raise
            if error.reply.get("status") == "PacketMalformed":
                raise ProgramError("this server cannot restart without losing anything; stop and start it") from None
            reason = error.reply.get("reason") or "only the user that it runs as can restart it, on its computer"
            raise ProgramError(f"the server was not restarted and goes on as before: {reason}") from None
    terminal.write("the server was restarted; all kernels and clients are as before\n")
    return ExitCode.OK


def _commanded(session: Session, name: str, address: Address, *arguments: float) -> bool:
    """Give an administrative command; False if the server has no such command. ProgramError if it refuses."""
    try:
        session.command(name, *arguments)
    except CommandError as error:
        if error.reply.get("status") == "PacketMalformed":
            return False
        raise ProgramError(f"{address}: {error.reply.get('reason') or error.message}") from None
    return True


def _listens(address: Address) -> bool:
    """Whether something still takes connections there."""
    try:
        socket.create_connection((address.data.host, address.data.port), ANSWER_TIMEOUT).close()
    except OSError:
        return False
    return True


def _process_here(address: Address, answer: object) -> int:
    """The process ID of the server, after making sure that it is a process of this machine.

    An address of this machine may be the near end of a tunnel, and the ID that of some other program here.
    """
    told = answer if isinstance(answer, Mapping) else {}
    process, machine = told.get("ServerProcessID"), told.get("ServerMachine")
    if not isinstance(process, int) or process <= 1:
        raise ProgramError(f"{address}: this server does not tell its process ID")
    elsewhere = not is_on_this_machine(address) or (isinstance(machine, str) and machine != socket.gethostname())
    if elsewhere or "wstpserver" not in [os.path.basename(word) for word in _command_line(process).split()]:
        raise ProgramError(f"{address}: the server does not run on this machine; signals reach only those that do")
    return process


def _command_line(process: int) -> str:
    """The command line of a process of this machine; "" if there is no such process."""
    if os.path.isdir("/proc/self"):
        try:
            with open(f"/proc/{process}/cmdline", "rb") as file:
                return file.read().replace(b"\0", b" ").decode(errors="replace")  # empty for a process that has ended
        except OSError:
            return ""
    ps = ["ps", "-o", "command=", "-p", str(process)]
    try:
        shown = subprocess.run(ps, capture_output=True, text=True, check=False).stdout.strip()
    except OSError as error:
        raise ProgramError(f"cannot look for the server's process: {error.strerror}") from None
    return "" if shown.endswith("<defunct>") else shown


def _send(process: int, name: str) -> None:
    number = getattr(signal, name, None)
    if number is None:
        raise ProgramError(f"this system has no {name}")
    try:
        os.kill(process, number)
    except OSError as error:
        raise ProgramError(f"cannot signal the server (process {process}): {error.strerror}") from None


# status


_HOME: Final = "\x1b[H"
_CLEAR_LINE: Final = "\x1b[K"
_CLEAR_BELOW: Final = "\x1b[J"


def status(
    address: Address, terminal: Terminal, *, as_json: bool = False, interval: float | None = None
) -> int:
    """Show pools and kernels. Raises ConnectError, LinkTimeout, LinkClosed, CommandError."""
    if interval is None:
        with open_server(address, terminal) as session:
            terminal.write(_text(_ask(session), address, as_json=as_json, indent=True))
        return ExitCode.OK
    try:
        _Watch(address, terminal, interval, as_json=as_json).run()
    except KeyboardInterrupt:  # the way to end it
        pass
    return ExitCode.OK


def _ask(session: Session) -> object:
    return session.command("GetServerInformation")


def _text(answer: object, address: Address, *, as_json: bool, indent: bool) -> str:
    if as_json:
        return json.dumps(answer, ensure_ascii=False, indent=2 if indent else None) + "\n"
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return "\n".join(report(answer, str(address), width)) + "\n"


class _Watch:
    """Shows the status every few seconds, in place on a terminal. A server that goes away is waited for."""

    def __init__(self, address: Address, terminal: Terminal, interval: float, *, as_json: bool) -> None:
        self._address = address
        self._interval = interval
        self._as_json = as_json
        self._terminal = terminal
        self._session: Session | None = None
        self._show: Callable[[str], None] = self._append
        if sys.stdout.isatty() and not as_json:
            self._show = self._replace

    def run(self) -> None:
        """Until KeyboardInterrupt. The first time there must be a server: ConnectError, LinkTimeout."""
        self._session = open_server(self._address, self._terminal)
        try:
            while True:
                self._show(self._next())
                time.sleep(self._interval)
        finally:
            if self._session is not None:
                self._session.close()

    def _next(self) -> str:
        try:
            if self._session is None:
                self._session = open_server(self._address, self._terminal)
            return _text(_ask(self._session), self._address, as_json=self._as_json, indent=False)
        except LinkError as error:
            if self._session is not None:
                self._session.close()
                self._session = None
            if self._as_json:
                return json.dumps({"error": str(error)}, ensure_ascii=False) + "\n"
            return f"{error}\nTrying again every {self._interval:g} s\n"

    def _append(self, text: str) -> None:
        self._terminal.write(text if self._as_json else text + "\n")

    def _replace(self, text: str) -> None:
        """Over what is there, line by line, so that nothing flickers; no more lines than the terminal has."""
        clock = time.strftime("%H:%M:%S")
        room = shutil.get_terminal_size().lines - 2
        lines = text.splitlines()
        if len(lines) > room:
            lines = [*lines[: room - 1], f"({len(lines) - room + 1} more lines)"]
        lines.append(f"{clock}, every {self._interval:g} s, Ctrl-C ends")
        self._terminal.write(_HOME + "".join(f"{line}{_CLEAR_LINE}\n" for line in lines) + _CLEAR_BELOW)


# Tables: columns as wide as they need to be; some are left out or cut if there is no room


_GAP = "  "
#: A column that has to give way keeps so many characters.
_LEAST = 6


class TableColumn(NamedTuple):
    """`right`: numbers, flush right. For a table that does not fit: `optional`: left out; `shrinks`: cut."""

    title: str
    right: bool = False
    shrinks: bool = False
    optional: bool = False


def table(columns: Sequence[TableColumn], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """The lines of a table, titles first, none longer than `width` characters as far as that can be."""
    cells = [[column.title for column in columns], *rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    if width is not None and _excess(widths, width) > 0:
        optional = [place for place, column in enumerate(columns) if column.optional]
        if optional:
            kept = [place for place in range(len(columns)) if place != optional[-1]]
            return table([columns[place] for place in kept], [[row[place] for place in kept] for row in rows], width)
        _shrink(columns, widths, width)
    return [_line(columns, widths, row) for row in cells]


def _excess(widths: Sequence[int], width: int) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1) - width


def _shrink(columns: Sequence[TableColumn], widths: list[int], width: int) -> None:
    """Take what is too much from the widest column that gives way, one character after the other."""
    excess = _excess(widths, width)
    while excess > 0:
        places = [place for place, column in enumerate(columns) if column.shrinks and widths[place] > _LEAST]
        if not places:
            return
        widths[max(places, key=widths.__getitem__)] -= 1
        excess -= 1


def _line(columns: Sequence[TableColumn], widths: Sequence[int], row: Sequence[str]) -> str:
    cells = []
    for column, size, text in zip(columns, widths, row, strict=True):
        shown = text if len(text) <= size else text[: size - 1] + "…"
        cells.append(shown.rjust(size) if column.right else shown.ljust(size))
    return _GAP.join(cells).rstrip()


# The report


#: The states of kernels as columns of the table of pools; the later ones only where there are such kernels.
_ALWAYS: Final = ("free", "in use", "reserved", "starting")
_SOMETIMES: Final = ("still busy", "resetting", "closing")
#: What the states are called here; the others keep their names.
_NAMES: Final = {"bridged": "in use"}

_KERNEL_COLUMNS: Final = (
    TableColumn("KERNEL"),
    TableColumn("POOL", shrinks=True),
    TableColumn("STATE"),
    TableColumn("BUSY"),
    TableColumn("FOR", right=True),
    TableColumn("AGE", right=True, optional=True),
    TableColumn("EVALS", right=True),
    TableColumn("MEMORY", right=True),
    TableColumn("PID", right=True),
    TableColumn("HOST", shrinks=True, optional=True),
    TableColumn("LAUNCHER", shrinks=True, optional=True),
    TableColumn("CLIENT", shrinks=True),
)


def report(answer: object, address: str, width: int | None) -> list[str]:
    """What ``wstpserver-admin status`` shows.

    Args:
        answer: What the server answers to GetServerInformation.
        address: Where the server is.
        width: Columns of the terminal; None for any number.

    Returns:
        The lines.

    Raises:
        CommandError: `answer` names no pools.
    """
    information = read_information(answer)
    pools = list(information.pools.values())
    kernels = information.kernels
    lines = [f"{address}: {_counted(len(pools), 'pool')}, {_counted(len(kernels), 'kernel')}"]
    assert isinstance(answer, Mapping), "otherwise it is no information"
    about = _about_server(answer)
    if width is not None and len(about) > width:
        about = about[: width - 3] + "..."
    lines += [about, ""] if about else [""]
    lines += _pool_table(pools, width)
    for pool in pools:
        if pool.trouble:
            lines += ["", f"{pool.name}: {pool.trouble}"]
    if kernels:
        memory = _memory(answer)
        elsewhere = any(kernel.launcher for kernel in kernels)
        rows = [_kernel_row(kernel, memory.get(kernel.id), elsewhere=elsewhere) for kernel in kernels]
        used = [place for place, column in enumerate(_KERNEL_COLUMNS) if _is_told(column, rows, place)]
        lines += ["", *table([_KERNEL_COLUMNS[place] for place in used], [_picked(row, used) for row in rows], width)]
    starting = [f"{kernel.id}: {kernel.last_output}" for kernel in kernels if kernel.last_output]
    return [*lines, "", *starting] if starting else lines


def _about_server(answer: Mapping[str, object]) -> str:
    """Version, process, uptime and configuration file, as far as the server tells them."""
    parts = []
    version, process = answer.get("ServerVersion"), answer.get("ServerProcessID")
    uptime, path = answer.get("Uptime"), answer.get("ConfigurationFile")
    if isinstance(version, str):
        parts.append(f"wstpserver {version}")
    if isinstance(process, int):
        parts.append(f"process {process}")
    if isinstance(uptime, (int, float)):
        parts.append(f"up {duration(uptime)}")
    if isinstance(path, str) and path:
        parts.append(f"configuration {path}")
    return ", ".join(parts)


def _memory(answer: Mapping[str, object]) -> dict[str, int]:
    """Bytes of memory of each kernel by its ID, as far as the server tells them."""
    pools = answer.get("Pools")
    lists = [answer.get("KernelsOutsidePools")]
    for pool in pools.values() if isinstance(pools, Mapping) else ():
        lists.append(pool.get("Kernels") if isinstance(pool, Mapping) else None)
    found = {}
    for listed in lists:
        for kernel in listed if isinstance(listed, list) else ():
            size = kernel.get("Memory") if isinstance(kernel, Mapping) else None
            if isinstance(size, int):
                found[str(kernel.get("ID"))] = size
    return found


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _pool_table(pools: list[PoolInformation], width: int | None) -> list[str]:
    states = {pool.name: Counter(state_of(kernel) for kernel in pool.kernels or ()) for pool in pools}
    shown = [*_ALWAYS, *(name for name in _SOMETIMES if any(counts[name] for counts in states.values()))]
    columns = [TableColumn("POOL", shrinks=True), TableColumn("ALL", right=True), TableColumn("MIN-MAX", right=True)]
    columns += [TableColumn(name.upper(), right=True) for name in [*shown, "waiting"]]
    rows = []
    for pool in pools:
        listed = pool.kernels is not None
        counts = [str(states[pool.name][name]) if listed else "-" for name in shown]
        number = str(len(pool.kernels)) if pool.kernels is not None else "-"
        rows.append([_pool_name(pool), number, f"{_or(pool.minimum)}-{_or(pool.maximum)}", *counts, _or(pool.waiting)])
    lines = table(columns, rows, width)
    marks = [text for mark, text in _MARKS if any(_pool_name(pool).endswith(mark) for pool in pools)]
    return lines + ["", *marks] if marks else lines


_MARKS: Final = (
    (" *", "* default pool"),
    (" +", "+ default pool for parallel kernels"),
    (" *+", "*+ default pool, for parallel kernels too"),
)


def _pool_name(pool: PoolInformation) -> str:
    mark = "*" * pool.is_default + "+" * pool.is_parallel_default
    return f"{pool.name} {mark}" if mark else pool.name


def state_of(kernel: KernelInformation) -> str:
    """The state in the words of the table: a free kernel that still works for a client that left is "still busy"."""
    if kernel.state == "free" and kernel.busy:
        return "still busy"
    return _NAMES.get(kernel.state, kernel.state)


def _kernel_row(kernel: KernelInformation, memory: int | None, *, elsewhere: bool) -> list[str]:
    """The cells of a kernel. Where all kernels run on the server's machine (not `elsewhere`) nothing says so."""
    return [
        kernel.id,
        kernel.pool or "(none)",
        state_of(kernel),
        "no" if not kernel.busy else "yes" if kernel.seconds_busy is None else duration(kernel.seconds_busy),
        duration(kernel.seconds),
        duration(kernel.age),
        _or(kernel.evaluations),
        "-" if memory is None else megabytes(memory),
        _or(kernel.process),
        (kernel.host or "-") if elsewhere else "-",
        (kernel.launcher or "-") if elsewhere else "-",
        _address(kernel.client) if kernel.client is not None else "-",
    ]


def _address(client: str) -> str:
    """Of ``Client 3 (127.0.0.1:46074)`` the address; the number is of use in the log only."""
    found = re.search(r"\((.+)\)", client)
    return found[1] if found else client


def _is_told(column: TableColumn, rows: list[list[str]], place: int) -> bool:
    """Whether to show a column that not every server fills."""
    always = column.title not in ("AGE", "CLIENT", "MEMORY", "HOST", "LAUNCHER")
    return always or any(row[place] != "-" for row in rows)


def _picked(row: list[str], places: list[int]) -> list[str]:
    return [row[place] for place in places]


def _or(value: int | None) -> str:
    return "-" if value is None else str(value)


def megabytes(size: int) -> str:
    """Bytes in megabytes of 10^6 bytes: ``85 MB``, ``0.4 MB``."""
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


def duration(seconds: float | None) -> str:
    """In the largest unit that is full twice: ``95 s``, ``4 min``, ``30 h``, ``12 d``; "-" for None."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
