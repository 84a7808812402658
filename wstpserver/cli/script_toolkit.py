"""Inputs with prompt_toolkit: several lines to edit at once, history with search, names completed in a menu."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from wstpserver.cli.script_completeness import is_incomplete
from wstpserver.cli.script_history import History
from wstpserver.cli.script_input import Completer as CompleteName

_NAME = re.compile(r"[$`\w]+$")


class ToolkitReader:
    """An `InputReader`."""

    def __init__(self, history: History, complete: CompleteName) -> None:
        self._history = history
        self._session: PromptSession[str] = PromptSession(
            history=InMemoryHistory(history.entries),
            completer=NameCompleter(complete),
            complete_while_typing=False,
            enable_history_search=True,
            multiline=True,
            key_bindings=_bindings(),
            prompt_continuation=_continuation,
        )
        self._lines: PromptSession[str] = PromptSession()

    def read(self, prompt: str) -> str:
        text = self._session.prompt(prompt).rstrip()
        if text:
            self._history.append(text)
        return text

    def read_line(self, prompt: str) -> str:
        return self._lines.prompt(prompt)


def _continuation(width: int, line_number: int, wrap_count: int) -> str:
    return " " * width


def _bindings() -> KeyBindings:
    """Enter sends an input that is complete or ends with an empty line, and begins a line otherwise."""
    bindings = KeyBindings()

    @bindings.add("enter")
    def enter(event: KeyPressEvent) -> Any:
        buffer = event.current_buffer
        last_line = buffer.text.rpartition("\n")[2]
        if is_incomplete(buffer.text) and last_line.strip():
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    return bindings


class NameCompleter(Completer):
    """Completes the name before the cursor by what the kernel knows."""

    def __init__(self, complete: CompleteName) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        match = _NAME.search(document.text_before_cursor)
        if match is None:
            return
        for name in self._complete(match[0]):
            yield Completion(name, start_position=-len(match[0]))
