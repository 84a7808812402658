"""Links that have to say a token, commands that not everybody may give, and what is told to whom."""

import itertools
import json
import signal

import pytest

from tests.support.serving import SUCCESS, information, kernel_id, message_of
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from wstpserver.server.access import MOST_ATTEMPTS

TOKEN = "a-token-that-nobody-guesses"
_hosts = itertools.count(1)


def far(host=None):
    """The PROXY header of a client on another computer: a fresh one each time, unless it is named."""
    host = host or f"192.0.2.{next(_hosts)}"
    return {"before": b"PROXY TCP4 %s 198.51.100.1 50000 31415\r\n" % host.encode()}


def reason(text):
    """Why a command was refused."""
    reply = json.loads(text)
    assert reply["status"] == "ExecutionError"
    return reply["reason"]


def configuration(folder, open_pool=True, **root):
    """Pool "a" needs a token; so does "b", the default pool, unless it is open."""
    kernel = make_kernel(folder)
    (folder / "tokens").write_text(f"# for tests\n{TOKEN}\nanother-token-for-the-others\n")
    numbers = {"MinimumKernelNumber": 1, "MaximumKernelNumber": 2, "ReservePreviouslyConnectedKernels": False}
    pools = {"a": pool(kernel, **numbers)}
    if open_pool:
        pools["b"] = pool(kernel, Default=True, RequireAccessToken=False, **numbers)
    return {"AccessTokenFile": "tokens", "AcceptProxyProtocolFrom": ["127.0.0.1"], "Pools": pools, **root}


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A server whose only pool needs a token."""
    folder = tmp_path_factory.mktemp("closed")
    with ServerProcess(folder, configuration(folder, open_pool=False)) as server:
        server.wait_for_log("is ready")
        yield server


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A server with a pool for everybody, and information for those with a kernel."""
    folder = tmp_path_factory.mktemp("mixed")
    with ServerProcess(folder, configuration(folder, InformationFor="bridged")) as server:
        server.wait_for_log("Pool a is ready")
        server.wait_for_log("Pool b is ready")
        yield server


# Before anything else


def test_nothing_before_the_token(closed):
    """No kernel and no prompt; the first packet is the answer to the token, and the prompt follows."""
    with closed.connect(**far()) as link:
        for command in (("GetServerInformation",), ("ConnectKernel",), ("StartKernel",), ("GetKernelID",)):
            assert "before anything else an access token is needed" in reason(link.command(*command))
        assert link.command("Authenticate", TOKEN) == SUCCESS
        assert link.get_packet()[0] == "InputNamePacket"
        assert link.evaluate(7) == 7
        assert link.command("GetPoolName") == '{"result":"a"}'
        assert "Pools" in information(link)


def test_each_token_of_the_file_counts_and_more_than_once(closed):
    with closed.connect(**far()) as link:
        assert link.command("Authenticate", "another-token-for-the-others") == SUCCESS
        assert link.get_packet()[0] == "InputNamePacket"
        assert link.command("Authenticate", TOKEN) == SUCCESS
        assert link.evaluate(7) == 7


def test_an_evaluation_without_a_token(closed):
    with closed.connect(**far("192.0.2.201")) as link:
        link.put("EvaluatePacket", 7)
        assert 'needs an access token: WSCommandPacket[Authenticate["token"]]' in message_of(link.get_packet())
        assert link.at_end()
    closed.wait_for_log(r"Refused a connection from Client \d+ \(192\.0\.2\.201:50000 via 127\.0\.0\.1:\d+\): pool a")


def test_a_wrong_token(closed):
    with closed.connect(**far("192.0.2.202")) as link:
        assert reason(link.command("Authenticate", "a-guess")) == "the access token is wrong"
        assert link.at_end()
    closed.wait_for_log(r"Refused a connection from Client \d+ \(192\.0\.2\.202:.*: the access token is wrong")
    assert "a-guess" not in closed.log and TOKEN not in closed.log


def test_attempts_are_limited(closed):
    """Also for the right token, and for nobody else."""
    for _ in range(MOST_ATTEMPTS):
        with closed.connect(**far("192.0.2.203")) as link:
            assert reason(link.command("Authenticate", "a-guess")) == "the access token is wrong"
    with closed.connect(**far("192.0.2.203")) as link:
        assert "too many wrong tokens came from 192.0.2.203" in reason(link.command("Authenticate", TOKEN))
        assert link.at_end()
    with closed.connect(**far()) as link:
        assert link.command("Authenticate", TOKEN) == SUCCESS


@pytest.mark.parametrize("arguments", [(), (7,), (TOKEN, TOKEN)])
def test_a_malformed_token(closed, arguments):
    with closed.connect(**far()) as link:
        assert link.command("Authenticate", *arguments) == '{"status":"PacketMalformed"}'
        assert link.command("Authenticate", TOKEN) == SUCCESS


def test_the_server_s_own_user_needs_no_token_to_administer(closed):
    """For a kernel it does."""
    with closed.connect() as link:
        assert information(link)["Pools"]["a"]["EntryPool"] is True
        assert "pool a needs an access token" in reason(link.command("ConnectKernel"))


def test_silence_ends(tmp_path):
    with ServerProcess(tmp_path, configuration(tmp_path, open_pool=False, GreetingTimeout=1.5)) as server:
        silent, said = server.connect(**far()), server.connect(**far())
        with silent, said:
            assert said.command("Authenticate", TOKEN) == SUCCESS
            assert said.get_packet()[0] == "InputNamePacket"
            assert "it said no access token in time" in message_of(silent.get_packet())
            assert silent.at_end()
            assert said.evaluate(7) == 7


# Pools that ask for a token, and one that does not


def test_who_cannot_say_a_token_has_a_pool(mixed):
    with mixed.connect(**far()) as link:
        assert link.get_packet()[0] == "InputNamePacket"
        assert link.evaluate(7) == 7
        assert link.command("GetPoolName") == '{"result":"b"}'
        assert "pool a needs an access token" in reason(link.command("ConnectKernel", "a"))
        assert "needs an access token" in reason(link.command("StartKernel"))
        assert link.evaluate(8) == 8  # it has its kernel still


def test_kernels_of_the_other_pool_are_out_of_reach(mixed):
    with mixed.connect(**far()) as link, mixed.connect(**far()) as other:
        assert link.get_packet()[0] == other.get_packet()[0] == "InputNamePacket"
        assert link.command("Authenticate", TOKEN) == SUCCESS
        assert link.evaluate(7) == 7  # the kernel that it had; no second prompt
        assert link.command("ConnectKernel", "a") == SUCCESS
        assert link.get_packet()[0] == "InputNamePacket"
        identifier = kernel_id(link)
        for command in ("ConnectKernel", "CloseKernel", "AbortKernel", "GetKernelBusyStatus"):
            assert f"kernel {identifier} needs an access token" in reason(other.command(command, identifier))
        assert link.evaluate(7) == 7


# Information


def test_information_for_those_who_have_a_kernel(mixed):
    with mixed.connect(**far()) as link:
        assert link.get_packet()[0] == "InputNamePacket"
        assert kernel_id(link) and information(link)["Pools"].keys() == {"a", "b"}
        assert link.command("DisconnectKernel") == SUCCESS
        assert reason(link.command("GetServerInformation")) == (
            "GetServerInformation is for clients that are bridged to a kernel (InformationFor)"
        )
        assert "is for clients that are bridged" in reason(link.command("GetKernelBusyStatus", "1111-2222-3333"))
        assert link.command("Authenticate", TOKEN) == SUCCESS
        assert link.get_packet()[0] == "InputNamePacket"


def test_information_for_those_with_a_token(tmp_path):
    with ServerProcess(tmp_path, configuration(tmp_path, InformationFor="token")) as server:
        with server.connect(**far()) as link:
            assert link.get_packet()[0] == "InputNamePacket"
            for name in ("GetKernelID", "GetMissedOutput", "GetServerInformation"):
                assert "is for clients with an access token" in reason(link.command(name))
            assert link.command("GetPoolName") == '{"result":"b"}'
            assert link.command("GetKernelBusyStatus") == '{"result":"False"}'
            with server.connect(**far()) as other:
                assert other.get_packet()[0] == "InputNamePacket"
                assert other.command("Authenticate", TOKEN) == SUCCESS
                its = kernel_id(other)
                assert other.command("GetKernelBusyStatus", its) == '{"result":"False"}'
            for identifier in (its, "1111-2222-3333"):  # no difference tells which kernels there are
                told = reason(link.command("GetKernelBusyStatus", identifier))
                assert told == "GetKernelBusyStatus is for clients with an access token (InformationFor)"
            assert link.command("Authenticate", TOKEN) == SUCCESS
            own = kernel_id(link)
            assert link.command("GetKernelBusyStatus", own) == '{"result":"False"}'
        with server.connect() as link:  # ours
            assert link.get_packet()[0] == "InputNamePacket"
            assert information(link)["Pools"].keys() == {"a", "b"}


# Administrative commands


@pytest.mark.parametrize("name", ["ReloadConfiguration", "StopServer"])
def test_not_everybody_administers(mixed, name):
    with mixed.connect(**far()) as link:
        assert link.get_packet()[0] == "InputNamePacket"
        assert reason(link.command(name)) == (
            f"{name} is for the server's own user and root on its computer, and for clients with an access token"
        )
    mixed.wait_for_log(rf"{name} was refused to Client \d+ \(192\.0\.2\.")


def test_reload(tmp_path):
    """By the server's own user; new tokens count at once, and what is wrong is said."""
    with ServerProcess(tmp_path, configuration(tmp_path, open_pool=False)) as server:
        with server.connect() as link:
            (tmp_path / "tokens").write_text("a-third-token-nobody-guesses\n")
            assert link.command("ReloadConfiguration") == SUCCESS
            server.wait_for_log("The configuration was reloaded")
            (tmp_path / "tokens").write_text("")
            assert "holds no token" in reason(link.command("ReloadConfiguration"))
        with server.connect(**far()) as link:
            assert reason(link.command("Authenticate", TOKEN)) == "the access token is wrong"
        with server.connect(**far()) as link:
            assert link.command("Authenticate", "a-third-token-nobody-guesses") == SUCCESS
            assert link.get_packet()[0] == "InputNamePacket"
            assert "holds no token" in reason(link.command("ReloadConfiguration"))  # allowed


def test_stop_by_a_token(tmp_path):
    with ServerProcess(tmp_path, configuration(tmp_path, open_pool=False)) as server:
        with server.connect(**far()) as link:
            assert link.command("Authenticate", TOKEN) == SUCCESS
            assert link.get_packet()[0] == "InputNamePacket"
            assert link.command("StopServer") == SUCCESS
            assert link.at_end()
        assert server.wait_for_exit() == 0
    assert "Stopping because of a StopServer command" in server.log


def test_a_server_without_tokens_takes_any(tmp_path):
    """A client that has one for another server need not know."""
    with ServerProcess(tmp_path, {"Pools": {"a": pool(make_kernel(tmp_path), MinimumKernelNumber=1)}}) as server:
        with server.connect() as link:
            assert link.get_packet()[0] == "InputNamePacket"
            assert link.command("Authenticate", TOKEN) == SUCCESS
            assert link.evaluate(7) == 7
        server.process.send_signal(signal.SIGHUP)
        server.wait_for_log("The configuration was reloaded")
