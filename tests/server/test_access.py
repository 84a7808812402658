"""Who may connect: addresses and users at the port of a server, what the log says of the others, and tokens."""

import os
import socket
import subprocess
import sys

import pytest

from tests.service.helpers import messages, needs_ipv6
from tests.support.serving import assert_serves, join, one_pool
from tests.support.settings import make_settings
from tools.harness.kernels import make_kernel
from tools.harness.server import ROOT, ServerProcess
from tools.harness.waiting import wait_for
from wstpserver.server import access, peers
from wstpserver.server.access import MOST_ATTEMPTS, MOST_PLACES, AccessTokens, ConnectionRules, RefusalLog
from wstpserver.wire.proxy_protocol import ProxiedAddress, ProxyHeader

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")

#: A user who is neither root nor, in a test, the server's.
OTHER = 54321


class Lines:
    """A log that keeps its warnings."""

    def __init__(self):
        self.warnings = []
        self.warning = self.warnings.append


def admission(**rules):
    return ConnectionRules(make_settings(pools=[{"name": "P", "KernelPath": "/bin/kernel"}], **rules), Lines())


# Addresses


@pytest.mark.parametrize(
    ("host", "admitted"),
    [("192.0.2.7", True), ("192.0.3.1", False), ("10.1.2.3", True), ("2001:db8::1", True), ("2001:db8::2", False),
     ("fe80::1%lo", True), ("::1", False), ("127.0.0.1", False)],
)  # fmt: skip
def test_addresses(host, admitted):
    rules = admission(AllowedAddresses=["192.0.2.0/24", "10.1.2.3", "2001:db8::1", "fe80::/10"])
    for _ in range(2):  # the second time from memory
        assert (rules.refusal_by_address(host) == "") is admitted
    assert not rules.is_open


def test_without_rules_everybody_is_admitted():
    assert admission().is_open
    assert admission().refusal_by_address("203.0.113.9") == ""


def test_new_rules_count_at_once():
    rules = admission(AllowedAddresses=["192.0.2.0/24"])
    assert rules.refusal_by_address("203.0.113.9")
    rules.reconfigure(make_settings(pools=[{"name": "P", "KernelPath": "/bin/kernel"}]))
    assert rules.is_open and rules.refusal_by_address("203.0.113.9") == ""


def test_a_proxy_is_admitted_until_it_has_said_for_whom_it_connects():
    rules = admission(AllowedAddresses=["192.0.2.0/24"], AcceptProxyProtocolFrom=["127.0.0.1"])
    assert rules.may_be_proxy("127.0.0.1") and not rules.may_be_proxy("192.0.2.7")
    assert rules.refusal_by_address("127.0.0.1") == ""
    target = ProxiedAddress("198.51.100.1", 31415)
    assert rules.refusal_behind_proxy("127.0.0.1", ProxyHeader(ProxiedAddress("192.0.2.7", 1), target, 0)) == ""
    for header in (None, ProxyHeader(None, None, 0), ProxyHeader(ProxiedAddress("203.0.113.9", 1), target, 0)):
        assert "AllowedAddresses" in rules.refusal_behind_proxy("127.0.0.1", header)


# Users


@pytest.fixture(params=["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def connected(request):
    """Both ends of a connection over loopback: (the server's, the client's)."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        accepted, _ = listener.accept()
    with client, accepted:
        yield accepted, client


def owned_by(monkeypatch, user):
    def owner_of(*_):
        if isinstance(user, OSError):
            raise user
        return None if user is None else peers.SocketOwner(1, user)

    monkeypatch.setattr(peers, "quick_user", lambda _: None)
    monkeypatch.setattr(peers, "owner_of", owner_of)


@pytest.mark.parametrize(
    ("users", "owner", "refused"),
    [
        (["self"], os.geteuid(), ""),
        (["self"], 0, ""),  # root can be anybody
        (["self"], OTHER, f"user {OTHER} is not in AllowedUsers"),
        (["self", OTHER], OTHER, ""),
        (["root"], OTHER, f"user {OTHER} is not in AllowedUsers"),
        (["any"], OTHER, ""),
        (["self", "any"], None, ""),
        (["self"], None, "it is not known which user"),
        (["self"], OSError("not told"), "it is not known which user"),
    ],
)
def test_users(monkeypatch, connected, users, owner, refused):
    accepted, client = connected
    owned_by(monkeypatch, owner)
    assert admission(AllowedUsers=users).refusal_by_user(accepted, client.getsockname()).startswith(refused)
    header = ProxyHeader(ProxiedAddress("127.0.0.1", 5), ProxiedAddress("127.0.0.1", 6), 0)
    assert admission(AllowedUsers=users).refusal_behind_proxy("127.0.0.1", header).startswith(refused)


def test_other_computers_have_no_users(monkeypatch, connected):
    owned_by(monkeypatch, None)
    accepted, _ = connected
    rules = admission(AllowedUsers=["self"])
    assert rules.refusal_by_user(accepted, ("192.0.2.7", 50000)) == ""
    header = ProxyHeader(ProxiedAddress("192.0.2.7", 5), ProxiedAddress("127.0.0.1", 6), 0)
    assert rules.refusal_behind_proxy("127.0.0.1", header) == ""


def test_a_real_connection_has_its_owner(connected):
    accepted, client = connected
    address, rules = client.getsockname(), admission(AllowedUsers=["self"])
    assert peers.quick_user(accepted) == peers.quick_user(client) == os.getuid()
    assert rules.refusal_by_user(accepted, address) == ""
    client.close()
    wait_for(
        lambda: "not known" in rules.refusal_by_user(accepted, address), 60.0, "the closed connection to be nobody's"
    )


@pytest.mark.parametrize(
    ("owner", "expected"),
    [(0, True), (os.geteuid(), True), (OTHER, False), (None, False), (OSError("not told"), True)],
)
def test_who_is_the_administrator(monkeypatch, connected, owner, expected):
    """Root and the user that the server runs as, on this computer."""
    owned_by(monkeypatch, owner)
    accepted, _ = connected
    assert access.is_administrator(accepted) is expected


def test_no_client_of_a_proxy_is_the_administrator_because_the_proxy_is(connected):
    accepted, client = connected  # both ours
    elsewhere = ProxyHeader(ProxiedAddress("192.0.2.7", 5), ProxiedAddress("198.51.100.1", 6), 0)
    assert not access.is_administrator(accepted, elsewhere)
    assert not access.is_administrator(accepted, ProxyHeader(None, None, 0))
    assert access.origin(accepted, elsewhere) == "192.0.2.7"
    ourselves = ProxyHeader(ProxiedAddress(*client.getsockname()[:2]), ProxiedAddress(*accepted.getsockname()[:2]), 0)
    assert access.is_administrator(accepted, ourselves)
    assert access.origin(accepted).startswith("user ") and access.origin(accepted) == access.origin(accepted, ourselves)


# What the log says


def test_refusals_are_counted():
    log = Lines()
    refusals = RefusalLog(log, interval=3600.0)
    for number in range(1000):
        refusals.add("192.0.2.7", f"192.0.2.7:{number}", "a reason")
    refusals.add("192.0.2.8", "192.0.2.8:1", "a reason")
    assert log.warnings == [
        "Refused a connection from 192.0.2.7:0: a reason", "Refused a connection from 192.0.2.8:1: a reason"
    ]  # fmt: skip
    refusals.summarise()
    assert log.warnings[2:] == ["Refused 999 connections more from 192.0.2.7: a reason"]
    refusals.add("192.0.2.7", "192.0.2.7:5", "a reason")
    assert log.warnings[3:] == ["Refused a connection from 192.0.2.7:5: a reason"]
    refusals.close()


def test_many_places_share_one_entry():
    log = Lines()
    refusals = RefusalLog(log, interval=3600.0)
    for number in range(5000):
        refusals.add(f"place {number}", f"place {number}", "a reason")
    assert len(log.warnings) == MOST_PLACES
    refusals.summarise()
    assert log.warnings[MOST_PLACES:] == [f"Refused {5000 - MOST_PLACES} connections from further addresses"]


# Tokens


@pytest.fixture
def tokens():
    """AccessTokens that knows two, with a clock that a test sets."""
    clock = [0.0]
    found = AccessTokens(RefusalLog(Lines()), lambda: clock[0])
    found.replace(["first token", "second token"])
    found.clock = clock
    return found


def test_tokens(tokens):
    assert tokens.are_known
    assert tokens.check("first token", "a") == tokens.check("second token", "a") == ""
    for wrong in ("", "first", "first token ", "FIRST TOKEN", "\ud800", "x" * 100_000):
        assert tokens.check(wrong, wrong[:10]) == "the access token is wrong"
    tokens.replace([])
    assert not tokens.are_known and tokens.check("first token", "b")


def test_attempts_are_limited_for_each_client(tokens):
    for _ in range(MOST_ATTEMPTS):
        assert tokens.check("guess", "192.0.2.7") == "the access token is wrong"
    assert "too many wrong tokens came from 192.0.2.7; try again in 60 s" in tokens.check("first token", "192.0.2.7")
    assert tokens.check("first token", "192.0.2.8") == ""
    tokens.clock[0] = 59.0
    assert "try again in 1 s" in tokens.check("first token", "192.0.2.7")
    tokens.clock[0] = 60.0
    assert tokens.check("first token", "192.0.2.7") == ""


def test_the_right_token_forgives_the_wrong_ones(tokens):
    for _ in range(3):
        for _ in range(MOST_ATTEMPTS - 1):
            assert tokens.check("guess", "a") == "the access token is wrong"
        assert tokens.check("first token", "a") == ""


# A server and two users


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("access")
    with ServerProcess(folder, one_pool(make_kernel(folder), root={"AllowedUsers": ["self"]})) as server:
        server.wait_for_log("is ready")
        yield server


def as_other(*words, **options):
    """Run a program as the other user."""
    privileges = ["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups"]
    environment = {**os.environ, "HOME": "/nonexistent", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*privileges, *words], env=environment, capture_output=True, text=True, timeout=60, **options)


RAW = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
try:
    connection.sendall(b"id=23E744F7-9AE5-481E-B5EA-9AE4CBF1C047 connection=data")
    print(connection.recv(100))
except OSError as error:
    print(type(error).__name__)
"""


@needs_root
def test_another_user_is_refused(server):
    done = as_other(sys.executable, "-S", "-E", "-c", RAW, str(server.port))
    assert done.stdout in ("ConnectionResetError\n", "BrokenPipeError\n", "b''\n"), done
    entry = f"Refused a connection from 127.0.0.1:[0-9]+: user {OTHER} is not in AllowedUsers"
    server.wait_for_log(entry)
    assert_serves(server)


@needs_root
def test_another_user_s_wstpscript_is_refused(server):
    if as_other("test", "-r", str(ROOT / "wstpserver" / "__init__.py")).returncode:
        pytest.skip("other users cannot read this folder")
    done = as_other(
        sys.executable, "-m", "wstpserver.cli.script.main", "-wstpserver", f"{server.port}@127.0.0.1", "-code", "2+2"
    )
    assert done.returncode == 69 and done.stdout == ""
    assert "AllowedUsers" in done.stderr and "Traceback" not in done.stderr


def test_a_refused_address(tmp_path):
    """And the others are served; a reload changes who is refused."""
    configuration = one_pool(make_kernel(tmp_path), root={"AllowedAddresses": ["127.0.0.1"]})
    with ServerProcess(tmp_path, configuration) as server:
        for _ in range(20):
            with pytest.raises(ConnectionError):
                ours = ("127.0.0.2", 0)
                with socket.create_connection(("127.0.0.1", server.port), 20, source_address=ours) as refused:
                    refused.recv(1)
                    refused.sendall(b"x")
        with join(server) as link:
            assert link.evaluate(7) == 7
    refused = [text for text in messages(server.log, "Warning") if text.startswith("Refused")]
    assert len(refused) == 2 and "Refused a connection from 127.0.0.2:" in refused[0]
    assert refused[1] == "Refused 19 connections more from 127.0.0.2: its address is not in AllowedAddresses"
