"""A client that wants no kernel before it asks for one gets none, and none is started for it."""

import json

import pytest

from tests.client.helpers import PROMPT, Worker
from tests.interop.vendor import VendorLibrary
from tools.harness.kernels import make_kernel
from tools.harness.server import ServerProcess, pool
from tools.harness.vendor import library_path
from wstpserver.client import CommandError, Packet, Session, connect
from wstpserver.client.commands import server_information
from wstpserver.wire.handshake import ConnectHandshake, GreetingComplete, ListenHandshake
from wstpserver.wire.packets import evaluate_packet, packet
from wstpserver.wire.values import Function, Symbol

UUID = "23E744F7-9AE5-481E-B5EA-9AE4CBF1C047"


@pytest.mark.parametrize("without_kernel", [True, False])
@pytest.mark.parametrize("mode", ["uuid", "classic"])
def test_the_greeting_says_it(mode, without_kernel):
    ours = ConnectHandshake(mode, "data", UUID if mode == "uuid" else None, without_kernel=without_kernel)
    theirs = ListenHandshake()
    theirs.set_message_port(4711)
    events = []
    while not (ours.complete and theirs.complete):
        events += theirs.receive_data(ours.data_to_send())
        theirs.speak()  # in classic mode ours reads first
        ours.receive_data(theirs.data_to_send())
    (complete,) = [event for event in events if isinstance(event, GreetingComplete)]
    assert complete.peer.without_kernel is without_kernel
    assert not ours.peer.without_kernel


@pytest.fixture
def server(tmp_path):
    """One kernel is there, and there is room for a second one."""
    settings = pool(make_kernel(tmp_path), MinimumKernelNumber=1, MaximumKernelNumber=2)
    with ServerProcess(tmp_path, {"Pools": {"Main": settings}}) as running:
        running.wait_for_log("Pool Main is ready")
        yield running


def states(session):
    return server_information(session).pools["Main"].states


@pytest.mark.parametrize("classic", [False, True])
def test_commands_take_no_kernel(server, classic):
    name = f"{server.port}@127.0.0.1"
    with Session(connect(name, PROMPT, without_kernel=True, classic=classic)) as session:
        assert states(session) == {"free": 1}
        with pytest.raises(CommandError):
            session.command("GetKernelID")
    with Session(name, PROMPT) as other:
        other.synchronize(PROMPT)
        with Session(connect(name, PROMPT, without_kernel=True)) as session:
            assert states(session) == {"bridged": 1}, "no second kernel is started"


def test_an_evaluation_takes_one(server):
    with Session(connect(f"{server.port}@127.0.0.1", PROMPT, without_kernel=True)) as session:
        assert session.evaluate("2 + 3", PROMPT) == 5
        assert session.prompt == "In[1]:= "
        assert states(session) == {"bridged": 1}


def test_what_was_meant_for_a_kernel_that_was_taken_over_is_evaluated_nowhere(server, tmp_path):
    """The client has not read yet that it lost its kernel. It gets another one when it asks for one."""
    name = f"{server.port}@127.0.0.1"
    with connect(name, PROMPT, without_kernel=True) as robbed, Session(name, PROMPT) as thief:
        robbed.put(evaluate_packet(5))
        assert robbed.get_packet(PROMPT).name == "InputNamePacket"
        assert robbed.get_packet(PROMPT).arguments == (5,)
        robbed.put(packet("WSCommandPacket", Function(Symbol("GetKernelID"), ())))
        kernel = json.loads(robbed.get_packet(PROMPT).arguments[0])["result"]
        assert thief.command("ConnectKernel", kernel, 5) is None
        robbed.put(evaluate_packet(6))
        robbed.put(packet("WSCommandPacket", Function(Symbol("ConnectKernel"), ("Main",))))
        robbed.put(evaluate_packet(7))
        received = []
        while Packet("ReturnPacket", (7,)) not in received:
            received.append(robbed.get_packet(PROMPT))
        assert any("another client" in str(packet.arguments) for packet in received)
        assert Packet("ReturnPacket", (6,)) not in received


def test_a_client_that_says_nothing_gets_one_at_once(server):
    with Session(connect(f"{server.port}@127.0.0.1", PROMPT)) as session:
        assert states(session) == {"bridged": 1}


def test_link_servers_of_the_library_pass_it_over():
    path = library_path()
    if path is None:
        pytest.skip("WSTP_LIBRARY names no library")
    with VendorLibrary(path) as library, library.link_server() as link_server:
        connecting = Worker(lambda: connect(f"{link_server.port}@127.0.0.1", PROMPT, without_kernel=True))
        theirs = link_server.wait_for_link()
        theirs.activate()
        with connecting.finish() as ours, theirs:
            ours.put(Function(Symbol("f"), (1,)))
            assert theirs.get() == Function(Symbol("f"), (1,))
