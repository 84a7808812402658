"""The commands of the administrator: drain, pause, resume, kick, information about clients, reload, stop."""

from __future__ import annotations

import json
import os
import re
import threading

import pytest

from tests.support.serving import (
    ERROR,
    SUCCESS,
    Since,
    enter,
    information,
    join,
    kernel_id,
    kernels,
    message_of,
    prompt,
    serving,
)
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.kernels import make_kernel
from tools.harness.server import pool
from tools.harness.waiting import wait_for
from wstpserver.pools.commands import ADMINISTRATIVE

TOO_MANY = "MaximumKernels allows for 6 kernels in all, and these are: "


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("administration")
    kernel = make_kernel(folder)
    keys = {"MinimumKernelNumber": 2, "MaximumKernelNumber": 2, "ReservePreviouslyConnectedKernels": False}
    configuration = {"Pools": {"Main": pool(kernel, **keys), "Other": pool(kernel, **keys)}, "MaximumKernels": 6}
    with serving(folder, configuration) as process:
        for name in ("Main", "Other"):
            process.wait_for_log(f"Pool {name} is ready")
        yield process


@pytest.fixture
def admin(server):
    """A link without a kernel that commands; in the end everything is open again."""
    with server.connect(without_kernel=True) as link:
        yield link
        assert link.command("ResumePools") == SUCCESS


@pytest.fixture
def client(server, admin):
    with join(server) as link:
        yield link


def clients(admin):
    """What GetClientInformation says of the clients, by their IDs."""
    return {one["ID"]: one for one in json.loads(admin.command("GetClientInformation"))["result"]["Clients"]}


def client_of(admin, kernel):
    """The client that is bridged to a kernel."""
    (found,) = [one for one in clients(admin).values() if one["Kernel"] == kernel]
    return found


def reason(reply):
    told = json.loads(reply)
    assert told["status"] == "ExecutionError"
    return told["reason"]


# -- drain -----------------------------------------------------------------------------------------------------------


def test_a_drained_pool_takes_no_client_and_disturbs_none(server, admin, client):
    assert admin.command("DrainPools", "Main") == SUCCESS
    assert information(admin)["Pools"]["Main"]["Admission"] == "draining"
    assert "pool Main is being drained" in information(admin)["Pools"]["Main"]["Trouble"]
    assert client.evaluate(call("Plus", 2, 2)) == 4
    for late, commands in ((True, False), (False, True)):
        with server.connect() as link:
            told = "pool Main is being drained: it takes no further clients until it is resumed"
            if commands:  # another pool is not drained
                assert link.command("ConnectKernel", "Other") == SUCCESS
                assert link.answer()[0] == "InputNamePacket"
                assert link.notice() == f"WSTPServer: {told}\n"
                assert link.evaluate(call("Plus", 2, 2)) == 4
                assert link.command("ConnectKernel", kernel_id(client)) == ERROR
                assert link.command("ConnectKernel", "Main") == ERROR
            else:
                assert message_of(link.get_packet()) == f"WSTPServer: {told}\n"
                assert link.at_end() is late
    assert client.command("ConnectKernel", "Main") == ERROR
    assert client.evaluate(call("Plus", 2, 3)) == 5
    occupied = client_of(admin, kernel_id(client))["Occupies"]
    client.close()
    assert occupied == ["Main"]
    wait_for(lambda: all("Main" not in one["Occupies"] for one in clients(admin).values()))


def test_a_client_of_a_drained_pool_that_sends_something_is_turned_away_at_once(server, admin):
    admin.command("DrainPools", "Main")
    since = Since(server)
    with server.connect() as link:
        link.put("EvaluatePacket", call("Plus", 2, 2))
        packets = []
        while not link.at_end():
            packets.append(message_of(link.get_packet()))
        assert "pool Main is being drained" in packets[0]
    since.wait_for(r"was given up on: pool Main is being drained")


def test_a_drained_server_takes_no_client_in_any_pool(server, admin, client):
    own = kernel_id(client)
    assert admin.command("DrainPools") == SUCCESS
    assert json.loads(admin.command("GetClientInformation"))["result"]["Pools"] == {
        "Main": "draining", "Other": "draining",
    }  # fmt: skip
    assert information(admin)["Admission"] == "draining"
    with server.connect() as link:
        assert "being drained" in message_of(link.get_packet())
        assert link.at_end()
    assert admin.command("ConnectKernel", "Other") == ERROR
    assert admin.command("StartKernel") == ERROR
    assert message_of(admin.get_packet()).startswith("WSTPServer: StartKernel failed: the server is being drained")
    assert information(admin)["StartTrouble"].startswith("the server is being drained")
    assert kernel_id(client) == own
    assert admin.command("ResumePools", "Other") == SUCCESS
    assert enter(admin, "ConnectKernel", "Other") == SUCCESS


# -- pause -----------------------------------------------------------------------------------------------------------


def test_clients_of_a_paused_pool_wait_are_told_why_and_go_on(server, admin, client):
    assert admin.command("PausePools", "Main") == SUCCESS
    assert client.evaluate(call("Plus", 2, 2)) == 4
    with server.connect() as link:
        link.put("EvaluatePacket", call("Plus", 3, 3))
        text = message_of(link.get_packet())
        assert text.startswith("WSTPServer: waiting up to 59 s for a kernel of pool Main: ")
        assert "pool Main is paused: clients wait until it is resumed" in text
        (waiting,) = [one for one in clients(admin).values() if one["State"] == "waiting"]
        assert (waiting["WaitsFor"], waiting["Kernel"], waiting["Queued"]) == ("Main", None, 1)
        assert waiting["SecondsWaiting"] >= 0.5
        assert admin.command("ResumePools", "Main") == SUCCESS
        assert [link.get_packet() for _ in range(2)] == [("InputNamePacket", "In[1]:= "), ("ReturnPacket", 6)]


def test_pools_are_named(admin):
    for name in ("DrainPools", "PausePools", "ResumePools"):
        assert reason(admin.command(name, "Nowhere")) == "there is no pool Nowhere; the pools are: Main, Other"


# -- clients ---------------------------------------------------------------------------------------------------------


def test_information_about_clients(server, admin, client, gate):
    kernel = kernel_id(client)
    client.evaluate(1)
    told = client_of(admin, kernel)
    assert re.fullmatch(r"127\.0\.0\.1:\d+", told["Address"])
    assert (told["State"], told["Pool"], told["WaitsFor"], told["Evaluations"]) == ("idle", "Main", None, 1)
    assert 0 <= told["SecondsIdle"] <= told["SecondsConnected"]
    (own,) = [one for one in clients(admin).values() if one["State"] == "without kernel"]
    assert own["Occupies"] == [] and own["SecondsIdle"] is None
    client.put("EvaluatePacket", gate.busy())
    client.put("EvaluatePacket", 2)
    wait_for(lambda: kernels(admin)[kernel]["Busy"])
    wait_for(lambda: client_of(admin, kernel)["Queued"] == 1)
    told = client_of(admin, kernel)
    assert (told["State"], told["SecondsIdle"], told["Evaluations"]) == ("evaluating", None, 2)
    gate.open()
    assert client.get_packet() == ("ReturnPacket", gate.path)
    assert client.get_packet() == ("ReturnPacket", 2)
    client.put("EvaluatePacket", call("Ask"))
    assert client.get_packet()[0] == "InputPacket"
    assert client_of(admin, kernel)["State"] == "asked"
    client.put("TextPacket", "answer")
    assert client.get_packet() == ("ReturnPacket", "answer")


@pytest.mark.parametrize("by", ["ID", "Address"])
@pytest.mark.parametrize("busy", [True, False])
def test_a_client_is_kicked(server, admin, by, busy, gate):
    since = Since(server)
    with join(server) as link, join(server) as other:
        kernel = kernel_id(link)
        if busy:
            link.put("EvaluatePacket", gate.busy())
            wait_for(lambda: kernels(admin)[kernel]["Busy"])
        who = client_of(admin, kernel)[by]
        assert admin.command("KickClient", who) == SUCCESS
        assert kernels(admin)[kernel]["Client"] is None, "its kernel is free at once"
        text = message_of(link.get_packet())
        assert text == "WSTPServer: the link is closed: the administrator closed the client's link\n"
        assert link.at_end()
        if busy:
            gate.open()
        assert other.evaluate(call("Plus", 2, 2)) == 4
    since.wait_for(rf"Client \d+ \(.*\) closes the link of Client \d+ \({who if by == 'Address' else ''}")


def test_a_client_is_kicked_only_if_it_is_idle(server, admin, gate):
    with join(server) as link:
        who = client_of(admin, kernel_id(link))["ID"]
        assert reason(admin.command("KickClient", who, 3600)) == f"client {who} has not been idle for 3600 s"
        link.put("EvaluatePacket", gate.busy())
        gate.wait_until_reached()
        assert reason(admin.command("KickClient", who, 0)) == f"client {who} has not been idle for 0 s"
        gate.open()
        assert link.get_packet()[0] == "ReturnPacket"
        wait_for(lambda: admin.command("KickClient", who, 0.1) == SUCCESS, 60.0, "it to be idle for so long")
        assert "the administrator closed" in message_of(link.get_packet())


def test_a_waiting_client_is_kicked(server, admin):
    admin.command("PausePools")
    with server.connect() as link:
        wait_for(lambda: [one for one in clients(admin).values() if one["State"] == "waiting"])
        (waiting,) = [one for one in clients(admin).values() if one["State"] == "waiting"]
        assert admin.command("KickClient", f"Client {waiting['ID']}") == SUCCESS
        assert "the administrator closed" in message_of(link.get_packet())
        assert link.at_end()
    assert reason(admin.command("KickClient", "999999")) == "there is no client 999999"


# -- seats -----------------------------------------------------------------------------------------------------------


def test_a_kernel_too_many_is_refused_with_those_who_hold_the_seats(server, admin):
    started = [json.loads(admin.command("StartKernel"))["result"] for _ in range(2)]
    with join(server) as link:
        assert link.command("StartKernel") == ERROR
        text = message_of(link.get_packet())
        assert text.startswith(f"WSTPServer: StartKernel failed: {TOO_MANY}pool ")
        assert "pool Main 2 (1 bridged, 1 free)" in text and "pool Other 2 (2 free)" in text
        assert "outside pools 2 (2 free); their clients are Client " in text
    for kernel in started:
        assert admin.command("CloseKernel", kernel) == SUCCESS
    wait_for(lambda: not information(admin)["KernelsOutsidePools"])


# -- who may ---------------------------------------------------------------------------------------------------------


def arguments_of(name):
    return ["1"] if name == "KickClient" else []


@pytest.mark.parametrize("name", sorted(ADMINISTRATIVE))
def test_a_program_in_a_kernel_is_not_the_administrator(client, name):
    reply = client.evaluate(call("Command", call(name, *arguments_of(name))))
    assert reason(reply).startswith(f"{name} is for the server's own user and root on its computer")


def as_another_user(action):
    """What `action` returns, as text, in a process of the user nobody."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresuid(65534, 65534, 65534)
            os.write(writing, action().encode())
        except BaseException as error:
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_refused_with_the_reason(server, admin):
    names = sorted(ADMINISTRATIVE)

    def ask():
        with server.connect(without_kernel=True) as link:
            return "\n".join(link.command(name, *arguments_of(name)) for name in names)

    replies = as_another_user(ask).splitlines()
    assert len(replies) == len(names)
    for name, reply in zip(names, replies, strict=True):
        assert reason(reply).startswith(f"{name} is for the server's own user and root on its computer")
    assert information(admin)["Admission"] == "open"


# -- the program -----------------------------------------------------------------------------------------------------


def test_reload_and_stop(tmp_path):
    kernel = make_kernel(tmp_path)
    with serving(tmp_path, {"Pools": {"Main": pool(kernel, MinimumKernelNumber=1)}}) as server:
        path = next(tmp_path.glob("*.conf"))
        with server.connect(without_kernel=True) as admin, join(server) as client:
            path.write_text(json.dumps({"Pools": {"Main": pool(kernel, MinimumKernelNumber=2)}}))
            assert admin.command("ReloadConfiguration") == SUCCESS
            assert information(admin)["Pools"]["Main"]["MinimumKernelNumber"] == 2
            path.write_text(f'{{"Pools": {{"Main": {{"KernelPath": "{kernel}",\n"KeepAlife": true}}}}}}')
            told = reason(admin.command("ReloadConfiguration"))
            assert told.endswith(f'{path}:2:1: Pools.Main.KeepAlife: unknown key; did you mean "KeepAlive"?')
            assert client.evaluate(call("Plus", 2, 2)) == 4
            assert admin.command("StopServer") == SUCCESS
            assert server.wait_for_exit() == 0
            assert admin.at_end()
        assert "Stopping because of a StopServer command" in server.log


# -- what must hold --------------------------------------------------------------------------------------------------

CLIENTS = 200


@pytest.mark.parametrize("scope", [[], ["Main"]])
def test_a_drain_under_load_loses_no_answer(tmp_path, scope):
    """Clients evaluate without a pause while their pool is drained, each leaves when it likes, and new ones come."""
    kernel = make_kernel(tmp_path)
    keys = {"MinimumKernelNumber": 4, "MaximumKernelNumber": 4, "ReservePreviouslyConnectedKernels": False}
    root = {"KernelWaitTimeout": 120, "EnableAutomaticKernelConnection": True}
    with serving(tmp_path, {"Pools": {"Main": pool(kernel, **keys)}, **root}, level="error") as server:
        server.wait_for_log("Pool Main is ready")
        answers, failures = [], []
        barrier, drained = threading.Barrier(CLIENTS + 1), threading.Event()

        def work(number):
            try:
                with server.connect(timeout=120.0) as link:
                    barrier.wait(60.0)  # all of them are there, most of them wait for a kernel
                    assert prompt(link)[0] == "InputNamePacket"
                    for value in range(5):
                        link.put("EvaluatePacket", call("Plus", number, value))
                        answers.append(link.get_packet() == ("ReturnPacket", number + value))
                    if number < 4:
                        drained.wait(60.0)  # the first ones are in the middle of their work when the drain begins
                    answers.append(link.evaluate(call("Plus", number, 7)) == number + 7)
            except BaseException as error:
                failures.append((number, error))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        with server.connect(without_kernel=True) as admin:
            wait_for(lambda: len(clients(admin)) == CLIENTS + 1, 60.0, "all clients to be there")
            barrier.wait(60.0)
            assert admin.command("DrainPools", *scope) == SUCCESS
            drained.set()
            with server.connect() as late:
                assert "is being drained" in message_of(late.get_packet())
            for thread in threads:
                thread.join(120.0)
            assert failures == []
            assert len(answers) == CLIENTS * 6 and all(answers)
            wait_for(lambda: not any(one["Occupies"] for one in clients(admin).values()))
