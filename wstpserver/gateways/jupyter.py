"""wstpserver-jupyter - makes a server's kernels known to Jupyter, as the kernel of Wolfram Language notebooks.

Usage:
  wstpserver-jupyter [options] install [--user | --sys-prefix | --prefix FOLDER]
  wstpserver-jupyter [options] uninstall
  wstpserver-jupyter [options] kernel -f FILE [ARGUMENT...]
  wstpserver-jupyter --help | --version

Commands:
  install    Register the kernel with Jupyter, for this user if nothing else is said.
  uninstall  Remove it.
  kernel     Be the kernel; Jupyter calls this.

Options:
  -s, --server ADDRESS  The server: PORT, PORT@HOST or wstp://HOST:PORT. Without it the environment variable WSTPSERVER
                        when the kernel starts, else 31415@localhost.
  -p, --pool POOL       The pool that kernels come from; without it the server's default pool.
  -n, --name NAME       The name of the kernel. [default: wstpserver]
  -d, --display NAME    The name that notebooks show.
  --user                install: for this user.
  --sys-prefix          install: for this Python environment.
  --prefix FOLDER       install: below this folder.
  -f FILE               kernel: the connection file.
  -h, --help            Print this help.
  --version             Print the version.

Exit codes: 0; 1 there is no such kernel to uninstall, or it cannot be installed; 64 wrong usage; 69 a package is
missing.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from docopt import DocoptExit, docopt

from wstpserver.client import (
    Address,
    Callbacks,
    KernelLost,
    KernelMessage,
    LinkError,
    LinkSyntaxError,
    parse_address,
)
from wstpserver.client.interactive import completeness, names_beginning
from wstpserver.gateways.cells import TEXT, Cells, Shown, message_text, sendable
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError

if TYPE_CHECKING:
    from ipykernel.kernelbase import Kernel
else:
    try:
        from ipykernel.kernelbase import Kernel
    except ModuleNotFoundError:
        Kernel = object  # the program says what is missing

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 64
EXIT_UNAVAILABLE: Final = 69

#: Characters of a text that a front end is given; a page with more does not move any more.
LARGEST_TEXT: Final = 1_000_000
#: Seconds to connect and to get a kernel.
_CONNECT_TIMEOUT: Final = 60.0
#: Seconds that an interrupted kernel has to react, once the user has asked twice.
_GRACE: Final = 2.0

_NAME_BEFORE: Final = re.compile(r"[$`\w]+$")
_NAME_AFTER: Final = re.compile(r"[$`\w]*")
_QUESTION: Final = re.compile(r"\?{1,2}\s*([$`\w*]+)\s*")
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: The words after its name; None for those of this process.

    Returns:
        The exit code.
    """
    document = __doc__ or ""
    try:
        options = docopt(document, arguments, version=f"wstpserver-jupyter {VERSION}")
        address_of(options["--server"] or "", options["--pool"] or "")
    except DocoptExit as error:
        return _complain(f"wrong arguments\n{error.usage}", EXIT_USAGE)
    except LinkSyntaxError as error:
        return _complain(str(error), EXIT_USAGE)
    try:
        if options["kernel"]:
            return _run_kernel(options)
        return _install(options) if options["install"] else _uninstall(options["--name"])
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("ipykernel", "jupyter_client"):
            raise
        return _complain(f"{error.name} is not installed: pip install 'wstpserver[jupyter]'", EXIT_UNAVAILABLE)


def _complain(text: str, code: int) -> int:
    print(f"wstpserver-jupyter: {text.rstrip()}", file=sys.stderr)
    return code


def address_of(server: str, pool: str) -> Address:
    """Return an address.

    Args:
        server: The server; "" for the default one.
        pool: The pool; "" for the one that `server` names, or the default one.

    Returns:
        The address of both.

    Raises:
        LinkSyntaxError: `server` is no address.
    """
    address = parse_address(server)
    return Address(address.data, address.message, pool) if pool else address


def kernel_specification(name: str, server: str | None, pool: str | None) -> dict[str, Any]:
    """Return what Jupyter has to know of the kernel: the content of its `kernel.json`."""
    options = [word for option, value in (("--server", server), ("--pool", pool)) if value for word in (option, value)]
    return {
        "argv": [sys.executable, "-m", "wstpserver.gateways.jupyter", *options, "kernel", "-f", "{connection_file}"],
        "display_name": name,
        "language": "wolfram",
        "interrupt_mode": "signal",
        "metadata": {"debugger": False},
    }


def _install(options: dict[str, Any]) -> int:
    import ipykernel  # noqa: F401 - it is needed when the kernel starts, and better missed now
    from jupyter_client.kernelspec import KernelSpecManager

    pool = options["--pool"]
    shown = options["--display"] or f"Wolfram Language ({pool})" if pool else options["--display"] or "Wolfram Language"
    prefix = sys.prefix if options["--sys-prefix"] else options["--prefix"]
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(kernel_specification(shown, options["--server"], pool), indent=1)
        Path(folder, "kernel.json").write_text(text, encoding="utf-8")
        try:
            where = KernelSpecManager().install_kernel_spec(
                folder, options["--name"], user=prefix is None, prefix=prefix
            )
        except (OSError, ValueError) as error:
            return _complain(f"the kernel cannot be installed: {error}", EXIT_FAILED)
    print(f'Installed "{shown}" as {options["--name"]} in {where}')
    return 0


def _uninstall(name: str) -> int:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        where = KernelSpecManager().remove_kernel_spec(name)
    except (KeyError, NoSuchKernel, OSError):
        return _complain(f"there is no kernel {name}", EXIT_FAILED)
    print(f"Removed {where}")
    return 0


def _run_kernel(options: dict[str, Any]) -> int:
    from ipykernel.kernelapp import IPKernelApp

    WolframKernel.address = address_of(options["--server"] or "", options["--pool"] or "")
    IPKernelApp.launch_instance(["-f", options["-f"], *options["ARGUMENT"]], kernel_class=WolframKernel)
    return 0


# The kernel


class WolframKernel(Kernel):
    """One kernel process of Jupyter: a client of the server behind ipykernel's base class.

    Evaluations run in the main thread, as ipykernel has it; what a front end asks meanwhile waits. An interrupt is a
    SIGINT: it aborts the evaluation, and the session goes on. The session takes its kernel back by its ID when the
    connection breaks.

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
        self._history: list[tuple[int, str, str]] = []
        self._asking = False  # whether the user is asked for input, which an interrupt ends
        self._interrupts = 0

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        send: Any = self.send_response
        send(self.iopub_socket, kind, sendable(content))

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
            self._cells = Cells.connect(
                self.address or "", _CONNECT_TIMEOUT, callbacks=notices,
                on_display=lambda shown: self._publish(shown, self.execution_count),
                on_clear=lambda wait: self._send("clear_output", {"wait": wait}),
            )  # fmt: skip
            self._interrupts = 0
        return self._cells

    def _close(self) -> None:
        cells, self._cells = self._cells, None
        if cells is not None:
            cells.close()

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
        grace = _GRACE if self._interrupts > 1 else None
        # Not here: this thread may be in the middle of writing, and hold what abort() needs.
        threading.Thread(target=self._cells.session.abort, args=(grace,), daemon=True).start()

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


if __name__ == "__main__":
    sys.exit(main())
