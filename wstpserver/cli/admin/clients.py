"""The clients of a running server: the list of them, `kick`, and the interactive view `top`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from wstpserver.cli.admin.status import (
    TableColumn,
    duration,
    megabytes,
    open_server,
    state_of,
    table,
)
from wstpserver.cli.script.connect import is_on_this_machine
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal
from wstpserver.client import Address, CommandError, LinkError, Session
from wstpserver.client.commands import KernelInformation, read_information

try:  # POSIX
    import termios
    import tty
except ImportError:  # top shows itself once there
    termios = tty = None  # type: ignore[assignment]

#: Seconds between the two looks of `top --once`, from which it knows what happens in a second.
_SAMPLE: Final = 0.5


def administer(session: Session, name: str, *arguments: str | float) -> Any:
    """Give a command that is for the administrator.

    Raises:
        ProgramError: The server refuses it, and the text says why, or does not know it.
    """
    try:
        return session.command(name, *arguments)
    except CommandError as error:
        if error.reply.get("status") == "PacketMalformed":
            raise ProgramError(f"this server does not know the command {name}") from None
        if not error.reply:
            raise
        raise ProgramError(str(error.reply.get("reason") or f"the server refuses {name}")) from None


def client_information(session: Session) -> Mapping[str, Any]:
    """What the server says of its clients (GetClientInformation)."""
    answer = administer(session, "GetClientInformation")
    if not isinstance(answer, Mapping) or not isinstance(answer.get("Clients"), list):
        raise ProgramError(f"the server's answer names no clients: {str(answer)[:200]}")
    return answer


def named(client: Mapping[str, Any]) -> str:
    """A client in a sentence: "3 (127.0.0.1:46074, evaluating)"."""
    return f"{client.get('ID')} ({client.get('Address')}, {client.get('State')})"


# clients, kick


def clients(address: Address, terminal: Terminal, pool: str | None = None, *, as_json: bool = False) -> int:
    """List the clients, or those that have or wait for a kernel of a pool. ProgramError if the server refuses."""
    with open_server(address, terminal) as session:
        listed = client_information(session)["Clients"]
    shown = [client for client in listed if pool is None or pool in client.get("Occupies", ())]
    if as_json:
        terminal.write(json.dumps(shown, ensure_ascii=False, indent=2) + "\n")
        return ExitCode.OK
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    lines = table(_CLIENT_COLUMNS, [_client_row(client) for client in shown], width)
    terminal.write("\n".join(lines) + "\n")
    return ExitCode.OK


_CLIENT_COLUMNS: Final = (
    TableColumn("CLIENT", right=True),
    TableColumn("ADDRESS", shrinks=True),
    TableColumn("STATE"),
    TableColumn("POOL", shrinks=True),
    TableColumn("KERNEL"),
    TableColumn("EVALS", right=True),
    TableColumn("QUEUED", right=True, optional=True),
    TableColumn("IDLE", right=True),
    TableColumn("CONNECTED", right=True, optional=True),
)


def _client_row(client: Mapping[str, Any]) -> list[str]:
    waits, state = client.get("WaitsFor"), str(client.get("State"))
    if waits:
        state = f"{state} {duration(client.get('SecondsWaiting'))} for {waits}"
    return [
        str(client.get("ID")),
        str(client.get("Address") or "-"),
        state,
        str(client.get("Pool") or ("(none)" if client.get("Kernel") else "-")),
        str(client.get("Kernel") or "-"),
        str(client.get("Evaluations", "-")),
        str(client.get("Queued", "-")),
        duration(client.get("SecondsIdle")),
        duration(client.get("SecondsConnected")),
    ]


def kick(address: Address, terminal: Terminal, whom: Iterable[str], *, as_json: bool = False) -> int:
    """Close the links of clients, whatever is under way.

    Args:
        address: The server.
        terminal: Where to report.
        whom: Their numbers or addresses.
        as_json: Write a list of the clients that were there.

    Returns:
        The exit code; 1 if there is no such client.
    """
    code, kicked = ExitCode.OK, []
    with open_server(address, terminal) as session:
        for one in whom:
            listed = client_information(session)["Clients"]
            found = [client for client in listed if one in (client.get("ID"), client.get("Address"))]
            if not found:
                terminal.complain(f"there is no client {one}; wstpserver-admin clients shows those that are")
                code = ExitCode.FAILED
            for client in found:
                administer(session, "KickClient", one)
                kicked.append(client)
                if not as_json:
                    terminal.write(f"closed the link of client {named(client)}\n")
    if as_json:
        terminal.write(json.dumps(kicked, ensure_ascii=False, indent=2) + "\n")
    return code


# top: what is measured


@dataclass
class Sample:
    """What a server says at one time.

    Attributes:
        when: The time, by the monotonic clock, in seconds.
        about: The answer to GetServerInformation.
        kernels: Its kernels.
        clients: The answer to GetClientInformation; empty if the server refuses it, and `refused` says why.
        refused: See `clients`.
        processor: Seconds of processor time of each kernel, by its ID; empty for a server elsewhere.
    """

    when: float
    about: Mapping[str, Any]
    kernels: list[KernelInformation]
    clients: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    processor: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One kernel in the view; None for what is not known. Rates are per second."""

    kernel: KernelInformation
    client: str
    rate: float | None
    processor: float | None
    memory: int | None

    @property
    def busy_for(self) -> float:
        """Seconds since its evaluation began; -1 for a kernel without."""
        return (self.kernel.seconds_busy or 0.0) if self.kernel.busy else -1.0


def take_sample(session: Session, *, local: bool) -> Sample:
    """Ask a server. `local`: its kernels are processes of this machine."""
    about = session.command("GetServerInformation")
    sample = Sample(time.monotonic(), about if isinstance(about, Mapping) else {}, read_information(about).kernels)
    try:
        sample.clients = client_information(session)
    except ProgramError as error:
        sample.refused = str(error)
    if local and sample.about.get("ServerMachine") == socket.gethostname():
        for kernel in sample.kernels:
            with contextlib.suppress(OSError, psutil.Error):
                times = psutil.Process(kernel.process).cpu_times()
                sample.processor[kernel.id] = times.user + times.system
    return sample


def rows_of(now: Sample, before: Sample | None) -> list[Row]:
    """The kernels with what has changed since the sample before."""
    memory = _memory(now.about)
    known = {kernel.id: kernel for kernel in before.kernels} if before is not None else {}
    seconds = max(0.001, now.when - before.when) if before is not None else 0.0
    rows = []
    for kernel in now.kernels:
        earlier, rate, processor = known.get(kernel.id), None, None
        if before is not None and earlier is not None:
            if kernel.evaluations is not None and earlier.evaluations is not None:
                rate = max(0, kernel.evaluations - earlier.evaluations) / seconds
            if kernel.id in now.processor and kernel.id in before.processor:
                processor = max(0.0, now.processor[kernel.id] - before.processor[kernel.id]) / seconds
        client = (kernel.client or "").partition(" (")
        text = f"{client[0].removeprefix('Client ')} {client[2].removesuffix(')')}".strip()
        rows.append(Row(kernel, text, rate, processor, memory.get(kernel.id)))
    return rows


def _memory(about: Mapping[str, Any]) -> dict[str, int]:
    pools = about.get("Pools")
    lists = [pool.get("Kernels") for pool in pools.values()] if isinstance(pools, Mapping) else []
    listed = [one for part in (*lists, about.get("KernelsOutsidePools")) for one in part or ()]
    return {one["ID"]: one["Memory"] for one in listed if isinstance(one.get("Memory"), int)}


# top: what is shown

#: Key, title of the column, and what is sorted by; the largest number, or the first word, comes first.
SORTS: Final[dict[str, tuple[str, Callable[[Row], Any]]]] = {
    "k": ("KERNEL", lambda row: row.kernel.id),
    "p": ("POOL", lambda row: (row.kernel.pool, row.kernel.id)),
    "s": ("STATE", lambda row: (state_of(row.kernel), row.kernel.id)),
    "b": ("BUSY", lambda row: -row.busy_for),
    "e": ("EVAL/S", lambda row: -(row.rate or 0.0)),
    "c": ("CPU", lambda row: -(row.processor or 0.0)),
    "m": ("MEMORY", lambda row: -(row.memory or 0)),
}

_TOP_COLUMNS: Final = (
    TableColumn("KERNEL"),
    TableColumn("POOL", shrinks=True),
    TableColumn("STATE"),
    TableColumn("BUSY", right=True),
    TableColumn("EVALS", right=True, optional=True),
    TableColumn("EVAL/S", right=True),
    TableColumn("CPU", right=True),
    TableColumn("MEMORY", right=True),
    TableColumn("CLIENT", shrinks=True),
)
HELP: Final = "q quit  " + "  ".join(f"{key} {title.lower()}" for key, (title, _) in SORTS.items()) + "  r reverse"


def view(
    now: Sample,
    before: Sample | None,
    address: str,
    *,
    sort: str = "b",
    reverse: bool = False,
    width: int | None = None,
) -> list[str]:
    """The lines of `top`, without the one that explains the keys.

    Args:
        now: What the server says.
        before: What it said the time before; None for no rates.
        address: Where the server is.
        sort: A key of `SORTS`.
        reverse: The other way round.
        width: Columns of the terminal; None for any number.
    """
    rows = sorted(rows_of(now, before), key=SORTS[sort][1], reverse=reverse)
    uptime = now.about.get("Uptime")
    up = f", up {duration(uptime)}" if isinstance(uptime, (int, float)) else ""
    lines = [f"wstpserver {now.about.get('ServerVersion', '')} at {address}{up}", _summary(now, rows)]
    lines += [f"{name} is {state}" for name, state in _closed(now)]
    waiting = [client for client in now.clients.get("Clients", ()) if client.get("State") == "waiting"]
    if waiting:
        shown = ", ".join(
            f"{client.get('ID')} for {client.get('WaitsFor')} since {duration(client.get('SecondsWaiting'))}"
            for client in waiting[:8]
        )
        lines.append(f"Waiting: {shown}{', ...' if len(waiting) > 8 else ''}")
    if now.refused:
        lines.append(f"Clients are not shown: {now.refused}")
    lines.append("")
    cells = [_top_row(row) for row in rows]
    lines += table(_TOP_COLUMNS, cells, width)
    return [line if width is None or len(line) <= width else line[: width - 1] + "…" for line in lines]


def _summary(now: Sample, rows: Sequence[Row]) -> str:
    busy = sum(row.kernel.busy for row in rows)
    used = sum(row.kernel.state == "bridged" for row in rows)
    parts = [f"{len(rows)} kernels: {used} in use, {busy} busy"]
    if now.clients:
        listed = now.clients["Clients"]
        parts.append(f"{len(listed)} clients, {sum(client.get('State') == 'waiting' for client in listed)} waiting")
    rates = [row.rate for row in rows if row.rate is not None]
    if rates:
        parts.append(f"{sum(rates):.1f} evaluations/s")
    sizes = [row.memory for row in rows if row.memory is not None]
    if sizes:
        parts.append(f"{megabytes(sum(sizes))} of memory")
    return "; ".join(parts)


def _closed(now: Sample) -> Iterator[tuple[str, str]]:
    """What is paused or drained: the server, or some of its pools."""
    pools = now.about.get("Pools")
    states = {f"Pool {name}": pool.get("Admission", "open") for name, pool in pools.items()} if pools else {}
    states = {"The server": now.about.get("Admission", "open"), **states}
    words = {"paused": "paused", "draining": "being drained"}
    return ((name, words[state]) for name, state in states.items() if state in words)


def _top_row(row: Row) -> list[str]:
    kernel = row.kernel
    return [
        kernel.id,
        kernel.pool or "(none)",
        state_of(kernel),
        duration(kernel.seconds_busy) if kernel.busy else "-",
        "-" if kernel.evaluations is None else str(kernel.evaluations),
        "-" if row.rate is None else f"{row.rate:.1f}",
        "-" if row.processor is None else f"{100 * row.processor:.0f} %",
        "-" if row.memory is None else megabytes(row.memory),
        row.client or "-",
    ]


def as_values(now: Sample, before: Sample | None) -> dict[str, Any]:
    """What `top --json` prints."""
    return {
        "Server": {key: value for key, value in now.about.items() if key not in ("Pools", "KernelsOutsidePools")},
        "Kernels": [
            {
                "ID": row.kernel.id, "Pool": row.kernel.pool, "State": row.kernel.state, "Busy": row.kernel.busy,
                "SecondsInState": row.kernel.seconds, "SecondsBusy": row.kernel.seconds_busy,
                "Client": row.kernel.client, "ProcessID": row.kernel.process,
                "Evaluations": row.kernel.evaluations, "EvaluationsPerSecond": row.rate,
                "Processor": row.processor, "Memory": row.memory,
            }
            for row in rows_of(now, before)
        ],
        "Clients": now.clients.get("Clients"),
    }  # fmt: skip


# top: the terminal

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"  # another screen, without a cursor
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_CLEAR_LINE: Final = "\x1b[K"
_BOLD: Final = "\x1b[1m"
_REVERSE: Final = "\x1b[7m"
_PLAIN: Final = "\x1b[0m"
#: What arrow and function keys send, which mean nothing here.
_ESCAPE_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)")


def top(
    address: Address,
    terminal: Terminal,
    *,
    once: bool = False,
    interval: float = 2.0,
    sort: str = "b",
    as_json: bool = False,
) -> int:
    """Show what kernels and clients do, again and again until q is pressed.

    Args:
        address: The server.
        terminal: Where to show it.
        once: Show it once, without a terminal.
        interval: Seconds between two looks.
        sort: A key of `SORTS`.
        as_json: With `once`: JSON.

    Raises:
        ProgramError: It is to be interactive, and there is no terminal for that.
        ConnectError, LinkTimeout, LinkClosed, CommandError: There is no server, or it does not say how it is.
    """
    view_of = _Top(address, terminal, interval, sort)
    if once or as_json:
        return view_of.show_once(as_json=as_json)
    if termios is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ProgramError("top needs a terminal; top --once prints the same once", ExitCode.USAGE)
    return view_of.run()


class _Top:
    """The interactive view. A server that goes away is waited for."""

    def __init__(self, address: Address, terminal: Terminal, interval: float, sort: str) -> None:
        self._address = address
        self._terminal = terminal
        self._interval = interval
        self._sort = sort
        self._reverse = False
        self._local = is_on_this_machine(address)
        self._session: Session | None = None
        self._before: Sample | None = None
        self._now: Sample | None = None
        self._trouble = ""

    def show_once(self, *, as_json: bool) -> int:
        with open_server(self._address, self._terminal) as session:
            before = take_sample(session, local=self._local)
            time.sleep(_SAMPLE)
            now = take_sample(session, local=self._local)
        if as_json:
            text = json.dumps(as_values(now, before), ensure_ascii=False, indent=2)
        else:
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
            text = "\n".join(view(now, before, str(self._address), sort=self._sort, width=width))
        self._terminal.write(text + "\n")
        return ExitCode.OK

    def run(self) -> int:
        """Until q, Ctrl-C or the end of the input. The first time there must be a server."""
        self._session = open_server(self._address, self._terminal)
        try:
            self._before = self._now = take_sample(self._session, local=self._local)
            with _keys() as resized:
                self._terminal.write(_ENTER)
                try:
                    self._loop(resized)
                finally:
                    self._terminal.write(_LEAVE)
        except KeyboardInterrupt:
            pass
        finally:
            if self._session is not None:
                self._session.close()
        return ExitCode.OK

    def _loop(self, resized: int) -> None:
        due = time.monotonic() + _SAMPLE  # rates as soon as they can be known
        while True:
            self._draw()
            ready = select.select([sys.stdin, resized], [], [], max(0.0, due - time.monotonic()))[0]
            if resized in ready:
                os.read(resized, 4096)
            if sys.stdin in ready:
                typed = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
                keys = _ESCAPE_SEQUENCE.sub("", typed)  # several at once, where they came before this look
                if not typed or any(key in keys for key in "qQ\x04"):
                    return
                for key in keys:
                    self._press(key)
                due = min(due, time.monotonic()) if " " in keys else due
            if time.monotonic() >= due:
                self._look()
                due = time.monotonic() + self._interval

    def _press(self, key: str) -> None:
        if key in SORTS:
            self._sort, self._reverse = key, False
        elif key == "r":
            self._reverse = not self._reverse

    def _look(self) -> None:
        try:
            if self._session is None:
                self._session = open_server(self._address, self._terminal, announce=False)
            self._before, self._now = self._now, take_sample(self._session, local=self._local)
            self._trouble = ""
        except LinkError as error:
            if self._session is not None:
                self._session.close()
            self._session = self._before = None
            self._trouble = f"{error}; trying again every {self._interval:g} s"

    def _draw(self) -> None:
        """Over what is there, line by line, so that nothing flickers; as much as the terminal has room for."""
        size = os.get_terminal_size(sys.stdout.fileno())  # COLUMNS and LINES say what it was
        assert self._now is not None
        lines = view(
            self._now, self._before, str(self._address), sort=self._sort, reverse=self._reverse, width=size.columns
        )
        if self._trouble:
            lines.insert(0, self._trouble[: size.columns])
        room = max(1, size.lines - 1)
        if len(lines) > room:
            lines = [*lines[: room - 1], f"({len(lines) - room + 1} more lines)"]
        shown = [self._styled(line, SORTS[self._sort][0]) + _CLEAR_LINE for line in lines]
        foot = f"{HELP}  {time.strftime('%H:%M:%S')}"[: size.columns - 1]
        shown += [_CLEAR_LINE] * (room - len(shown)) + [f"{_REVERSE}{foot.ljust(size.columns - 1)}{_PLAIN}"]
        self._terminal.write("\x1b[H" + "\r\n".join(shown))

    @staticmethod
    def _styled(line: str, title: str) -> str:
        """The line of titles in bold, and that of the sorted column in reverse."""
        if not line.startswith("KERNEL "):
            return line
        before, found, after = line.partition(title)
        return f"{_BOLD}{before}{_REVERSE}{found}{_PLAIN}{_BOLD}{after}{_PLAIN}" if found else f"{_BOLD}{line}{_PLAIN}"


@contextlib.contextmanager
def _keys() -> Iterator[int]:
    """Keys come as they are pressed. Yields a descriptor that can be read when the terminal's size has changed."""
    descriptor = sys.stdin.fileno()
    modes = termios.tcgetattr(descriptor)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.signal(signal.SIGWINCH, lambda *_: None)  # else the number is not written
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        tty.setcbreak(descriptor)
        yield reading
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGWINCH, before)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, modes)
        os.close(reading)
        os.close(writing)
