"""Agents: the SDK's own client on both transports, sessions that stay apart, and limits."""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest

from tests.client.relay import Relay
from tests.gateways.conftest import ROOT
from tools.harness.waiting import wait_for
from wstpserver.client import parse_address
from wstpserver.gateways.agents import Limits, Tools, Workspace, main, make_server

TOKEN = "a-token-for-tests"
#: Seconds for what takes one at most on a computer that has nothing else to do.
DEADLINE = 100
# The SDK takes a second to import, which is for the worker that runs these tests and not for all of them.
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(find_spec("mcp") is None, reason="wstpserver[mcp] is not installed"),
]

PAGE = (ROOT / "docs" / "agents.md").read_text()
#: What the page has users configure, and the command that it has them type.
(CONFIGURED,) = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])["mcpServers"].values()
(LISTENING,) = re.findall(r"^    (wstpserver-mcp --http .*)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module", autouse=True)
def program(tmp_path_factory):
    """The program is on the search path."""
    path = tmp_path_factory.mktemp("bin") / "wstpserver-mcp"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nfrom wstpserver.gateways.agents import main\nsys.exit(main())\n"
    )
    path.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
        yield path


def environment(served):
    return {**os.environ, "PYTHONPATH": str(ROOT), "WSTPSERVER": served.address}


def stdio(served):
    """A client that starts the program as the page configures it."""
    from mcp import Client, StdioServerParameters

    return Client(StdioServerParameters(**CONFIGURED, env=environment(served)))


@contextlib.asynccontextmanager
async def in_process(address):
    """A client of the same tools in this process."""
    from mcp import Client

    workspace = Workspace(parse_address(address), Limits())
    try:
        async with Client(make_server(Tools(workspace), workspace.limits.sessions)) as client:
            yield client
    finally:
        await asyncio.to_thread(workspace.close_all)


class HttpServer:
    """The program listening as the page says, on a free port."""

    def __init__(self, served, folder, *words):
        (folder / "token.txt").write_text(f"{TOKEN}\n")
        self._process = subprocess.Popen(
            [*LISTENING.replace("--port 8000", "--port 0").split(), *words], env=environment(served), cwd=folder,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        found = re.search(r"http://\S+", self._process.stderr.readline())
        self.url = found[0]
        self._rest = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._rest.start()

    def client(self, token=TOKEN, **options):
        """A client that sends the token, as a context manager of a connected one."""
        import httpx2
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client

        @contextlib.asynccontextmanager
        async def connected():
            headers = {"Authorization": f"Bearer {token}"}
            async with (
                httpx2.AsyncClient(headers=headers, timeout=DEADLINE) as http,
                Client(streamable_http_client(self.url, http_client=http), **options) as client,
            ):
                yield client

        return connected()

    def stop(self, number=signal.SIGINT):
        self._process.send_signal(number)
        try:
            return self._process.wait(DEADLINE)
        finally:
            self._process.kill()
            self._rest.join(DEADLINE)
            self._process.stderr.close()


@pytest.fixture(scope="module")
def _running():
    """The program that listens, for all tests; a test that ends it takes it out, and the next one has another."""
    running = []
    yield running
    for server in running:
        server.stop()


@pytest.fixture
def http(served, _running, tmp_path_factory):
    if not _running:
        limits = {"--sessions": "3", "--timeout": "100", "--longest": "200", "--characters": "5000"}
        words = [word for limit in limits.items() for word in limit]
        _running.append(HttpServer(served, tmp_path_factory.mktemp("http"), *words))
    return _running[0]


async def call(client, tool, **arguments):
    """The result of a tool."""
    return await client.call_tool(tool, arguments)


def text(result):
    return result.content[0].text


def session_of(result):
    return result.structured_content["session"]


async def evaluating(client, served, session, code):
    """The task of a call whose kernel is busy with it, or which has ended already."""
    running = asyncio.ensure_future(call(client, "evaluate", code=code, session=session))
    while not (running.done() or served.kernels()[session].busy):
        await asyncio.sleep(0.02)
    return running


def test_a_conversation_over_stdio(served):
    before = set(served.kernels())

    async def talk():
        async with stdio(served) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            assert names == {"evaluate", "abort", "sessions", "close", "documentation"}
            first = await call(client, "evaluate", code='x = 20; Print["hello"]; x + 3\n1/0')
            assert not first.is_error
            assert [each["text"] for each in first.structured_content["results"]] == ["23", "ComplexInfinity"]
            assert first.structured_content["output"] == "hello\n"
            assert first.structured_content["messages"] == ["Power::infy: Infinite expression 1 / 0 encountered."]
            second = await call(client, "evaluate", code="x^2/3 + y")
            assert session_of(second) == session_of(first), "the state survives"
            assert "frac" in second.structured_content["results"][0]["latex"]
            other = await call(client, "evaluate", code="x", session="new")
            assert other.structured_content["results"][0]["text"] == "x" and session_of(other) != session_of(first)
            listed = await call(client, "sessions")
            assert {each["session"] for each in listed.structured_content["sessions"]} == {
                session_of(first), session_of(other),
            }  # fmt: skip
            assert session_of(first) in served.kernels()
            assert not (await call(client, "close", session=session_of(other))).is_error
            gone = await call(client, "evaluate", code="1", session=session_of(other))
            assert gone.is_error and "no session" in text(gone)
            described = await call(client, "documentation", symbol="Sin")
            assert "sine" in text(described)
            unknown = await call(client, "documentation", symbol="NoSuchThing")
            assert unknown.is_error and "knows no symbol" in text(unknown)

    asyncio.run(talk())
    wait_for(lambda: not served.in_use().keys() - before, DEADLINE, "its kernels to be gone")


def test_a_picture(http):
    async def talk():
        async with http.client() as client:
            shown = await call(client, "evaluate", code="Plot[x, {x, 0, 6}]\nPlot3D[x y, {x, 0, 1}, {y, 0, 1}]")
            images = [each for each in shown.content if each.type == "image"]
            assert len(images) == 2, text(shown)
            for image in images:
                data = base64.b64decode(image.data)
                assert image.mime_type in ("image/png", "image/svg+xml")
                assert data.startswith(b"\x89PNG") == (image.mime_type == "image/png")
            assert not (await call(client, "close", session=session_of(shown))).is_error

    asyncio.run(talk())


def test_errors_and_limits(http):
    async def talk():
        async with http.client() as client:
            wrong = await call(client, "evaluate", code="f[1, ")
            assert wrong.is_error and "Syntax" in text(wrong)
            session = session_of(wrong)
            late = await call(client, "evaluate", code="kept = 4; While[True]", session=session, timeout=1)
            assert late.is_error and "aborted after 1 s" in text(late)
            kept = await call(client, "evaluate", code="kept", session=session)
            assert kept.structured_content["results"][0]["text"] == "4"
            longer = await call(client, "evaluate", code="1", session=session, timeout=201)
            assert longer.is_error and "at most 200 seconds" in text(longer)
            large = await call(client, "evaluate", code='StringRepeat["x", 100000]', session=session)
            assert "95000 more characters" in text(large)
            code = 'Print[StringRepeat["0123456789", 10^7]]; 3'
            printed = await call(client, "evaluate", code=code, session=session)
            assert "99995001 more characters" in text(printed) and len(text(printed)) < 6000
            extra = []
            while True:
                more = await call(client, "evaluate", code="1", session="new")
                if more.is_error:
                    break
                extra.append(session_of(more))
            assert "all 3 sessions are in use" in text(more) and len(extra) == 2
            for each in (session, *extra):
                assert not (await call(client, "close", session=each)).is_error

    asyncio.run(talk())


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_conversations_are_kept_apart(http, served, mode):
    """In the protocol of 2026, which has no sessions of its own, the ID is what a conversation has."""

    async def talk():
        async with http.client(mode=mode) as one, http.client(mode=mode) as other:
            first = await call(one, "evaluate", code="secret = 1", session="new")
            assert not first.is_error, text(first)
            listed = await call(other, "sessions")
            assert listed.structured_content["sessions"] == []
            theirs = await call(other, "evaluate", code="secret", session="new")
            assert theirs.structured_content["results"][0]["text"] == "secret"
            if mode == "legacy":
                refused = await call(other, "evaluate", code="secret", session=session_of(first))
                assert refused.is_error and "no session" in text(refused)
            for client, result in ((one, first), (other, theirs)):
                assert not (await call(client, "close", session=session_of(result))).is_error

    asyncio.run(talk())


def test_an_abort_from_another_call(http, served):
    async def talk():
        async with http.client() as client:
            session = session_of(await call(client, "evaluate", code="1", session="new"))
            running = await evaluating(client, served, session, "While[True]")
            assert (await call(client, "abort", session=session)).structured_content["aborted"]
            ended = await running
            assert ended.is_error and "aborted" in text(ended)
            assert not (await call(client, "close", session=session)).is_error

    asyncio.run(talk())


def test_a_call_that_is_cancelled_is_aborted(http, served):
    async def talk():
        async with http.client() as client:
            session = session_of(await call(client, "evaluate", code="kept = 5", session="new"))
            running = await evaluating(client, served, session, "While[True]")
            running.cancel()
            await asyncio.wait([running])
            again = await call(client, "evaluate", code="kept", session=session)
            assert again.structured_content["results"][0]["text"] == "5"
            assert not (await call(client, "close", session=session)).is_error

    asyncio.run(talk())


def test_a_kernel_that_dies(http, served):
    async def talk():
        async with http.client() as client:
            session = session_of(await call(client, "evaluate", code="1", session="new"))
            running = await evaluating(client, served, session, "While[True]")
            os.kill(served.kernels()[session].process, signal.SIGKILL)
            ended = await running
            assert ended.is_error and "has ended" in text(ended)
            assert "no session" in text(await call(client, "evaluate", code="1", session=session))

    asyncio.run(talk())


def test_the_server_is_restarted(http, served, tmp_path):
    """While a call evaluates, which goes on."""
    gate = tmp_path / "gate"

    async def talk():
        async with http.client() as client:
            session = session_of(await call(client, "evaluate", code="kept = 21", session="new"))
            waits = f'While[! FileExistsQ["{gate}"], Pause[0.02]]; kept + 1'
            running = await evaluating(client, served, session, waits)
            await asyncio.to_thread(served.restart)
            gate.touch()
            assert (await running).structured_content["results"][0]["text"] == "22"
            kept = await call(client, "evaluate", code="kept", session=session)
            assert kept.structured_content["results"][0]["text"] == "21"
            assert not (await call(client, "close", session=session)).is_error

    asyncio.run(talk())


def test_the_way_to_the_server_breaks(served):
    """A session takes its kernel back by its ID. It is kept also while the server is out of reach."""

    async def talk(relay):
        async with in_process(relay.address) as client:
            session = session_of(await call(client, "evaluate", code="kept = 17"))
            relay.break_all()
            again = await call(client, "evaluate", code="kept + 1", session=session)
            assert again.structured_content["results"][0]["text"] == "18"
            running = await evaluating(client, served, session, "Pause[0.5]; kept + 2")
            relay.break_all()
            assert (await running).structured_content["results"][0]["text"] == "19"
            relay.stop_listening()
            relay.break_all()
            away = await call(client, "evaluate", code="1", session=session, timeout=1)
            assert away.is_error and "refused" in text(away) and "is kept" in text(away), text(away)
            relay.listen_again()
            back = await call(client, "evaluate", code="kept + 3", session=session)
            assert back.structured_content["results"][0]["text"] == "20"
            relay.stop_listening()
            relay.break_all()
        return session

    with Relay(served.process.port) as relay:
        session = asyncio.run(talk(relay))
        assert session in served.kernels(), "nobody could tell the server"
        relay.listen_again()
        wait_for(lambda: session not in served.kernels(), DEADLINE, "its kernel to be closed")


def test_garbage(http, served):
    """What no client sends, and what no client can be sent."""
    import httpx2

    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json, text/event-stream"}
    for content, kind in ((b"\x00\xff\xfe{", "application/json"), (b"[1, 2", "application/json"), (b"\xff", "x/y")):
        answer = httpx2.post(http.url, headers={**headers, "Content-Type": kind}, content=content, timeout=DEADLINE)
        assert 400 <= answer.status_code < 500 and "Traceback" not in answer.text

    async def talk():
        async with http.client() as client:
            shown = await call(client, "evaluate", code="FromCharacterCode[{55296, 65}]", session="new")
            assert shown.structured_content["results"][0]["text"] == "\ufffdA"
            wrong = await call(client, "evaluate", code="1 + \x00", session=session_of(shown))
            assert wrong.is_error and "Syntax" in text(wrong)
            assert not (await call(client, "close", session=session_of(shown))).is_error

    asyncio.run(talk())


def test_the_token(http):
    import httpx2

    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = httpx2.post(http.url, headers=headers, json={}, timeout=DEADLINE)
        assert answer.status_code == 401 and "token" in answer.text


def test_a_client_that_is_killed_leaves_nothing(http, _running, served):
    before, killed = set(served.in_use()), []

    async def talk():
        async with http.client() as client:
            session = session_of(await call(client, "evaluate", code="1", session="new"))
            running = await evaluating(client, served, session, "While[True]")
            _running.remove(http)
            killed.append(http.stop(signal.SIGKILL))
            await running

    with contextlib.suppress(Exception):  # whatever the SDK says of a connection that is broken
        asyncio.run(talk())
    assert killed == [-signal.SIGKILL]
    wait_for(lambda: set(served.in_use()) <= before, DEADLINE, "its kernel to be gone")


def test_wrong_arguments(capsys, tmp_path):
    (tmp_path / "empty").write_text("\n")
    for words in (
        ["--port", "x"], ["--sessions", "0"], ["--server", "what is this"], ["frobnicate"],
        ["--http", "--token-file", str(tmp_path / "empty")], ["--http", "--token-file", "/nowhere"],
    ):  # fmt: skip
        assert main(words) == 64
    assert "Traceback" not in capsys.readouterr().err
