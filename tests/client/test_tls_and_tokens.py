"""Addresses that begin with wstps://, access tokens, and both through a real stunnel in front of a server."""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from tests.client.helpers import PROMPT
from tests.support.cases import for_all
from tests.support.terminal import TerminalProgram, script
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, free_ports, pool
from tools.harness.waiting import wait_for
from wstpserver.cli.admin.main import main as admin
from wstpserver.client import (
    AccessDenied,
    Address,
    ConnectError,
    Endpoint,
    LinkClosed,
    LinkSyntaxError,
    LinkTimeout,
    Session,
    connect,
    parse_address,
)
from wstpserver.client.address import TOKEN_FILE_VARIABLE, default_token
from wstpserver.wire.packets import evaluate_packet
from wstpserver.wire.values import Function, Symbol

TOKEN = "a-token-that-nobody-guesses"
STUNNEL = shutil.which("stunnel4") or shutil.which("stunnel")

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
HAPROXY = shutil.which("haproxy")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="needs haproxy")
needs_stunnel = pytest.mark.skipif(STUNNEL is None, reason="needs stunnel")


# Addresses


@for_all(
    ("text", "address", "shown"),
    [
        ("wstps://host:7/Pool", Address(Endpoint("host", 7), None, "Pool", tls=True), "wstps://host:7"),
        ("WSTPS://host", Address(Endpoint("host", 31415), None, None, tls=True), "wstps://host:31415"),
        ("wstps://[::1]:7/", Address(Endpoint("::1", 7), None, None, tls=True), "wstps://[::1]:7"),
        ("wstp://host:7", Address(Endpoint("host", 7)), "7@host"),
    ],
)
def test_addresses_with_tls(text, address, shown):
    parsed = parse_address(text)
    assert parsed == address and str(parsed) == shown
    assert parse_address(shown) == parsed.server


def test_a_token_is_not_shown():
    address = Address(Endpoint("host", 7), token=TOKEN)
    assert TOKEN not in repr(address) and TOKEN not in str(address)


@for_all("options", [{"classic": True}, {}])
def test_tls_is_for_link_servers(options):
    address = "wstps://localhost:1" if options else Address(Endpoint("a", 1), Endpoint("a", 2), tls=True)
    with pytest.raises(LinkSyntaxError, match="TLS"):
        connect(address, 1, **options)


# The file of the environment variable


@pytest.mark.parametrize(("text", "token"), [(TOKEN, TOKEN), (f"# mine\n\n  {TOKEN} \nanother\n", TOKEN)])
def test_the_token_of_the_environment(monkeypatch, tmp_path, text, token):
    (tmp_path / "token").write_text(text)
    monkeypatch.setenv(TOKEN_FILE_VARIABLE, str(tmp_path / "token"))
    assert default_token() == token
    monkeypatch.setenv(TOKEN_FILE_VARIABLE, "")
    assert default_token() == ""


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), (b"", "holds no token"), (b"\xff", "not UTF-8")])
def test_a_token_file_of_no_use(monkeypatch, tmp_path, content, says):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    monkeypatch.setenv(TOKEN_FILE_VARIABLE, str(tmp_path / "token"))
    with pytest.raises(LinkSyntaxError, match=f"{TOKEN_FILE_VARIABLE}: .*{says}"):
        default_token()


# A server that wants a token, behind a stunnel that says for whom it connects


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """(certificate, key) of this computer, signed by itself."""
    folder = tmp_path_factory.mktemp("certificate")
    files = folder / "server.pem", folder / "server.key"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-out", files[0], "-keyout", files[1]]  # fmt: skip
    subprocess.run(words, check=True, capture_output=True)
    return files


@contextlib.contextmanager
def stunnel(folder, *lines):
    """A stunnel with one service of these lines, on a free port, which it cannot choose by itself; yields the port."""
    (port,) = free_ports()
    path = folder / f"stunnel-{port}.conf"
    path.write_text("\n".join(["foreground = yes", "pid =", "[wstpserver]", f"accept = 127.0.0.1:{port}", *lines, ""]))
    with running(port, STUNNEL, path):
        yield port


@contextlib.contextmanager
def running(port, *words):
    """A program that listens on that port."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)  # fmt: skip
    written = []
    reader = threading.Thread(target=lambda: written.extend(process.stdout))
    reader.start()
    try:
        wait_for(lambda: answers(port), 60.0, lambda: f"{words[0]} to listen:\n{''.join(written)}")
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        reader.join()
        process.stdout.close()


def answers(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 5).close()
        return True
    return False


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    (folder / "token").write_text(TOKEN)
    configuration = {
        "AccessTokenFile": "token",
        "AcceptProxyProtocolFrom": ["127.0.0.1"],
        "AllowedAddresses": ["127.0.0.1"],
        "Pools": {"Main": pool(make_kernel(folder), MinimumKernelNumber=1, MaximumKernelNumber=4)},
    }
    with ServerProcess(folder, configuration, "--log-level", "debug") as server:
        server.wait_for_log("is ready")
        yield server


@pytest.fixture(scope="module")
def tls_port(server, certificate):
    if STUNNEL is None:
        pytest.skip("needs stunnel")
    lines = [f"connect = 127.0.0.1:{server.port}", f"cert = {certificate[0]}", f"key = {certificate[1]}"]
    with stunnel(server.folder, *lines, "protocol = proxy") as port:
        yield port


@pytest.fixture
def context(certificate):
    return ssl.create_default_context(cafile=certificate[0])


def test_a_token(server, monkeypatch):
    address = f"{server.port}@127.0.0.1"
    with Session(address, PROMPT, token=TOKEN) as session:
        assert session.evaluate("1 + 1", PROMPT) == 2
    monkeypatch.setenv(TOKEN_FILE_VARIABLE, str(server.folder / "token"))
    with Session(f"wstp://127.0.0.1:{server.port}/Main", PROMPT, reconnect=True) as session:
        session.evaluate("x = 5", PROMPT)
        session.reconnect()
        assert session.evaluate("x", PROMPT) == 5


def test_a_token_for_a_profile(server, tmp_path):
    path = tmp_path / "profile"
    with Session.from_profile(path, f"{server.port}@127.0.0.1", PROMPT, token=TOKEN) as session:
        session.evaluate("x = 6", PROMPT)
    with Session.from_profile(path, timeout=PROMPT, start=False, token=TOKEN, reconnect=True) as session:
        assert session.evaluate("x", PROMPT) == 6
        session.reconnect()
        assert session.evaluate("x", PROMPT) == 6
        session.keep_kernel = False
    assert TOKEN not in path.read_text()
    with pytest.raises(AccessDenied):
        Session.from_profile(path, timeout=PROMPT, token="a-guess")


def test_a_link_with_a_token_has_its_prompt(server):
    """A link that takes a kernel at once: the prompt is the first that `get` returns."""
    with connect(f"{server.port}@127.0.0.1", PROMPT, token=TOKEN) as link:
        assert link.get_packet(PROMPT).name == "InputNamePacket"
        link.put(evaluate_packet(Function(Symbol("Plus"), (1, 1))))
        assert link.get_packet(PROMPT) == ("ReturnPacket", (2,))


def test_a_wrong_token(server):
    with pytest.raises(AccessDenied, match=r"does not accept the access token: .*\. Check the token"):
        connect(f"{server.port}@127.0.0.1", PROMPT, token="a-guess")


def test_no_token(server):
    says = "the server says: pool Main needs an access token"
    with Session(f"{server.port}@127.0.0.1", PROMPT) as session, pytest.raises(LinkClosed, match=says):
        session.evaluate("1 + 1", PROMPT)


@needs_openssl
@needs_stunnel
def test_a_session_through_stunnel(server, tls_port, context):
    """Both connections, a large answer and an abort; the server's log names the client, not the tunnel."""
    with Session(f"wstps://localhost:{tls_port}/Main", PROMPT, token=TOKEN, tls=context) as session:
        assert session.evaluate("1 + 1", PROMPT) == 2
        assert session.evaluate('StringLength["' + "x" * 3_000_000 + '"]', PROMPT) == 3_000_000
        text = session.evaluate(Function(Symbol("StringJoin"), ("x" * 2_000_000, "y")), PROMPT)
        assert len(text) == 2_000_001
        with pytest.raises(TimeoutError):
            session.evaluate("Pause[60]", timeout=0.1)
        assert session.evaluate("2 + 2", PROMPT) == 4
    server.wait_for_log(r"Client \d+ \(127\.0\.0\.1:\d+ via 127\.0\.0\.1:\d+\) connected")


@needs_openssl
@needs_stunnel
def test_reconnecting_through_stunnel(tls_port, context):
    address = f"wstps://127.0.0.1:{tls_port}"
    with Session(address, PROMPT, token=TOKEN, tls=context, reconnect=True) as session:
        session.evaluate("x = 5", PROMPT)
        identifier = session.kernel_id
        session.reconnect()
        assert (session.evaluate("x", PROMPT), session.kernel_id) == (5, identifier)


@needs_openssl
@needs_stunnel
def test_programs_through_stunnel(server, tls_port, certificate, capfd, monkeypatch):
    """The certificate and the token come from the environment."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv(TOKEN_FILE_VARIABLE, str(server.folder / "token"))
    address = f"wstps://localhost:{tls_port}"
    environment = {name: os.environ[name] for name in ("SSL_CERT_FILE", TOKEN_FILE_VARIABLE)}
    with TerminalProgram(script("-wstpserver", address), server.folder, environment) as terminal:
        terminal.expect("In[1]:= ", PROMPT)
        terminal.enter("1 + 1", "Out[1]= 2")
        terminal.expect("In[2]:= ", PROMPT)
        terminal.keys("\x04")
        assert terminal.wait(PROMPT) == 0
    assert admin(["-s", address, "status"]) == 0
    assert capfd.readouterr().out.startswith(f"{address}: 1 pool, ")


@needs_openssl
@needs_stunnel
def test_a_client_that_knows_no_tls_uses_a_stunnel_of_its_own(server, tls_port, certificate):
    lines = ["client = yes", f"connect = 127.0.0.1:{tls_port}", f"CAfile = {certificate[0]}", "verifyChain = yes",
             "checkHost = localhost"]  # fmt: skip
    with stunnel(server.folder, *lines) as port, Session(port_of(port), PROMPT, token=TOKEN) as session:
        assert session.evaluate("1 + 1", PROMPT) == 2


def port_of(port):
    return f"{port}@127.0.0.1"


@needs_openssl
@needs_stunnel
def test_a_certificate_that_nobody_vouches_for(tls_port):
    with pytest.raises(ConnectError, match="certificate is not accepted: .*SSL_CERT_FILE"):
        connect(f"wstps://localhost:{tls_port}", PROMPT)


@needs_openssl
@needs_stunnel
def test_a_certificate_for_another_host(tls_port, context):
    with socket.create_server(("127.0.0.2", 0)) as listener:
        relay(listener, tls_port)
        message = r"certificate is not accepted: .*127\.0\.0\.2"
        with pytest.raises(ConnectError, match=message):
            connect(f"wstps://127.0.0.2:{listener.getsockname()[1]}", PROMPT, tls=context)


def relay(listener, port):
    """Pass one connection on, in threads that end with it."""

    def run():
        near, _ = listener.accept()
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            back = threading.Thread(target=pump, args=(far, near))
            back.start()
            pump(near, far)
            back.join()

    threading.Thread(target=run, daemon=True).start()


def pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def test_a_server_without_tls(server, context):
    with pytest.raises(ConnectError, match=r"TLS.*begins with wstp://"):
        connect(f"wstps://localhost:{server.port}", PROMPT, tls=context)


def test_a_peer_that_says_nothing(context):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(LinkTimeout, match="no TLS within"):
        connect(f"wstps://127.0.0.1:{silent.getsockname()[1]}", 0.2, tls=context)


@needs_openssl
@needs_stunnel
def test_a_stunnel_port_without_tls(tls_port):
    with pytest.raises(ConnectError):
        connect(f"{tls_port}@127.0.0.1", PROMPT)


@needs_haproxy
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_behind_haproxy(server, tmp_path, version):
    (port,) = free_ports()
    path = tmp_path / "haproxy.cfg"
    path.write_text(
        "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n"
        f"listen wstpserver\n bind 127.0.0.1:{port}\n server wstpserver 127.0.0.1:{server.port} {version}\n"
    )
    with running(port, HAPROXY, "-db", "-f", path), Session(port_of(port), PROMPT, token=TOKEN) as session:
        assert session.evaluate("1 + 1", PROMPT) == 2
        with socket.socket(fileno=os.dup(session.link.fileno())) as connection:
            ours = connection.getsockname()[1]
        server.wait_for_log(rf"Client \d+ \(127\.0\.0\.1:{ours} via 127\.0\.0\.1:\d+\) connected")
