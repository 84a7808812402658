"""wstpserver-mcp - gives agents (Claude, Cursor and others) kernels of a server, by the Model Context Protocol.

Usage:
  wstpserver-mcp [options]
  wstpserver-mcp [options] --http
  wstpserver-mcp --help | --version

Without --http it speaks on standard input and output, as programs do that an agent starts.

Options:
  -s, --server ADDRESS    The server: PORT, PORT@HOST or wstp://HOST:PORT. Without it the environment variable
                          WSTPSERVER, else 31415@localhost.
  -p, --pool POOL         The pool that kernels come from; without it the server's default pool.
  --http                  Listen for streamable HTTP, at http://HOST:PORT/mcp.
  --host HOST             The interface to listen on. [default: 127.0.0.1]
  --port PORT             The port to listen on; 0 takes any free one. [default: 8000]
  --token-file FILE       What clients have to send as bearer token. Without it the environment variable
                          WSTPSERVER_MCP_TOKEN; without both a token is made and printed.
  --sessions N            Sessions at a time, of all conversations together. [default: 8]
  --timeout SECONDS       Time limit of an evaluation that names none. [default: 60]
  --longest SECONDS       The longest time limit that an evaluation may name. [default: 600]
  --idle SECONDS          Close sessions that have not been used for this time. [default: 1800]
  --characters N          The most characters of a text that an agent is given. [default: 50000]
  -h, --help              Print this help.
  --version               Print the version.

Exit codes: 0; 64 wrong usage; 69 a package is missing, or the port cannot be listened on.
"""

import base64
import hmac
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from docopt import DocoptExit, docopt

from wstpserver.client import (
    Address,
    Callbacks,
    EvaluationTimeout,
    KernelLost,
    LinkError,
    LinkSyntaxError,
    parse_address,
)
from wstpserver.client.interactive import RasterError, png_of_svg
from wstpserver.gateways.cells import LATEX, PNG, SVG, TEXT, Cells, Outcome, Shown, message_text, sendable
from wstpserver.version import VERSION
from wstpserver.wire.errors import WSTPError

EXIT_USAGE: Final = 64
EXIT_UNAVAILABLE: Final = 69

#: Seconds to connect and to get a kernel.
_CONNECT_TIMEOUT: Final = 30.0
#: Seconds that a kernel has to react to an abort.
_GRACE: Final = 5.0
#: Seconds between two looks for sessions that nobody uses.
_SWEEP: Final = 15.0
#: Bytes of a picture that an agent is given at most, before base64.
_LARGEST_IMAGE: Final = 4 << 20


class ToolProblem(Exception):
    """A tool cannot do what it was asked for; the text is for the agent."""


@dataclass(frozen=True)
class Limits:
    """What agents may use.

    Attributes:
        sessions: Sessions at a time.
        timeout: Seconds of an evaluation that names no time limit.
        longest: The longest time limit.
        idle: Seconds after which an unused session is closed.
        characters: The most characters of a text.
    """

    sessions: int = 8
    timeout: float = 60.0
    longest: float = 600.0
    idle: float = 1800.0
    characters: int = 50_000


class AgentSession:
    """A session of one conversation. One call at a time evaluates in it.

    Args:
        cells: The session with its kernel.
        owner: The conversation.

    Attributes:
        id: The ID of the kernel.
        owner: The conversation; only this one knows the session.
        busy: What it evaluates; "" while it evaluates nothing.
    """

    def __init__(self, cells: Cells, owner: str) -> None:
        self.id = str(cells.session.kernel_id)
        self.owner = owner
        self.busy = ""
        self._cells = cells
        self._turn = threading.Lock()
        self._used = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since it was used; 0 while it is."""
        return 0.0 if self._turn.locked() else time.monotonic() - self._used

    @property
    def is_away(self) -> bool:
        """Whether its kernel is out of reach at present, because the connection has broken."""
        return self._cells.session.link.ended

    def run(self, code: str, timeout: float, output: Callable[[str], object]) -> Outcome:
        """Evaluate an input; `output` gets what it prints. Raises as `Cells.run`."""
        with self._turn:
            self.busy = code
            try:
                return self._cells.run(code, timeout, callbacks=Callbacks(on_print=output, on_notice=_ignore))
            finally:
                self.busy, self._used = "", time.monotonic()

    def description(self, name: str) -> str | None:
        """What the kernel says of a symbol."""
        with self._turn:
            self._used = time.monotonic()
            return self._cells.description(name)

    def abort(self) -> bool:
        """Abort what it evaluates; False if it evaluates nothing."""
        return self._cells.session.abort(_GRACE)

    def close(self) -> None:
        """End it, and its kernel."""
        self._cells.close()


def _ignore(_: object) -> None:
    """What a kernel says while it is waited for is not the agent's concern."""


class Workspace:
    """The sessions of all conversations: each knows its own alone.

    Args:
        address: The server, and its pool.
        limits: What agents may use.
    """

    def __init__(self, address: Address, limits: Limits) -> None:
        self.limits = limits
        self._address = address
        self._sessions: dict[str, AgentSession] = {}
        self._opening = 0
        self._lock = threading.Lock()

    def open(self, owner: str) -> AgentSession:
        """Begin a session. ToolProblem, and WSTPError if there is no kernel."""
        with self._lock:
            if len(self._sessions) + self._opening >= self.limits.sessions:
                raise ToolProblem(f"all {self.limits.sessions} sessions are in use; close one that is no longer needed")
            self._opening += 1
        try:
            opened = AgentSession(Cells.connect(self._address, _CONNECT_TIMEOUT, callbacks=Callbacks.quiet()), owner)
            with self._lock:
                self._sessions[opened.id] = opened
            return opened
        finally:
            with self._lock:
                self._opening -= 1

    def find(self, owner: str, identifier: str) -> AgentSession:
        """The session with this ID. ToolProblem if it is not there, or another conversation's."""
        with self._lock:
            found = self._sessions.get(identifier)
        if found is None or found.owner != owner:
            raise ToolProblem(f"there is no session {identifier}; it was closed, or has never been there")
        return found

    def of(self, owner: str) -> list[AgentSession]:
        """The sessions of a conversation."""
        with self._lock:
            return [session for session in self._sessions.values() if session.owner == owner]

    def close(self, session: AgentSession) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(session.id, None)
        session.close()

    @contextmanager
    def watching(self, session: AgentSession) -> Iterator[None]:
        """Inside, the session is used. It ends with its kernel, and ToolProblem says so."""
        try:
            yield
        except KernelLost as error:
            self.close(session)
            raise ToolProblem(f"the session {session.id} has ended, with everything defined in it: {error}") from error
        except LinkError as error:
            advice = f"The session {session.id} is kept; try again when the server is there"
            raise ToolProblem(f"{error}. {advice}") from error

    def close_all(self, chosen: Callable[[AgentSession], bool] = lambda session: True) -> None:
        """End the sessions that are chosen, all by default."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in filter(chosen, sessions):
            self.close(session)


@dataclass
class ToolAnswer:
    """What a tool answers.

    Attributes:
        text: For the agent to read.
        structure: The same in parts.
        images: MIME types and bytes.
        failed: Whether it could not be done.
    """

    text: str
    structure: dict[str, Any]
    images: Sequence[tuple[str, bytes]] = ()
    failed: bool = False


class Tools:
    """What the tools do, without the protocol. They raise ToolProblem and WSTPError, of which `answered` makes answers.

    Args:
        workspace: The sessions.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._limits = workspace.limits

    def answered(self, work: Callable[[], ToolAnswer]) -> ToolAnswer:
        """What `work` answers, or why it cannot."""
        try:
            return work()
        except (ToolProblem, WSTPError) as error:
            return ToolAnswer(str(error), {"error": str(error)}, failed=True)

    def session_for(self, owner: str, identifier: str | None, *, keeps: bool) -> AgentSession:
        """The session that a call means.

        Args:
            owner: The conversation.
            identifier: The ID, "new" for another session, or None for the one that was used first, if there is one.
            keeps: Whether the conversation is known to go on, so that a call without ID means its own session.

        Returns:
            The session. Raises ToolProblem and WSTPError.
        """
        if identifier and identifier != "new":
            return self._workspace.find(owner, identifier)
        known = self._workspace.of(owner) if keeps and not identifier else []
        return known[0] if known else self._workspace.open(owner)

    def evaluate(self, session: AgentSession, code: str, timeout: float | None) -> ToolAnswer:
        """Evaluate an input in a session."""
        limit = self._limits.timeout if timeout is None else timeout
        if not 0 < limit <= self._limits.longest:
            most = self._limits.longest
            raise ToolProblem(f"a time limit is more than 0 and at most {most:g} seconds, not {limit:g}")
        output = _Printed(self._limits.characters)
        structure: dict[str, Any] = {"session": session.id}
        try:
            with self._workspace.watching(session):
                outcome = session.run(code, limit, output.add)
        except EvaluationTimeout as error:
            ended = f"{error}." if session.is_away else f"The evaluation was aborted after {limit:g} s."
            text = f"{ended} The session {session.id} is kept."
            return ToolAnswer(text, {**structure, "error": text, "output": str(output)}, failed=True)
        structure["output"] = str(output)
        structure["messages"] = [self._cut(message_text(message)) for message in outcome.messages[:50]]
        structure["results"] = [self._described(shown) for shown in outcome.results[:200]]
        lines = [structure["output"].rstrip("\n"), *structure["messages"]]
        lines += [f"{result['label']} {result['text']}".lstrip() for result in structure["results"]]
        if outcome.error is not None:
            structure["error"] = self._cut(": ".join(outcome.error))
            lines.append(structure["error"])
        lines.append(f"(session {session.id})")
        images = [image for shown in outcome.results if (image := _image(shown)) is not None]
        return ToolAnswer("\n".join(filter(None, lines)), structure, images, failed=outcome.error is not None)

    def _described(self, shown: Shown) -> dict[str, str]:
        described = {"label": shown.label.strip(), "text": self._cut(str(shown.data[TEXT]))}
        if LATEX in shown.data:
            described["latex"] = self._cut(str(shown.data[LATEX]))
        return described

    def _cut(self, text: str) -> str:
        return _shortened(text, len(text), self._limits.characters)

    def abort(self, owner: str, identifier: str) -> ToolAnswer:
        """Abort what a session evaluates."""
        told = self._workspace.find(owner, identifier).abort()
        text = f"{identifier} was told to abort" if told else f"{identifier} evaluates nothing"
        return ToolAnswer(text, {"session": identifier, "aborted": told})

    def sessions(self, owner: str, *, keeps: bool) -> ToolAnswer:
        """List the sessions of a conversation, if the protocol tells which these are."""
        if not keeps:
            text = "Sessions are not listed here: conversations share this connection, and each knows its own IDs."
            return ToolAnswer(text, {"sessions": []})
        listed = [
            {"session": session.id, "busy": bool(session.busy), "evaluates": self._cut(session.busy)[:200],
             "idle_seconds": round(session.idle)}
            for session in self._workspace.of(owner)
        ]  # fmt: skip
        lines = [
            f"{each['session']}: evaluates {each['evaluates']}" if each["busy"]
            else f"{each['session']}: idle for {each['idle_seconds']} s"
            for each in listed
        ]  # fmt: skip
        return ToolAnswer("\n".join(lines) or "This conversation has no session.", {"sessions": listed})

    def close(self, owner: str, identifier: str) -> ToolAnswer:
        """End a session."""
        self._workspace.close(self._workspace.find(owner, identifier))
        return ToolAnswer(f"{identifier} is closed", {"session": identifier})

    def documentation(self, owner: str, symbol: str, identifier: str | None, *, keeps: bool) -> ToolAnswer:
        """Describe a symbol, in the session that is named, in one of the conversation's, or in one for this alone."""
        known = [self._workspace.find(owner, identifier)] if identifier else self._workspace.of(owner) if keeps else []
        session = known[0] if known else self._workspace.open(owner)
        try:
            with self._workspace.watching(session):
                text = session.description(symbol)
        finally:
            if not known:
                self._workspace.close(session)
        if text is None:
            return ToolAnswer(f"This kernel knows no symbol {symbol}.", {"symbol": symbol, "found": False}, failed=True)
        return ToolAnswer(self._cut(text), {"symbol": symbol, "found": True, "text": self._cut(text)})


class _Printed:
    """What an evaluation prints, as far as an agent is given it. The rest, which may have no end, is only counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = ""
        self._length = 0

    def add(self, text: str) -> None:
        """Take a text that is printed."""
        self._length += len(text)
        if len(self._kept) < self._most:
            self._kept += text[: self._most - len(self._kept)]

    def __str__(self) -> str:
        return _shortened(self._kept, self._length, self._most)


def _shortened(text: str, length: int, most: int) -> str:
    """The beginning of a text of this length, and how much of it is missing."""
    return text if length <= most else f"{text[:most]}... ({length - most} more characters are not shown)"


def _image(shown: Shown) -> tuple[str, bytes] | None:
    """A picture that is shown, as PNG if that can be made of it; None without one, and for one that is too large."""
    data = shown.data.get(PNG)
    kind = PNG
    if data is None and SVG in shown.data:
        kind, data = _rasterized(str(shown.data[SVG]))
    if not isinstance(data, bytes) or len(data) > _LARGEST_IMAGE:
        return None
    return kind, data


def _rasterized(drawing: str) -> tuple[str, bytes]:
    try:
        return PNG, png_of_svg(drawing)
    except (ImportError, RasterError):
        return SVG, drawing.encode("utf-8")


# The protocol


_INSTRUCTIONS: Final = """\
Evaluates Wolfram Language in kernels of a WSTPServer. A session is a kernel; its ID is the kernel's ID. Definitions
stay in their session from call to call. Give evaluate the ID that it returned to go on in the same session. Close a
session when it is no longer needed."""

_EVALUATE: Final = """\
Evaluate Wolfram Language code as at a prompt: one or more expressions. Returns results as text (and LaTeX), graphics as
images, printed output and messages. Without `session` the conversation's session is used where it has one, and else a
new one; "new" begins another. `timeout` is in seconds; then the evaluation is aborted, and the session kept."""


def make_server(tools: Tools, sessions_at_most: int) -> Any:
    """Return a server of the SDK with the tools.

    Args:
        tools: What the tools do.
        sessions_at_most: How many sessions there can be, each of which may keep a thread.

    Returns:
        The server, ready to run on a transport.

    Raises:
        ModuleNotFoundError: The SDK is not installed.
    """
    # The SDK evaluates the types of the tools' parameters: this module has no `from __future__ import annotations`, so
    # that they can be of classes which are imported here.
    import anyio
    import anyio.to_thread
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Context
    from mcp_types import CallToolResult, ImageContent, TextContent

    server: Any = MCPServer(name="wstpserver", version=VERSION, instructions=_INSTRUCTIONS, log_level="WARNING")
    threads: list[anyio.CapacityLimiter] = []

    async def answer(work: Callable[[], ToolAnswer], cancel: Callable[[], object] = lambda: None) -> CallToolResult:
        """What a tool answers; `cancel` is called when the client does not want it any more."""
        if not threads:
            threads.append(anyio.CapacityLimiter(2 * sessions_at_most + 8))  # belongs to the event loop
        try:
            done = await anyio.to_thread.run_sync(
                lambda: tools.answered(work), abandon_on_cancel=True, limiter=threads[0]
            )
        except anyio.get_cancelled_exc_class():
            threading.Thread(target=cancel, daemon=True).start()
            raise
        images = [
            ImageContent(type="image", data=base64.b64encode(data).decode("ascii"), mime_type=kind)
            for kind, data in done.images
        ]
        content: Any = [TextContent(type="text", text=sendable(done.text)), *images]
        return CallToolResult(content=content, structured_content=sendable(done.structure), is_error=done.failed)

    async def evaluate(
        code: str, ctx: Context, session: str | None = None, timeout: float | None = None
    ) -> CallToolResult:
        owner, keeps = conversation(ctx)
        used: list[AgentSession] = []

        def work() -> ToolAnswer:
            used.append(tools.session_for(owner, session, keeps=keeps))
            return tools.evaluate(used[0], code, timeout)

        return await answer(work, lambda: [each.abort() for each in used])

    async def abort(session: str, ctx: Context) -> CallToolResult:
        owner, _ = conversation(ctx)
        return await answer(lambda: tools.abort(owner, session))

    async def sessions(ctx: Context) -> CallToolResult:
        owner, keeps = conversation(ctx)
        return await answer(lambda: tools.sessions(owner, keeps=keeps))

    async def close(session: str, ctx: Context) -> CallToolResult:
        owner, _ = conversation(ctx)
        return await answer(lambda: tools.close(owner, session))

    async def documentation(symbol: str, ctx: Context, session: str | None = None) -> CallToolResult:
        owner, keeps = conversation(ctx)
        return await answer(lambda: tools.documentation(owner, symbol, session, keeps=keeps))

    for function, text in (
        (evaluate, _EVALUATE),
        (abort, "Abort what a session evaluates. The session is kept."),
        (sessions, "List the sessions of this conversation."),
        (close, "Close a session and end its kernel. Everything defined in it is lost."),
        (documentation, "What the kernel says of a symbol, as ?name does. `*` in the name lists names."),
    ):
        server.tool(description=text)(function)
    return server


def conversation(context: Any) -> tuple[str, bool]:
    """Tell which conversation a call belongs to.

    Args:
        context: The SDK's context of the call.

    Returns:
        Its name, and whether the protocol keeps it apart from others. HTTP requests without a session of the protocol
        are all of one name: each has to name its session by its ID, and only who has the ID can.
    """
    headers = context.headers
    if headers is None:
        return "", True
    identifier = headers.get("mcp-session-id")
    return (f"http {identifier}", True) if identifier else ("http", False)


# Streamable HTTP


class TokenCheck:
    """The part of the HTTP server in front of the SDK's: lets those in who know the token.

    It also ends the sessions of a conversation that its client ends.

    Args:
        application: The SDK's ASGI application.
        token: The token.
        workspace: The sessions.
    """

    def __init__(self, application: Any, token: str, workspace: Workspace) -> None:
        self._application = application
        self._expected = f"Bearer {token}".encode()
        self._workspace = workspace

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, as ASGI has it."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
                await _refuse(send)
                return
            if scope["method"] == "DELETE" and (identifier := headers.get(b"mcp-session-id", b"").decode("latin-1")):
                owner = f"http {identifier}"
                threading.Thread(target=self._workspace.close_all, args=(lambda each: each.owner == owner,)).start()
        await self._application(scope, receive, send)


async def _refuse(send: Any) -> None:
    body = b"This server needs its token: Authorization: Bearer TOKEN\n"
    headers = [(b"content-type", b"text/plain"), (b"www-authenticate", b"Bearer"),
               (b"content-length", str(len(body)).encode())]  # fmt: skip
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# The program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: The words after its name; None for those of this process.

    Returns:
        The exit code.
    """
    try:
        options = docopt(__doc__ or "", arguments, version=f"wstpserver-mcp {VERSION}")
        address = parse_address(options["--server"] or "")
        if options["--pool"]:
            address = Address(address.data, address.message, options["--pool"])
        limits = Limits(
            sessions=int(_number(options, "--sessions", least=1)), timeout=_number(options, "--timeout"),
            longest=_number(options, "--longest"), idle=_number(options, "--idle"),
            characters=int(_number(options, "--characters", least=1)),
        )  # fmt: skip
        port = int(_number(options, "--port", least=0))
        token = _token(options["--token-file"]) if options["--http"] else ""
    except DocoptExit as error:
        return _complain(f"wrong arguments\n{error.usage}", EXIT_USAGE)
    except (LinkSyntaxError, OSError, ValueError) as error:
        return _complain(str(error), EXIT_USAGE)
    workspace = Workspace(address, limits)
    try:
        server = make_server(Tools(workspace), limits.sessions)
    except ModuleNotFoundError as error:
        return _complain(f"{error.name} is not installed: pip install 'wstpserver[mcp]'", EXIT_UNAVAILABLE)
    stopped = threading.Event()
    threading.Thread(target=_sweep, args=(workspace, stopped), daemon=True).start()
    try:
        if options["--http"]:
            return _serve_http(server, workspace, options["--host"], port, token)
        server.run("stdio")
    except KeyboardInterrupt:
        pass
    finally:
        stopped.set()
        workspace.close_all()
    return 0


def _complain(text: str, code: int) -> int:
    print(f"wstpserver-mcp: {text.rstrip()}", file=sys.stderr)
    return code


def _number(options: dict[str, Any], name: str, least: float = 1e-3) -> float:
    text = options[name]
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= least:
        raise ValueError(f"{name} {text}: expected a number" + (" above 0" if least else ""))
    return number


def _token(path: str | None) -> str:
    """The token for clients. OSError and ValueError."""
    if path is not None:
        token = Path(path).read_text("utf-8").strip()
        if not token:
            raise ValueError(f"{path}: there is no token in this file")
        return token
    token = os.environ.get("WSTPSERVER_MCP_TOKEN", "")
    if not token:
        token = secrets.token_urlsafe(32)
        print(f"Token for clients: {token}", file=sys.stderr, flush=True)
    return token


def _sweep(workspace: Workspace, stopped: threading.Event) -> None:
    """Close sessions that have not been used for long, until `stopped` is set."""
    limit = workspace.limits.idle
    while not stopped.wait(min(_SWEEP, limit / 4)):
        workspace.close_all(lambda session: session.idle > limit)


def _serve_http(server: Any, workspace: Workspace, host: str, port: int, token: str) -> int:
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # before the line below says so; connections wait until the server takes them
    except OSError as error:
        return _complain(f"cannot listen on port {port} of {host}: {error.strerror}", EXIT_UNAVAILABLE)
    application = TokenCheck(server.streamable_http_app(host=host), token, workspace)
    shown = f"[{host}]" if ":" in host else host
    print(f"Listening at http://{shown}:{listening.getsockname()[1]}/mcp", file=sys.stderr, flush=True)
    configuration = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=3)
    uvicorn.Server(configuration).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
