"""A kernel of a pool in the shape that `wolframclient`, the vendor's Python client, starts and talks to.

The client starts `KERNEL -noprompt -initfile FILE... -run 'KernelPrivateStart["tcp://...", "tcp://..."];'` and waits
for "OK" on the second ZeroMQ socket. Then it sends one expression at a time as WXF into the first socket and receives,
in the second one, an association with what ``EvaluationData`` says of its evaluation. A third socket takes lines of
the kernel's log as JSON.

Here that is done for a kernel of a pool. A kernel that has WXF and ``EvaluationData`` runs the client's own
initialization file and gets the WXF as it is. For another one (the embedded kernel) WXF is read and written by
wolframclient's functions and converted here (`client.wxf`).
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from wstpserver.client import Address, Callbacks, EvaluationError, KernelLost, KernelMessage, LinkError, Session
from wstpserver.client.wxf import Bytes, byte_array, expression_to_wxf, list_of, wxf_to_expression
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Expression, Function, Symbol

#: Exit codes, as of other programs of this package.
EXIT_OK: Final = 0
EXIT_ENDED: Final = 1
EXIT_UNAVAILABLE: Final = 69

#: Seconds to come to a kernel. The client gives up when it likes, after 20 s by default, and ends this process; what is
#: waited for has been written into its log by then.
START_TIMEOUT: Final = 120.0
#: Seconds that the client's log may take to listen, before the first line is written into it.
_LOG_TIMEOUT: Final = 5.0
#: Milliseconds for what was sent last to leave this process.
_LINGER: Final = 2000
#: Messages that are kept of one evaluation, and texts that it prints.
_KEPT: Final = 1000
#: Bytes that a pipe takes at once or not at all.
_PIPE: Final = 4096

#: ``Quit[]``, by which the client ends a kernel.
_QUIT: Final = b"8:f\x00s\x04Quit"
#: Asks for both of what the client's initialization file needs: WXF (here that of the integer 1) and EvaluationData.
_PROBE: Final = 'EvaluationData[BinaryDeserialize[ByteArray["ODpDAQ=="]]]["Result"]'

_START: Final = re.compile(
    r"KernelPrivateStart\s*\[\s*\"(?P<input>[^\"]+)\"\s*,\s*\"(?P<output>[^\"]+)\"\s*"
    r"(?:,\s*\"(?P<log>[^\"]+)\"\s*,\s*(?P<level>\d+)\s*)?\]"
)
_DEBUG, _INFO, _WARN, _ERROR, _NO_LOG = 1, 2, 3, 4, 99


class MissingPackage(Exception):
    """A package of the extra is not installed; the text names it and says how to get it."""


class KernelStart(NamedTuple):
    """What the client asks for with `-run`.

    Attributes:
        input: The ZeroMQ address of the expressions to evaluate.
        output: The ZeroMQ address of the results.
        log: The ZeroMQ address of the log; None for no log.
        level: The least level that is logged, from 1 (debug) to 4 (error); 99 for none.
    """

    input: str
    output: str
    log: str | None
    level: int


def parse_start(run: str) -> KernelStart | None:
    """Read the argument of `-run`.

    Args:
        run: Wolfram Language text.

    Returns:
        What it asks for; None if it is not what wolframclient starts a kernel with.
    """
    found = _START.search(run)
    if found is None:
        return None
    level = int(found["level"]) if found["level"] else _NO_LOG
    return KernelStart(found["input"], found["output"], found["log"], level)


def serve(
    start: KernelStart, initialization_files: Iterable[str | os.PathLike[str]] = (), address: str | Address = ""
) -> int:
    """Take a kernel and serve a client until it says `Quit[]`, ends, or the kernel ends.

    Args:
        start: Where the client listens.
        initialization_files: The arguments of `-initfile`, in order.
        address: The server, and its pool.

    Returns:
        The exit code for the program. The reason of any but 0 has been written to stderr and into the client's log.

    Raises:
        MissingPackage: pyzmq or wolframclient is not installed.
    """
    _require_packages()
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)  # WXF has large integers in decimal
    with _Sockets(start) as sockets:
        log = _KernelLog(sockets, start.level)
        try:
            kernel = _take_kernel(address, log, [_text_in(path) for path in initialization_files])
        except (OSError, WSTPError) as error:
            log.fail(f"no kernel for wolframclient: {error}")
            sockets.monitor.close(0)
            return EXIT_UNAVAILABLE
        with kernel.session:
            _Watch(sockets, kernel.session).start()
            sockets.send(b"OK")
            try:
                return _serve(sockets, kernel)
            except (EvaluationError, LinkError) as error:
                if sockets.client_is_gone or kernel.quits:
                    return EXIT_OK
                log.fail(f"the kernel has ended: {error}")
                return EXIT_ENDED


def _text_in(path: str | os.PathLike[str]) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _require_packages() -> None:
    missing = []
    for package, module in (("pyzmq", "zmq"), ("wolframclient", "wolframclient")):
        try:
            __import__(module)
        except ImportError:
            missing.append(package)
    if missing:
        raise MissingPackage(
            f"wolframclient needs {' and '.join(missing)} here: pip install 'wstpserver[wolframclient]'"
        )


def _serve(sockets: _Sockets, kernel: _Kernel) -> int:
    """Answer requests until the client is gone or ends the kernel. Raises EvaluationError and LinkError."""
    kernel.prepare()
    while True:
        request = sockets.receive()
        if request is None or request == _QUIT:
            return EXIT_OK
        sockets.send(kernel.answer(request))


# The client's sockets


class _Sockets:
    """The ZeroMQ connections to the client, which listens.

    Attributes:
        client_is_gone: Whether the client has closed its sockets.
    """

    def __init__(self, start: KernelStart) -> None:
        import zmq

        self.client_is_gone = False
        self._start = start
        self._zmq: Any = zmq
        self._context: Any = zmq.Context()
        self._input: Any = self._context.socket(zmq.PULL)
        self._input.setsockopt(zmq.RECONNECT_IVL, -1)  # a client that is gone does not come back
        self._output: Any = self._context.socket(zmq.PUSH)
        self._log: Any = None if start.log is None else self._context.socket(zmq.XPUB)
        #: Whether a line can be written: the client has subscribed, or does not in time.
        self._log_is_open = False
        self._wake, self._awakened = os.pipe()
        #: Tells of the input's connection; belongs to the thread that watches it.
        self.monitor: Any = self._input.get_monitor_socket(zmq.EVENT_DISCONNECTED)

    def __enter__(self) -> _Sockets:
        for socket, address in (
            (self._input, self._start.input), (self._output, self._start.output), (self._log, self._start.log),
        ):  # fmt: skip
            if socket is not None:
                socket.connect(address)
        return self

    def __exit__(self, *_: object) -> None:
        for socket in (self._input, self._output, self._log):
            if socket is not None:
                socket.close(0 if self.client_is_gone else _LINGER)
        self._context.term()  # ends the watching thread, which closes the monitor

    def receive(self) -> bytes | None:
        """The next request; None if the client is gone."""
        poller = self._zmq.Poller()
        poller.register(self._input, self._zmq.POLLIN)
        poller.register(self._wake, self._zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._input in ready:
                return bytes(self._input.recv())
            if self._wake in ready:
                return None

    def send(self, data: bytes) -> None:
        """Send a result."""
        self._output.send(data, copy=len(data) < 1 << 16)

    def client_went(self) -> None:
        """Note that the client is gone, and end a `receive` in another thread."""
        self.client_is_gone = True
        os.write(self._awakened, b".")

    def log(self, text: str, level: int) -> None:
        """Write a line into the client's log; the first one not before the client hears it, if it does in time."""
        if self._log is None:
            return
        if not self._log_is_open:
            self._log.poll(1000 * _LOG_TIMEOUT)  # the subscription: what is published before it came is lost
            self._log_is_open = True
        self._log.send(json.dumps({"msg": text, "level": level}).encode("ascii"))


class _Watch(threading.Thread):
    """Notices that the client is gone, also while the kernel evaluates, and takes Ctrl-C for an abort."""

    def __init__(self, sockets: _Sockets, session: Session) -> None:
        super().__init__(name="watch", daemon=True)
        self._sockets = sockets
        self._session = session
        self._signals, signalled = os.pipe()
        os.set_blocking(signalled, False)
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, lambda *_: None)

    def run(self) -> None:
        import zmq

        poller = zmq.Poller()
        poller.register(self._sockets.monitor, zmq.POLLIN)
        poller.register(self._signals, zmq.POLLIN)
        try:
            while True:
                ready = dict(poller.poll())
                if self._signals in ready and signal.SIGINT in os.read(self._signals, 64):
                    self._session.abort()
                if self._sockets.monitor in ready:
                    self._sockets.client_went()
                    self._session.close()
                    return
        except zmq.ContextTerminated:
            pass  # this process is about to end
        finally:
            self._sockets.monitor.close(0)


class _KernelLog:
    """What goes to the client besides results: its log, and the standard output of this process.

    Attributes:
        level: The least level that is logged.
    """

    def __init__(self, sockets: _Sockets, level: int) -> None:
        self.level = level
        self._sockets = sockets

    def write(self, level: int, text: str) -> None:
        """Log a line if its level is high enough."""
        if level >= self.level:
            self._sockets.log(text, level)

    def fail(self, text: str) -> None:
        """Say why there is no kernel, to whoever listens."""
        self._sockets.log(f"wstpserver-kernel: {text}", _ERROR)
        _write_if_room(2, f"wstpserver-kernel: {text}\n")

    def notice(self, text: str) -> None:
        """Tell what the server says, and what the start waits for."""
        self.write(_WARN, f"wstpserver-kernel: {text}")
        _write_if_room(2, f"wstpserver-kernel: {text}\n")

    def printed(self, text: str) -> None:
        """Tell what the kernel prints. A client that does not read its end of a pipe does not stop us."""
        self.write(_INFO, text.removesuffix("\n"))
        _write_if_room(1, text)


def _write_if_room(descriptor: int, text: str) -> None:
    """Write what fits, and drop the rest."""
    data = text.encode("utf-8", "replace")
    try:
        while data:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            if poll.poll(0) != [(descriptor, select.POLLOUT)]:
                return
            data = data[os.write(descriptor, data[:_PIPE]) :]
    except OSError:
        pass  # nobody has the other end any more


# The kernel


def _take_kernel(address: str | Address, log: _KernelLog, initialization: Sequence[str]) -> _Kernel:
    """A kernel that is ready for the client. Raises OSError and WSTPError."""
    session = Session(address, START_TIMEOUT, callbacks=Callbacks(on_notice=log.notice), results="expression")
    try:
        probe = session.evaluate(_PROBE, START_TIMEOUT, callbacks=Callbacks.quiet())
        kind = _BinaryKernel if probe == 1 else _PlainKernel
        kernel = kind(session, log)
        kernel.initialize(initialization)
    except BaseException:
        session.close()
        raise
    return kernel


class _Kernel:
    """A session in which requests of the client are evaluated.

    Attributes:
        session: The session.
        quits: Whether the last request said that the kernel ends.
    """

    def __init__(self, session: Session, log: _KernelLog) -> None:
        self.session = session
        self.quits = False
        self._log = log
        #: Begins what the kernel writes for the log and not for its user.
        self._mark = f"log-{os.urandom(8).hex()} "

    def initialize(self, files: Sequence[str]) -> None:
        """Evaluate what the client has a kernel evaluate at its start."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make definitions that the client need not wait for at its start. Raises EvaluationError and LinkError."""

    def answer(self, request: bytes) -> bytes:
        """The WXF of the answer to a request. Raises KernelLost and LinkError."""
        raise NotImplementedError

    def _run(self, text: str) -> None:
        """Evaluate definitions of ours, which give no messages."""
        self.session.evaluate(text, START_TIMEOUT, check=True)


#: Evaluates a text expression by expression, in the contexts that these choose.
_READ: Final = (
    "Module[{stream = StringToStream[#], next}, "
    "While[(next = Read[stream, HoldComplete[Expression]]) =!= EndOfFile, ReleaseHold[next]]; Close[stream]]&"
)

#: The client's own functions for one request, with sockets that end here.
_BINARY: Final = r"""
ClientLibrary`Private`$OutputSocket = "result";
ClientLibrary`Private`SocketWriteByteArrayFunc = Function[{socket, bytes},
  If[socket === "log",
    LinkWrite[$ParentLink, TextPacket["@MARK@" <> FromCharacterCode[Normal[bytes]]]],
    ClientLibrary`Private`answer = bytes]];
ClientLibrary`Private`exchange[data_ByteArray] :=
  (ClientLibrary`Private`answer = $Failed; ClientLibrary`Private`socketEventHandler[data];
   ClientLibrary`Private`answer);
If[@LEVEL@ <= 4,
  ClientLibrary`Private`$LoggerSocket = "log"; ClientLibrary`Private`setLogLevel[@LEVEL@];
  ClientLibrary`Private`addMessageHandler[]; ClientLibrary`Private`addPrintHandler[],
  ClientLibrary`DisableKernelLogging[]];
"""


class _BinaryKernel(_Kernel):
    """A kernel that reads and writes WXF itself, and runs the client's initialization file."""

    def initialize(self, files: Sequence[str]) -> None:
        for text in files:
            self.session.evaluate(Function(_text_of(_READ), (text,)), START_TIMEOUT, callbacks=self._callbacks())
        handler = self.session.evaluate("Length[DownValues[ClientLibrary`Private`socketEventHandler]]", START_TIMEOUT)
        if handler == 0:
            raise EvaluationError("the initialization files define no ClientLibrary`Private`socketEventHandler")
        self._run(_BINARY.replace("@MARK@", self._mark).replace("@LEVEL@", str(self._log.level)))

    def _callbacks(self) -> Callbacks:
        return Callbacks(on_print=self._printed, on_message=lambda message: None)

    def _printed(self, text: str) -> None:
        if text.startswith(self._mark):
            line = json.loads(text.removeprefix(self._mark))
            self._log.write(line["level"], line["msg"])
        else:
            _write_if_room(1, text)

    def answer(self, request: bytes) -> bytes:
        question = Function(Symbol("ClientLibrary`Private`exchange"), (byte_array(request),))
        self.quits = b"Quit" in request or b"Exit" in request
        value = self.session.evaluate(question, callbacks=self._callbacks(), results="python")
        if isinstance(value, bytes):
            return value
        reason = "was aborted" if value == Symbol("$Aborted") else "gave no answer that could be sent"
        return _failure(f"The evaluation {reason}.", value if isinstance(value, Symbol) else Symbol("$Failed"))


def _text_of(code: str) -> Function:
    return Function(Symbol("ToExpression"), (code,))


#: What the client's initialization file defines for its user; and the evaluation of a request in the contexts of the
#: user. The process ID is that of the process which the client has started and may kill. When a value is sent only
#: System` is visible, so that the kernel writes the contexts of all other symbols.
_PLAIN: Final = r"""
ClientLibrary`Private`$DEBUG = 1; ClientLibrary`Private`$INFO = 2; ClientLibrary`Private`$WARN = 3;
ClientLibrary`Private`$ERROR = 4; ClientLibrary`Private`$NOTSET = Infinity;
ClientLibrary`Private`$LogLevel = If[@LEVEL@ <= 4, @LEVEL@, Infinity];
ClientLibrary`Private`format[e_String] := e;
ClientLibrary`Private`format[e_] := ToString[e, InputForm];
ClientLibrary`Private`log[level_, args___] := If[level >= ClientLibrary`Private`$LogLevel,
  Print["@MARK@", level, " ", StringRiffle[Map[ClientLibrary`Private`format, {args}], " "]]];
ClientLibrary`debug[args__] := ClientLibrary`Private`log[1, args];
ClientLibrary`info[args__] := ClientLibrary`Private`log[2, args];
ClientLibrary`warn[args__] := ClientLibrary`Private`log[3, args];
ClientLibrary`error[args__] := ClientLibrary`Private`log[4, args];
ClientLibrary`Private`setLogLevel[level_] := If[@LEVEL@ <= 4,
  (Print["@MARK@", "level ", level]; ClientLibrary`Private`$LogLevel = level)];
ClientLibrary`SetDebugLogLevel[] := ClientLibrary`Private`setLogLevel[1];
ClientLibrary`SetInfoLogLevel[] := ClientLibrary`Private`setLogLevel[2];
ClientLibrary`SetWarnLogLevel[] := ClientLibrary`Private`setLogLevel[3];
ClientLibrary`SetErrorLogLevel[] := ClientLibrary`Private`setLogLevel[4];
ClientLibrary`DisableKernelLogging[] := (
  Print["@MARK@", "level 99"]; ClientLibrary`Private`$LogLevel = Infinity);
ClientLibrary`disconnect[] := Quit[];
ClientLibrary`Private`$contexts = {$Context, $ContextPath};
ClientLibrary`Private`enter[] := If[$Context === "ClientLibrary`Wire`",
  ($ContextPath = Last[ClientLibrary`Private`$contexts]; $Context = First[ClientLibrary`Private`$contexts])];
ClientLibrary`Private`leave[value___] := (ClientLibrary`Private`$contexts = {$Context, $ContextPath};
  $Context = "ClientLibrary`Wire`"; $ContextPath = {"System`"}; value);
SetAttributes[ClientLibrary`Private`evaluate, HoldAllComplete];
ClientLibrary`Private`evaluate[e_] := (ClientLibrary`Private`enter[]; ClientLibrary`Private`leave[e]);
Unprotect[$ProcessID]; $ProcessID = @PROCESS@; Protect[$ProcessID];
$MessagePrePrint = FullForm;
$Context = "ClientLibrary`Wire`"; $ContextPath = {"System`"};
"""


class _PlainKernel(_Kernel):
    """A kernel without WXF: expressions are converted here, and output and messages are collected here."""

    def initialize(self, files: Sequence[str]) -> None:
        callbacks = Callbacks(on_print=self._log.printed, on_message=self._log_message)
        for text in files:
            if "KernelPrivateStart" not in text:  # the client's own, which needs ZeroMQ in the kernel
                self.session.evaluate_text(text, START_TIMEOUT, callbacks=callbacks)

    def prepare(self) -> None:
        text = _PLAIN.replace("@MARK@", self._mark).replace("@LEVEL@", str(self._log.level))
        self._run(text.replace("@PROCESS@", str(os.getpid())))

    def _log_message(self, message: KernelMessage) -> None:
        self._log.write(_WARN, _message_text(message))

    def answer(self, request: bytes) -> bytes:
        try:
            expression = wxf_to_expression(request)
        except ValueError as error:
            return _failure(f"The request could not be read: {error}")
        self.quits = _calls_quit(request)
        messages: list[KernelMessage] = []
        printed: list[str] = []

        def on_message(message: KernelMessage) -> None:
            self._log_message(message)
            if len(messages) < _KEPT:
                messages.append(message)

        def on_print(text: str) -> None:
            if text.startswith(self._mark):
                self._logged(text.removeprefix(self._mark))
                return
            self._log.printed(text)
            if len(printed) < _KEPT:
                printed.append(text.removesuffix("\n"))

        self._log.write(_DEBUG, "Evaluating a new expression.")
        question = Function(Symbol("ClientLibrary`Private`evaluate"), (expression,))
        try:
            value = self.session.evaluate(question, callbacks=Callbacks(on_print=on_print, on_message=on_message))
        except KernelLost:
            raise
        except EvaluationError as error:  # an abort, or a question to the user
            return _failure(f"{error}.", Symbol("$Aborted"), printed)
        answer = _answer(value, messages, printed)
        self._log.write(_DEBUG, "Done evaluating.")
        return answer

    def _logged(self, line: str) -> None:
        """A line for the log: `LEVEL TEXT`, or `level LEVEL` for a new level."""
        level, _, text = line.partition(" ")
        if level == "level":
            self._log.level = int(text)
        else:
            self._log.write(int(level), text.removesuffix("\n"))


def _calls_quit(request: bytes) -> bool:
    """Whether the kernel may end because the request says so."""
    return b"Quit" in request or b"Exit" in request or b"disconnect" in request


def _message_text(message: KernelMessage) -> str:
    text = message.text.strip()
    return text.removeprefix(f"{message.symbol}::{message.tag}:").strip() or f"{message.symbol}::{message.tag}"


def _answer(value: Expression, messages: Sequence[KernelMessage], printed: Sequence[str]) -> bytes:
    """The association that the client reads, with what ``EvaluationData`` says."""
    names = [Function(Symbol("MessageName"), (Symbol(message.symbol), message.tag)) for message in messages]
    failure = Symbol("None") if not messages else "MessageFailure"
    return _association(
        Success=Symbol("False" if messages else "True"),
        FailureType=failure,
        Messages=list_of(names),
        MessagesText=list_of([_message_text(message) for message in messages]),
        OutputLog=list_of(printed),
        Output=list_of(printed),
        Result=Bytes(expression_to_wxf(value)),
    )


def _failure(text: str, value: Expression = Symbol("$Failed"), printed: Sequence[str] = ()) -> bytes:  # noqa: B008
    """The answer to a request that could not be evaluated: a message of this gateway, which the client logs."""
    return _answer(value, [KernelMessage("WSTPServer`Kernel", "failed", text)], printed)


def _association(**fields: Any) -> bytes:
    rules = tuple(Function(Symbol("Rule"), (key, value)) for key, value in fields.items())
    return expression_to_wxf(Function(Symbol("Association"), rules))
