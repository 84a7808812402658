"""The commands of wstpserver-admin that concern single kernels: start, close, abort, connect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wstpserver.cli.admin.status import open_server, state_of
from wstpserver.cli.script.connect import ScriptSession
from wstpserver.cli.script.repl import interact
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, WaitNotice, one_line
from wstpserver.client import Address, Callbacks, CommandError, Session
from wstpserver.client.commands import KernelInformation, read_information, server_information

#: Seconds to wait for a kernel that is busy: a week, as wstpscript does; Ctrl-C ends it.
_BUSY_WAIT: Final = 7 * 24 * 3600.0
_ANSWER: Final = 10.0
_MISSING: Final = "there is no kernel {}; wstpserver-admin status shows those that are"


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
