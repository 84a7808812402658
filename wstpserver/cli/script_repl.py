"""The interactive session: prompts, inputs and results as a Wolfram Language kernel numbers them."""

from __future__ import annotations

import re
from typing import Final

from wstpserver.cli.script_errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from wstpserver.cli.script_graphics import GraphicsFolder
from wstpserver.cli.script_input import InputReader
from wstpserver.cli.script_interrupts import Interrupts
from wstpserver.cli.script_kernel import Conversation
from wstpserver.cli.script_prompts import DEFAULT_PROMPT, output_label, prompt_of_new_kernel
from wstpserver.cli.script_results import Results
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import CommandError, EvaluationAborted, EvaluationError, LinkClosed, LinkTimeout
from wstpserver.client.errors import ProfileError
from wstpserver.client.profile import KERNEL_ID, record_kernel
from wstpserver.wire.errors import WSTPError

_LEAVES = re.compile(r"\b(?:Quit|Exit)\b(?:\s*\[\s*(\d*)\s*\])?")
_CONNECTS = re.compile(r"\bConnect(?:Parallel)?Kernel\b")
_ABORTED: Final = "$Aborted"


class Repl:
    """Reads inputs, has them evaluated and shows what comes of it, until the user or the kernel ends it.

    `time_limit`: seconds for one evaluation.
    """

    def __init__(
        self,
        conversation: Conversation,
        terminal: Terminal,
        reader: InputReader,
        interrupts: Interrupts,
        time_limit: float | None = None,
    ) -> None:
        self._session, self._profile = conversation
        self._terminal = terminal
        self._reader = reader
        self._interrupts = interrupts
        self._time_limit = time_limit
        terminal.read_line = self._answer
        self._results = Results(terminal)
        self._graphics = GraphicsFolder(self._session)
        # A kernel that is linked to directly has no server to ask.
        self._kernel = self._current_kernel()
        self._prompt = DEFAULT_PROMPT
        self._status: int | None = None

    def run(self) -> int:
        """Returns the exit status."""
        with self._interrupts:
            self._arrive()
            while self._status is None:
                try:
                    text = self._read()
                    if text.strip():
                        self._enter(text)
                except EOFError:
                    self._terminal.write("\n")
                    return EXIT_OK
                except KeyboardInterrupt:
                    if self._interrupts.leave:
                        return EXIT_INTERRUPTED
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
                        self._status = EXIT_INTERRUPTED
                except WSTPError as error:
                    self._terminal.error(f"wstpscript: {error}")
                    self._status = EXIT_FAILED

    def _enter(self, text: str) -> None:
        """One input, from its evaluation to what it changes for the session."""
        self._results.begin(output_label(self._prompt))
        try:
            with self._interrupts.evaluating():
                self._session.evaluate_text(text, self._time_limit, callbacks=self._results.callbacks)
        except LinkClosed as error:
            self._results.release()
            self._link_ended(text, error)
            return
        except EvaluationAborted as error:
            if isinstance(error, TimeoutError):
                self._terminal.error(f"wstpscript: {error}")
                self._give_up()
            else:
                self._rest()
        except EvaluationError as error:
            self._terminal.error(f"wstpscript: {error}")
            self._rest()
        except KeyboardInterrupt:
            if self._interrupts.leave:
                self._status = EXIT_INTERRUPTED
                return
            self._give_up()
        self._finish(text)

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
                self._terminal.error(f"wstpscript: the connection to kernel {self._kernel} was ended")
            self._status = EXIT_OK
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
                picture = self._graphics.save(*result)
            if picture is not None:
                self._terminal.write(f"Saved as {picture}\n")

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
        except (ProfileError, CommandError) as error:
            self._terminal.error(f"wstpscript: {error}")
        else:
            self._terminal.error(
                f"wstpscript: {self._profile.path} names kernel {self._profile.get(KERNEL_ID)} from now on"
            )

    def _link_ended(self, text: str, error: LinkClosed) -> None:
        """The kernel has ended: because the user wanted it, or not."""
        leaves = _LEAVES.search(text)
        if leaves is None:
            self._terminal.error(f"wstpscript: {error}")
            self._status = EXIT_FAILED
        else:
            self._status = int(leaves[1] or 0) % 256
