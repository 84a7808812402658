"""The session of the test kernel: packets in, packets out, line numbers, the evaluator."""
import os
import time

from tools.harness.fake_kernel.codec import Function, Packed, Raw, Symbol
from tools.harness.fake_kernel.link import Aborted
from tools.harness.fake_kernel.registry import FUNCTIONS, HELD, NULL, EndDialog

ABORTED = Symbol("$Aborted")
FAILED = Symbol("$Failed")


class Session:
    """One kernel session on one link."""

    def __init__(self, link, options):
        self.link, self.options = link, options
        self.symbols = {}
        self.line = 1
        self.dialogs = 0
        self.evaluations = 0
        self.unknown = []  # wire bytes of frames that are no packet for a kernel
        self._reading_server_functions = False

    def run(self):
        """Serve packets until the link closes (LinkClosed)."""
        if not self.options.silent:
            self.prompt()
        while True:
            packet, wire = self.link.get()
            if self.options.mirror:
                self.link.put_raw(wire)
            self.serve(packet, wire)

    def serve(self, packet, wire):
        """Answer one packet."""
        name = packet.head.short if isinstance(packet, Function) and isinstance(packet.head, Symbol) else ""
        if name == "EvaluatePacket" and len(packet.args) == 1:
            self.link.put("ReturnPacket", self.guarded(packet.args[0]))
        elif name == "EnterTextPacket" and len(packet.args) == 1:
            self.enter_text(packet.args[0])
        elif name == "EnterExpressionPacket" and len(packet.args) == 1:
            self.answer("ReturnExpressionPacket", self.guarded(packet.args[0]))
        else:
            self.unknown.append(wire)

    def prompt(self):
        self.link.put("InputNamePacket", f"In[{self.line}]:= ")

    def enter_text(self, text):
        """EnterTextPacket: parse, evaluate, answer as text, next line number."""
        from tools.harness.fake_kernel.parsing import SyntaxProblem, parse
        from tools.harness.fake_kernel.printing import output_form

        try:
            expression = parse(text)
        except SyntaxProblem as problem:
            self.message("Syntax", "sntx", str(problem))
            self.link.put("SyntaxPacket", problem.position)
            self.line += 1
            self.prompt()
            return
        self.answer("ReturnTextPacket", self.guarded(expression), output_form)

    def answer(self, head, value, form=lambda value: value):
        """The packets that end an evaluation of the main loop."""
        if value != NULL:
            self.link.put("OutputNamePacket", f"Out[{self.line}]= ")
            self.link.put(head, form(value))
        self.line += 1
        self.prompt()

    def guarded(self, expression):
        """Evaluate one input; an abort makes it $Aborted, a fault of the evaluator $Failed with a message."""
        if self.is_server_functions(expression):
            return NULL
        self.count_evaluation()
        self.link.aborted = self.link.interrupted = False
        if self.options.mirror:
            return NULL
        try:
            return self.evaluate(expression)
        except Aborted:
            return ABORTED
        except (ArithmeticError, TypeError, ValueError, RecursionError) as error:
            self.message("General", "kernel", f"{type(error).__name__}: {error}")
            return FAILED

    def is_server_functions(self, expression):
        """Whether this is the server's text that defines the WSTPServer` functions in a kernel.

        It is more of the language than there is here; the functions are built in instead, and the text from
        Begin["WSTPServer`...`"] to End[] is taken without counting as an evaluation.
        """
        if not (isinstance(expression, Function) and expression.is_head("ToExpression")):
            return False
        text = expression.args[0]
        if text.startswith('Begin["WSTPServer`'):
            self._reading_server_functions = True
        taken = self._reading_server_functions
        if text.startswith("End[]"):
            self._reading_server_functions = False
        return taken

    def count_evaluation(self):
        self.evaluations += 1
        if self.options.die_after is not None and self.evaluations > self.options.die_after:
            os._exit(self.options.exit_code or 1)

    def evaluate(self, expression):
        """The value of an expression; functions nobody knows stay, with their arguments evaluated."""
        if isinstance(expression, Symbol):
            if expression.short == "$Line":
                return self.line
            return self.symbols.get(expression.short, expression)
        if not isinstance(expression, Function) or isinstance(expression.head, (Raw, Packed)):
            return expression
        self.check()
        name = expression.head.short if isinstance(expression.head, Symbol) else None
        if name in HELD:
            return HELD[name](self, expression)
        arguments = [self.evaluate(argument) for argument in expression.args]
        if name in FUNCTIONS:
            return FUNCTIONS[name](self, *arguments)
        head = expression.head if name else self.evaluate(expression.head)
        return Function(head, *arguments)

    def check(self):
        """Obey messages that came: abort ends the evaluation, interrupt opens the menu."""
        self.link.poll()
        if self.link.interrupted:
            self.link.interrupted = False
            self.interrupt_menu()
        if self.link.aborted:
            raise Aborted

    def pause(self, seconds, other=None):
        """Wait as an evaluation waits: abortable, until `seconds` are over or `other` is readable.

        An interrupt whose menu says continue does not end the wait.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            self.link.poll(None if deadline is None else max(0.0, deadline - time.monotonic()), other)
            cut_short = self.link.interrupted
            self.check()
            if not cut_short:
                return

    def interrupt_menu(self):
        """Ask what to do: "a" aborts, "q" quits, anything else continues."""
        self.link.put("MenuPacket", 1, "Interrupt> ")
        choice = self.get_text()
        if choice == "a":
            raise Aborted
        if choice == "q":
            raise SystemExit(0)

    def get_text(self):
        """The client's answer to a question: TextPacket["..."] or a plain string; else its head."""
        value, _ = self.link.get(abortable=True)
        if isinstance(value, Function) and value.is_head("TextPacket") and len(value.args) == 1:
            value = value.args[0]
        if isinstance(value, str):
            return value.rstrip("\n")
        return f"no text: {value.head!r}" if isinstance(value, Function) else f"no text: {value!r}"

    def message(self, symbol, tag, text):
        self.link.put("MessagePacket", Symbol(symbol), tag)
        self.link.put("TextPacket", f"{symbol}::{tag}: {text}\n")

    def dialog(self):
        """A subsession: packets are served one level deeper until Return[value]."""
        self.dialogs += 1
        level = self.dialogs
        self.link.put("BeginDialogPacket", level)
        try:
            self.prompt()
            while True:
                self.serve(*self.link.get())
        except EndDialog as end:
            return end.value
        finally:
            self.dialogs -= 1
            self.link.put("EndDialogPacket", level)
