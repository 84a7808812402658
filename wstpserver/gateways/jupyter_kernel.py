"""The Jupyter kernel: a client of the server behind ipykernel's base class.

Evaluations run in the main thread, as ipykernel has it; what a front end asks meanwhile waits. An interrupt is a
SIGINT: it aborts the evaluation, and the session goes on. The session takes its kernel back by its ID when the
connection breaks. For that the server keeps the kernel, so a small process (`KernelGuard`) has it closed if this one is
killed.
"""

from __future__ import annotations

import base64
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from ipykernel.kernelbase import Kernel

from wstpserver.client import Address, Callbacks, KernelLost, KernelMessage, LinkError, Session
from wstpserver.client.interactive import completeness, names_beginning
from wstpserver.gateways.cells import TEXT, Cells, Shown, message_text
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError

#: Characters of a text that a front end is given; a page with more does not move any more.
LARGEST_TEXT: Final = 1_000_000
#: Seconds to connect and to get a kernel.
_CONNECT_TIMEOUT: Final = 60.0
#: Seconds that an interrupted kernel has to react, once the user has asked twice.
_PATIENCE: Final = 2.0

_NAME_BEFORE: Final = re.compile(r"[$`\w]+$")
_NAME_AFTER: Final = re.compile(r"[$`\w]*")
_QUESTION: Final = re.compile(r"\?{1,2}\s*([$`\w*]+)\s*")
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


class WolframKernel(Kernel):
    """One kernel process of Jupyter.

    Attributes:
        address: The server and the pool, for all kernels of this process.
    """

    address: ClassVar[Address | None] = None

    implementation = "wstpserver"
    implementation_version = VERSION
    language_info = {
        "name": "wolfram",
        "version": VERSION,
        "mimetype": "text/x-mathematica",
        "file_extension": ".wl",
        "pygments_lexer": "mathematica",
        "codemirror_mode": "mathematica",
    }
    banner = f"Wolfram Language by wstpserver {VERSION}"
    help_links = [{"text": "Wolfram Language", "url": "https://reference.wolfram.com/language/"}]

    def __init__(self, **options: Any) -> None:
        initialise: Any = super().__init__  # ipykernel has no types here
        initialise(**options)
        self._cells: Cells | None = None
        self._guard: KernelGuard | None = None
        self._history: list[tuple[int, str, str]] = []
        self._asking = False  # whether the user is asked for input, which an interrupt ends
        self._interrupts = 0

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        send: Any = self.send_response
        send(self.iopub_socket, kind, content)

    # Evaluation

    async def do_execute(
        self,
        code: str,
        silent: bool,  # noqa: FBT001 - the interface of ipykernel
        store_history: bool = True,  # noqa: FBT001, FBT002
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> dict[str, Any]:
        """Evaluate an input, and publish what it prints and gives."""
        self._allow_stdin = allow_stdin
        reply: dict[str, Any] = {"status": "ok", "payload": [], "user_expressions": {}}
        try:
            if question := _QUESTION.fullmatch(code.strip()):
                reply["payload"] = self._described(question[1])
            elif code.strip():
                reply |= self._executed(code, silent=silent, store=store_history)
            if reply["status"] == "ok" and user_expressions:
                reply["user_expressions"] = {name: self._expression(text) for name, text in user_expressions.items()}
        except KeyboardInterrupt:
            reply |= self._error("Interrupted", "interrupted by the user")
        except KernelLost as error:
            self._close()
            reply |= self._error("KernelLost", f"{error}. The next input gets a new kernel.")
        except WSTPError as error:
            if self._cells is not None and isinstance(error, LinkError) and self._cells.session.kernel_id is None:
                self._close()
            reply |= self._error(type(error).__name__, str(error))
        return {"execution_count": self.execution_count, **reply}

    def _executed(self, code: str, *, silent: bool, store: bool) -> dict[str, Any]:
        outcome = self._connected().run(code, callbacks=self._callbacks(silent=silent))
        count = self.execution_count
        if not silent:
            for shown in outcome.results:
                self._publish(shown, count)
        if store:
            texts = "\n".join(str(shown.data[TEXT]) for shown in outcome.results)
            self._history.append((count, code, texts))
        if outcome.next_line is not None:
            self.execution_count = max(count, outcome.next_line - 1)
        if outcome.error is not None:
            return {"execution_count": count, **self._error(*outcome.error, silent=silent)}
        return {"execution_count": count}

    def _publish(self, shown: Shown, count: int) -> None:
        """A result, or what was shown in the middle of an evaluation."""
        content: dict[str, Any] = {"data": self._bundle(shown), "metadata": {}}
        if not shown.label:
            self._send("display_data", content)
            return
        content["execution_count"] = shown.line or count
        self._send("execute_result", content)

    def _bundle(self, shown: Shown) -> dict[str, str]:
        bundle = {}
        for kind, data in shown.data.items():
            if isinstance(data, bytes):
                bundle[kind] = base64.b64encode(data).decode("ascii")
            elif kind == TEXT:
                bundle[kind] = _shortened(data)
            else:
                bundle[kind] = data
        return bundle

    def _error(self, name: str, text: str, *, silent: bool = False) -> dict[str, Any]:
        content = {"ename": name, "evalue": text, "traceback": [f"{_RED}{line}{_PLAIN}" for line in text.split("\n")]}
        if not silent:
            self._send("error", content)
        return {"status": "error", **content}

    def _stream(self, name: str, text: str) -> None:
        if text:
            self._send("stream", {"name": name, "text": _shortened(text)})

    def _callbacks(self, *, silent: bool) -> Callbacks:
        if silent:
            return Callbacks.quiet()
        return Callbacks(
            on_print=lambda text: self._stream("stdout", text),
            on_message=self._on_message,
            on_notice=lambda text: self._stream("stderr", f"{text}\n"),
            on_input=self._ask,
        )

    def _on_message(self, message: KernelMessage) -> None:
        self._stream("stderr", f"{_RED}{message_text(message)}{_PLAIN}\n")

    def _ask(self, prompt: str) -> str:
        """The user's answer to a question of the kernel."""
        self._asking = True
        try:
            ask: Any = self.raw_input
            return str(ask(prompt))
        except EOFError:
            return ""
        finally:
            self._asking = False

    def _expression(self, text: str) -> dict[str, Any]:
        """The value of one of a request's user expressions."""
        try:
            value = self._connected().session.evaluate(text, callbacks=Callbacks.quiet(), results="expression")
        except WSTPError as error:
            return {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
        return {"status": "ok", "data": {TEXT: _shortened(str(value))}, "metadata": {}}

    def _described(self, name: str) -> list[dict[str, Any]]:
        text = self._connected().description(name)
        if text is None:
            self._stream("stderr", f"{_RED}{name} is not known to this kernel{_PLAIN}\n")
            return []
        return [{"source": "page", "data": {TEXT: text}, "start": 0}]

    # The session

    def _connected(self) -> Cells:
        """The session, connected to a kernel. Raises what `Session` does."""
        if self._cells is None:
            notices = Callbacks(on_notice=lambda text: self._stream("stderr", f"{text}\n"))
            session = Session(self.address or "", _CONNECT_TIMEOUT, callbacks=notices, reconnect=True)
            if session.address is not None and session.kernel_id is not None:
                self._guard = KernelGuard(str(session.address), session.kernel_id)
            self._cells = Cells(
                session, on_display=lambda shown: self._publish(shown, self.execution_count),
                on_clear=lambda wait: self._send("clear_output", {"wait": wait}),
            )  # fmt: skip
            self._interrupts = 0
        return self._cells

    def _close(self) -> None:
        cells, self._cells = self._cells, None
        if cells is not None:
            cells.session.close()
        if self._guard is not None:
            self._guard.release()
            self._guard = None

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:  # noqa: FBT001 - the interface of ipykernel
        """End the session. A new process has a new kernel."""
        self._close()
        return {"status": "ok", "restart": restart}

    # Interrupts

    def pre_handler_hook(self) -> None:
        """Take SIGINT for an abort while a request is handled."""
        self._interrupts = 0
        if threading.current_thread() is threading.main_thread():
            self.saved_sigint_handler = signal.signal(signal.SIGINT, self._interrupted)

    def post_handler_hook(self) -> None:
        """Leave SIGINT as it was."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self.saved_sigint_handler)

    def _interrupted(self, *_: object) -> None:
        if self._cells is None or self._asking:
            raise KeyboardInterrupt
        self._interrupts += 1
        patience = _PATIENCE if self._interrupts > 1 else None
        # Not here: this thread may be in the middle of writing, and hold what abort() needs.
        threading.Thread(target=self._cells.session.abort, args=(patience,), daemon=True).start()

    # What a front end asks while the user types

    async def do_complete(self, code: str, cursor_pos: int) -> dict[str, Any]:
        """Complete the name before the cursor."""
        found = _NAME_BEFORE.search(code[:cursor_pos])
        matches: list[str] = []
        if found is not None:
            try:
                matches = names_beginning(self._connected().session, found[0])
            except WSTPError:
                pass  # an input will say why there is no kernel
        start = cursor_pos - len(found[0]) if found is not None else cursor_pos
        return {"matches": matches, "cursor_start": start, "cursor_end": cursor_pos, "metadata": {}, "status": "ok"}

    async def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Describe the symbol at the cursor."""
        before = _NAME_BEFORE.search(code[:cursor_pos])
        after = _NAME_AFTER.match(code, cursor_pos)
        name = (before[0] if before is not None else "") + (after[0] if after is not None else "")
        text = None
        if name:
            try:
                text = self._connected().description(name)
            except WSTPError:
                pass
        return {"status": "ok", "found": text is not None, "data": {TEXT: text} if text else {}, "metadata": {}}

    async def do_is_complete(self, code: str) -> dict[str, Any]:
        """Tell whether an input is whole."""
        status = completeness(code)
        return {"status": status, "indent": "  "} if status == "incomplete" else {"status": status}

    async def do_history(
        self,
        hist_access_type: str,
        output: bool,  # noqa: FBT001 - the interface of ipykernel
        raw: bool,  # noqa: FBT001
        session: int | None = None,
        start: int | None = None,
        stop: int | None = None,
        n: int | None = None,
        pattern: str | None = None,
        unique: bool = False,  # noqa: FBT001, FBT002
    ) -> dict[str, Any]:
        """Return former inputs of this process."""
        found = list(self._history)
        if hist_access_type == "range":
            first, last = start or 0, stop if stop is not None else sys.maxsize
            found = [entry for entry in found if first <= entry[0] < last]
        elif hist_access_type == "search":
            wanted = re.compile(".*".join(map(re.escape, (pattern or "*").split("*"))), re.DOTALL)
            found = [entry for entry in found if wanted.fullmatch(entry[1])]
            if unique:
                found = list({entry[1]: entry for entry in found}.values())
        if hist_access_type != "range" and n is not None:
            found = found[-n:] if n else []
        history = [(1, line, (code, result) if output else code) for line, code, result in found]
        return {"status": "ok", "history": history}


def _shortened(text: str) -> str:
    """A text that a front end can show."""
    if len(text) <= LARGEST_TEXT:
        return text
    return f"{text[:LARGEST_TEXT]}... ({len(text) - LARGEST_TEXT} more characters are not shown)"


class KernelGuard:
    """Has a kernel closed when this process ends without saying that it has closed the kernel itself.

    A process of its own waits for that, a shell that takes a megabyte: the server keeps a kernel that is reserved, and
    nobody would ask for it any more.

    Args:
        server: The server's address.
        kernel: The kernel's ID.
    """

    def __init__(self, server: str, kernel: str) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        words = [sys.executable, "-m", "wstpserver.gateways.jupyter", "release", "--server", server, kernel]
        if sys.platform != "win32":
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", 'read line; test "$line" = closed || exec "$@"', "sh", *words],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def release(self) -> None:
        """The kernel has been closed: nothing is to be done any more."""
        if self._process is not None:
            self._process.communicate(b"closed\n")
