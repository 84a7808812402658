"""The tools for agents as the official SDK of the Model Context Protocol serves them.

Tools work in threads, since sessions wait for their kernels. A call that its client gives up aborts its evaluation.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, ImageContent, TextContent

from wstpserver.version import VERSION

_INSTRUCTIONS: Final = """\
Evaluates Wolfram Language in kernels of a WSTPServer. A session is a kernel; its ID is the kernel's ID. Definitions
stay in their session from call to call. Give evaluate the ID that it returned to go on in the same session. Close a
session when it is no longer needed."""

_EVALUATE: Final = """\
Evaluate Wolfram Language code as at a prompt: one or more expressions. Returns results as text (and LaTeX), graphics as
images, printed output and messages. Without `session` the conversation's session is used where it has one, and else a
new one; "new" begins another. `timeout` is in seconds; then the evaluation is aborted, and the session kept."""


class Answer(Protocol):
    """What a tool answers: text to read, the same in parts, pictures, and whether it failed."""

    text: str
    structure: dict[str, Any]
    images: Sequence[tuple[str, bytes]]
    failed: bool


class AgentSession(Protocol):
    """A session of a conversation."""

    def abort(self) -> bool:
        """Abort what it evaluates."""


class ToolSet(Protocol):
    """What the tools do. Each may raise what `answered` makes an answer of."""

    def answered(self, work: Callable[[], Any]) -> Any:
        """What `work` answers, or why it cannot."""

    def session_for(self, owner: str, identifier: str | None, *, keeps: bool) -> Any:
        """The session that a call means."""

    def evaluate(self, session: Any, code: str, timeout: float | None) -> Any:
        """Evaluate an input in a session."""

    def abort(self, owner: str, identifier: str) -> Any:
        """Abort what a session evaluates."""

    def sessions(self, owner: str, *, keeps: bool) -> Any:
        """List the sessions of a conversation."""

    def close(self, owner: str, identifier: str) -> Any:
        """End a session."""

    def documentation(self, owner: str, symbol: str, identifier: str | None, *, keeps: bool) -> Any:
        """Describe a symbol."""


def make_server(tools: ToolSet, sessions_at_most: int) -> Any:
    """Return a server of the SDK with the tools.

    Args:
        tools: What the tools do.
        sessions_at_most: How many sessions there can be, each of which may keep a thread.

    Returns:
        The server, ready to run on a transport.
    """
    server: Any = MCPServer(name="wstpserver", version=VERSION, instructions=_INSTRUCTIONS, log_level="WARNING")
    threads: list[anyio.CapacityLimiter] = []

    async def answer(work: Callable[[], Answer], cancel: Callable[[], object] = lambda: None) -> CallToolResult:
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
        return _result(done)

    async def evaluate(
        code: str, ctx: Context, session: str | None = None, timeout: float | None = None
    ) -> CallToolResult:
        owner, keeps = conversation(ctx)
        used: list[AgentSession] = []

        def work() -> Any:
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


def _result(answer: Answer) -> CallToolResult:
    images = [
        ImageContent(type="image", data=base64.b64encode(data).decode("ascii"), mime_type=kind)
        for kind, data in answer.images
    ]
    content: Any = [TextContent(type="text", text=answer.text), *images]
    return CallToolResult(content=content, structured_content=answer.structure, is_error=answer.failed)


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
