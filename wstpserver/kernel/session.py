"""One kernel: a loaded engine joined to one link."""

from __future__ import annotations

import sys

from mathics.core.element import BaseElement
from mathics.core.interrupt import EvaluationInterrupt

from wstpserver.client.link import Link
from wstpserver.kernel.arrivals import Arrivals
from wstpserver.kernel.attendant import Attendant
from wstpserver.kernel.channel import Channel
from wstpserver.kernel.engine import Engine
from wstpserver.kernel.entering import Lines
from wstpserver.kernel.evaluator import Evaluator
from wstpserver.kernel.exits import EXIT_OK, EXIT_SOFTWARE
from wstpserver.kernel.incoming import Incoming
from wstpserver.kernel.outgoing import Outgoing
from wstpserver.kernel.packets_in import Dispatcher
from wstpserver.kernel.questions import Questions
from wstpserver.kernel.standard_output import StandardOutput
from wstpserver.wire.packets import packet
from wstpserver.wire.values import Symbol


class _DialogReturn(EvaluationInterrupt):
    """Return[value] at the top of a line in a dialog: ends the dialog."""

    def __init__(self, value: BaseElement) -> None:
        super().__init__()
        self.value = value


class KernelSession:
    """Serves one link. Builtins find it as `evaluation.session`."""

    def __init__(self, engine: Engine, link: Link) -> None:
        """Takes over descriptor 1 and the signals SIGINT and SIGALRM of the process."""
        self._engine = engine
        self._link = link
        interruption = engine.interruption
        interruption.on_interrupt = self._interrupted
        interruption.install_signal_handlers()
        arrivals = Arrivals(link)
        self.channel = Channel(link, arrivals, interruption)
        self.questions = Questions(self.channel)
        self.incoming = Incoming(engine.definitions)
        self.outgoing = Outgoing(engine.definitions)
        self.evaluator = Evaluator(engine.evaluation)
        self._lines = Lines(self.evaluator, self.channel, self.outgoing)
        self._dispatcher = Dispatcher(self.evaluator, self.channel, self._lines, self.incoming, self.outgoing)
        self._stdout = StandardOutput(lambda text: self.channel.write_from_thread(packet("TextPacket", text)))
        self.channel.before_writing = self._stdout.flush
        self._attendant = Attendant(link, arrivals, interruption)
        engine.evaluation.session = self

    def run(self) -> int:
        """Send the first prompt and serve packets until the link closes or Quit; returns the exit code."""
        self._stdout.start()
        self._attendant.start()
        try:
            self._lines.begin()
            while True:
                self._dispatcher.handle(self.channel.read())
                self._engine.number_tables.trim()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else EXIT_OK
        except Exception as error:
            print(f"wstpkernel: {type(error).__name__}: {error}", file=sys.stderr)
            return EXIT_SOFTWARE
        finally:
            self._link.close()

    def send_text(self, text: str) -> None:
        """TextPacket, now."""
        self.channel.write(packet("TextPacket", text))

    def send_message(self, symbol: str, tag: str, text: str) -> None:
        """MessagePacket and the text that belongs to it, now."""
        self.channel.write(
            packet("MessagePacket", Symbol(symbol), tag), packet("TextPacket", f"{symbol}::{tag}: {text}\n")
        )

    def dialog(self, first: BaseElement | None = None) -> BaseElement:
        """Run a dialog inside the current evaluation, `first` its first line; the value of the Return that ended it."""
        self._lines.dialog_depth += 1
        depth = self._lines.dialog_depth
        before, self._lines.on_dialog_return = self._lines.on_dialog_return, _end_dialog
        self.channel.write(packet("BeginDialogPacket", depth))
        try:
            if first is None:
                self._lines.begin()
            else:
                self._lines.show(first)
            while True:
                self._dispatcher.handle(self.channel.read_during_evaluation())
        except _DialogReturn as end:
            return end.value
        finally:
            self._lines.dialog_depth -= 1
            self._lines.on_dialog_return = before
            self.channel.write(packet("EndDialogPacket", depth))

    def _interrupted(self) -> None:
        if self.questions.menu() == "inspect":
            self.dialog()


def _end_dialog(value: BaseElement) -> None:
    raise _DialogReturn(value)


def serve(engine: Engine, link: Link) -> int:
    """Run a kernel on `link` until it ends; returns the exit code."""
    engine.start_session()
    return KernelSession(engine, link).run()
