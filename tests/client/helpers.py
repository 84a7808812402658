"""Peers for the tests of the client library: raw sockets that misbehave, and kernels played by a thread."""

import contextlib
import socket
import threading
import time

from tests.support.packets import input_name_packet, message_packet, return_text_packet
from wstpserver.client import Callbacks, LinkClosed, Session, listen
from wstpserver.wire.packets import MessageCode, packet, return_packet, text_packet
from wstpserver.wire.values import Function, Symbol

#: Seconds within which everything that is not meant to take time must have happened.
PROMPT = 60.0


class Worker(threading.Thread):
    """A thread whose exception comes out of `finish`, so that a test cannot pass over it."""

    def __init__(self, function, *arguments):
        super().__init__(daemon=True)
        self._function, self._arguments = function, arguments
        self._error = self._result = None
        self.start()

    def run(self):
        try:
            self._result = self._function(*self._arguments)
        except BaseException as error:
            self._error = error

    def finish(self, timeout=PROMPT):
        """The function's result; its exception; AssertionError if it has not ended."""
        self.join(timeout)
        assert not self.is_alive(), "the peer's thread did not end"
        if self._error is not None:
            raise self._error
        return self._result


@contextlib.contextmanager
def raw_peer(script, connections=1):
    """A listening socket; `script(sockets)` runs in a thread with the accepted ones. Gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PROMPT)

        def run():
            with contextlib.ExitStack() as open_sockets:
                sockets = [open_sockets.enter_context(server.accept()[0]) for _ in range(connections)]
                for sock in sockets:
                    sock.settimeout(PROMPT)
                script(sockets)

        worker = Worker(run)
        yield server.getsockname()[1]
        worker.finish()


@contextlib.contextmanager
def peer(script, **options):
    """A listener; `script(link)` runs in a thread with the first link. Gives the link name to connect to."""
    with listen("0@127.0.0.1", **options) as listener:

        def run():
            with listener.accept(PROMPT) as link:
                script(link)

        worker = Worker(run)
        yield listener.link_name
        worker.finish()


@contextlib.contextmanager
def two_ends(**options):
    """Both ends of one link: (the one that connected, the one that was accepted)."""
    from wstpserver.client import connect

    with listen("0@127.0.0.1", **options) as listener:
        worker = Worker(listener.accept, PROMPT)
        with connect(listener.address, timeout=PROMPT) as link, worker.finish() as other:
            yield link, other


@contextlib.contextmanager
def takes(low, high=60.0):
    """The block takes between `low` and `high` seconds.

    The upper end is for a machine that is busy. What would be too slow takes longer than that, or for ever.
    """
    start = time.monotonic()
    yield
    elapsed = time.monotonic() - start
    assert low <= elapsed < high, f"took {elapsed:.3f} s instead of {low} to {high}"


def text_of(expression):
    """The Wolfram Language text inside an EvaluatePacket's argument, or the argument itself if there is none."""
    pending = [expression]
    while pending:
        part = pending.pop()
        if isinstance(part, Function):
            if part.head == Symbol("ToExpression"):
                return part.args[0]
            pending.extend((part.head, *part.args))
    return expression


class Kernel:
    """A kernel played on one link: `rules` says by text (or expression) what an evaluation does and returns.

    A rule is a value, or a function of this kernel. An EvaluatePacket of an integer gives the integer. A server command
    gives the rule of its name, ExecutionError without one, and no answer at all where the rule is None. The prompt
    counts EnterTextPackets. `aborted` is set by an abort while an evaluation runs, and cleared by the next one;
    `aborts` counts them, `idle_aborts` those that come otherwise.
    """

    def __init__(self, rules=(), *, prompt=True, ignore_aborts=0):
        self.rules = dict(rules)
        self.aborted = threading.Event()
        self.interrupted = threading.Event()
        self.aborts = 0
        self.idle_aborts = 0
        self.commands = []
        self.seen = []
        self._prompt = prompt
        self._line = 1
        self.evaluating = False
        self._ignore_aborts = ignore_aborts

    def __call__(self, link):
        self.link = link
        link.on_message(self._message)
        try:
            if self._prompt:
                self.prompt()
            while True:
                self._take(link.get_packet(PROMPT))
        except (LinkClosed, EndOfKernel):
            pass

    def _message(self, code, argument):
        if code == MessageCode.INTERRUPT:
            self.interrupted.set()
        elif code != MessageCode.ABORT:
            return
        elif not self.evaluating:
            self.idle_aborts += 1
        elif self._ignore_aborts:
            self._ignore_aborts -= 1
        else:
            self.aborts += 1
            self.aborted.set()

    def _take(self, received):
        content = received.arguments[0] if received.arguments else None
        if content != Symbol("Null") and not (isinstance(content, int) and content >= 1 << 32):
            # Neither what a session waits for its kernel with, nor the numbers by which it finds its place.
            self.seen.append((received.name, content))
        if received.name == "EvaluatePacket":
            value = self._evaluate(content)
            if value is not NO_ANSWER:
                self.link.put(return_packet(value))
        elif received.name == "EnterTextPacket":
            value = self._evaluate(content)
            if value is not None:
                self.link.put(packet("OutputNamePacket", f"Out[{self._line}]= "))
                self.link.put(return_text_packet(value.name if isinstance(value, Symbol) else str(value)))
            self._line += 1
            self.prompt()
        elif received.name == "EnterExpressionPacket":
            self.link.put(packet("OutputNamePacket", f"Out[{self._line}]= "))
            self.link.put(packet("ReturnExpressionPacket", self._evaluate(content)))
            self._line += 1
            self.prompt()
        elif received.name == "WSCommandPacket":
            self.commands.append(content)
            answer = self.rules.get(content.head.name, '{"status":"ExecutionError"}')
            if answer is not None:
                self.link.put(return_packet(answer))

    def _evaluate(self, content):
        self.evaluating = True
        self.aborted.clear()
        try:
            text = text_of(content)
            rule = self.rules.get(text, text)
            return rule(self) if callable(rule) else rule
        finally:
            self.evaluating = False

    # What rules may use.

    def prompt(self):
        self.link.put(input_name_packet(f"In[{self._line}]:= "))

    def print(self, text):
        self.link.put(text_packet(text))

    def message(self, symbol, tag, text):
        self.link.put(message_packet(symbol, tag))
        if text is not None:
            self.link.put(text_packet(text))

    def ask(self, question):
        """Send a packet that asks for something; the answer's packet."""
        self.link.put(question)
        return self.link.get_packet(PROMPT)

    def until_aborted(self):
        """Wait for an abort, as an endless evaluation does."""
        assert self.aborted.wait(PROMPT), "no abort came"
        return Symbol("$Aborted")


#: What a rule returns whose evaluation is never answered.
NO_ANSWER = object()


class EndOfKernel(Exception):
    """Raised by a rule: the kernel ends without an answer."""


def endless(kernel):
    """A rule: runs until it is aborted."""
    return kernel.until_aborted()


def dies(kernel):
    """A rule: the kernel ends."""
    raise EndOfKernel


@contextlib.contextmanager
def session_with(kernel, callbacks=None, address="{}", results="python", **options):
    """A session whose other side is `kernel`."""
    with peer(kernel, **options) as name:
        place = name if address == "{}" else name.partition("@")[0]
        with Session(address.format(place), PROMPT, callbacks=callbacks, results=results) as session:
            yield session


class Recorder:
    """Callbacks that write down what they get, in order."""

    def __init__(self, answers=()):
        self.events = []
        self._answers = list(answers)
        self.callbacks = Callbacks(
            on_print=lambda text: self.events.append(("print", text)),
            on_message=lambda message: self.events.append(("message", *message)),
            on_input=self._answer("input"),
            on_menu=self._answer("menu"),
        )

    def _answer(self, kind):
        def answer(prompt):
            self.events.append((kind, prompt))
            return self._answers.pop(0)

        return answer
