"""What an input of an interactive session gives, shown as it comes."""

from __future__ import annotations

from typing import Final

from wstpserver.cli.script_terminal import Terminal
from wstpserver.client import Callbacks, KernelMessage
from wstpserver.wire.values import Expression

#: How a result begins that may be the last word of a kernel: after WSTPServer`DisconnectKernel[] it is not shown.
_SUCCESS: Final = "Success["


class Results:
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
        text = value if isinstance(value, str) else str(value)
        if text.startswith(_SUCCESS):
            self._held = label or self._label, text
        else:
            self.show(label or self._label, text)

    def _print(self, text: str) -> None:
        self.release()
        self._terminal.write(text)

    def _message(self, message: KernelMessage) -> None:
        self.release()
        self._terminal.message(message)

    def _ask(self, prompt: str) -> str:
        self.release()
        return self._terminal.ask(prompt)

    def _choose(self, prompt: str) -> str:
        self.release()
        return self._terminal.choose(prompt)
