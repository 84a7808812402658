"""An interactive session: the prompt, its history and completion, and Ctrl-C, put together."""

from __future__ import annotations

from typing import Final

from wstpserver.cli.script_history import History
from wstpserver.cli.script_input import make_reader
from wstpserver.cli.script_interrupts import Interrupts
from wstpserver.cli.script_kernel import Conversation
from wstpserver.cli.script_names import names_beginning
from wstpserver.cli.script_repl import Repl
from wstpserver.cli.script_terminal import Terminal
from wstpserver.client.profile import user_file

_HISTORY_FILE: Final = "wstpscript.history"


def interact(conversation: Conversation, terminal: Terminal, time_limit: float | None = None) -> int:
    """Let the user talk to the kernel until one of them ends it; the exit status. `time_limit`: as for `Repl`."""
    interrupts = Interrupts(conversation.session, terminal)

    def complete(beginning: str) -> list[str]:
        with interrupts.evaluating():  # Ctrl-C ends this, and not the input
            return names_beginning(conversation.session, beginning)

    reader = make_reader(History(user_file(_HISTORY_FILE)), complete)
    return Repl(conversation, terminal, reader, interrupts, time_limit).run()
