"""The interactive session: prompts, inputs and results as a Wolfram Language kernel numbers them."""

from __future__ import annotations

import re
from typing import Final

from wstpserver.cli.script.connect import ScriptSession, explain_end, is_busy, show_missed_output, survive
from wstpserver.cli.script.formats import GraphicsFolder
from wstpserver.cli.script.reader import InputHistory, InputReader, Interrupts, make_reader
from wstpserver.cli.terminal import ExitCode, Terminal, text_of
from wstpserver.client import (
    Callbacks,
    CommandError,
    EvaluationAborted,
    EvaluationError,
    KernelLost,
    KernelMessage,
    LinkClosed,
    LinkError,
    LinkTimeout,
    ProfileError,
    Session,
)
from wstpserver.client.interactive import names_beginning
from wstpserver.client.profile import KERNEL_ID, record_kernel, user_file
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression, Symbol

_HISTORY_FILE: Final = "wstpscript.history"


def interact(
    opened: ScriptSession, terminal: Terminal, time_limit: float | None = None, *, missed: bool = False
) -> int:
    """Let the user talk to the kernel until one of them ends it.

    Args:
        opened: The session.
        terminal: Where the user is.
        time_limit: Seconds for one evaluation; None for no limit.
        missed: Whether to begin with what the kernel wrote while nobody was connected to it.

    Returns:
        The exit status.
    """
    interrupts = Interrupts(opened.session, terminal)

    def complete(beginning: str) -> list[str]:
        with interrupts.evaluating():  # Ctrl-C ends this, and not the input
            return names_beginning(opened.session, beginning)

    reader = make_reader(InputHistory(user_file(_HISTORY_FILE)), complete)
    return Repl(opened, terminal, reader, interrupts, time_limit).run(missed=missed)


_LEAVES = re.compile(r"\b(?:Quit|Exit)\b(?:\s*\[\s*(\d*)\s*\])?")
_CONNECTS = re.compile(r"\bConnect(?:Parallel)?Kernel\b")
_ABORTED: Final = "$Aborted"
_LEAVING: Final = "Ctrl-D leaves, Quit[] closes the kernel, too."
#: What people type at a prompt that they do not know, and what helps them.
_HINTS: Final = dict.fromkeys(("exit", "quit", "bye", "logout", ":q"), _LEAVING) | {
    "help": "?Name explains a symbol, such as ?Plus; ?String* lists names. " + _LEAVING,
}


class Repl:
    """Reads inputs, has them evaluated and shows what comes of it, until the user or the kernel ends it.

    `time_limit`: seconds for one evaluation.
    """

    def __init__(
        self,
        opened: ScriptSession,
        terminal: Terminal,
        reader: InputReader,
        interrupts: Interrupts,
        time_limit: float | None = None,
    ) -> None:
        self._session, self._profile, self._address = opened
        self._terminal = terminal
        self._reader = reader
        self._interrupts = interrupts
        self._time_limit = time_limit
        terminal.read_line = self._answer
        self._results = InputResults(terminal)
        self._graphics = GraphicsFolder(self._session)
        # A kernel that is linked to directly has no server to ask.
        self._kernel = self._current_kernel()
        if self._profile is not None:
            survive(self._session, self._profile, self._address)
            self._session.on_reconnected = lambda: terminal.complain("reconnected")
        self._prompt = DEFAULT_PROMPT
        self._hinted: set[str] = set()
        self._status: int | None = None

    def run(self, *, missed: bool = False) -> int:
        """Talk to the user until one side ends it.

        Args:
            missed: Whether to begin with what the kernel wrote while nobody was connected to it.

        Returns:
            The exit status.
        """
        with self._interrupts:
            self._greet()
            if missed:
                show_missed_output(self._session, self._terminal)
            self._arrive()
            while self._status is None:
                try:
                    text = self._read()
                    if text.strip():
                        self._enter(text)
                except EOFError:
                    self._terminal.write("\n")
                    return ExitCode.OK
                except KeyboardInterrupt:
                    if self._interrupts.leave:
                        return ExitCode.INTERRUPTED
                    self._terminal.write("\n")  # at the prompt: what was typed is thrown away
            return self._status

    def _read(self) -> str:
        self._terminal.begin_line()
        self._terminal.write("\n")
        with self._interrupts.asked():
            text = self._reader.read(self._prompt)
        self._terminal.line_was_read()
        return text

    def _answer(self, prompt: str) -> str:
        """The answer to a question of the kernel. Ctrl-C there gives the evaluation up by KeyboardInterrupt."""
        with self._interrupts.asked():
            return self._reader.read_line(prompt)

    def _arrive(self) -> None:
        """Come to the prompt of a new kernel, which may be in the middle of something that was begun before."""
        self._rest()
        if self._status is None:
            self._prompt = prompt_of_new_kernel(self._session)

    def _greet(self) -> None:
        """One line: where the user is, and how to leave. A kernel in the middle of something is not asked."""
        engine = ""
        if not is_busy(self._session, self._kernel):
            with self._interrupts.evaluating():
                engine = engine_of(self._session)
        kernel = f", kernel {self._kernel}" if self._kernel is not None else ""
        named = f": {engine}" if engine else ""
        self._terminal.write(f"{self._address}{kernel}{named}. {_LEAVING}\n")

    def _rest(self) -> None:
        """Let a kernel come to rest, which brings its next prompt. Its questions are answered."""
        with self._interrupts.evaluating():
            while self._status is None:
                try:
                    self._session.synchronize()
                    return
                except EvaluationAborted:
                    pass  # by Ctrl-C: it comes to rest the sooner
                except KeyboardInterrupt:  # in the place of an answer, which has been aborted
                    if self._interrupts.leave:
                        self._status = ExitCode.INTERRUPTED
                except WSTPError as error:
                    self._terminal.complain(explain_end(error, self._address))
                    self._status = ExitCode.FAILED

    def _enter(self, text: str) -> None:
        """One input, from its evaluation to what it changes for the session."""
        self._results.begin(output_label(self._prompt))
        if self._kernel is not None and not self._has_kernel():
            return
        try:
            with self._interrupts.evaluating():
                answer = self._session.evaluate_text(text, self._time_limit, callbacks=self._results.callbacks)
            self._hint(text, answer.syntax_error)
        except LinkClosed as error:
            self._results.release()
            self._link_ended(text, error)
            return
        except EvaluationAborted as error:
            if isinstance(error, TimeoutError):
                self._terminal.complain(str(error))
                self._give_up()
            else:
                self._rest()
        except KernelLost as error:
            if _LEAVES.search(text) is not None:
                self._results.release()
                self._link_ended(text, error)
                return
            self._lost(str(error))
            if self._status is not None:
                return
        except EvaluationError as error:
            self._terminal.complain(str(error))
            self._rest()
        except KeyboardInterrupt:
            if self._interrupts.leave:
                self._status = ExitCode.INTERRUPTED
                return
            self._give_up()
        self._finish(text)

    def _has_kernel(self) -> bool:
        """Whether the session still has the kernel that the user talks to; else this ends it.

        Another client may have taken the kernel over. The server would give another one for the next evaluation, which
        must not go there.
        """
        try:
            with self._interrupts.evaluating():
                kernel = self._current_kernel()
        except LinkError as error:
            self._terminal.complain(explain_end(error, self._address))
            self._status = ExitCode.FAILED
            return False
        if kernel == self._kernel:
            return True
        self._lost(f"kernel {self._kernel} is not connected to this session any more; the input was not evaluated")
        return False

    def _lost(self, reason: str) -> None:
        """The kernel is gone from this session, which goes on only if the server put another one in its place."""
        self._terminal.complain(reason)
        kernel = self._current_kernel()
        if kernel is None:
            self._status = ExitCode.FAILED
            return
        if kernel != self._kernel:
            self._terminal.complain(f"this session goes on with kernel {kernel}")
        self._kernel = kernel
        self._arrive()

    def _hint(self, text: str, syntax_error: int | None) -> None:
        """Help somebody who types what leaves other programs: once, and only if it means nothing to the kernel."""
        word = text.strip().rstrip("()").lower()
        hint = _HINTS.get(word)
        nothing = syntax_error is not None or [result for _, result in self._results.shown] in ([], [text.strip()])
        if hint is not None and nothing and word not in self._hinted:
            self._hinted.add(word)
            self._results.release()
            self._terminal.complain(hint)

    def _give_up(self) -> None:
        """The kernel was told to abort, and its answer to that will be thrown away: show one in its place."""
        self._rest()
        self._results.show(output_label(self._session.prompt or self._prompt, before=1), _ABORTED)

    def _finish(self, text: str) -> None:
        """Show what was held back, unless the session ended in good order with it."""
        if self._status is not None:
            return
        kernel = self._kernel and self._kernel_after(text)
        if self._status is not None:
            self._results.release()
            return
        if kernel is None and self._kernel is not None:
            if self._results.shown and not self._results.held:
                self._terminal.complain(f"the connection to kernel {self._kernel} was ended")
            self._status = ExitCode.OK
            return
        self._results.release()
        if kernel == self._kernel:
            self._prompt = self._session.prompt or DEFAULT_PROMPT
            self._save_pictures()
        else:  # what was shown is no picture that this kernel could draw
            self._kernel = kernel
            self._prompt = prompt_of_new_kernel(self._session)
            self._update_profile()

    def _save_pictures(self) -> None:
        for result in self._results.shown:
            with self._interrupts.evaluating():
                report = self._graphics.save(*result)
            if report is not None:
                self._terminal.write(report + "\n")

    def _current_kernel(self) -> str | None:
        try:
            return str(self._session.command("GetKernelID"))
        except CommandError:
            return None

    def _kernel_after(self, text: str) -> str | None:
        """The ID of the kernel that the session is bridged to; None if it is bridged no more."""
        try:
            if _CONNECTS.search(text) and "DisconnectKernel" not in text:
                self._rest()  # perhaps on the way to another kernel: its first answer is waited for
            return self._current_kernel()
        except (LinkClosed, LinkTimeout):
            return None

    def _update_profile(self) -> None:
        if self._profile is None:
            return
        try:
            record_kernel(self._session, self._profile)
            survive(self._session, self._profile, self._address)
        except (ProfileError, CommandError) as error:
            self._terminal.complain(str(error))
        else:
            self._terminal.complain(
                f"{self._profile.path} names kernel {self._profile.get(KERNEL_ID)} from now on"
            )

    def _link_ended(self, text: str, error: WSTPError) -> None:
        """The kernel has ended: because the user wanted it, or not."""
        leaves = _LEAVES.search(text)
        if leaves is None:
            self._terminal.complain(explain_end(error, self._address))
            self._status = ExitCode.FAILED
        else:
            self._status = int(leaves[1] or 0) % 256


# Results


#: How a result begins that may be the last word of a kernel: after WSTPServer`DisconnectKernel[] it is not shown.
_SUCCESS: Final = "Success["


class InputResults:
    """The results of one input after the other. One that may be a farewell is held back until something follows it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._label = ""
        self._held: tuple[str, str] | None = None
        #: (label, text) of what this input has given so far, what is held back not among it.
        self.shown: list[tuple[str, str]] = []
        #: For the evaluation of an input.
        self.callbacks: Final = Callbacks(
            on_print=self._print,
            on_message=self._message,
            on_result=self._result,
            on_input=self._ask,
            on_menu=self._choose,
            on_notice=self._notice,
            on_dialog=lambda prompt: None,  # it is what the next input is read with
        )

    def begin(self, label: str) -> None:
        """A new input. `label` is for results of kernels that give none."""
        self._label = label
        self._held = None
        self.shown = []

    @property
    def held(self) -> bool:
        """Whether the last result may be a farewell."""
        return self._held is not None

    def show(self, label: str, text: str) -> None:
        """Show a result after those that came before it."""
        self.release()
        self._terminal.result(label, text)
        self.shown.append((label, text))

    def release(self) -> None:
        """Show what was held back."""
        held, self._held = self._held, None
        if held is not None:
            self.show(*held)

    def _result(self, label: str, value: Expression) -> None:
        self.release()
        text = text_of(value)
        if text.startswith(_SUCCESS):
            self._held = label or self._label, text
        else:
            self.show(label or self._label, text)

    def _print(self, text: str) -> None:
        self.release()
        self._terminal.write(text)

    def _notice(self, text: str) -> None:
        self.release()
        self._terminal.notice(text)

    def _message(self, message: KernelMessage) -> None:
        self.release()
        self._terminal.message(message)

    def _ask(self, prompt: str) -> str:
        self.release()
        return self._terminal.ask(prompt)

    def _choose(self, prompt: str) -> str:
        self.release()
        return self._terminal.choose(prompt)


# Prompts and labels: In[3]:= and what belongs to it


DEFAULT_PROMPT: Final = "In[1]:= "

_PROMPT = re.compile(r"In\[(\d+)\]:=")
#: Seconds that an idle kernel has to say which line it waits for.
_LINE_TIMEOUT: Final = 5.0


def output_label(prompt: str, before: int = 0) -> str:
    """The label of the result of the input at `prompt`, or of one so many lines `before` it."""
    return _PROMPT.sub(lambda match: f"Out[{int(match[1]) - before}]=", prompt)


def engine_of(session: Session) -> str:
    """Name and version of the kernel's engine, such as "Mathics3 10.0.1"; "" if the kernel does not tell."""
    try:
        version = session.evaluate(Symbol("$Version"), _LINE_TIMEOUT)
    except WSTPError:
        return ""
    found = _ENGINE.match(version) if isinstance(version, str) else None
    if found is None:
        return ""
    return found[0] if found["name"] else f"Wolfram Language {found[0]}"


#: The beginning of $Version: a number in a kernel of Wolfram's, a name before it in others.
_ENGINE: Final = re.compile(r"(?P<name>[A-Za-z]\w* )?\d+(?:\.\d+)*")


def prompt_of_new_kernel(session: Session) -> str:
    """The prompt of a kernel that the session has just been bridged to, and that is idle.

    A server that sends no InputNamePacket then (SendInputNamePacketUponKernelConnection false) leaves the session with
    none, or with that of the kernel before: $Line tells. The kernel's own words are preferred, which say of a dialog.
    """
    known = session.prompt
    try:
        line = session.evaluate(Symbol("$Line"), _LINE_TIMEOUT)
    except WSTPError:
        return known or DEFAULT_PROMPT
    number = _PROMPT.search(known or "")
    if not isinstance(line, int) or (number is not None and int(number[1]) == line):
        return known or DEFAULT_PROMPT
    return f"In[{int(line)}]:= "
