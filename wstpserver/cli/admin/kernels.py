"""The commands of wstpserver-admin that change what kernels and pools do: start, close, abort and connect for kernels;
wait until one is ready, drain, pause and resume for pools.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from wstpserver.cli.admin.clients import administer, client_information, named
from wstpserver.cli.admin.status import ANSWER_TIMEOUT, open_server, state_of
from wstpserver.cli.script.connect import ScriptSession
from wstpserver.cli.script.repl import interact
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, WaitNotice, one_line
from wstpserver.client import (
    Address,
    Callbacks,
    CommandError,
    ConnectError,
    LinkClosed,
    LinkTimeout,
    Session,
)
from wstpserver.client.commands import (
    KernelInformation,
    PoolInformation,
    read_information,
    server_information,
)
from wstpserver.client.deadline import Deadline

#: Seconds to wait for a kernel that is busy: a week, as wstpscript does; Ctrl-C ends it.
_BUSY_WAIT: Final = 7 * 24 * 3600.0
_ANSWER: Final = 10.0
_MISSING: Final = "there is no kernel {}; wstpserver-admin status shows those that are"
#: So many clients are named that a pool is not drained of yet.
_NAMED: Final = 5

#: Seconds between two looks. The server has no event for it; a look costs it less than a millisecond.
INTERVAL: Final = 0.2


def start(address: Address, terminal: Terminal, command_line: str | None = None) -> int:
    """Start a kernel and print its ID. The server limits the time (KernelStartTimeout).

    Args:
        address: The server.
        terminal: Where to report.
        command_line: The kernel's command line; None for that of the default pool.

    Raises:
        ProgramError: The kernel did not start; the text says why, as far as the server tells.
    """
    words = () if command_line is None else (command_line,)
    notices: list[str] = []
    with open_server(address, terminal, callbacks=Callbacks(on_notice=notices.append)) as session:
        try:
            with WaitNotice(terminal, "waiting for the kernel to start"):
                identifier = session.command("StartKernel", *words, timeout=None)
        except CommandError as error:
            if not error.reply:
                raise
            reason = _why_not_started(session, default=command_line is None) or "".join(notices).strip()
            told = f": {one_line(reason)}" if reason else "; the server's log says why"
            raise ProgramError(f"the kernel did not start{told}") from None
    terminal.write(f"{identifier}\n")
    return ExitCode.OK


def _why_not_started(session: Session, *, default: bool) -> str:
    """What the server says about the last kernel that did not start: outside all pools, else of the default pool."""
    try:
        answer = session.command("GetServerInformation")
        told = answer.get("StartTrouble") if isinstance(answer, dict) else None
        pool = read_information(answer).default_pool
    except CommandError:
        return ""
    if isinstance(told, str) and told:
        return told
    return pool.trouble if default and pool is not None else ""


def close(
    address: Address,
    terminal: Terminal,
    kernels: Iterable[str] = (),
    *,
    pool: str | None = None,
    reserved: bool = False,
) -> int:
    """Close kernels.

    Args:
        address: The server.
        terminal: Where to report.
        kernels: IDs of the kernels; without any, all that the other arguments leave.
        pool: Only kernels of this pool.
        reserved: Only kernels that are reserved, and not in use.

    Returns:
        The exit code; 1 if one of those that are named does not exist.
    """
    code = ExitCode.OK
    with open_server(address, terminal) as session:
        named = list(kernels)
        chosen = named or _selected(session, pool, reserved=reserved)
        if not chosen:
            terminal.write("there is no such kernel to close\n")
        for identifier in chosen:
            kernel = _find(session, identifier)
            try:
                session.command("CloseKernel", identifier)
            except CommandError as error:
                if not error.reply:
                    raise
                if named:
                    terminal.complain(_MISSING.format(identifier))
                    code = ExitCode.FAILED
            else:
                terminal.write(f"closed {identifier}{_what_it_did(kernel)}\n")
    return code


def _selected(session: Session, pool: str | None, *, reserved: bool) -> list[str]:
    information = server_information(session)
    if pool is not None and pool not in information.pools:
        raise ProgramError(f"there is no pool {pool}; the pools are: {', '.join(information.pools)}")
    return [
        kernel.id
        for kernel in information.kernels
        if (pool is None or kernel.pool == pool) and (not reserved or kernel.state == "reserved")
    ]


def abort(address: Address, terminal: Terminal, kernels: Iterable[str]) -> int:
    """Abort what kernels evaluate. They stay with their clients.

    Returns:
        The exit code; 1 if one of the kernels does not exist.

    Raises:
        ProgramError: The server does not know how to abort by ID.
    """
    code = ExitCode.OK
    with open_server(address, terminal) as session:
        for identifier in kernels:
            kernel = _find(session, identifier)
            if kernel is not None and not kernel.busy:
                terminal.write(f"{identifier} evaluates nothing ({state_of(kernel)})\n")
                continue
            try:
                session.command("AbortKernel", identifier)
            except CommandError as error:
                if error.reply.get("status") == "PacketMalformed":
                    raise ProgramError("this server cannot abort kernels by their IDs (AbortKernel)") from None
                if not error.reply:
                    raise
                terminal.complain(_MISSING.format(identifier))
                code = ExitCode.FAILED
            else:
                terminal.write(f"told {identifier} to abort its evaluation\n")
    return code


def _find(session: Session, identifier: str) -> KernelInformation | None:
    """What the server says of the kernel; None if it says nothing."""
    try:
        kernels = server_information(session).kernels
    except CommandError:
        return None
    return next((kernel for kernel in kernels if kernel.id == identifier), None)


def _what_it_did(kernel: KernelInformation | None) -> str:
    """What was ended with it."""
    if kernel is None:
        return ""
    parts = []
    if kernel.busy:
        parts.append("it was busy with an evaluation")
    if kernel.state == "bridged":
        parts.append(f"{kernel.client or 'a client'} was connected to it")
    return f"; {', and '.join(parts)}" if parts else ""


def connect(address: Address, terminal: Terminal, identifier: str) -> int:
    """An interactive session with the kernel, which lives on after it.

    Returns:
        The exit status, as wstpscript's.

    Raises:
        ProgramError: There is no such kernel, or the server does not connect to it.
    """
    callbacks = Callbacks(
        on_print=terminal.write,
        on_message=terminal.message,
        on_result=terminal.value,
        on_input=terminal.ask,
        on_menu=terminal.choose,
        on_notice=terminal.notice,
    )
    with open_server(address, terminal, callbacks=callbacks) as session:
        _bridge(session, identifier, terminal)
        session.keep_kernel = True
        return interact(ScriptSession(session, None, address), terminal, missed=True)


def _bridge(session: Session, identifier: str, terminal: Terminal) -> None:
    kernel = _find(session, identifier)
    if kernel is None:
        raise ProgramError(_MISSING.format(identifier))
    if kernel.state == "bridged":
        terminal.complain(f"taking kernel {identifier} over from {kernel.client or 'its client'}")
    waiting = f"kernel {identifier} is busy; waiting for it (Ctrl-C leaves it as it is)"
    try:
        with WaitNotice(terminal, waiting):
            session.command("ConnectKernel", identifier, _BUSY_WAIT, timeout=_BUSY_WAIT + _ANSWER)
    except CommandError as error:
        if not error.reply:
            raise
        taken = "it has a client, and AllowStealingKernels is false" if kernel.state == "bridged" else "it has ended"
        raise ProgramError(f"the server does not connect to kernel {identifier}: {taken}") from None


# wait


def wait(
    address: Address, terminal: Terminal, pool: str | None, free: int | None, timeout: float | None
) -> int:
    """Return when a pool is ready; on a terminal what is missing is shown meanwhile.

    Args:
        address: The server. It need not be there yet.
        terminal: Where to report.
        pool: Name of the pool; None for the default pool.
        free: How many kernels are to be free; None to wait until the pool's minimum has been started.
        timeout: Seconds; None for no limit.

    Raises:
        ProgramError: The pool cannot get ready, or did not in time.
        CommandError: The server does not say how its pools are.
    """
    waiting = _PoolWatch(address, pool, free, terminal)
    deadline = Deadline(timeout)
    # Elsewhere than on a terminal nothing is said, so that scripts can do as they like.
    progress = WaitNotice(terminal, lambda: waiting.reason, None if timeout is None else deadline)
    with contextlib.closing(waiting), progress if terminal.updates_lines else contextlib.nullcontext():
        while not waiting.look(deadline):
            if deadline.expired:
                raise ProgramError(f"not ready {deadline}: {waiting.reason}", ExitCode.TIMED_OUT)
            time.sleep(deadline.at_most(INTERVAL).remaining() or 0.0)
    return ExitCode.OK


class _PoolWatch:
    """Looks at the pool. `reason` says why it was not ready the last time."""

    def __init__(self, address: Address, pool: str | None, free: int | None, terminal: Terminal) -> None:
        self._address = address
        self._pool = pool
        self._free = free
        self._terminal = terminal
        self._session: Session | None = None
        self._warned = False
        self.reason = ""

    def look(self, deadline: Deadline) -> bool:
        """Whether all is ready, as far as can be seen before the deadline."""
        limit = max(0.05, deadline.at_most(ANSWER_TIMEOUT).remaining() or 0.0)
        try:
            if self._session is None:
                self._session = open_server(self._address, self._terminal, limit, announce=False)
            pool = self._find(self._session, limit)
        except (ConnectError, LinkClosed, LinkTimeout) as error:
            self.close()
            # that there was no time for one more look says less than the look before it
            if not (self.reason and isinstance(error, LinkTimeout) and limit < ANSWER_TIMEOUT):
                self.reason = str(error)
            return False
        self.reason = str(pool)
        return self._is_ready(pool)

    def close(self) -> None:
        """Leave the server."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _find(self, session: Session, limit: float) -> PoolInformation:
        information = server_information(session, limit)
        pool = information.default_pool if self._pool is None else information.pools.get(self._pool)
        if pool is None:
            names = ", ".join(information.pools)
            name = self._pool or "by default"
            raise ProgramError(f"{self._address}: there is no pool {name}; the pools are: {names}")
        if pool.kernels is None:
            raise ProgramError(f"{self._address}: this server does not say which kernels it has")
        return pool

    def _is_ready(self, pool: PoolInformation) -> bool:
        if self._free is None:
            return pool.ready >= (pool.minimum or 0)
        if pool.maximum is not None and self._free > pool.maximum:
            most = f"pool {pool.name} can have at most {pool.maximum} kernels"
            raise ProgramError(f"{most}, never {self._free} free ones")
        if pool.minimum is not None and self._free > pool.minimum and not self._warned:
            self._warned = True
            self._terminal.complain(
                f"pool {pool.name} keeps {pool.minimum} kernels by itself (MinimumKernelNumber); "
                f"{self._free} are free only when clients leave some"
            )
        return pool.available >= self._free


# drain, pause, resume


def drain(
    address: Address,
    terminal: Terminal,
    pool: str | None,
    timeout: float | None,
    *,
    kick_idle: float | None = None,
    kick: bool = False,
    as_json: bool = False,
) -> int:
    """Admit no more clients to a pool, or to the server, and return when all have left. Who is left is told meanwhile.

    Args:
        address: The server.
        terminal: Where to report.
        pool: Name of the pool; None for all pools and the kernels outside pools.
        timeout: Seconds to wait; None for no limit. The pool stays as it is afterwards.
        kick_idle: Close the links of clients that have had nothing under way for so many seconds; None to close none.
        kick: Close the links of all that are left after the timeout.
        as_json: Write the clients that are left as JSON, an empty list when there are none.

    Raises:
        ProgramError: The server refuses, clients are left after the timeout, or somebody has ended the drain.
    """
    deadline = Deadline(timeout)
    with open_server(address, terminal) as session:
        administer(session, "DrainPools", *_named_pool(pool))
        left = _left(session, pool)
        notice = WaitNotice(terminal, lambda: _describe(left), None if timeout is None else deadline)
        with contextlib.nullcontext() if as_json else notice:
            while left and not deadline.expired:
                if kick_idle is not None:
                    _kick_idle(session, left, kick_idle)
                time.sleep(deadline.at_most(INTERVAL).remaining() or 0.0)
                left = _left(session, pool)
        if kick and left:
            for client in left:
                _kick(session, client)
            terminal.complain(f"closed the links of those who were left: {_describe(left)}")
            left = _left(session, pool)
    if as_json:
        terminal.write(json.dumps(left, ensure_ascii=False, indent=2) + "\n")
    if left:
        raise ProgramError(f"not drained {deadline}: {_describe(left)}", ExitCode.TIMED_OUT)
    if not as_json:
        what = "the server is drained" if pool is None else f"pool {pool} is drained"
        terminal.write(f"{what}: no client has a kernel; wstpserver-admin resume admits clients again\n")
    return ExitCode.OK


def _left(session: Session, pool: str | None) -> list[Mapping[str, Any]]:
    """The clients that keep the pool, or the server, from being drained."""
    information = client_information(session)
    state = information.get("Admission") if pool is None else information.get("Pools", {}).get(pool, "draining")
    if state != "draining":
        what = "the server" if pool is None else f"pool {pool}"
        raise ProgramError(f"{what} is not drained any more: it is {state} again")
    found: list[Mapping[str, Any]] = information["Clients"]
    return [one for one in found if (one.get("Occupies") if pool is None else pool in one.get("Occupies", ()))]


def _kick_idle(session: Session, left: list[Mapping[str, Any]], seconds: float) -> None:
    """Close the links of clients that are idle for so long; the server looks again, so that no answer is lost."""
    for client in left:
        idle = client.get("SecondsIdle")
        if isinstance(idle, int | float) and idle >= seconds:
            _kick(session, client, seconds)


def _kick(session: Session, client: Mapping[str, Any], *conditions: float) -> None:
    try:
        session.command("KickClient", str(client["ID"]), *conditions)
    except CommandError as error:
        if not error.reply or error.reply.get("status") == "PacketMalformed":
            raise
        # it has left meanwhile, or has begun something


def _describe(left: list[Mapping[str, Any]]) -> str:
    """Says who is left: "2 clients are left: 3 (127.0.0.1:46074, evaluating), ..."; "" for nobody."""
    if not left:
        return ""
    listed = ", ".join(named(client) for client in left[:_NAMED]) + (", ..." if len(left) > _NAMED else "")
    return f"{len(left)} client{' is' if len(left) == 1 else 's are'} left: {listed}"


def pause(address: Address, terminal: Terminal, pool: str | None, *, as_json: bool = False) -> int:
    """Let clients that ask for a kernel of a pool, or of any pool, wait. ProgramError if the server refuses."""
    with open_server(address, terminal) as session:
        administer(session, "PausePools", *_named_pool(pool))
        _report(session, terminal, f"{_what(pool)} paused: clients wait for kernels until resume", as_json=as_json)
    return ExitCode.OK


def resume(address: Address, terminal: Terminal, pool: str | None, *, as_json: bool = False) -> int:
    """End drain and pause of a pool, or of all. ProgramError if the server refuses."""
    with open_server(address, terminal) as session:
        administer(session, "ResumePools", *_named_pool(pool))
        _report(session, terminal, f"{_what(pool)} open: clients get kernels", as_json=as_json)
    return ExitCode.OK


def _named_pool(pool: str | None) -> tuple[str, ...]:
    return () if pool is None else (pool,)


def _what(pool: str | None) -> str:
    return "all pools are" if pool is None else f"pool {pool} is"


def _report(session: Session, terminal: Terminal, text: str, *, as_json: bool) -> None:
    """Write the text, or which pools are open, paused and draining as JSON."""
    if as_json:
        states = client_information(session)
        told = {"Admission": states.get("Admission"), "Pools": states.get("Pools")}
        text = json.dumps(told, ensure_ascii=False, indent=2)
    terminal.write(text + "\n")
