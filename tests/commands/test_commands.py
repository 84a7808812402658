"""Every command of the command language, over a client's link."""

from __future__ import annotations

import json
import re
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from gevent.event import Event

from tests.support.serving import (
    ABORTED,
    ERROR,
    FALSE,
    MALFORMED,
    SUCCESS,
    TRUE,
    enter,
    information,
    kernel_id,
    kernels,
    message_of,
)
from tools.harness.fake_kernel.codec import Function, Symbol, encode
from tools.harness.fake_kernel.codec import Function as call
from tools.harness.waiting import wait_for, wait_gone
from wstpserver.pools import commands as replies
from wstpserver.server.commands.executor import Executor
from wstpserver.server.log import Log


def test_get_kernel_id(shared):
    one, other = shared.client(), shared.client()
    ids = {kernel_id(one), kernel_id(other)}
    assert len(ids) == 2 and all(re.fullmatch(r"[0-9a-f]{4}(-[0-9a-f]{4}){2}", name) for name in ids)
    assert enter(one, "DisconnectKernel") == SUCCESS
    assert one.command("GetKernelID") == ERROR


def test_get_pool_name(shared):
    link = shared.client()
    assert json.loads(link.command("GetPoolName")) == {"result": "Main"}
    assert enter(link, "ConnectKernel", "Other") == SUCCESS
    assert json.loads(link.command("GetPoolName")) == {"result": "Other"}
    own = json.loads(link.command("StartKernel"))["result"]
    assert enter(link, "ConnectKernel", own) == SUCCESS
    assert link.command("GetPoolName") == ERROR
    assert enter(link, "DisconnectKernel") == SUCCESS
    assert link.command("GetPoolName") == ERROR


def test_disconnect_and_reconnect_by_id_keeps_the_session(serve):
    server = serve()
    link = server.client()
    name = kernel_id(link)
    link.evaluate(call("Set", Symbol("x"), 42))
    assert enter(link, "DisconnectKernel") == SUCCESS
    assert link.command("DisconnectKernel") == ERROR
    other = server.client()
    assert kernel_id(other) != name
    assert enter(other, "ConnectKernel", name) == SUCCESS
    assert other.evaluate(call("Get", Symbol("x"))) == 42


def test_connect_kernel_with_no_argument_takes_the_default_pool(shared):
    link = shared.client()
    assert enter(link, "ConnectKernel", "Other") == SUCCESS
    assert enter(link, "ConnectKernel") == SUCCESS
    assert json.loads(link.command("GetPoolName")) == {"result": "Main"}


def test_connect_kernel_to_what_there_is_not(shared):
    link = shared.client()
    name = kernel_id(link)
    for specifier in ("0000-0000-0000", "NoSuchPool", ""):
        assert link.command("ConnectKernel", specifier) == ERROR
    assert kernel_id(link) == name, "the old bridge stays"
    assert link.evaluate(call("Plus", 2, 2)) == 4


def test_connect_kernel_waits_for_a_busy_kernel_as_long_as_told(shared, gate):
    link = shared.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", gate.busy())
    assert link.command("GetKernelBusyStatus") == '{"result":"True"}'
    link.close()
    other = shared.client()
    assert other.command("ConnectKernel", name, 0.05) == ERROR
    assert other.command("GetKernelBusyStatus", name) == '{"result":"True"}'
    other.put("WSCommandPacket", Function("ConnectKernel", name, 20))
    gate.open()
    assert other.get_packet() == ("ReturnPacket", SUCCESS)
    assert other.get_packet()[0] == "InputNamePacket"
    assert kernel_id(other) == name


def test_stealing(shared):
    one, thief = shared.client(), shared.client()
    name = kernel_id(one)
    one.evaluate(call("Set", Symbol("x"), 1))
    assert enter(thief, "ConnectKernel", name) == SUCCESS
    assert thief.evaluate(call("Get", Symbol("x"))) == 1
    head, text = one.get_packet()
    assert head == "TextPacket" and "another client connected to this kernel" in text
    assert one.command("GetKernelID") == ERROR


def test_stealing_can_be_forbidden(serve):
    server = serve(AllowStealingKernels=False)
    one, thief = server.client(), server.client()
    assert thief.command("ConnectKernel", kernel_id(one)) == ERROR
    assert one.evaluate(call("Plus", 2, 2)) == 4


def test_close_kernel_of_another_and_of_oneself(serve):
    server = serve({"Main": {"MinimumKernelNumber": 2, "MaximumKernelNumber": 3}})
    link = server.client()
    mine = kernel_id(link)
    free = next(name for name in kernels(link) if name != mine)
    assert link.command("CloseKernel", free) == SUCCESS
    assert link.command("CloseKernel", free) == ERROR
    pid = kernels(link)[mine]["ProcessID"]
    assert link.command("CloseKernel", mine) == SUCCESS
    assert link.at_end(), "the link of a closed kernel is closed"
    wait_gone(pid)
    assert len(kernels(server.client())) >= 2, "the pool is filled up again"


def test_get_kernel_busy_status(shared, gate):
    link, other = shared.client(), shared.client()
    name = kernel_id(link)
    assert link.command("GetKernelBusyStatus") == '{"result":"False"}'
    link.put("EvaluatePacket", gate.busy())
    assert link.command("GetKernelBusyStatus") == '{"result":"True"}'
    assert other.command("GetKernelBusyStatus", name) == '{"result":"True"}'
    gate.open()
    assert link.get_packet()[0] == "ReturnPacket"
    assert link.command("GetKernelBusyStatus") == '{"result":"False"}'
    assert other.command("GetKernelBusyStatus", "0000-0000-0000") == ERROR
    assert enter(link, "DisconnectKernel") == SUCCESS
    assert link.command("GetKernelBusyStatus") == ERROR


def test_set_keep_alive_holds_for_the_bridge(serve):
    server = serve({"Main": {"MinimumKernelNumber": 1, "MaximumKernelNumber": 1}})
    link = server.client()
    name, pid = kernel_id(link), kernels(link)[kernel_id(link)]["ProcessID"]
    assert link.command("SetKeepAlive", FALSE) == SUCCESS
    assert kernels(link)[name]["KeepAlive"] is False
    assert enter(link, "DisconnectKernel") == SUCCESS
    wait_gone(pid)
    assert link.command("SetKeepAlive", FALSE) == ERROR
    assert kernel_id(server.client()) != name


def test_set_keep_alive_against_the_configuration(serve):
    server = serve({"Main": {"MinimumKernelNumber": 2, "KeepAlive": False}})
    link = server.client()
    name = kernel_id(link)
    assert link.command("SetKeepAlive", TRUE) == SUCCESS
    link.evaluate(call("Set", Symbol("x"), 3))
    link.close()
    other = server.client()
    assert enter(other, "ConnectKernel", name) == SUCCESS
    assert other.evaluate(call("Get", Symbol("x"))) == 3
    # the setting was the old bridge's: now the configuration counts again
    assert enter(other, "DisconnectKernel") == SUCCESS
    assert other.command("ConnectKernel", name) == ERROR


def test_set_reserve_kernel_persists(serve):
    server = serve({"Main": {"MinimumKernelNumber": 1, "ReservePreviouslyConnectedKernels": False}})
    link = server.client()
    name = kernel_id(link)
    assert link.command("SetReserveKernel", TRUE) == SUCCESS
    for _ in range(2):
        assert enter(link, "DisconnectKernel") == SUCCESS
        assert link.command("ConnectKernel", "Main", 0) == ERROR, "a stranger does not get it"
        assert enter(link, "ConnectKernel", name) == SUCCESS
    assert link.command("SetReserveKernel", FALSE) == SUCCESS
    assert enter(link, "DisconnectKernel") == SUCCESS
    assert enter(link, "ConnectKernel", "Main", 0) == SUCCESS
    assert kernel_id(link) == name


def test_set_reserve_kernel_needs_a_pool(shared):
    link = shared.client()
    own = json.loads(link.command("StartKernel"))["result"]
    assert enter(link, "ConnectKernel", own) == SUCCESS
    assert link.command("SetReserveKernel", TRUE) == ERROR
    assert enter(link, "DisconnectKernel") == SUCCESS
    assert link.command("SetReserveKernel", TRUE) == ERROR


def test_set_allow_silent_kernel_replacement(shared):
    link = shared.client()
    first = kernel_id(link)
    assert link.command("SetAllowSilentKernelReplacement", TRUE) == SUCCESS
    link.put("EvaluatePacket", call("Die"))
    assert link.get_packet() == ("ReturnPacket", Symbol("$Aborted"))
    head, text = link.get_packet()
    assert head == "TextPacket" and "a new one takes its place" in text
    assert link.get_packet()[0] == "InputNamePacket"
    assert kernel_id(link) != first
    assert link.command("SetAllowSilentKernelReplacement", FALSE) == SUCCESS
    link.put("EvaluatePacket", call("Die"))
    assert link.get_packet()[0] == "TextPacket"
    assert link.at_end()


def test_start_kernel_with_and_without_a_command_line(serve):
    server = serve()
    link = server.client()
    own = json.loads(link.command("StartKernel"))["result"]
    other = json.loads(link.command("StartKernel", f"{server.kernel_path} -extra 'two words'"))["result"]
    assert own != other
    outside = {kernel["ID"]: kernel["State"] for kernel in information(link)["KernelsOutsidePools"]}
    assert outside == {own: "free", other: "free"}
    assert len(kernels(link)) == 2, "they are not counted in the pool"
    assert enter(link, "ConnectKernel", other) == SUCCESS
    assert link.evaluate(call("Plus", 2, 2)) == 4
    for line in ("/no/such/kernel", "", "'unbalanced"):
        assert link.command("StartKernel", line) == ERROR
    assert link.evaluate(call("Plus", 2, 2)) == 4


def test_parallel_kernels(serve):
    server = serve(
        {
            "Main": {"MinimumKernelNumber": 2},
            "Workers": {
                "ParallelKernels": True, "MinimumKernelNumber": 2, "MaximumKernelNumber": 3, "KeepAlive": False,
            },
        }
    )  # fmt: skip
    links = [server.client() for _ in range(2)]
    wait_for(lambda: links[0].command("GetNumberOfAvailableParallelKernels") == '{"result":"3"}')  # one can be started
    for number, link in enumerate(links, 1):
        assert enter(link, "ConnectParallelKernel", *[10] * (number - 1)) == SUCCESS
        assert json.loads(link.command("GetPoolName")) == {"result": "Workers"}
    assert links[0].command("GetNumberOfAvailableParallelKernels") == '{"result":"1"}'
    third = enter(links[0], "DisconnectKernel")
    assert third == SUCCESS


def test_no_parallel_pool(shared):
    link = shared.client()
    assert link.command("ConnectParallelKernel") == ERROR
    assert link.command("GetNumberOfAvailableParallelKernels") == ERROR


def test_get_server_information_has_the_documented_schema(serve):
    server = serve({"Main": {"InitializationCode": "2+2"}, "Other": {"ParallelKernels": True}})
    pools = information(server.client())["Pools"]
    assert list(pools) == ["Main", "Other"]
    kinds = {
        "InitializationCode": str,
        "InitializationFile": str,
        "MaximumKernelNumber": int,
        "MinimumKernelNumber": int,
        "KeepAlive": bool,
        "EntryPool": bool,
        "KernelPath": str,
        "PreferFreshKernel": bool,
        "ReservePreviouslyConnectedKernels": bool,
        "ParallelKernels": bool,
        "ParallelKernelEntryPool": bool,
    }
    for values in pools.values():
        assert all(type(values[key]) is kind for key, kind in kinds.items())
    assert pools["Main"]["EntryPool"] and not pools["Other"]["EntryPool"]
    assert pools["Other"]["ParallelKernelEntryPool"] and pools["Main"]["InitializationCode"] == "2+2"


@pytest.mark.parametrize(
    "packet",
    [
        Function("WSCommandPacket"),
        Function("WSCommandPacket", call("GetKernelID"), call("GetPoolName")),
        Function("WSCommandPacket", Symbol("GetKernelID")),
        Function("WSCommandPacket", 3),
        Function("WSCommandPacket", call("GetKernelID", 1)),
        Function("WSCommandPacket", call("NoSuchCommand")),
        Function("WSCommandPacket", call("SetKeepAlive", 1)),
        Function("WSCommandPacket", call("ConnectKernel", "Main", "soon")),
        Function("WSCommandPacket", call("CloseKernel", "x" * 70000)),
        Function("WSCommandPacket", call("CloseKernel", "x" * 10_000_000)),
    ],
    ids=["none", "two", "symbol", "integer", "argument", "unknown", "type", "time", "70 KB", "10 MB"],
)
def test_malformed_packets(shared, packet):
    link = shared.client()
    link.put_raw(encode(packet) + b"]")
    assert link.get_packet() == ("ReturnPacket", MALFORMED)
    assert link.evaluate(call("Plus", 2, 2)) == 4


def test_a_command_packet_inside_an_expression_is_data(shared):
    link = shared.client()
    command = Function("WSCommandPacket", call("GetKernelID"))
    assert link.evaluate(call("Echo", command)) == command


def test_many_commands_at_once_are_answered_in_order(shared):
    link = shared.client()
    name = kernel_id(link)
    both = encode(Function("WSCommandPacket", call("GetKernelID"))) + b"]"
    both += encode(Function("WSCommandPacket", call("GetKernelBusyStatus"))) + b"]"
    link.put_raw(both * 200)
    for _ in range(200):
        assert link.get_packet() == ("ReturnPacket", json.dumps({"result": name}, separators=(",", ":")))
        assert link.get_packet() == ("ReturnPacket", '{"result":"False"}')


def test_commands_while_the_kernel_floods_never_land_inside_a_frame(shared):
    link = shared.client()
    link.put("EvaluatePacket", call("Flood", 3000, 500))
    for _ in range(50):
        link.put("WSCommandPacket", call("GetKernelBusyStatus"))
    texts, replies = 0, []
    while texts < 3000 or len(replies) < 51:
        head, value = link.get_packet()
        if head == "TextPacket":
            assert value.startswith(f"{texts} ") and len(value) == 500
            texts += 1
        else:
            replies.append(value)
    assert replies.count(3000) == 1 and len(replies) == 51


def test_missed_output_is_kept_for_whoever_comes_back(serve, gate):
    server = serve()
    link = server.client()
    name = kernel_id(link)
    link.put("EvaluatePacket", call("List", gate.busy(), call("Print", "while you were away")))
    link.close()
    other = server.client()
    wait_for(lambda: kernels(other)[name]["State"] == "reserved")
    other.put("WSCommandPacket", Function("ConnectKernel", name, 20))
    gate.open()
    assert other.get_packet() == ("ReturnPacket", SUCCESS)
    assert other.get_packet()[0] == "InputNamePacket"
    other.put("WSCommandPacket", call("GetMissedOutput"))
    head, (dropped, packets) = (lambda packet: (packet[0], packet[1].args))(other.get_packet())
    assert (head, dropped) == ("ReturnPacket", 0)
    heads = [packet.head.short for packet in packets.args]
    assert heads == ["TextPacket", "ReturnPacket"]
    assert "while you were away" in packets.args[0].args[0]
    other.put("WSCommandPacket", call("GetMissedOutput"))
    assert other.get_packet()[1].args[1].args in ((), [])


@pytest.mark.parametrize("command", [
    call("ConnectKernel", "Main", 10**400),
    call("ConnectKernel", "Main", -(10**400)),
    call("CloseKernel", 10**4999),
    call("ConnectParallelKernel", 10**5000),
])  # fmt: skip
def test_huge_integers_are_malformed(shared, command):
    link = shared.client()
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # of this side; the server keeps its limit
    try:
        link.put("WSCommandPacket", command)
        assert link.get_packet() == ("ReturnPacket", MALFORMED)
    finally:
        sys.set_int_max_str_digits(limit)
    assert link.evaluate(call("Plus", 2, 2)) == 4


def test_a_defect_is_answered_as_well(tmp_path):
    """No exception of a handler leaves a command without its reply."""
    log = Log(path=str(tmp_path / "log"))
    sent = []
    session = SimpleNamespace(name="Client 1", replied=Event(), command=None, send=sent.append)
    executor = Executor(Mock(**{"run.side_effect": RuntimeError("a defect")}), log)
    try:
        executor.run_for_client(session, encode(Function("WSCommandPacket", call("GetKernelID"))))
    finally:
        log.close()
    assert sent == [replies.reply(ERROR)] and session.replied.is_set()
    text = (tmp_path / "log").read_text()
    assert "Internal error in GetKernelID for Client 1" in text and "RuntimeError: a defect" in text


def test_an_unused_kernel_of_the_pool_counts_whatever_is_said_about_its_future(serve):
    link = serve({"Main": {"MaximumKernelNumber": 1}}).client()
    name = kernel_id(link)
    assert link.command("SetKeepAlive", FALSE) == SUCCESS
    assert enter(link, "ConnectKernel", "Main", 1) == SUCCESS
    assert kernel_id(link) == name


def test_nobody_waits_for_kernels_that_are_all_reserved(serve):
    """Who has just connected is told why and what to do, and not kept waiting; a command fails at once."""
    server = serve({"Main": {"MaximumKernelNumber": 1}, "Other": {"MinimumKernelNumber": 1}})
    watcher = server.client()
    assert enter(watcher, "ConnectKernel", "Other") == SUCCESS
    link = server.client()
    link.evaluate(call("Plus", 1, 1))
    link.close()
    wait_for(lambda: [one["State"] for one in kernels(watcher).values()] == ["reserved"])
    with server.connect() as refused:
        head, text = refused.get_packet()
        assert head == "TextPacket" and "1 of 1 kernels (1 reserved)" in text
        assert "ReservedKernelTimeout" in text and "wstpserver-admin close --reserved" in text
        assert "the link is closed unless the client names a kernel by its ID now" in text  # told before the end
        server.wait_for_log("Information: \n    Client .* waits up to 60 s for a kernel of pool Main")
        assert refused.at_end()
    with server.connect() as impatient:
        impatient.put("EvaluatePacket", call("Plus", 2, 2))  # it names no kernel by its ID
        assert "no kernel of pool Main can become available" in message_of(impatient.get_packet())
        assert impatient.at_end()
    assert watcher.command("ConnectKernel", "Main", 100_000) == ERROR
    trouble = information(watcher)["Pools"]["Main"]["Trouble"]
    assert "1 of 1 kernels (1 reserved)" in trouble


def test_the_log_says_who_starts_kernels_outside_pools(shared):
    name = json.loads(shared.client().command("StartKernel"))["result"]
    shared.wait_for_log(rf"Information: \n    Client \d+ .* started kernel {name} outside pools")


def test_who_names_a_reserved_kernel_gets_it_although_its_pool_has_no_other(serve):
    """A client that has just connected is given a moment for that; one that sends commands waits on."""
    server = serve({"Main": {"MaximumKernelNumber": 1}})
    link = server.client()
    name = kernel_id(link)
    link.evaluate(call("Plus", 1, 1))
    link.close()
    with server.connect() as watcher:
        wait_for(lambda: [one["State"] for one in kernels(watcher).values()] == ["reserved"])
        assert "reserved kernels go only to clients that name their IDs" in watcher.notice()
        assert enter(watcher, "ConnectKernel", name) == SUCCESS
        assert kernel_id(watcher) == name


def test_abort_by_kernel_id(shared, gate):
    """The evaluation of another client's kernel ends with $Aborted, and its session goes on."""
    first, second = shared.client(), shared.client()
    first.put("EvaluatePacket", gate.busy())
    gate.wait_until_reached()
    assert second.command("AbortKernel", kernel_id(first)) == SUCCESS
    name, value = first.get_packet()
    assert (name, value) == ("ReturnPacket", ABORTED)
    assert first.evaluate(call("Plus", 1, 1)) == 2
    assert second.command("AbortKernel", "0000-0000-0000") == ERROR
    assert second.command("AbortKernel") == MALFORMED


def test_the_administrator_is_told_of_the_server(serve):
    server = serve()
    told = information(server.client())
    assert told["ServerProcessID"] == server.pid and told["Uptime"] >= 0
    assert told["ConfigurationFile"].endswith(".conf") and told["StartTrouble"] == ""
    running = [kernel for kernel in told["Pools"]["Main"]["Kernels"] if kernel["State"] != "starting"]
    assert running and all(kernel["Memory"] > 1 << 20 for kernel in running)
