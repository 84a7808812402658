"""The commands of wstpserver-admin that concern single kernels: start, close, connect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wstpserver.cli.admin.status import open_server
from wstpserver.cli.script.connect import ScriptSession
from wstpserver.cli.script.repl import interact
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal
from wstpserver.client import Address, Callbacks, CommandError, Session
from wstpserver.client.information import KernelInformation, server_information

#: Seconds to wait for a kernel that is busy: a week, as wstpscript does; Ctrl-C ends it.
_BUSY_WAIT: Final = 7 * 24 * 3600.0
_ANSWER: Final = 10.0


def start(address: Address, terminal: Terminal, command_line: str | None = None) -> int:
    """Start a kernel and print its ID. The server limits the time (KernelStartTimeout)."""
    words = () if command_line is None else (command_line,)
    with open_server(address) as session:
        try:
            identifier = session.command("StartKernel", *words, timeout=None)
        except CommandError as error:
            if not error.reply:
                raise
            raise ProgramError("the kernel did not start; the server's log says why") from None
    terminal.write(f"{identifier}\n")
    return ExitCode.OK


def close(address: Address, terminal: Terminal, kernels: Iterable[str]) -> int:
    """Close every kernel that is named; 1 if one of them is not there."""
    code = ExitCode.OK
    with open_server(address) as session:
        for identifier in kernels:
            kernel = _find(session, identifier)
            try:
                session.command("CloseKernel", identifier)
            except CommandError as error:
                if not error.reply:
                    raise
                terminal.complain(_MISSING.format(identifier))
                code = ExitCode.FAILED
            else:
                terminal.write(f"closed {identifier}{_what_it_did(kernel)}\n")
    return code


_MISSING: Final = "there is no kernel {}; wstpserver-admin status shows those that are"


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
    """An interactive session with the kernel, which lives on after it; returns the exit status of wstpscript."""
    callbacks = Callbacks(
        on_print=terminal.write,
        on_message=terminal.message,
        on_result=terminal.value,
        on_input=terminal.ask,
        on_menu=terminal.choose,
    )
    with open_server(address, callbacks=callbacks) as session:
        _bridge(session, identifier, terminal)
        session.keep_kernel = True
        return interact(ScriptSession(session, None, address), terminal, missed=True)


def _bridge(session: Session, identifier: str, terminal: Terminal) -> None:
    kernel = _find(session, identifier)
    if kernel is None:
        raise ProgramError(_MISSING.format(identifier))
    if kernel.state == "bridged":
        terminal.complain(f"taking kernel {identifier} over from {kernel.client or 'its client'}")
    if kernel.busy:
        terminal.complain(f"kernel {identifier} is busy; waiting for it")
    try:
        session.command("ConnectKernel", identifier, _BUSY_WAIT, timeout=_BUSY_WAIT + _ANSWER)
    except CommandError as error:
        if not error.reply:
            raise
        taken = "it has a client, and AllowStealingKernels is false" if kernel.state == "bridged" else "it has ended"
        raise ProgramError(f"the server does not connect to kernel {identifier}: {taken}") from None
