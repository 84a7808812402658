"""The interactive session: prompts, inputs and results as a Wolfram Language kernel numbers them."""

from __future__ import annotations

import re
from typing import Final

from wstpserver.cli.script_errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from wstpserver.cli.script_graphics import GraphicsFolder
from wstpserver.cli.script_input import InputReader
from wstpserver.cli.script_interrupts import Interrupts
from wstpserver.cli.script_kernel import Conversation, record_kernel
from wstpserver.cli.script_profile import KERNEL_ID, ProfileError
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import CommandError, EvaluationAborted, EvaluationError, LinkClosed, LinkTimeout
from wstpserver.wire.errors import WSTPError

_LEAVES = re.compile(r"\b(?:Quit|Exit)\b(?:\s*\[\s*(\d*)\s*\])?")
_CONNECTS = re.compile(r"\bConnect(?:Parallel)?Kernel\b")
_SUCCESS: Final = "Success["
_DEFAULT_PROMPT: Final = "In[1]:= "


class Repl:
    """Reads inputs, has them evaluated and shows what comes of it, until the user or the kernel ends it.

    `time_limit`: seconds for one evaluation.
    """

    def __init__(
        self, conversation: Conversation, terminal: Terminal, reader: InputReader, time_limit: float | None = None
    ) -> None:
        self._session, self._profile = conversation
        self._terminal = terminal
        self._reader = reader
        self._time_limit = time_limit
        terminal.read_line = reader.read_line
        self._graphics = GraphicsFolder(self._session)
        self._interrupts = Interrupts(self._session, terminal)
        # A kernel that is linked to directly has no server to ask.
        self._kernel = self._current_kernel()
        self._status: int | None = None

    def run(self) -> int:
        """Returns the exit status."""
        while self._status is None:
            try:
                text = self._read()
                if text.strip():
                    self._enter(text)
            except EOFError:
                self._terminal.write("\n")
                return EXIT_OK
            except KeyboardInterrupt:  # at the prompt: what was typed is thrown away
                self._terminal.write("\n")
        return self._status

    def _read(self) -> str:
        self._terminal.begin_line()
        self._terminal.write("\n")
        text = self._reader.read(self._prompt)
        self._terminal.line_was_read()
        return text

    @property
    def _prompt(self) -> str:
        return self._session.prompt or _DEFAULT_PROMPT

    def _enter(self, text: str) -> None:
        """One input, from its evaluation to what it changes for the session."""
        label = re.sub(r"In\[(\d+)\]:=", r"Out[\1]=", self._prompt)
        shown: tuple[str, str] | None = None
        try:
            with self._interrupts:
                output = self._session.evaluate_text(text, self._time_limit)
            if output.text is not None:
                shown = output.name or label, output.text
        except LinkClosed as error:
            self._link_ended(text, error)
            return
        except EvaluationAborted as error:
            if not isinstance(error, LinkTimeout):
                shown = label, "$Aborted"
            self._rest()
        except EvaluationError as error:
            self._terminal.error(f"wstpscript: {error}")
            self._rest()
        except KeyboardInterrupt:
            if self._interrupts.leave:
                self._status = EXIT_INTERRUPTED
                return
            shown = label, "$Aborted"
            self._rest()
        self._finish(text, shown)

    def _rest(self) -> None:
        """Let a kernel that was told to give up come to rest, which brings its next prompt."""
        with self._interrupts:
            try:
                self._session.synchronize()
            except (WSTPError, KeyboardInterrupt):
                self._status = EXIT_FAILED

    def _finish(self, text: str, shown: tuple[str, str] | None) -> None:
        """Show the result, unless the session ended in good order with it."""
        kernel = self._kernel and self._kernel_after(text)
        if kernel == self._kernel:
            self._show(shown)
            return
        if kernel is None:
            if shown is not None and not shown[1].startswith(_SUCCESS):
                self._terminal.result(*shown)
                self._terminal.error(f"wstpscript: the connection to kernel {self._kernel} was ended")
            self._status = EXIT_OK
            return
        if shown is not None:  # not asked for as a picture: it is in another kernel
            self._terminal.result(*shown)
        self._kernel = kernel
        self._update_profile()

    def _show(self, shown: tuple[str, str] | None) -> None:
        if shown is None:
            return
        self._terminal.result(*shown)
        with self._interrupts:
            picture = self._graphics.save(*shown)
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
                self._session.synchronize()  # perhaps on the way to another kernel: its first answer is waited for
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
