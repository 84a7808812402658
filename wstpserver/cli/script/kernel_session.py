"""The text interface of a kernel's program: prompts, inputs and results on a terminal or a pipe, and scripts.

Programs that talk to a kernel so (Sage, Emacs, shell scripts) look for the prompts, and for the menu ``Interrupt>``
behind Ctrl-C. Everything is written to standard output, messages too, as kernels do.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NamedTuple

from wstpserver.cli.script.connect import KernelChoice, ScriptSession, explain_end, open_kernel
from wstpserver.cli.script.main import enter_folder
from wstpserver.cli.script.program import ScriptVariables, is_blank, program, read_outcome, read_source
from wstpserver.cli.script.reader import InputHistory, LineReader
from wstpserver.cli.script.repl import engine_of, prompt_of_new_kernel
from wstpserver.cli.terminal import ExitCode, ProgramError, Terminal, run_program, text_of
from wstpserver.client import (
    Address,
    Callbacks,
    CommandError,
    EvaluationAborted,
    EvaluationError,
    KernelLost,
    KernelMessage,
    LinkClosed,
    LinkError,
)
from wstpserver.client.deadline import Deadline
from wstpserver.client.interactive import is_incomplete, names_beginning
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression

_NEVER: Final = Deadline(None)
_LEAVES: Final = re.compile(r"\b(?:Quit|Exit)\b(?:\s*\[\s*(\d*)\s*\])?")
#: The Ctrl-C, counted from the first of an evaluation, that aborts, and the one that leaves.
_ABORTING, _LEAVING = 2, 3


class SessionRequest(NamedTuple):
    """What the command line asks for.

    Attributes:
        address: The server, and its pool.
        keep: Whether the pool's settings say what becomes of the kernel at the end.
        initfiles: Files to evaluate first.
        run: Code to evaluate after them.
        script: A file to evaluate then, and its arguments; none for a session.
        prompts: Whether a session shows its first line, prompts and labels.
        edits: Whether lines may be edited on a terminal.
    """

    address: Address
    keep: bool = False
    initfiles: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    prompts: bool = True
    edits: bool = True


def run_session(name: str, request: SessionRequest) -> int:
    """Take a kernel and do with it what the command line asks for.

    Args:
        name: The name of the program.
        request: What it asks for.

    Returns:
        The exit status.
    """
    return run_program(name, "-help", lambda terminal: _run(request, terminal))


def _run(request: SessionRequest, terminal: Terminal) -> int:
    first = [(read_source(path), ScriptVariables(path)) for path in request.initfiles]
    first += [(code, ScriptVariables()) for code in request.run]
    if request.script:
        first.append((read_source(request.script[0]), ScriptVariables(request.script[0], request.script)))
    callbacks = _callbacks(terminal)
    choice = KernelChoice(str(request.address.server), request.address.pool, keep=request.keep)
    opened = open_kernel(choice, _NEVER, callbacks, terminal)
    try:
        with opened.session as session:
            enter_folder(opened, None, _NEVER)
            for code, variables in first:
                if is_blank(code):
                    continue
                outcome = read_outcome(session.evaluate(program(code, variables)))
                if outcome.exits:
                    return outcome.status
                if request.script and outcome.status:
                    terminal.write(f"{outcome.text}\n")
            return ExitCode.OK if request.script else _TextSession(opened, terminal, request).run()
    except ProgramError:
        raise
    except WSTPError as error:
        raise ProgramError(explain_end(error, opened.address)) from None


def _callbacks(terminal: Terminal) -> Callbacks:
    def show_message(message: KernelMessage) -> None:
        text = message.text.strip("\r\n") or f"{message.symbol}::{message.tag}"
        terminal.write(f"\n{text}\n")

    return Callbacks(
        on_print=terminal.write,
        on_message=show_message,
        on_input=terminal.ask,
        on_menu=terminal.choose,
        on_notice=terminal.notice,
    )


class _TextSession:
    """Reads inputs, and shows what comes of them, until the end of the inputs or of the kernel."""

    def __init__(self, opened: ScriptSession, terminal: Terminal, request: SessionRequest) -> None:
        self._session = opened.session
        self._address = opened.address
        self._terminal = terminal
        self._prompts = request.prompts
        self._callbacks = Callbacks(on_result=self._result, on_dialog=lambda prompt: None).over(_callbacks(terminal))
        self._read: Callable[[str], str] = self._read_plainly
        if request.edits and request.prompts and sys.stdin is not None and sys.stdin.isatty():
            reader = LineReader(InputHistory(None), lambda beginning: names_beginning(self._session, beginning))
            self._read = reader.read
            terminal.read_line = reader.read_line
        self._prompt = ""
        self._pressed_count = 0

    def run(self) -> int:
        """Talk until one side ends it; the exit status."""
        if self._prompts:
            self._terminal.write(self._banner())
        self._prompt = prompt_of_new_kernel(self._session)
        while True:
            try:
                text = self._next_input()
            except EOFError:
                self._terminal.write("\n" if self._prompts else "")
                return ExitCode.OK
            except KeyboardInterrupt:
                self._terminal.write("\n")
                continue
            if text.strip():
                status = self._enter(text)
                if status is not None:
                    return status

    def _banner(self) -> str:
        try:
            kernel = f", kernel {self._session.command('GetKernelID')}"
        except CommandError:
            kernel = ""  # one that is linked to directly
        engine = engine_of(self._session)
        return f"{engine + ', ' if engine else ''}WSTPServer at {self._address}{kernel}\n"

    def _next_input(self) -> str:
        prompt = ""
        if self._prompts:
            self._terminal.write("\n")
            prompt = self._prompt
        return self._read(prompt)

    def _read_plainly(self, prompt: str) -> str:
        """An input of one line or more, as it comes."""
        self._terminal.write(prompt)
        lines: list[str] = []
        while not lines or (lines[-1].strip() and is_incomplete("\n".join(lines))):
            line = "" if sys.stdin is None else sys.stdin.readline()
            if not line:
                if lines:
                    break  # incomplete as it is, the kernel says why
                raise EOFError
            lines.append(line.rstrip("\r\n"))
        return "\n".join(lines)

    def _enter(self, text: str) -> int | None:
        """One input; the exit status if it is the last one."""
        former: Any = signal.signal(signal.SIGINT, self._pressed)
        self._pressed_count = 0
        try:
            self._session.evaluate_text(text, callbacks=self._callbacks)
        except LinkClosed as error:
            return self._link_ended(text, error)
        except EvaluationAborted:
            self._rest()
        except KernelLost as error:
            self._terminal.complain(str(error))
            self._rest()
        except EvaluationError as error:
            self._terminal.complain(str(error))
            self._rest()
        except KeyboardInterrupt:
            if self._pressed_count >= _LEAVING:
                return ExitCode.INTERRUPTED
            self._rest()
        finally:
            signal.signal(signal.SIGINT, former)
        self._prompt = self._session.prompt or self._prompt
        return None

    def _rest(self) -> None:
        """Wait until the kernel has left what was aborted."""
        try:
            self._session.synchronize()
        except EvaluationError:
            pass  # an abort that came late
        except KeyboardInterrupt:
            raise ProgramError("the kernel does not obey", ExitCode.INTERRUPTED) from None

    def _link_ended(self, text: str, error: LinkClosed) -> int:
        leaves = _LEAVES.search(text)
        if leaves is None:
            raise ProgramError(explain_end(error, self._address))
        return int(leaves[1] or 0) % 256

    def _result(self, label: str, value: Expression) -> None:
        text = text_of(value).rstrip("\n")
        if not self._prompts:
            self._terminal.write(f"{text}\n")
            return
        # A text of several lines keeps its columns.
        lines = text.replace("\n", "\n" + " " * len(label))
        self._terminal.write(f"\n{label}{lines}\n")

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-C in an evaluation: the kernel offers its menu; again: it is aborted; again: it is left."""
        self._pressed_count += 1
        if self._pressed_count >= _LEAVING:
            raise KeyboardInterrupt
        action = self._session.abort if self._pressed_count == _ABORTING else self._session.interrupt
        # Not here: this thread may hold what that needs.
        threading.Thread(target=_quietly, args=(action,), daemon=True).start()


def _quietly(action: Callable[[], object]) -> None:
    try:
        action()
    except (LinkError, OSError):
        pass  # the thread that waits hears of it
